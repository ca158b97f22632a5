"""A Kubernetes API server inside the test: over real HTTP, on the test's own loop.

    async with ApiServer() as server:
        config = server.config()            a RestConfig for any client
        server.faults.on(verb="list").answer(429, retry_after=3)
        …
        assert len(server.requests.of("list", "configmaps")) == 2

What a request goes through, top to bottom:

    server      the handler                    answers   what it writes
    faults      rules that make it fail on purpose; the log of requests
    requests    paths and verbs                bodies    media types, options
    registry    how objects are written        rules     … and what is refused
    deletion    what a deletion does           decoding, validation
    listing     lists and pages                watching  watches and bookmarks
    patching, strategic                        what a patch does
    fields      who owns which field; server-side apply
    builtin     the kinds that are served      defaults, events   … in detail
    storage     revisions, history, compaction: what etcd does
    status, refusals                           the words of every refusal

Only `server` and `answers` know sockets, only `watching` besides knows the loop.

Nothing here schedules, rolls out or garbage-collects: it is the API server alone, as
a control plane without its controller manager. It does not validate specs, knows no
users but tokens, and keeps only one version of a kind unless told of more. The tests
in `test/conformance` hold it to what kube-apiserver does.

Clock and randomness are arguments, so a seed gives the same answers twice.
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
