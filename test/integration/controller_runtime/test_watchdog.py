"""A thread beside a real loop, which is blocked on purpose."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from controller_runtime.errors import ControllerRuntimeError
from controller_runtime.metrics import Metrics
from controller_runtime.watchdog import Watchdog, WatchdogOptions

QUICK = WatchdogOptions(interval=0.005, stall=0.05, unready=0.2)


@asynccontextmanager
async def running(watchdog: Watchdog) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watchdog.run())
        await asyncio.sleep(0.02)
        yield
        task.cancel()


def block_the_loop(seconds: float) -> None:
    password = "hunter2"  # noqa: F841 - what a stack must not show
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a thread tells nobody
            await asyncio.sleep(0.005)


async def caught_up(watchdog: Watchdog) -> None:
    """Let the loop answer for the block, and then once more."""
    await asyncio.sleep(0.01)
    await until(lambda: watchdog.lag < QUICK.stall)


def value(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(name) or 0


async def test_a_stall_is_logged_once_with_the_functions_that_run() -> None:
    metrics = Metrics()

    watchdog = Watchdog(options=QUICK, metrics=metrics)

    with capture_logs() as logs:
        async with running(watchdog):
            block_the_loop(0.5)
            await caught_up(watchdog)

    (entry,) = logs
    assert entry["event"] == "event loop is blocked"
    assert entry["blocked_in"][-1].endswith(" block_the_loop")
    assert "hunter2" not in str(entry)
    assert value(metrics, "controller_runtime_loop_stalls_total") == 1


async def test_each_stall_is_a_stall_of_its_own() -> None:
    metrics = Metrics()
    watchdog = Watchdog(options=QUICK, metrics=metrics)

    with capture_logs() as logs:
        async with running(watchdog):
            for _ in range(2):
                block_the_loop(0.5)
                await caught_up(watchdog)

    assert len(logs) == value(metrics, "controller_runtime_loop_stalls_total") == 2


async def test_a_loop_that_runs_is_nothing_to_write_about() -> None:
    metrics = Metrics()
    watchdog = Watchdog(options=WatchdogOptions(interval=0.005), metrics=metrics)

    with capture_logs() as logs:
        async with running(watchdog):
            await until(lambda: watchdog.lag > 0)
            watchdog.check_ready()

    assert logs == []
    assert 0 < value(metrics, "controller_runtime_loop_lag_seconds") < 0.2


@pytest.mark.behaviour("M9")
async def test_a_loop_that_was_blocked_for_too_long_is_not_ready_until_it_runs() -> (
    None
):
    watchdog = Watchdog(options=QUICK)

    with capture_logs():
        async with running(watchdog):
            block_the_loop(0.6)
            await asyncio.sleep(0)  # the answer comes first, then who asks
            with pytest.raises(ControllerRuntimeError, match="blocked for"):
                watchdog.check_ready()
            await until(lambda: watchdog.lag < QUICK.unready)
            watchdog.check_ready()


@pytest.mark.behaviour("M7")
async def test_the_thread_ends_with_the_run() -> None:
    async with running(Watchdog(options=QUICK)):
        assert "watchdog" in {t.name for t in threading.enumerate()}

    assert "watchdog" not in {t.name for t in threading.enumerate()}
