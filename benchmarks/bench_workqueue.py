"""What the passage of a key through the queue costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from controller_runtime.errors import ShutDownError
from controller_runtime.meta import NamespacedName
from controller_runtime.metrics import Metrics
from controller_runtime.workqueue import LOW_PRIORITY, WorkQueue

KEYS = [NamespacedName("default", f"pod-{n}") for n in range(10_000)]

Queue = WorkQueue[NamespacedName]
Benchmark = Callable[..., Any]


async def pass_through(queue: Queue) -> None:
    """Add every key, then take and finish each."""
    for key in KEYS:
        queue.add(key)
    for _ in KEYS:
        queue.done((await queue.get()).key)
    queue.close()


async def hasten(queue: Queue) -> None:
    """Delay every key, then add it at low priority, then as it changes."""
    for key in KEYS:
        queue.add_after(key, 3600)
    for key in KEYS:
        queue.add(key, priority=LOW_PRIORITY, cause="Pod (v1) listed")
    for key in KEYS:
        queue.add(key, cause="Pod (v1) updated")
    queue.close()


async def hand_over(queue: Queue, workers: int) -> None:
    """Wake one of many sleeping workers for each key."""

    async def work() -> None:
        try:
            while True:
                queue.done((await queue.get()).key)
        except ShutDownError:
            return

    async with asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(work())
        for key in KEYS:
            await asyncio.sleep(0)
            queue.add(key)
        await asyncio.sleep(0)
        queue.close()


@pytest.mark.parametrize("measured", [False, True], ids=["bare", "with metrics"])
def test_ten_thousand_keys_added_taken_and_done(
    benchmark: Benchmark, measured: bool
) -> None:
    metrics = Metrics().queue("bench") if measured else None
    with asyncio.Runner() as runner:
        benchmark(lambda: runner.run(pass_through(Queue(metrics=metrics))))


def test_ten_thousand_keys_delayed_hastened_and_raised(benchmark: Benchmark) -> None:
    with asyncio.Runner() as runner:
        benchmark(lambda: runner.run(hasten(Queue())))


def test_ten_thousand_keys_each_waking_one_of_ten_workers(benchmark: Benchmark) -> None:
    with asyncio.Runner() as runner:
        benchmark(lambda: runner.run(hand_over(Queue(), workers=10)))
