"""The collector of this very process: each test puts back what it finds."""

from __future__ import annotations

import asyncio
import gc
import sys

from controller_runtime.errors import ForbiddenError
from controller_runtime.garbage import THRESHOLDS, GarbageTuning, trim


async def test_it_is_tuned_from_the_start_and_put_back_at_the_end() -> None:
    before = gc.get_threshold()
    synced = asyncio.Event()
    given: list[int] = []
    """Objects that were frozen when memory was given back."""

    async def wait() -> None:
        await synced.wait()

    async with asyncio.TaskGroup() as tasks:
        tuning = GarbageTuning(wait, lambda: given.append(gc.get_freeze_count()))
        task = tasks.create_task(tuning.run())
        await asyncio.sleep(1)
        assert gc.get_threshold() == THRESHOLDS
        assert not given
        frozen = gc.get_freeze_count()
        assert frozen > 1000
        kept = [[n] for n in range(1000)]
        synced.set()
        await asyncio.sleep(0.5)
        assert not given, "too early: what full caches set off is under way"
        await asyncio.sleep(1)
        assert gc.get_freeze_count() > frozen + len(kept) // 2
        (frozen_then,) = given
        assert frozen_then > frozen + len(kept) // 2
        task.cancel()

    assert gc.get_threshold() == before
    assert gc.get_freeze_count() < 1000


async def test_caches_that_cannot_fill_leave_it_as_it_is() -> None:
    before = gc.get_threshold()

    async def fail() -> None:
        raise ForbiddenError("may not list secrets", status=403)

    await GarbageTuning(fail).run()

    assert gc.get_threshold() == before
    assert gc.get_freeze_count() < 1000


def test_memory_can_be_given_back_at_any_time() -> None:
    assert trim() in {True, False}
    assert not trim() or sys.platform.startswith("linux")
