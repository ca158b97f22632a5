"""What differs between asyncio's event loop and uvloop, and must not matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from controller_runtime.workqueue import WorkQueue

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop,
    uvloop.new_event_loop,
]


@pytest.mark.behaviour("Q3")
@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_keys_that_are_due_in_less_than_a_loop_can_tell_are_handed_out(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    # uvloop answers a call that is due within half a millisecond with another handle.
    async def take_all() -> set[str]:
        queue: WorkQueue[str] = WorkQueue()
        for number in range(20):
            queue.add_after(f"{number}", (20 - number) * 0.0001)
        async with asyncio.timeout(10):
            return {(await queue.get()).key for _ in range(20)}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(take_all()) == {f"{number}" for number in range(20)}
