"""A controller on our framework, with its defaults, for comparison.

It speaks the protocol of `benchmarks/compare/peers.py`: flags in, one JSON object a
line on stdout, commands a line on stdin. Times are seconds of CLOCK_MONOTONIC, which
all processes of a machine share. The loop is uvloop, and the collector is tuned and
waits for the end of the imports, as in `pilothouse run`; all else is the default.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

gc.disable()

import uvloop  # noqa: E402

from controller_runtime import (  # noqa: E402
    Event,
    GroupVersionKind,
    HttpTransport,
    KubeObject,
    Manager,
    ManagerOptions,
    NotFoundError,
    Request,
    Updated,
    builder,
    configure_logging,
    load_restconfig,
    merge_patch,
    on_stop_signal,
)

MARK = "benchmark.pilothouse/mark"
"""The annotation that a patching reconciler sets."""

ANY_PORT = "127.0.0.1:0"
"""Instead of the default ones: other programs run here too."""

now = time.monotonic  # noqa: TID251 - shared with other processes


class ConfigMap(KubeObject):
    gvk: ClassVar = GroupVersionKind("", "v1", "ConfigMap")

    data: Mapping[str, str] = {}


class Pod(KubeObject):
    gvk: ClassVar = GroupVersionKind("", "v1", "Pod")


KINDS: Mapping[str, type[KubeObject]] = {"ConfigMap": ConfigMap, "Pod": Pod}


class Peer:
    """Reconciles, and notes when."""

    def __init__(self, options: argparse.Namespace, manager: Manager) -> None:
        self._namespace: str = options.namespace
        self._kind = KINDS[options.kind]
        self._task: str = options.task
        self._mark: str = options.mark
        self._expect: int = options.expect
        self._client = manager.client
        self._first = 0.0
        self._done: set[Request] = set()
        self._starts: list[tuple[str, float, float]] = []
        self._told = 0.0
        self._wanted = 0
        self._handled = 0
        self._first_handled = 0.0

    async def reconcile(self, request: Request) -> None:
        at = now()
        if request.namespace != self._namespace:
            return
        version = ""
        if self._task != "noop":
            try:
                found = await self._client.get(
                    self._kind, request.name, request.namespace
                )
            except NotFoundError:
                return
            if self._task == "patch":
                found = await self._patched(found)
            version = found.metadata.resource_version
        self._finished(request, version, at)

    async def _patched(self, found: KubeObject) -> KubeObject:
        if found.metadata.annotations.get(MARK) == self._mark:
            return found
        change = merge_patch({"metadata": {"annotations": {MARK: self._mark}}})
        return await self._client.patch(
            self._kind, found.metadata.name, found.metadata.namespace, patch=change
        )

    def _finished(self, request: Request, version: str, at: float) -> None:
        """Note a reconcile, and tell when every object has had one."""
        if len(self._done) == self._expect:
            self._starts.append((version, self._told, at))
            return
        if not self._done:
            self._first = at
        self._done.add(request)
        if len(self._done) == self._expect:
            say(what="reconciled", at=now(), first=self._first, cpu=cpu())

    def count(self, event: Event) -> bool:
        """A predicate that admits everything and counts updates."""
        if isinstance(event, Updated):
            self._told = now()
            if not self._handled:
                self._first_handled = self._told
            self._handled += 1
            if self._handled == self._wanted:
                say(what="handled", at=self._told, first=self._first_handled, cpu=cpu())
        return True

    def obey(self, line: str) -> None:
        """Do what the driver says."""
        command, _, argument = line.strip().partition(" ")
        if command == "count":  # updates, from now on
            self._wanted = int(argument)
            self._handled = 0
            say(what="counting", cpu=cpu())
        elif command == "starts":  # of the reconciles after the first of each object
            say(what="starts", starts=self._starts)
            self._starts = []


class Probe:
    """The longest times that the loop and the collector kept everything waiting."""

    def __init__(self) -> None:
        self.stall = 0.0
        self.pause = 0.0
        self._began = 0.0
        gc.callbacks.append(self._collected)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0)
            self.stall = max(self.stall, loop.time() - before)

    def _collected(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = now()
        else:
            self.pause = max(self.pause, now() - self._began)


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def cpu() -> float:
    """Return the seconds on processors so far, of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def listen(obey: Callable[[str], None], stop: Callable[[], None]) -> None:
    """Obey the lines on stdin until the driver closes it."""
    rest = bytearray()

    def readable() -> None:
        rest.extend(chunk := os.read(0, 1 << 16))
        if not chunk:
            loop.remove_reader(0)
            stop()
        while (end := rest.find(b"\n")) >= 0:
            obey(rest[:end].decode())
            del rest[: end + 1]

    loop = asyncio.get_running_loop()
    loop.add_reader(0, readable)


async def run(options: argparse.Namespace) -> None:
    configure_logging()
    config = load_restconfig(
        kubeconfig=options.kubeconfig, environ={}, home=Path.home()
    )
    async with HttpTransport(config) as transport, asyncio.TaskGroup() as tasks:
        addresses = ManagerOptions(
            metrics_bind_address=ANY_PORT,
            metrics_secure=False,  # which is Go's default
            health_probe_bind_address=ANY_PORT,
            tune_gc=not options.untuned,
        )
        manager = Manager(transport, options=addresses)
        peer = Peer(options, manager)
        builder.controller(
            manager,
            KINDS[options.kind],
            peer,
            predicates=[peer.count],
            concurrency=options.workers,
        )
        listen(peer.obey, manager.stop)
        with on_stop_signal(manager.stop):
            say(what="manager", at=now())
            if options.probe:
                await probed(manager, tasks)
            else:
                await manager.start()


async def probed(manager: Manager, tasks: asyncio.TaskGroup) -> None:
    """Run, and say in the end what a probe found while the caches filled."""
    probe = Probe()
    probing = tasks.create_task(probe.run())
    running = tasks.create_task(manager.start())
    await manager.elected()
    await manager.cache.synced()
    probing.cancel()
    say(what="probed", stall=probe.stall, pause=probe.pause)
    await running


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig")
    parser.add_argument("--namespace", help="where the objects that count are")
    parser.add_argument("--kind", default="ConfigMap", choices=KINDS)
    parser.add_argument("--task", default="read", choices=["read", "noop", "patch"])
    parser.add_argument("--mark", default="", help="what a patch writes")
    parser.add_argument("--expect", type=int, help="objects to reconcile")
    parser.add_argument("--workers", type=int, default=1, help="reconciles at once")
    parser.add_argument("--probe", action="store_true", help="measure stalls")
    parser.add_argument("--untuned", action="store_true", help="without tune_gc")
    return parser.parse_args()


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments()))
