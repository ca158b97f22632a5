"""Workers around a queue: the loop that reconciles.

    new ──warm_up──▶ sources start, and sync ──run──▶ workers ──stop──▶ drained
     └─────────────────────────run─────────────────────▲

`run` owns every task: a fixed number of workers, which live as long as it does, and
one that reports on work in progress. No reconcile begins before all sources have told
of every object that was there at the start. `stop` lets work in progress end, and
`run` return; cancelling `run` cancels that work as well.

What a reconcile leads to, as in controller-runtime (`pkg/internal/controller`):

    returns None           done; failures are forgotten
    returns a delay        again after that long; failures are forgotten
    raises TerminalError   dropped until something changes; failures are kept
    raises anything else   again, after longer with each failure in a row

An exception that neither the framework nor the network raises is a bug, and counts
as a panic: it is survived like any failure, unless `recover_panic` is off.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Generic, TypeVar, assert_never, cast

import structlog
from opentelemetry.trace import Tracer

from controller_runtime.backoff import Limiter
from controller_runtime.errors import (
    AlreadyStartedError,
    ControllerRuntimeError,
    ShutDownError,
    SyncTimeoutError,
    TerminalError,
)
from controller_runtime.fence import Fence
from controller_runtime.logcontext import LogContext
from controller_runtime.meta import Kind, NamespacedName, kind_of
from controller_runtime.metrics import Metrics
from controller_runtime.rbac import Permission
from controller_runtime.reconcile import DONE, Reconciler, Result
from controller_runtime.source import Source
from controller_runtime.tracing import discreet_span
from controller_runtime.transport import TRANSPORT_ERRORS
from controller_runtime.workqueue import Item, WorkQueue

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Hashable)

_UNFINISHED_PERIOD = 0.5
"""Seconds between two reports on work in progress, as in client-go."""


_IN_A_ROW = 16
"""Reconciles that a worker may do before the loop gets a turn; each may be quick."""

_TURN = 0.001
"""Seconds after which the loop gets a turn in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """How a controller runs. The defaults are controller-runtime's."""

    max_concurrent_reconciles: int = 1
    """Reconciles that may run at once, each for a different key."""

    cache_sync_timeout: float | None = 120.0
    """Longest that all sources together may take to start and sync, in seconds;
    `None` waits for ever, say for a CRD that may never come."""

    reconciliation_timeout: float | None = None
    """Longest that a single reconcile may take, in seconds; `None` is no limit."""

    recover_panic: bool = True
    """Treat a bug like any failure; else it stops the controller, and its manager."""

    needs_leader_election: bool = True
    """Reconcile on the leader alone; read by the manager."""

    enable_warmup: bool = False
    """Start and sync the sources before the election; read by the manager."""

    ageing: float | None = 30.0
    """Seconds after which a ready key of low priority rises to 0; `None` is never."""


@dataclass(frozen=True, slots=True)
class Watching:
    """A source that a controller was given by `watch`."""

    _end: Callable[[], None]

    def stop(self) -> None:
        """Bring up no more keys, and let go of the source. May be called twice.

        What it has brought up stays in the queue. A watch that fed nothing else ends.
        """
        self._end()


