"""Operations of this process, and what overtakes them."""

from __future__ import annotations

import asyncio

import pytest

from controller_runtime import Meta, NamespacedName
from controllers.release.identity import ReleaseKey
from controllers.release.operations import (
    Operations,
    ReleaseBusyError,
    SupersededError,
)

WEB = NamespacedName("shop", "web")
RELEASE = ReleaseKey("shop", "web")


def meta(generation: int) -> Meta:
    return Meta(name="web", namespace="shop", generation=generation)


async def run(operations: Operations, seconds: float, *, generation: int = 1) -> None:
    await operations.run(
        WEB,
        RELEASE,
        operation="op",
        generation=generation,
        work=lambda: asyncio.sleep(seconds),
    )


async def test_a_newer_spec_cancels_what_runs() -> None:
    operations = Operations()
    loop = asyncio.get_running_loop()
    loop.call_later(5, operations.notice, meta(1))
    loop.call_later(10, operations.notice, meta(2))

    with pytest.raises(SupersededError):
        await run(operations, 3600)

    assert loop.time() == pytest.approx(10)


async def test_what_was_overtaken_before_it_began_does_not_begin() -> None:
    operations = Operations()
    operations.notice(meta(2))

    with pytest.raises(SupersededError):
        await run(operations, 3600)


async def test_what_is_of_the_newest_spec_goes_on() -> None:
    operations = Operations()
    asyncio.get_running_loop().call_later(5, operations.notice, meta(1))

    await run(operations, 60)

    assert asyncio.get_running_loop().time() == pytest.approx(60)


async def test_no_two_operations_on_a_release_overlap() -> None:
    operations = Operations()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(operations, 60))
        await asyncio.sleep(1)
        with pytest.raises(ReleaseBusyError, match="shop/web"):
            await operations.run(
                NamespacedName("shop", "other"),
                RELEASE,
                operation="op",
                generation=1,
                work=lambda: asyncio.sleep(1),
            )

    await run(operations, 1)  # and afterwards it is free


async def test_a_timeout_of_the_work_itself_is_not_taken_for_a_newer_spec() -> None:
    async def slow() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(60)

    operations = Operations()
    with pytest.raises(TimeoutError):
        await operations.run(WEB, RELEASE, operation="op", generation=1, work=slow)


async def test_an_object_that_is_gone_is_forgotten() -> None:
    operations = Operations()
    operations.notice(meta(7))
    operations.notice(meta(7), is_gone=True)

    await run(operations, 1, generation=1)


async def test_what_was_heard_while_a_cancellation_lasts_does_no_harm() -> None:
    operations = Operations()
    loop = asyncio.get_running_loop()
    loop.call_later(10, operations.notice, meta(2))
    heard: list[str] = []

    def hear(generation: int) -> None:
        operations.notice(meta(generation))
        heard.append(f"generation {generation}")

    loop.call_later(12, hear, 2)
    loop.call_later(13, hear, 3)

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(5)  # as a worker takes that cancels in good order

    with pytest.raises(SupersededError):
        await operations.run(WEB, RELEASE, operation="op", generation=1, work=stubborn)

    assert heard == ["generation 2", "generation 3"]
    assert loop.time() == pytest.approx(15)
