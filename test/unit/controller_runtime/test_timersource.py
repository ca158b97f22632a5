"""Keys that come up by the clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from controller_runtime.controller import Controller
from controller_runtime.errors import AlreadyStartedError
from controller_runtime.reconcile import Request
from controller_runtime.timersource import TimerSource
from controller_runtime.workqueue import WorkQueue

A, B = Request("", "a"), Request("", "b")
MINUTE = timedelta(minutes=1)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_keys_are_reconciled_at_the_start_and_in_every_period() -> None:
    times: list[tuple[str, float]] = []

    class Noting:
        async def reconcile(self, request: Request) -> None:
            times.append((request.name, round(now() - began)))

    source = TimerSource(MINUTE, lambda: [A, B], jitter=0)
    it = Controller("clock", Noting(), sources=[source])
    began = now()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.run())
        await asyncio.sleep(130)
        it.stop()

    assert times == [(name, at) for at in (0, 60, 120) for name in "ab"]


async def test_a_period_is_spread_and_says_why_keys_are_there() -> None:
    times: list[float] = []

    def keys() -> Iterator[Request]:
        times.append(now())
        yield A

    queue: WorkQueue[Request] = WorkQueue()
    dice = random.Random(1)  # noqa: S311 - jitter
    source = TimerSource(
        MINUTE, keys, jitter=0.5, priority=7, name="sweep", randomness=dice
    )
    await source.start(queue)
    await source.synced()
    await asyncio.sleep(600)
    source.stop()

    pauses = [after - before for before, after in pairwise(times)]
    assert len({round(pause) for pause in pauses}) > 3
    assert all(29 < pause < 91 for pause in pauses)
    (state,) = queue.snapshot()
    assert (state.priority, state.causes) == (7, ("sweep",))


async def test_a_stopped_source_adds_no_more_and_leaves_no_timer() -> None:
    queue: WorkQueue[Request] = WorkQueue()
    source = TimerSource(MINUTE, lambda: [A])
    await source.start(queue)
    with pytest.raises(AlreadyStartedError, match="timer"):
        await source.start(queue)
    item = await queue.get()
    queue.done(item.key)

    source.stop()
    source.stop()
    await asyncio.sleep(600)

    assert len(queue) == 0
    await source.start(queue)
    assert len(queue) == 1
    source.stop()


async def test_keys_that_cannot_be_had_are_asked_for_again() -> None:
    failures = iter([ValueError("no")])

    def keys() -> list[Request]:
        for failure in failures:
            raise failure
        return [A]

    queue: WorkQueue[Request] = WorkQueue()
    source = TimerSource(MINUTE, keys, jitter=0)
    with capture_logs() as logs:
        await source.start(queue)
    assert len(queue) == 0
    await asyncio.sleep(61)
    source.stop()

    assert [entry["event"] for entry in logs] == ["keys skipped"]
    assert len(queue) == 1


@pytest.mark.parametrize(("seconds", "jitter"), [(0, 0.0), (-1, 0.0), (1, 1.0)])
def test_what_is_no_period_is_refused(seconds: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="no period"):
        TimerSource(timedelta(seconds=seconds), list, jitter=jitter)
