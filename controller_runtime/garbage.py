"""Keep the garbage collector away from what lives for ever.

    start: freeze, raise thresholds ──caches are full──▶ freeze ──end──▶ as before

A full collection walks every tracked object. At the start these are modules and
classes, after the first lists also stores, indexes and queues, and none of it will ever
be garbage. Frozen, it is walked no more: caches fill in two thirds of the time, and
pauses shrink from a hundred milliseconds to next to none. There is no collection before
a freeze: it would hold the loop up for 20 ms per 10,000 objects, and find nothing.

The settings belong to the process, so that they are the application's to ask for.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import structlog

from controller_runtime.errors import ControllerRuntimeError

log = structlog.get_logger(__name__)

THRESHOLDS = (50_000, 20, 50)
"""Allocations that start a collection of the youngest objects, and how many of each
generation start one of the next. CPython's 700 are for programs without a cache."""


class GarbageTuning:
    """Tunes the collector, while it runs."""

    def __init__(self, synced: Callable[[], Awaitable[None]]) -> None:
        """Describe it.

        Args:
            synced: Returns when the caches are full.
        """
        self._synced = synced

    async def run(self) -> None:
        """Tune, once more when the caches are full, and take it back when cancelled."""
        before = gc.get_threshold()
        try:
            gc.freeze()
            gc.set_threshold(*THRESHOLDS)
            await self._synced()
            gc.freeze()
            log.debug("garbage collector tuned", frozen=gc.get_freeze_count())
            await asyncio.get_running_loop().create_future()  # until cancelled
        except ControllerRuntimeError as error:
            log.info("garbage collector is left as it was", error=str(error))
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()
