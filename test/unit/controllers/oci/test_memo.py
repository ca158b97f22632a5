"""Answers that are kept for a while."""

from __future__ import annotations

import asyncio

import pytest

from controllers.oci.memo import Kept, Memo


class Source:
    """Counts how often it is asked."""

    def __init__(self, *, seconds: float = 10, takes: float = 0) -> None:
        self.asked = 0
        self.seconds = seconds
        self.takes = takes
        self.error: Exception | None = None

    async def __call__(self) -> Kept[int]:
        self.asked += 1
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return Kept(self.asked, self.seconds)


async def test_an_answer_is_kept_as_long_as_it_holds() -> None:
    memo, source = Memo[str, int](10), Source()

    assert [await memo.get("a", source) for _ in range(3)] == [1, 1, 1]
    await asyncio.sleep(10)
    assert await memo.get("a", source) == 2
    memo.drop("a")
    assert await memo.get("a", source) == 3


async def test_who_asks_at_the_same_time_shares_an_error_and_asks_again_later() -> None:
    memo, source = Memo[str, int](10), Source(takes=1)
    source.error = ValueError("no")
    seen: list[Exception] = []

    async def ask() -> None:
        with pytest.raises(ValueError, match="no") as caught:
            await memo.get("a", source)
        seen.append(caught.value)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(ask())

    assert source.asked == 1
    assert len(seen) == 3
    source.error = None
    assert await memo.get("a", source) == 2


async def test_nothing_is_kept_that_does_not_hold_and_nothing_for_ever() -> None:
    memo = Memo[str, int](3)

    await memo.get("now", Source(seconds=0))
    assert len(memo) == 0
    for number in range(5):
        await memo.get(f"{number}", Source())
    assert len(memo) == 3
    await asyncio.sleep(10)
    await memo.get("last", Source())
    assert len(memo) == 1
