"""The manager as a process: started as a user does, and looked at from outside."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import mean
from urllib.request import urlopen

from benchmarks.compare.load import now
from controller_runtime.testing.envtest.process import Process

ROOT = Path(__file__).parents[2]

_READY = 120.0
"""Seconds until it must be ready."""

_BETWEEN = 0.25
"""Seconds between two looks at its memory."""


class Running:
    """One manager."""

    def __init__(self, process: Process, began: float) -> None:
        """Look at a process that was started at a time."""
        self.process = process
        self.began = began
        self.was_killed = False
        self.ready = 0.0
        """Seconds from its start to the first 200 of `/readyz`."""
        self.memory: list[float] = []
        """MB that were resident, every quarter of a second since `watch_memory`."""

    def kill(self) -> None:
        """End it as a crash would; by itself it must not end."""
        self.was_killed = True
        self.process.kill()

    @property
    def resident(self) -> float:
        """MB that are resident now."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii")
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def highest(self) -> float:
        """MB that were ever resident, also before it was ready."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        kilobytes = status.partition("VmHWM:")[2].split()[0]
        return int(kilobytes) * 1024 / 1e6

    @property
    def cpu(self) -> float:
        """Seconds of processor so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @asynccontextmanager
    async def watch_memory(self) -> AsyncIterator[None]:
        """Look at its memory for as long as this lasts."""
        self.memory.clear()

        async def watch() -> None:
            while True:
                with suppress(FileNotFoundError, ProcessLookupError):  # it was killed
                    self.memory.append(self.resident)
                await asyncio.sleep(_BETWEEN)

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            yield
            watching.cancel()

    @property
    def average(self) -> float:
        """MB, of `memory`."""
        return mean(self.memory or [self.resident])

    @property
    def peak(self) -> float:
        """MB, of `memory`."""
        return max(self.memory or [self.resident])


@asynccontextmanager
async def running(
    kubeconfig: Path, *flags: str, log: Path, probe: bool = True
) -> AsyncIterator[Running]:
    """Run the manager with the reload controller until this is left.

    Args:
        kubeconfig: Of the server.
        flags: More of them.
        log: Where its output goes.
        probe: Wait until it is ready.
    """
    port = _free_port()
    began = now()
    process = await Process.start(
        "manager",
        [
            *(sys.executable, "-m", "controllers", "run", "--controllers=reload"),
            *(f"--kubeconfig={kubeconfig}", "--metrics-bind-address=0"),
            *(
                f"--health-probe-bind-address=127.0.0.1:{port}",
                "--debug-bind-address=0",
            ),
            *("--log-level=warning", *flags),
        ],
        log=log,
        folder=ROOT,
    )
    manager = Running(process, began)
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(manager))
            if probe:
                await _until_ready(manager, port)
            yield manager
            watching.cancel()
    finally:
        await process.stop()


def _free_port() -> int:
    """Find a port that nobody has: who has ours would answer in our stead."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def _watch(manager: Running) -> None:
    """Raise when a process ends by itself."""
    await manager.process.wait()
    if not manager.was_killed:
        await manager.process.check()


async def _until_ready(manager: Running, port: int) -> None:
    async with asyncio.timeout(_READY):
        while not await asyncio.to_thread(_is_ready, port):  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.005)
    manager.ready = now() - manager.began


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def flags_of(*, debounce: bool = True, brake: bool = True) -> Sequence[str]:
    """Return the flags for reloads at once, and for as many as there are changes."""
    return [
        *(() if debounce else ("--reload-debounce=0",)),
        *(() if brake else ("--reload-storm-brake=0", "--reload-qps=0")),
    ]
