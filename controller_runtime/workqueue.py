"""A queue of keys that may be added many times and are worked on once.

A key waits for its time, is ready for a worker, or is active in the hands of one:

    add ──────────────────────────────────▶ ready ──get──▶ active ──done──▶ gone
                                             ▲ ▲             │
    add_after, retry ──▶ waiting ──its time──┘ └────done─────┘ if added meanwhile

Two workers never hold the same key. One that is added while it is active is ready at
once, and counts as such, but others pass it until its worker is done.

Whoever adds a key that is here already can only hasten it: the sooner of two times
wins, the higher of two priorities too. Ready keys leave by priority, then in the
order in which they reached it. A key of low priority rises to 0 when it has been
ready for a while, so that a busy queue delays it but never starves it.

The queue belongs to one event loop, whose clock it uses; no method awaits but `get`,
so each is atomic. It owns no task: workers sleep on futures, and one timer stands for
every key that waits. Keys lie in heaps, by time and by rank; what moves leaves its
old slot behind, which is recognised by its stamp and skipped.

The contract is controller-runtime's (`pkg/controller/priorityqueue`), plus ageing
and causes.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from controller_runtime.backoff import ExponentialLimiter, Limiter
from controller_runtime.errors import ShutDownError

K = TypeVar("K", bound=Hashable)

LOW_PRIORITY = -100
"""For keys of which nothing is known to have changed, as in controller-runtime."""

_CAUSES_MAX = 8
"""Causes kept for a key: enough to explain a run, whatever storm led to it."""

_STALE_MAX = 64
"""Slots of a heap that may be stale before it matters how many are not."""


class Item(NamedTuple, Generic[K]):
    """A key handed to a worker, who owes a `done` for it."""

    key: K
    priority: int
    causes: tuple[str, ...] = ()
    """Why the key is here, oldest first: the first few of them."""


class Place(StrEnum):
    """Where a key is."""

    WAITING = "waiting"
    READY = "ready"
    ACTIVE = "active"


class KeyState(NamedTuple, Generic[K]):
    """One key in one place; a key may be active and, for its next turn, elsewhere."""

    key: K
    place: Place
    seconds: float
    """How long it still waits, has been ready, or has been worked on."""
    priority: int
    failures: int
    causes: tuple[str, ...]


class Counter(Protocol):
    """Something that only grows."""

    def inc(self) -> None: ...


class Gauge(Protocol):
    """Something that goes up and down."""

    def inc(self) -> None: ...
    def dec(self) -> None: ...
    def set(self, value: float, /) -> None: ...


class Histogram(Protocol):
    """Something that happens many times."""

    def observe(self, amount: float, /) -> None: ...


class QueueMetrics(Protocol):
    """Where a queue reports to. Times are in seconds."""

    @property
    def adds(self) -> Counter: ...
    @property
    def retries(self) -> Counter: ...
    @property
    def queue_duration(self) -> Histogram: ...
    @property
    def work_duration(self) -> Histogram: ...
    @property
    def unfinished(self) -> Gauge: ...
    @property
    def longest(self) -> Gauge: ...
    def depth(self, priority: int, /) -> Gauge: ...


@dataclass(slots=True, eq=False)
class _Entry(Generic[K]):
    """A key in one of its places."""

    key: K
    priority: int
    causes: tuple[str, ...] = ()
    since: float = 0.0
    """When it came to its place; for a waiting key, when it leaves."""
    stamp: int = 0
    """Names its valid slot in a heap, and its arrival among its equals."""

    def explain(self, cause: str | None) -> None:
        """Note why the key is here, unless enough is known."""
        if cause is None or cause in self.causes or len(self.causes) == _CAUSES_MAX:
            return
        self.causes = (*self.causes, cause) if self.causes else (cause,)


class _Heap(Generic[K]):
    """Entries by rank, then by stamp; a new stamp makes an entry's old slot stale."""

    def __init__(self) -> None:
        self._slots: list[tuple[float, int, _Entry[K]]] = []

    def push(self, rank: float, entry: _Entry[K], *, live: int) -> None:
        """Add an entry to the `live` others, sweeping when most slots are stale.

        Without that, a key that is delayed for hours and hastened every second
        would leave a slot behind each time.
        """
        if len(self._slots) > 2 * live + _STALE_MAX:
            self._slots = [slot for slot in self._slots if slot[1] == slot[2].stamp]
            heapq.heapify(self._slots)
        heapq.heappush(self._slots, (rank, entry.stamp, entry))

    def first(self) -> _Entry[K] | None:
        """Return the entry of lowest rank; it stays until it has another stamp."""
        while self._slots:
            _, stamp, entry = self._slots[0]
            if stamp == entry.stamp:
                return entry
            heapq.heappop(self._slots)
        return None


