"""A Kubernetes API server inside the test: over real HTTP, on the test's own loop.

    async with ApiServer() as server:
        config = server.config()            a RestConfig for any client
        server.faults.answer(429, verb="list", retry_after=3)
        …
        assert server.requests.count(verb="list") == 2

What a request goes through, top to bottom; everything below `server` is pure and
knows neither sockets nor loops:

    server      sockets, paths, media types, watch streams, faults
    faults      rules that make it fail on purpose; the log of requests
    requests    paths and verbs                bodies    media types, options
    registry    how objects are written        deletion  … and deleted
    listing     lists and pages                watching  watches and bookmarks
    patching    merge, strategic, JSON patch   fields    who owns which, apply
    builtin     the kinds that are served      defaults  what is filled in for them
    storage     revisions, history, compaction: what etcd does
    status, refusals, validation               what is refused, in which words

Nothing here schedules, rolls out or garbage-collects: it is the API server alone, as
a control plane without its controller manager. Clock and randomness are arguments,
so one seed gives the same names, uids and answers twice.
"""

from controller_runtime.testing.apiserver.builtin import BUILT_IN
from controller_runtime.testing.apiserver.faults import Fault, Faults, Recorded
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.server import ApiServer
from controller_runtime.testing.apiserver.status import StatusError
from controller_runtime.testing.apiserver.watching import Timing

__all__ = [
    "BUILT_IN",
    "ApiServer",
    "Fault",
    "Faults",
    "Recorded",
    "Resource",
    "StatusError",
    "Timing",
]
