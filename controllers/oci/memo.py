"""One question at a time, and its answer for a while.

    get ──▶ kept and not too old ──▶ the answer
        ──▶ asked by someone now ──▶ wait for theirs, their error included
        ──▶ else                 ──▶ ask, keep, wake the others

If whoever asks is cancelled, one of those who wait asks instead. Answers are kept
within one event loop and counted by its clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(NamedTuple, Generic[V]):
    """An answer and how long it holds."""

    value: V
    seconds: float


class Memo(Generic[K, V]):
    """Answers by question."""

    def __init__(self, size: int) -> None:
        """Keep the `size` newest answers."""
        self._size = size
        self._kept: dict[K, tuple[V, float]] = {}
        self._asking: dict[K, _Flight[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[Kept[V]]]) -> V:
        """Return the answer to `key`, by asking if nobody has."""
        while True:
            kept = self.find(key)
            if kept is not None:
                return kept.value
            flight = self._asking.get(key)
            if flight is None:
                return await self._ask(key, ask)
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.kept is not None:  # else whoever asked was cancelled
                return flight.kept.value

    def find(self, key: K) -> Kept[V] | None:
        """Return the answer that is kept, and for how long still."""
        value, until = self._kept.get(key, (None, 0.0))
        left = until - asyncio.get_running_loop().time()
        if value is None or left <= 0:
            return None
        return Kept(value, left)

    def __len__(self) -> int:
        return len(self._kept)

    def drop(self, key: K) -> None:
        """Forget an answer; who asks for it now waits for the one under way, if any."""
        self._kept.pop(key, None)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[Kept[V]]]) -> V:
        flight = self._asking[key] = _Flight()
        try:
            kept = await ask()
        except Exception as error:
            flight.error = error
            raise
        else:
            flight.kept = kept
            self._keep(key, kept)
            return kept.value
        finally:
            del self._asking[key]
            flight.landed.set()

    def _keep(self, key: K, kept: Kept[V]) -> None:
        now = asyncio.get_running_loop().time()
        # Answers are large and most are never asked for again.
        self._kept = {k: v for k, v in self._kept.items() if v[1] > now and k != key}
        if kept.seconds <= 0:
            return
        self._kept[key] = (kept.value, now + kept.seconds)
        if len(self._kept) > self._size:
            del self._kept[next(iter(self._kept))]


class _Flight(Generic[V]):
    """A question under way."""

    def __init__(self) -> None:
        self.landed = asyncio.Event()
        self.kept: Kept[V] | None = None
        self.error: Exception | None = None
