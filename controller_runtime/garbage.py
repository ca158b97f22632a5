"""Keep the garbage collector away from what lives for ever.

    caches fill ──synced──▶ collect, freeze, raise thresholds ──cancelled──▶ as before

A full collection walks every tracked object, and after the first lists most of them
are modules, classes, stores and indexes that will never be garbage. Frozen, they are
walked no more: pauses shrink from a hundred milliseconds to next to none. The one
collection that this costs comes when the caches are full, before much else happens.

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
    """Tunes the collector once, while it runs."""

    def __init__(self, synced: Callable[[], Awaitable[None]]) -> None:
        """Describe it.

        Args:
            synced: Returns when the caches are full.
        """
        self._synced = synced

    async def run(self) -> None:
        """Wait for the caches, tune, and take it back when cancelled."""
        try:
            await self._synced()
        except ControllerRuntimeError as error:
            log.info("garbage collector is left as it was", error=str(error))
            return
        before = gc.get_threshold()
        try:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*THRESHOLDS)
            log.debug("garbage collector tuned", frozen=gc.get_freeze_count())
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()
