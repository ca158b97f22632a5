"""An operator on kopf, with its defaults, for comparison.

It speaks as much of the protocol of `benchmarks/compare/peers.py` as a start takes:
flags in, one JSON object a line on stdout. The handler is kopf's cheapest: it is told
of each object and writes nothing. kopf hands it the object, so there is nothing to
read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

import kopf
import uvloop

now = time.monotonic  # noqa: TID251 - shared with other processes

done: set[str] = set()
first = 0.0


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def cpu() -> float:
    """Return the seconds on processors so far, of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def register(options: argparse.Namespace) -> None:
    """Tell kopf what to do for which objects."""

    @kopf.on.login()
    def login(**kwargs: Any) -> object:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(options.kind)
    async def handle(name: str, namespace: str, **_: object) -> None:
        global first  # noqa: PLW0603 - one operator a process
        if namespace != options.namespace or len(done) == options.expect:
            return
        if not done:
            first = now()
        done.add(name)
        if len(done) == options.expect:
            say(what="reconciled", at=now(), first=first, cpu=cpu())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig")
    parser.add_argument("--namespace", help="where the objects that count are")
    parser.add_argument("--kind", default="ConfigMap")
    parser.add_argument("--expect", type=int, help="objects to reconcile")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    os.environ["KUBECONFIG"] = given.kubeconfig
    register(given)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        say(what="manager", at=now())
        runner.run(kopf.operator(clusterwide=True, standalone=True))
