"""What a person sees of work that takes minutes."""

from __future__ import annotations

import asyncio
import io

import pytest

from controller_runtime.testing.envtest.progress import (
    PlainProgress,
    TerminalProgress,
    progress_for,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_log_gets_a_line_before_one_a_minute_and_one_after() -> None:
    log = io.StringIO()

    with PlainProgress(log).step("building etcd (half a minute)", done="built etcd"):
        await asyncio.sleep(125)

    assert log.getvalue().splitlines() == [
        "building etcd (half a minute) …",
        "… still building etcd, 60 s",
        "… still building etcd, 120 s",
        "built etcd in 125 s",
    ]


async def test_a_step_that_fails_is_not_called_done_nor_mentioned_again() -> None:
    log = io.StringIO()

    step = PlainProgress(log).step("building etcd", done="built etcd")
    with pytest.raises(OSError, match="full"), step:
        raise OSError("disk full")
    await asyncio.sleep(3600)

    assert log.getvalue().splitlines() == ["building etcd …"]


async def test_a_terminal_keeps_one_line_of_a_step() -> None:
    terminal = Terminal()
    progress = progress_for(terminal)

    with progress.step("building etcd", done="built etcd") as step:
        step.reached(0.5)

    assert isinstance(progress, TerminalProgress)
    assert terminal.getvalue().splitlines()[-1].endswith("built etcd in 0 s")


def test_what_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(progress_for(io.StringIO()), PlainProgress)
