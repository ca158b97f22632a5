"""The program that a soak torments: one controller, a leader election, a journal.

    ConfigMap ─▶ digest of its data ─▶ the annotation, if it has another

It is what an author of operators would write, with nothing made easier: every default
of the framework that is not about the Lease's durations. Only the journal is extra.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Unpack

import uvloop

from controller_runtime import (
    CacheOptions,
    Client,
    ControllerOptions,
    Group,
    GroupVersionKind,
    HttpTransport,
    LeaderElectionOptions,
    ListenOptions,
    Manager,
    ManagerOptions,
    Metrics,
    NotFoundError,
    ObjectReference,
    ReflectorOptions,
    Request,
    RequestOptions,
    Response,
    RestConfig,
    Transport,
    builder,
    configure_logging,
    merge_patch,
    on_stop_signal,
)
from controller_runtime.controller import is_panic
from soak.records import (
    Answered,
    Began,
    Census,
    Ended,
    Journal,
    Led,
    Over,
    Sample,
    Sent,
    Struck,
    now,
)

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")

NAMESPACE = "soak"

LEASE = "soak"

DIGEST = "soak.pilothouse.dev/digest"
"""Annotation that says which data was reconciled."""

WORKERS = 4


def digest(data: Mapping[str, str]) -> str:
    """Return what stands for some data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


class Noting:
    """A transport that notes every write to ConfigMaps."""

    def __init__(self, transport: Transport, journal: Journal) -> None:
        self._transport = transport
        self._journal = journal
        self._writes = 0

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        send = self._transport.request(method, path, **options)
        if method == "GET" or "/configmaps" not in path:
            return await send
        self._writes += 1
        number = self._writes
        self._journal.note(Sent(now(), number, path))
        try:
            return await send
        finally:
            self._journal.note(Answered(now(), number))

    def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._transport.stream(path, **options)


class Digests:
    """Writes the digest of every ConfigMap onto it."""

    def __init__(self, manager: Manager, journal: Journal) -> None:
        self._client: Client = manager.client
        self._recorder = manager.recorder("soak")
        self._journal = journal

    async def reconcile(self, request: Request) -> None:
        key = str(request)
        self._journal.note(Began(now(), key))
        try:
            version = await self._reconcile(request)
        except BaseException as error:
            bug = isinstance(error, Exception) and is_panic(error)
            self._journal.note(Ended(now(), key, "", type(error).__name__, bug))
            raise
        self._journal.note(Ended(now(), key, version))

    async def _reconcile(self, request: Request) -> str:
        namespace, name = request
        try:
            found = await self._client.get(CONFIG_MAP, name, namespace)
        except NotFoundError:
            return ""
        metadata = found["metadata"]
        wanted = digest(found.get("data") or {})
        if (metadata.get("annotations") or {}).get(DIGEST) != wanted:
            patch = merge_patch({"metadata": {"annotations": {DIGEST: wanted}}})
            await self._client.patch(CONFIG_MAP, name, namespace, patch=patch)
            self._recorder.event(
                ObjectReference(CONFIG_MAP, namespace, name, metadata["uid"]),
                reason="Reconciled",
                action="Reconcile",
                note=f"the digest is {wanted}",
            )
        return str(metadata["resourceVersion"])


class Sampler:
    """Notes every second what the process holds, leader or not."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def run(self) -> None:
        while True:
            self._journal.note(sample())
            await asyncio.sleep(1)


class Term:
    """Notes that the process leads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def run(self) -> None:
        self._journal.note(Led(now()))


def sample() -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    open_now = descriptors()
    return Sample(
        now(),
        resident=pages * os.sysconf("SC_PAGE_SIZE"),
        blocks=sys.getallocatedblocks(),
        descriptors=len(open_now),
        sockets=sum(it.startswith("socket:") for it in open_now),
        threads=threading.active_count(),
        tasks=len(asyncio.all_tasks()),
    )


def descriptors() -> list[str]:
    """Return what the open descriptors lead to, that of this look not included."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(number.readlink()))
    return sorted(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the soak tells the program."""

    server: str
    identity: str
    lease: float
    renew: float
    retry: float
    reconcile: float


async def work(settings: Settings, journal: Journal) -> None:
    """Run the manager until a signal or an error; note what it leaves behind."""
    why: list[str] = []
    try:
        await _run(settings, journal)
    except Exception as error:
        why = list(_classes(error))
        raise
    finally:
        ours = asyncio.current_task()
        names = sorted(it.get_name() for it in asyncio.all_tasks() if it is not ours)
        journal.note(Over(now(), names, why))


async def _run(settings: Settings, journal: Journal) -> None:
    config = RestConfig(server=settings.server, user_agent=settings.identity)
    metrics = Metrics()
    async with (
        HttpTransport(config, metrics=metrics) as transport,
        HttpTransport(config, metrics=metrics) as lease_transport,
    ):
        manager = Manager(
            Noting(transport, journal),
            lease_transport=lease_transport,
            metrics=metrics,
            options=_options(settings),
            exit_process=_exit(journal),
        )
        builder.controller(
            manager,
            CONFIG_MAP,
            Digests(manager, journal),
            concurrency=WORKERS,
            options=ControllerOptions(reconciliation_timeout=settings.reconcile),
        )
        manager.add(Term(journal))
        manager.add(Sampler(journal), group=Group.OTHERS)
        with on_stop_signal(manager.stop):
            await manager.start()


def _options(settings: Settings) -> ManagerOptions:
    return ManagerOptions(
        metrics_bind_address="127.0.0.1:0",
        health_probe_bind_address="127.0.0.1:0",
        debug_bind_address="127.0.0.1:0",
        tune_gc=True,
        cache=CacheOptions(default=ReflectorOptions(namespace=NAMESPACE)),
        leader_election=LeaderElectionOptions(
            name=LEASE,
            namespace=NAMESPACE,
            identity=settings.identity,
            lease_duration=timedelta(seconds=settings.lease),
            renew_deadline=timedelta(seconds=settings.renew),
            retry_period=timedelta(seconds=settings.retry),
        ),
    )


def _exit(journal: Journal) -> Callable[[int], None]:
    def end(code: int) -> None:
        journal.note(Struck(now()))
        os._exit(code)

    return end


def _classes(error: Exception) -> list[str]:
    if isinstance(error, ExceptionGroup):
        return [name for each in error.exceptions for name in _classes(each)]
    return [type(error).__name__]


def _census(journal: Journal) -> None:
    threads = sorted(thread.name for thread in threading.enumerate())
    journal.note(Census(now(), descriptors(), threads))


def main() -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser()
    for name in ("server", "identity"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("lease", "renew", "retry", "reconcile"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--uvloop", action="store_true")
    given = vars(parser.parse_args())
    journal, fast = Journal(given.pop("journal")), given.pop("uvloop")
    configure_logging("json", "warning")
    loop_factory = uvloop.new_event_loop if fast else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.sleep(0))  # libuv keeps a pipe for the process
    _census(journal)
    code = 0
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(work(Settings(**given), journal))
    except Exception as error:  # noqa: BLE001 - the journal and the exit code tell
        sys.stderr.write(f"soak manager: {type(error).__name__}: {error}\n")
        code = 1
    gc.collect()  # what is only dropped would warn of itself here
    _wait_for_threads()
    _census(journal)
    return code


def _wait_for_threads(seconds: float = 2) -> None:
    """Give threads that were told to end the time for it."""
    until = now() + seconds
    while threading.active_count() > 1 and now() < until:
        time.sleep(0.01)  # noqa: TID251 - no loop runs


if __name__ == "__main__":
    sys.exit(main())
