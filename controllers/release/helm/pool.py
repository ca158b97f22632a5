"""The engine that users get: Helm in processes of its own, as many as are needed.

    operation ──▶ one of n turns ─┐
    question  ──▶ a turn apart ───┴─▶ the worker that was idle last, or a new one
                                        └──▶ asked ──▶ idle again, or retired

Why processes: a chart that renders without end takes a worker down and nothing else;
an operation that is given up can be ended for good, which Helm in our own process
cannot (it goes on in the background); and the manager stays small. There is none
before there is something to do, and none after ten minutes without.

A question is `parse` or `render`: it takes milliseconds, and does not wait behind
operations that wait for pods. Every worker does both.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

import structlog
from prometheus_client import CollectorRegistry

from controller_runtime import RestConfig, write_kubeconfig
from controllers.release.helm.engine import EngineError, Failure, Order
from controllers.release.helm.failures import classify
from controllers.release.helm.metrics import EngineMetrics
from controllers.release.helm.process import WorkerOptions, WorkerProcess
from controllers.release.helm.protocol import (
    Call,
    Reply,
    action,
    parsing,
    rendering,
)
from controllers.release.helm.weight import weigh
from controllers.release.scrub import scrub

log = structlog.get_logger(__name__)

_PREFIX = "pilothouse-helm-"

_QUESTION = 60.0
"""Seconds that a question may take; rendering 300 000 lines takes 30."""

_ROUND = 15.0
"""Seconds between two looks at who has been idle for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How many workers, and for how long."""

    workers: int = 4
    """Operations at a time; one more worker may answer questions."""

    max_operations: int = 200
    """After so many a worker is replaced."""

    max_rss: int = 300 << 20
    """Bytes of memory above which an idle worker is replaced."""

    max_idle: timedelta = timedelta(minutes=10)
    """How long a worker is kept without anything to do."""

    drain: timedelta = timedelta(seconds=20)
    """How long operations may take to be cancelled when the manager stops."""

    folder: Path | None = None
    """Where the workers' homes are, which hold credentials while they work: best one
    in memory. `None` takes the system's for temporary files."""

    worker: WorkerOptions = field(default_factory=WorkerOptions)


