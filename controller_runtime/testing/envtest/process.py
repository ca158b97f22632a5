"""A program that lives no longer than the process that started it.

    start ──▶ running ──stop──▶ SIGTERM ──grace──▶ SIGKILL ──▶ reaped
                 └──dies──▶ ProcessDiedError with the end of its log

It has a session of its own, so that Ctrl-C at a terminal reaches us alone and we
stop the parts in order; `launcher` sees to it that it dies with us when we are
killed. Its output goes to a file, never to a pipe that someone would have to read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from controller_runtime.testing.envtest.errors import (
    ControlPlaneError,
    ProcessDiedError,
)

LAUNCHER = Path(__file__).with_name("launcher.py")

TAIL_LINES = 20
"""Lines of a log that an error shows: a Go panic's message and its first frames."""

POLL = 0.05
"""Seconds between two looks at a program that is starting."""


class Process:
    """A running program; made by `start`."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        """Where its output goes, both streams."""
        self._child = child

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        mode: str = "",
    ) -> Process:
        """Start a program.

        PR_SET_PDEATHSIG is bound to the thread that forks, not to its process: the
        child dies when that thread ends. asyncio forks in the thread that runs the
        loop, which outlives everything that the loop owns, so that is what we want.

        Args:
            name: What errors call it.
            command: An absolute path and its arguments.
            log: The file that its output is appended to.
            environ: Its whole environment; by default ours.
            folder: Its working directory.
            mode: `exec` or `watch`, as in `launcher`; by default what the platform
                can do.
        """
        mode = mode or ("exec" if sys.platform == "linux" else "watch")
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), mode]
        output = await asyncio.to_thread(_open, log)
        try:
            child = await asyncio.create_subprocess_exec(
                *launch,
                *command,
                stdin=asyncio.subprocess.PIPE
                if mode == "watch"
                else asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=None if environ is None else dict(environ),
                start_new_session=True,
            )
        finally:
            os.close(output)
        return cls(name, child, log)

    @property
    def pid(self) -> int:
        """Number of the process, and of its process group."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.returncode is None

    @property
    def memory(self) -> int | None:
        """Resident bytes, where the platform has `/proc`. Blocks on the disk."""
        return resident_bytes(self.pid) if self.running else None

    async def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        return await self._child.wait()

    async def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the end of its log."""
        return await asyncio.to_thread(_tail, self.log, lines)

    async def until(
        self, ready: Callable[[], Awaitable[bool]], *, seconds: float
    ) -> None:
        """Wait until the program does what it is there for.

        Raises:
            ProcessDiedError: It ended instead.
            ControlPlaneError: It took longer than `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                while not await ready():
                    await self.check()
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise ControlPlaneError(
                f"{self.name} was not ready after {seconds:g} s; its log ends with:\n"
                f"{await self.tail()}"
            ) from None

    async def check(self) -> None:
        """Raise `ProcessDiedError` if the program has ended."""
        code = self._child.returncode
        if code is not None:
            raise ProcessDiedError(self.name, code=code, tail=await self.tail())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and what it started; not if it has ended."""
        if self.running:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return  # it ended a moment ago and the loop has yet to hear of it

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.signal(signal.SIGKILL)

    async def stop(self, *, grace: float = 20) -> None:
        """Ask it to end, insist after `grace` seconds, and wait until it is gone."""
        try:
            self.signal(signal.SIGTERM)
            async with asyncio.timeout(grace):
                await self._child.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()
            await self._child.wait()


def resident_bytes(pid: int) -> int | None:
    """Read from `/proc` how much memory a process holds. Blocks on the disk."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    lines = (line.split() for line in status.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "VmRSS:"), None)


def _open(log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _tail(log: Path, lines: int) -> str:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - lines * 500))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