class Controller(Generic[R]):
    """Reconciles every key that its sources bring up."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler[R],
        *,
        sources: Iterable[Source[R]] = (),
        options: ControllerOptions | None = None,
        kind: Kind | None = None,
        limiter: Limiter[R] | None = None,
        metrics: Metrics | None = None,
        randomness: random.Random | None = None,
        tracer: Tracer | None = None,
        permissions: Iterable[Permission] = (),
    ) -> None:
        """Make a controller that has not started.

        Args:
            name: Its name in logs and metrics; unique in a manager.
            reconciler: What to do with a key.
            sources: Where keys come from; each feeds this controller alone.
            options: How to run.
            kind: The kind that is reconciled, for logs.
            limiter: How long a failed key waits; by default 5 ms, doubling to 1000 s.
            metrics: Where to count; by default nobody sees it.
            randomness: Where reconcile ids come from.
            tracer: Makes a span of each reconcile; by default none is made.
            permissions: What it asks of the API server besides its watches; see
                `Manager.grants`, which is the first to iterate over them.
        """
        measured = metrics or Metrics()
        self.name = name
        self.options = options or ControllerOptions()
        self.kind = kind_of(kind) if kind is not None else None
        self._declared = permissions
        # Go's controllers name an object by its kind, so one search finds both.
        self._noun = self.kind.kind if self.kind is not None else "object"
        self.queue: WorkQueue[R] = WorkQueue(
            limiter=limiter, ageing=self.options.ageing, metrics=measured.queue(name)
        )
        self.fence: Fence | None = None
        """Asked before each reconcile whether one may act; the manager sets it."""
        self._metrics = measured.controller(name)
        self._reconciler = reconciler
        self._sources = list(sources)
        self._random = randomness or random.Random()  # noqa: S311 - ids, no secrets
        self._tracer = tracer
        self._warming = asyncio.Lock()
        self._busy = asyncio.Event()
        self._starters: Sequence[asyncio.Task[None]] = ()
        self._unsynced: dict[int, Source[R]] = {}
        self._in_flight: dict[R, asyncio.Task[None]] = {}
        self._last_errors: dict[R, str] = {}
        self._started = False
        self._warm = False
        self._stopped = False
        self._say: Callable[..., object] = log.debug

    @property
    def unsynced(self) -> tuple[str, ...]:
        """The sources that the controller waits for, before it works."""
        return tuple(source.describe() for source in self._unsynced.values())

    @property
    def in_flight(self) -> Mapping[R, asyncio.Task[None]]:
        """The keys that are reconciled now, each with the task that does it."""
        return dict(self._in_flight)

    @property
    def last_errors(self) -> Mapping[R, str]:
        """Why the last reconcile of a key failed, for keys where it did.

        Of a bug only the class is told: its text may quote what an object contains.
        """
        return dict(self._last_errors)

    @cached_property
    def permissions(self) -> tuple[Permission, ...]:
        """What it asks of the API server besides its watches."""
        return tuple(self._declared)

    async def watch(
        self, source: Source[R], *, timeout: float | None = None
    ) -> Watching:
        """Add a source; once the others were started, start it too, and let it sync.

        Args:
            source: What feeds the queue.
            timeout: Seconds that this may take, a warm-up that goes on included; by
                default as long as `cache_sync_timeout` gives the source alone.

        Returns:
            What ends it, before the controller does.

        Raises:
            SyncTimeoutError: It did not sync in time, and was stopped.
            Exception: What the source raised; it was stopped.
        """
        limit = self.options.cache_sync_timeout if timeout is None else timeout
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline, self._warming:
                if self._warm and not self._stopped:
                    await self._start_sources([source], limit)
                self._sources.append(source)
        except TimeoutError as error:
            if not deadline.expired():
                raise  # of the source's own
            raise SyncTimeoutError(
                f"controller {self.name}: {source.describe()} did not sync "
                f"within {timeout:g} s"
            ) from error
        return Watching(partial(self._unwatch, source))

    def _unwatch(self, source: Source[R]) -> None:
        source.stop()
        self._sources = [other for other in self._sources if other is not source]

    async def warm_up(self) -> None:
        """Start the sources and fill the queue, before or while `run` does it.

        Raises:
            SyncTimeoutError: A source did not sync in time; the text names it.
            Exception: What a source raised; several come as an ExceptionGroup.
        """
        async with self._warming:
            if not self._warm and not self._stopped:
                await self._start_sources(
                    self._sources, self.options.cache_sync_timeout
                )
                self._warm = True

    async def run(self) -> None:
        """Reconcile until `stop`. Cancelling this cancels every reconcile.

        Raises:
            AlreadyStartedError: The controller ran before.
            SyncTimeoutError: A source did not sync in time; the text names it.
            Exception: What a source raised, or a reconcile that may not recover;
                several come as an ExceptionGroup.
        """
        if self._started:
            raise AlreadyStartedError(
                f"controller {self.name} was started twice; is it in two managers?"
            )
        self._started = True
        try:
            await self.warm_up()
            await self._work()
        finally:
            self._end()

    def discard(self) -> None:
        """Let go of what `warm_up` holds, unless `run` has it."""
        if not self._started:
            self._end()

    def stop(self) -> None:
        """Take no more keys; `run` returns when those in flight are done."""
        self._stopped = True
        self.queue.seal()
        for starter in self._starters:
            starter.cancel()

    def _end(self) -> None:
        self.stop()
        for source in self._sources:
            source.stop()
        self.queue.close()
        self.queue.observe_unfinished()

    async def _start_sources(
        self, sources: Sequence[Source[R]], limit: float | None
    ) -> None:
        self._unsynced = {id(source): source for source in sources}
        with ExitStack() as undo:
            undo.callback(self._unsynced.clear)
            for source in sources:
                undo.callback(source.stop)
            await self._sync(sources, limit)
            if not self._stopped:
                undo.pop_all()

    async def _sync(self, sources: Sequence[Source[R]], limit: float | None) -> None:
        failure: BaseException
        try:
            async with asyncio.timeout(limit), asyncio.TaskGroup() as tasks:
                self._starters = [tasks.create_task(self._start(s)) for s in sources]
            return
        except TimeoutError:
            failure = SyncTimeoutError(
                f"controller {self.name}: {', '.join(self.unsynced)} did not sync "
                f"within {limit:g} s"
            )
        except BaseExceptionGroup as group:
            failure = _lone(group)
        raise failure

    async def _start(self, source: Source[R]) -> None:
        await source.start(self.queue)
        await source.synced()
        self._unsynced.pop(id(source), None)

    async def _work(self) -> None:
        self._say = log.bind().debug
        workers = self.options.max_concurrent_reconciles
        self._metrics.max_concurrent.set(workers)
        failure: BaseException
        try:
            async with asyncio.TaskGroup() as tasks:
                reporter = tasks.create_task(self._report())
                async with asyncio.TaskGroup() as group:
                    for n in range(workers):
                        group.create_task(self._serve(), name=f"{self.name}/{n}")
                reporter.cancel()
            return
        except BaseExceptionGroup as errors:
            failure = _lone(errors)
        raise failure

    async def _report(self) -> None:
        """Report on work in progress, and sleep as long as there is none."""
        while True:
            await self._busy.wait()
            self.queue.observe_unfinished()
            await asyncio.sleep(_UNFINISHED_PERIOD)
            if not self._in_flight:
                self.queue.observe_unfinished()
                self._busy.clear()

    async def _serve(self) -> None:
        worker = _this_task()
        logged = LogContext(self._own_names())
        done, turn = 0, 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                item = await self.queue.get()
            except ShutDownError:
                return
            names = self._names(item.key)
            logged.bind(names)
            began = loop.time()
            try:
                await self._handle(item, names, worker)
            finally:
                ended = loop.time()
                self._metrics.time.observe(ended - began)
                self.queue.done(item.key)
            # A reconcile that finds nothing to do may never wait: without this,
            # thousands in a row would keep the loop from everything else.
            done += 1
            if done == _IN_A_ROW or ended - turn >= _TURN:
                await asyncio.sleep(0)
                done, turn = 0, loop.time()

    def _own_names(self) -> dict[str, str]:
        """Return what names the controller in all that its workers log."""
        names = {"controller": self.name}
        if self.kind is None:
            return names
        group, _, kind = self.kind
        return {"controllerGroup": group, "controllerKind": kind} | names

    async def _handle(
        self, item: Item[R], names: Mapping[str, str], worker: asyncio.Task[None]
    ) -> None:
        self._metrics.active_workers.inc()
        self._in_flight[item.key] = worker
        self._busy.set()
        try:
            await self._attempt(item, names)
        finally:
            del self._in_flight[item.key]
            self._metrics.active_workers.dec()

    def _names(self, key: R) -> dict[str, str]:
        """Return what names a key in all that is logged about it."""
        names = {self._noun: str(key), "reconcileID": _uuid4(self._random)}
        if isinstance(key, NamespacedName):
            names["namespace"], names["name"] = key
        return names

    async def _attempt(self, item: Item[R], names: Mapping[str, str]) -> None:
        self._say("reconcile", causes=item.causes)
        try:
            if self._tracer is None:
                result = _result(await self._reconcile(item.key))
            else:
                with self._span(self._tracer, item, names):
                    result = _result(await self._reconcile(item.key))
        except asyncio.CancelledError as error:
            if _this_task().cancelling():
                raise
            # Somebody cancelled what the reconciler waited for, not this worker.
            self._fail(item, error)
        except Exception as error:
            if is_panic(error):
                self._metrics.panics.inc()
                if not self.options.recover_panic:
                    raise
            self._fail(item, error)
        else:
            self._succeed(item, result)

    def _span(
        self, tracer: Tracer, item: Item[R], names: Mapping[str, str]
    ) -> AbstractContextManager[object]:
        # The same attributes for every kind, so that one query finds all reconciles.
        of_key = {"object" if k == self._noun else k: v for k, v in names.items()}
        return discreet_span(
            tracer,
            "reconcile",
            attributes={"controller": self.name, **of_key, "causes": item.causes},
        )

    async def _reconcile(self, key: R) -> Result | timedelta | None:
        if self.fence is not None:
            self.fence()
        limit = self.options.reconciliation_timeout
        if limit is None:
            return await self._reconciler.reconcile(key)
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                return await self._reconciler.reconcile(key)
        except TimeoutError as error:
            if deadline.expired():
                raise TimeoutError(f"reconcile took longer than {limit:g} s") from error
            raise
        finally:
            if deadline.expired():
                self._metrics.timeouts.inc()

    def _succeed(self, item: Item[R], result: Result) -> None:
        self.queue.forget(item.key)
        self._last_errors.pop(item.key, None)
        if result.requeue_after is None:
            self._metrics.success.inc()
            return
        self._metrics.requeue_after.inc()
        self.queue.add_after(
            item.key,
            result.requeue_after.total_seconds(),
            priority=result.priority,
            cause="timer",
        )

    def _fail(self, item: Item[R], error: BaseException) -> None:
        self._metrics.error.inc()
        self._metrics.errors.inc()
        name = type(error).__name__
        self._last_errors[item.key] = name if is_panic(error) else f"{name}: {error}"
        delay = None
        if is_terminal(error):
            self._metrics.terminal_errors.inc()
        else:
            failures = self.queue.num_requeues(item.key) + 1
            delay = self.queue.retry(item.key, cause=f"retry {failures}")
        log.error(
            "reconcile failed", retry_in=delay, causes=item.causes, exc_info=error
        )


def is_terminal(error: BaseException) -> bool:
    """Return whether retrying cannot help, as a `TerminalError` or its wrapper says.

    Of a group, all must agree: the others may be worth another try.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, TerminalError):
            return True
        if isinstance(cause, BaseExceptionGroup):
            return all(map(is_terminal, cause.exceptions))
        seen.add(id(cause))
        cause = cause.__cause__
    return False


def is_panic(error: BaseException) -> bool:
    """Return whether a bug raised this, rather than the framework or the network."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_panic, error.exceptions))
    return not isinstance(error, (ControllerRuntimeError, *TRANSPORT_ERRORS))


def _result(answer: Result | timedelta | None) -> Result:
    match answer:
        case None:
            return DONE
        case Result():
            return answer
        case timedelta():
            return Result(requeue_after=answer)
    assert_never(answer)


def _lone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error in a group of one, else the group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _uuid4(randomness: random.Random) -> str:
    """Write a random UUID (RFC 9562, version 4), as `uuid` does in twice the time."""
    bits = randomness.getrandbits(128) & ~(0xF000_C000 << 48) | 0x4000_8000 << 48
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _this_task() -> asyncio.Task[None]:
    return cast("asyncio.Task[None]", asyncio.current_task())
