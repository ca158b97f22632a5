"""A subscriber of one store: told of what is here, of what happens, and again.

    subscribe ─▶ backlog (what is here) ─▶ caught up ─▶ live events, inline
                                                           ▲
                     Resync: every period, Updated(obj, obj) of all there is

Nothing here has a task: what is many comes in batches, one for each turn of the loop.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from controller_runtime.event import Event, Updated
from controller_runtime.meta import NamespacedName
from controller_runtime.store import Store

BATCH = 256
"""Objects handled before the loop gets a turn: one to two milliseconds of work."""

_SHORTEST_PERIOD = 1.0
"""Seconds between two resyncs at least, as in client-go."""

_SPREAD = (0.9, 1.1)
"""Factors of a period, so that not all kinds resync together."""

Callback: TypeAlias = Callable[[Sequence[Event]], None]
"""Takes a batch of events, in the order in which they happened. Must not raise."""


class Subscription:
    """A subscriber's place in the line, behind the objects that were here before."""

    def __init__(self, callback: Callback, backlog: Sequence[Event]) -> None:
        self._callback = callback
        self._backlog: list[Event] = list(backlog)
        self._caught_up = asyncio.Event()
        self._stopped = False
        if backlog:
            # One batch a turn of the loop; what happens meanwhile queues up behind.
            asyncio.get_running_loop().call_soon(self._replay, 0)
        else:
            self._caught_up.set()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Call the callback no more."""
        self._stopped = True
        self._backlog.clear()
        self._caught_up.set()

    def deliver(self, events: Sequence[Event]) -> None:
        """Tell the subscriber, after everything that it has not been told yet."""
        if self._stopped:
            return
        if self._caught_up.is_set():
            self._callback(events)
        else:
            self._backlog.extend(events)

    async def caught_up(self) -> None:
        """Wait until the subscriber was told of every object that was here before."""
        await self._caught_up.wait()

    def _replay(self, told: int) -> None:
        batch = self._backlog[told : told + BATCH]
        if batch:
            self._callback(batch)
            asyncio.get_running_loop().call_soon(self._replay, told + len(batch))
        else:
            self._backlog.clear()
            self._caught_up.set()


class Told(Protocol):
    """A store, and whether its subscribers know yet what it has."""

    store: Store
    is_telling: bool


class Resync:
    """Reminds a subscriber of every object, for what changes outside the cluster."""

    def __init__(
        self,
        source: Told,
        subscription: Subscription,
        *,
        period: float,
        randomness: random.Random,
    ) -> None:
        """Begin to count; the first reminder comes after about a period, in seconds."""
        self._source = source
        self._subscription = subscription
        self._period = max(period, _SHORTEST_PERIOD)
        self._random = randomness
        self._keys: deque[NamespacedName] = deque()
        self._timer: asyncio.Handle = self._next()

    def stop(self) -> None:
        """Remind no more."""
        self._timer.cancel()
        self._keys.clear()

    def _next(self) -> asyncio.Handle:
        pause = self._period * self._random.uniform(*_SPREAD)
        return asyncio.get_running_loop().call_later(pause, self._begin)

    def _begin(self) -> None:
        self._keys.extend(entry.key for entry in self._source.store.list())
        self._remind()

    def _remind(self) -> None:
        if not self._source.is_telling:  # else it would hear of what it does not know
            self._subscription.deliver(self._batch())
        if self._keys:
            self._timer = asyncio.get_running_loop().call_soon(self._remind)
        else:
            self._timer = self._next()

    def _batch(self) -> Sequence[Event]:
        keys = [self._keys.popleft() for _ in range(min(BATCH, len(self._keys)))]
        here = (self._source.store.get(key) for key in keys)
        return [Updated(entry, entry) for entry in here if entry is not None]
