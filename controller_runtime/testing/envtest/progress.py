"""Telling a person what takes so long.

A first build takes minutes, so it says what it does before it starts, that it is
still at it, and how long it took. On a terminal that is a clock and, for a download,
a percentage; in a log it is one line a minute. Either goes to stderr: stdout is for
answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Protocol, TextIO


class Step(Protocol):
    """Work that has begun."""

    def reached(self, fraction: float, /) -> None:
        """Note how much is done, from 0 to 1. May be called from any thread."""
        ...


class Progress(Protocol):
    """A listener to what is being done."""

    def say(self, line: str, /) -> None:
        """Pass on a fact that a person may want to know."""
        ...

    def step(self, doing: str, *, done: str) -> AbstractContextManager[Step]:
        """Show a piece of work while the context lasts, and how long it took.

        Args:
            doing: The work, as in "building etcd 3.6.16".
            done: What to say when it succeeded, as in "built etcd".
        """
        ...


def progress_for(stream: TextIO) -> Progress:
    """Choose spinners for a terminal, if rich is installed, and lines for the rest."""
    if stream.isatty() and find_spec("rich") is not None:
        return TerminalProgress(stream)
    return PlainProgress(stream)


class QuietProgress:
    """Shows nothing."""

    def say(self, line: str, /) -> None:
        """Drop the line."""

    @contextmanager
    def step(self, doing: str, *, done: str) -> Iterator[Step]:
        yield _Unwatched()


class PlainProgress:
    """One line when a step begins, one a minute, one when it ends."""

    def __init__(self, stream: TextIO, *, every: float = 60) -> None:
        self._stream = stream
        self._every = every

    def say(self, line: str, /) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    @contextmanager
    def step(self, doing: str, *, done: str) -> Iterator[Step]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.say(f"{doing} …")
        with _repeated(loop, self._every, lambda: self._still(doing, started)):
            yield _Unwatched()
        self.say(f"{done} in {loop.time() - started:.0f} s")

    def _still(self, doing: str, started: float) -> None:
        seconds = asyncio.get_running_loop().time() - started
        self.say(f"… still {doing.partition(' (')[0]}, {seconds:.0f} s")


class TerminalProgress:
    """A spinner with a clock for every step, which leaves one line behind."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra, and 40 ms

        self._console = Console(file=stream, highlight=False)

    def say(self, line: str, /) -> None:
        self._console.print(line, markup=False)

    @contextmanager
    def step(self, doing: str, *, done: str) -> Iterator[Step]:
        from rich import progress  # noqa: PLC0415 - an extra, and 40 ms

        columns = (
            progress.SpinnerColumn(),
            progress.TimeElapsedColumn(),
            progress.TaskProgressColumn(text_format_no_percentage=""),
            progress.TextColumn("{task.description}", markup=False),
        )
        with progress.Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(doing, total=None)
            yield _Watched(lambda part: bars.update(task, total=1, completed=part))
            seconds = bars.tasks[task].elapsed or 0
        self.say(f"{done} in {seconds:.0f} s")


class _Unwatched:
    def reached(self, fraction: float, /) -> None:
        """Nobody looks."""


class _Watched:
    def __init__(self, show: Callable[[float], None]) -> None:
        self._show = show

    def reached(self, fraction: float, /) -> None:
        self._show(fraction)


@contextmanager
def _repeated(
    loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], None]
) -> Iterator[None]:
    """Call again and again while the context lasts, on timers and without a task."""
    timer: asyncio.TimerHandle

    def again() -> None:
        nonlocal timer
        call()
        timer = loop.call_later(seconds, again)

    timer = loop.call_later(seconds, again)
    try:
        yield
    finally:
        timer.cancel()
