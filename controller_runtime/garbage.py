"""Keep the garbage collector away from what lives for ever, and memory small.

    start: freeze, raise thresholds ─▶ full caches: freeze ─▶ trim ──end──▶ as before

A full collection walks every tracked object. At the start these are modules and
classes, after the first lists also stores, indexes and queues, and none of it will ever
be garbage. Frozen, it is walked no more: caches fill in two thirds of the time, and
pauses shrink from a hundred milliseconds to next to none. There is no collection before
a freeze: it would hold the loop up for 20 ms per 10,000 objects, and find nothing.

What first lists came in, and queues that were full for a moment, is free by then, and
glibc keeps it: it is asked once to give that back, which takes a millisecond or two.

The settings belong to the process, so that they are the application's to ask for.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable

import structlog

from controller_runtime.errors import ControllerRuntimeError

log = structlog.get_logger(__name__)

THRESHOLDS = (50_000, 20, 50)
"""Allocations that start a collection of the youngest objects, and how many of each
generation start one of the next. CPython's 700 are for programs without a cache."""


_CALM = 1.0
"""Seconds for what full caches set off, before memory is given back."""


def trim() -> bool:
    """Give memory that is free back to the system; whether there was any.

    Only glibc is asked. Elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - once a process

    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return give_back is not None and bool(give_back(0))


class GarbageTuning:
    """Tunes the collector, while it runs."""

    def __init__(
        self,
        synced: Callable[[], Awaitable[None]],
        give_back: Callable[[], object] = trim,
    ) -> None:
        """Describe it.

        Args:
            synced: Returns when the caches are full.
            give_back: Gives back what is free by then.
        """
        self._synced = synced
        self._give_back = give_back

    async def run(self) -> None:
        """Tune, once more when the caches are full, and take it back when cancelled."""
        before = gc.get_threshold()
        try:
            gc.freeze()
            gc.set_threshold(*THRESHOLDS)
            await self._synced()
            gc.freeze()
            log.debug("garbage collector tuned", frozen=gc.get_freeze_count())
            await asyncio.sleep(_CALM)
            self._give_back()
            await asyncio.get_running_loop().create_future()  # until cancelled
        except ControllerRuntimeError as error:
            log.info("garbage collector is left as it was", error=str(error))
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()
