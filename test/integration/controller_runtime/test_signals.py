"""Signals reach a real process, whatever its loop is doing."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

STOPS_IN_ORDER = """
import asyncio
from controller_runtime import on_stop_signal

async def main():
    stop = asyncio.Event()
    with on_stop_signal(stop.set):
        print("ready", flush=True)
        await stop.wait()
    print("stopped", flush=True)

asyncio.run(main())
"""

BLOCKS_ITS_LOOP = """
import asyncio, time
from controller_runtime import on_stop_signal

async def main():
    with on_stop_signal(lambda: None):
        print("ready", flush=True)
        while True:
            time.sleep(0.01)

asyncio.run(main())
"""


@asynccontextmanager
async def python(program: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.behaviour("G1")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_to_stop(number: signal.Signals) -> None:
    async with python(STOPS_IN_ORDER) as process:
        process.send_signal(number)
        out, _ = await process.communicate()

    assert out == b"stopped\n"
    assert process.returncode == 0


@pytest.mark.behaviour("G1")
async def test_the_second_signal_ends_a_process_whose_loop_is_blocked() -> None:
    async with python(BLOCKS_ITS_LOOP) as process, asyncio.timeout(60):
        while process.returncode is None:
            process.send_signal(signal.SIGTERM)
            # Two signals that wait together are one: give each a moment to arrive.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await process.wait()

    assert process.returncode == 1