class WorkerPool:
    """An `Engine` that is a runnable of the manager, too.

    Operations wait until it runs. When it is stopped, those under way are cancelled:
    they raise `EngineError`, as do those that come later.
    """

    name = "helm workers"

    def __init__(
        self,
        config: RestConfig,
        *,
        options: PoolOptions | None = None,
        metrics: EngineMetrics | None = None,
    ) -> None:
        """Prepare; nothing runs before `run` does.

        Args:
            config: The manager's own cluster and account.
            options: How many workers, and for how long.
            metrics: Where workers are counted.
        """
        self.options = options or PoolOptions()
        self._metrics = metrics or EngineMetrics(CollectorRegistry())
        self._config = config
        self._operations = asyncio.Semaphore(self.options.workers)
        self._questions = asyncio.Semaphore(1)
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._started = 0
        self._open = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._folder = Path()

    @property
    def pids(self) -> frozenset[int]:
        """Processes that run now, for `status.operation` and for tests."""
        return frozenset(worker.pid for worker in self._workers if worker.pid)

    async def run(self) -> None:
        """Own the workers until `stop`; all of them have ended then."""
        async with _folder(self.options.folder) as self._folder:
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._open.set()
                    await self._tend()
                    await self._drain()
            finally:
                self._stopping.set()
                self._open.set()  # whoever waits for it shall see that it is over

    def stop(self) -> None:
        """Take nothing more and cancel what is under way."""
        self._stopping.set()

    async def install(self, order: Order) -> None:
        await self._operate(Call.INSTALL, order)

    async def upgrade(self, order: Order) -> None:
        await self._operate(Call.UPGRADE, order)

    async def rollback(self, order: Order, *, revision: int = 0) -> None:
        await self._operate(Call.ROLLBACK, order, revision=revision)

    async def uninstall(self, order: Order) -> None:
        await self._operate(Call.UNINSTALL, order)

    async def test(self, order: Order) -> None:
        await self._operate(Call.TEST, order)

    async def parse(
        self, documents: Sequence[str], *, secrets: frozenset[str] = frozenset()
    ) -> Sequence[Mapping[str, object]]:
        reply = await self._question(Call.PARSE, parsing(documents), secrets)
        return cast("list[Mapping[str, object]]", reply.ok)

    async def render(self, order: Order) -> Mapping[str, str]:
        reply = await self._question(Call.RENDER, rendering(order), order.secrets)
        return cast("Mapping[str, str]", reply.ok)

    async def _operate(self, call: Call, order: Order, *, revision: int = 0) -> None:
        async with self._worker(self._operations) as worker:
            log.debug(
                "helm operation",
                operation=order.operation,
                call=call.value,
                release=order.release,
                namespace=order.namespace,
                worker=worker.number,
            )
            kubeconfig = order.cluster.kubeconfig
            # Of this moment: tokens change while orders wait for their turn.
            kubeconfig = kubeconfig or await write_kubeconfig(self._config)
            reply = await worker.ask(
                call,
                action(call, order, kubeconfig=kubeconfig, revision=revision),
                patience=order.patience.total_seconds(),
                secrets=order.secrets,
            )
        failure, why = _judge(reply), reply.message or ""
        if failure is Failure.AUTH and not order.cluster.kubeconfig:
            await self._renew_credentials()
        if failure is Failure.TOO_LARGE and order.chart is not None:
            why = f"{why}; {await asyncio.to_thread(weigh, order.chart)}"
        if failure is not None:
            raise EngineError(
                scrub(why, order.secrets), failure=failure, code=reply.code
            )

    async def _renew_credentials(self) -> None:
        """Have those that the server refused renewed before the next operation."""
        if self._config.credentials is not None:
            await self._config.credentials.refresh()

    async def _question(
        self, call: Call, arguments: Mapping[str, object], secrets: frozenset[str]
    ) -> Reply:
        async with self._worker(self._questions) as worker:
            reply = await worker.ask(
                call, arguments, patience=_QUESTION, secrets=secrets
            )
        if (failure := _judge(reply)) is not None:
            why = scrub(reply.message or "", secrets)
            raise EngineError(why, failure=failure, code=reply.code)
        return reply

    @asynccontextmanager
    async def _worker(self, turns: asyncio.Semaphore) -> AsyncIterator[WorkerProcess]:
        """Lend a worker when it is our turn."""
        asked = asyncio.get_running_loop().time()
        async with turns:
            await self._open.wait()
            self._require_open()
            worker = self._take()
            self._metrics.queue.observe(asyncio.get_running_loop().time() - asked)
            self._count()
            try:
                await worker.started()
                self._require_open()
                yield worker
            finally:
                self._give_back(worker)

    def _require_open(self) -> None:
        if self._stopping.is_set():
            raise EngineError(
                "the manager is stopping: nothing was begun", failure=Failure.CANCELLED
            )

    def _take(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
        return self._start()

    def _start(self) -> WorkerProcess:
        assert self._tasks is not None  # noqa: S101 - the pool is open
        number = self._started = self._started + 1
        worker = WorkerProcess(number, self._folder, self.options.worker)
        self._workers.add(worker)
        task = self._tasks.create_task(worker.run(), name=f"helm worker {number}")
        task.add_done_callback(lambda _: self._forget(worker))
        return worker

    def _forget(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        self._metrics.recycles.labels(worker.retired_for or "died").inc()
        self._count()

    def _give_back(self, worker: WorkerProcess) -> None:
        if worker.is_alive:
            if why := self._worn_out(worker):
                worker.retire(why)
            else:
                self._idle.append(worker)
        self._count()

    def _count(self) -> None:
        idle = sum(worker.is_alive for worker in self._idle)
        self._metrics.workers.labels("idle").set(idle)
        self._metrics.workers.labels("busy").set(len(self._workers) - idle)
        self._metrics.rss.set(sum(worker.rss for worker in self._workers))

    def _worn_out(self, worker: WorkerProcess) -> str:
        if self._stopping.is_set():
            return "stop"
        if worker.is_suspect:
            return "panic"
        if worker.operations >= self.options.max_operations:
            return "operations"
        if worker.rss > self.options.max_rss:
            return "memory"
        return ""

    async def _tend(self) -> None:
        """Retire whoever has been idle for too long, until the end."""
        loop = asyncio.get_running_loop()
        pause = min(_ROUND, self.options.max_idle.total_seconds())
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            since = loop.time() - self.options.max_idle.total_seconds()
            for worker in [each for each in self._idle if each.idle_since <= since]:
                self._idle.remove(worker)
                worker.retire("idle")

    async def _drain(self) -> None:
        """Cancel what is under way, end the rest, and kill whoever stays."""
        for worker in self._workers:
            if worker in self._idle:
                worker.retire("stop")
            else:
                worker.interrupt()
        self._idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.drain.total_seconds()):
                for worker in tuple(self._workers):
                    await worker.ended()
        for worker in tuple(self._workers):
            if not worker.has_ended:
                log.warning("helm worker killed", worker=worker.number)
                worker.kill()


def _judge(reply: Reply) -> Failure | None:
    """Say what kind of failure an answer is, if it is one."""
    if reply.message is None:
        return None
    return classify(reply.code, reply.message, cancelled=reply.cancelled)


@asynccontextmanager
async def _folder(parent: Path | None) -> AsyncIterator[Path]:
    """Lend a folder of ours, and delete those of managers that were killed."""
    folder, lock = await asyncio.to_thread(_make_folder, parent)
    try:
        yield folder
    finally:
        await asyncio.to_thread(_remove_folder, folder, lock)


def _make_folder(parent: Path | None) -> tuple[Path, int]:
    place = parent or Path(tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob(f"{_PREFIX}*"):
        _sweep(old)
    # Out of the sight of `_sweep` until it is locked.
    hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
    lock = os.open(hidden / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return hidden.rename(place / hidden.name[1:]), lock


def _sweep(folder: Path) -> None:
    """Delete a folder whose lock nobody holds; that of another user stays."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


def _remove_folder(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