class WorkQueue(Generic[K]):
    """Hands out keys to workers, each key to one worker at a time."""

    def __init__(
        self,
        *,
        limiter: Limiter[K] | None = None,
        ageing: float | None = 30.0,
        owns: Callable[[K], bool] | None = None,
        metrics: QueueMetrics | None = None,
    ) -> None:
        """Make an empty queue.

        Args:
            limiter: How long `retry` waits; by default 5 ms, doubling to 1000 s.
            ageing: Seconds a ready key stays below priority 0; `None` is for ever.
            owns: Admits a key. The others are ignored: another process has them.
            metrics: Where to report to.
        """
        self._limiter = limiter or ExponentialLimiter()
        self._ageing = ageing
        self._owns = owns
        self._metrics = metrics
        self._stamps = itertools.count(1)
        self._waiting: dict[K, _Entry[K]] = {}
        self._ready: dict[K, _Entry[K]] = {}
        self._active: dict[K, _Entry[K]] = {}
        self._by_time: _Heap[K] = _Heap()
        self._by_rank: _Heap[K] = _Heap()
        self._young: deque[_Entry[K]] = deque()
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0
        self._getters: deque[asyncio.Future[None]] = deque()
        self._sealed = False
        self._closed = False

    def __len__(self) -> int:
        """Return how many keys are ready; those that only wait do not count."""
        return len(self._ready)

    def add(self, key: K, *, priority: int = 0, cause: str | None = None) -> None:
        """Make `key` ready now, even if it was waiting; `cause` says why, briefly."""
        self._put(key, 0.0, priority, cause)

    def add_after(
        self,
        key: K,
        seconds: float,
        *,
        priority: int | None = None,
        cause: str | None = None,
    ) -> None:
        """Make `key` ready in `seconds`, unless it is sooner anyway.

        `seconds` of 0 or less are now. A `priority` of `None` keeps the one that the
        key is worked on or queued with.
        """
        self._put(key, seconds, priority, cause)

    def retry(
        self,
        key: K,
        *,
        after: float | None = None,
        priority: int | None = None,
        cause: str | None = None,
    ) -> float:
        """Count a failure of `key`, make it ready after the limiter's delay, return it.

        `after` seconds are enough, should the limiter ask for more. `priority` is
        meant as in `add_after`.
        """
        delay = self._limiter.when(key, now=_now())
        if after is not None:
            delay = min(delay, after)
        self._put(key, delay, priority, cause)
        return delay

    def forget(self, key: K) -> None:
        """Start the next failure of `key` from the shortest delay again."""
        self._limiter.forget(key)

    def num_requeues(self, key: K) -> int:
        """Return how many failures of `key` are counted."""
        return self._limiter.num_requeues(key)

    async def get(self) -> Item[K]:
        """Wait for a key and take it; the caller owes a `done` for it.

        Raises:
            ShutDownError: The queue hands out no more keys.
        """
        while not self._sealed:
            if (entry := self._by_rank.first()) is not None:
                return self._activate(entry)
            await self._woken()
        raise ShutDownError("the queue hands out no more keys")

    def done(self, key: K) -> None:
        """Give `key` back; it may be taken again if it was added meanwhile."""
        if (entry := self._active.pop(key, None)) is None:
            return
        if self._metrics is not None:
            self._metrics.work_duration.observe(_now() - entry.since)
        if (again := self._ready.get(key)) is not None:
            self._offer(again)

    def seal(self) -> None:
        """Hand out no more keys, and send every waiting worker home.

        Active keys may still be finished; what is queued stays to be looked at.
        """
        self._sealed = True
        while self._getters:
            self._wake_one()

    def close(self) -> None:
        """Seal the queue, drop all that is queued, and ignore what is added later."""
        self.seal()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._metrics is not None and self._ready:
            _, entry = self._ready.popitem()
            self._metrics.depth(entry.priority).dec()
        self._waiting.clear()
        self._ready.clear()
        self._young.clear()
        self._by_time, self._by_rank = _Heap(), _Heap()

    def observe_unfinished(self) -> None:
        """Report how long the active keys have been worked on.

        Call it every 500 ms: alerts on stuck workers read what it sets.
        """
        if self._metrics is not None:
            now = _now()
            ages = [now - entry.since for entry in self._active.values()]
            self._metrics.unfinished.set(sum(ages))
            self._metrics.longest.set(max(ages, default=0.0))

    def snapshot(
        self, *, limit: int | None = None, where: Callable[[K], bool] | None = None
    ) -> list[KeyState[K]]:
        """Return keys: active ones, ready ones by rank, waiting ones by time.

        Args:
            limit: At most so many of each place, without a sort of all; `None` for all.
            where: Only these keys.
        """
        now = _now()
        return [
            KeyState(
                entry.key,
                place,
                seconds=abs(now - entry.since),
                priority=entry.priority,
                failures=self._limiter.num_requeues(entry.key),
                causes=entry.causes,
            )
            for place, entries, rank in (
                (Place.ACTIVE, self._active, lambda e: e.stamp),
                (Place.READY, self._ready, lambda e: (-e.priority, e.stamp)),
                (Place.WAITING, self._waiting, lambda e: (e.since, e.stamp)),
            )
            for entry in heapq.nsmallest(
                len(entries) if limit is None else limit,
                [e for e in entries.values() if where is None or where(e.key)],
                key=rank,
            )
        ]

    def counts(self) -> dict[Place, int]:
        """Return how many keys are in each place."""
        places = (Place.ACTIVE, self._active), (Place.READY, self._ready)
        return {p: len(e) for p, e in (*places, (Place.WAITING, self._waiting))}

    def _put(
        self, key: K, seconds: float, priority: int | None, cause: str | None
    ) -> None:
        if self._closed or (self._owns is not None and not self._owns(key)):
            return
        if seconds > 0 and self._metrics is not None:
            self._metrics.retries.inc()
        entry = self._ready.get(key) or self._waiting.get(key)
        if priority is None:
            known = self._active.get(key) or entry
            priority = known.priority if known is not None else 0
        if entry is None:
            entry = _Entry(key, priority)
        entry.explain(cause)
        if key in self._ready:
            self._raise(entry, priority)
        else:
            entry.priority = max(entry.priority, priority)
            self._schedule(entry, _now(), seconds)

    def _schedule(self, entry: _Entry[K], now: float, seconds: float) -> None:
        if seconds <= 0:
            self._make_ready(entry, now)
        elif entry.key not in self._waiting or now + seconds < entry.since:
            self._make_wait(entry, now + seconds)

    def _make_wait(self, entry: _Entry[K], until: float) -> None:
        entry.since = until
        entry.stamp = next(self._stamps)
        self._waiting[entry.key] = entry
        self._by_time.push(until, entry, live=len(self._waiting))
        self._wake_at(until)

    def _make_ready(self, entry: _Entry[K], now: float) -> None:
        self._waiting.pop(entry.key, None)
        entry.since = now
        entry.stamp = next(self._stamps)
        self._ready[entry.key] = entry
        if self._metrics is not None:
            self._metrics.adds.inc()
            self._metrics.depth(entry.priority).inc()
        if entry.priority < 0 and self._ageing is not None:
            if not self._young:  # else the timer stands for one that is older
                self._wake_at(now + self._ageing)
            self._young.append(entry)
        self._offer(entry)

    def _raise(self, entry: _Entry[K], priority: int) -> None:
        """Let a ready key queue up anew among those of a higher priority."""
        if priority <= entry.priority:
            return
        if self._metrics is not None:
            self._metrics.depth(entry.priority).dec()
            self._metrics.depth(priority).inc()
        entry.priority = priority
        entry.stamp = next(self._stamps)
        self._offer(entry)

    def _offer(self, entry: _Entry[K]) -> None:
        """Let a worker take a ready key, unless one still works on it."""
        if entry.key not in self._active:
            self._by_rank.push(-entry.priority, entry, live=len(self._ready))
            self._wake_one()

    def _activate(self, entry: _Entry[K]) -> Item[K]:
        now = _now()
        if self._metrics is not None:
            self._metrics.depth(entry.priority).dec()
            self._metrics.queue_duration.observe(now - entry.since)
        del self._ready[entry.key]
        self._active[entry.key] = entry
        entry.since = now
        entry.stamp = next(self._stamps)
        return Item(entry.key, entry.priority, entry.causes)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            # Not its `when`: uvloop has none for what is due at once.
            if self._rings_at <= due:
                return
            self._timer.cancel()
        self._rings_at = due
        self._timer = asyncio.get_running_loop().call_at(due, self._ring, due)

    def _ring(self, due: float) -> None:
        """Do what is due, and set the timer for what comes next."""
        self._timer = None
        # A loop may call a timer early, by less than its clock can tell.
        now = max(_now(), due)
        while (waiting := self._by_time.first()) is not None:
            if waiting.since > now:
                self._wake_at(waiting.since)
                break
            self._make_ready(waiting, now)
        while self._young and self._ageing is not None:
            entry = self._young[0]
            is_young = entry.priority < 0 and self._ready.get(entry.key) is entry
            if is_young and entry.since + self._ageing > now:
                self._wake_at(entry.since + self._ageing)
                break
            self._young.popleft()
            if is_young:
                self._raise(entry, 0)

    async def _woken(self) -> None:
        getter = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            await getter
        except asyncio.CancelledError:
            # Cancelled after being woken: pass it on, or a ready key would wait
            # for a worker that is already gone.
            if not getter.cancelled():
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


def _now() -> float:
    return asyncio.get_running_loop().time()
