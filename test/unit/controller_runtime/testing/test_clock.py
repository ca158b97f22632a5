"""Clocks for tests."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from controller_runtime.testing.clock import LoopClock


async def test_a_loop_clock_goes_with_the_loop_from_its_start_on() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock = LoopClock(start)

    before = clock.now()
    await asyncio.sleep(90)

    assert before >= start
    assert clock.now() - before == timedelta(seconds=90)
