"""A program's life: it ends when it should, and never later than its parent."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controller_runtime.testing.envtest import (
    ControlPlaneError,
    Process,
    ProcessDiedError,
)

ROOT = Path(__file__).parents[3]

SHELL = "/bin/sh"

PARENT = """
import asyncio, sys
from pathlib import Path
from controller_runtime.testing.envtest import Process

async def main():
    command = ["/bin/sh", "-c", "echo started; exec sleep 300"]
    child = await Process.start(
        "child", command, log=Path(sys.argv[1]), mode=sys.argv[2]
    )
    while b"started" not in Path(sys.argv[1]).read_bytes():
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


async def shell(script: str, log: Path, *, mode: str = "") -> Process:
    return await Process.start("program", [SHELL, "-c", script], log=log, mode=mode)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that only the file system or the process table knows."""
    while not condition():  # noqa: ASYNC110 - nothing to wait on
        await asyncio.sleep(0.01)


def wrote(log: Path, text: str) -> Callable[[], bool]:
    return lambda: log.exists() and text in log.read_text()


def session(leader: int) -> list[Path]:
    """Find what is alive, in `/proc`, of the session that a program leads."""
    return [stat for stat in Path("/proc").glob("[0-9]*/stat") if belongs(stat, leader)]


def belongs(stat: Path, leader: int) -> bool:
    try:
        # pid (name) state ppid pgrp session …; the name may hold anything
        state, _, _, number, *_ = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return state != "Z" and int(number) == leader


async def no() -> bool:
    return False


async def test_a_program_that_dies_while_it_starts_is_named_with_its_code_and_log(
    tmp_path: Path,
) -> None:
    program = await shell("seq 1 500; echo bad flag >&2; exit 3", tmp_path / "log")

    with pytest.raises(ProcessDiedError) as raised:
        await program.until(no, seconds=60)

    assert raised.value.code == 3
    assert raised.value.tail.endswith("499\n500\nbad flag")
    assert "program ended with code 3" in str(raised.value)
    assert "\n400\n" not in str(raised.value)


async def test_a_program_that_is_never_ready_is_given_up_with_its_log(
    tmp_path: Path,
) -> None:
    program = await shell("echo thinking; exec sleep 300", tmp_path / "log")
    try:
        await until(wrote(program.log, "thinking"))

        with pytest.raises(
            ControlPlaneError, match=r"(?s)not ready after 0\.1 s.*think"
        ):
            await program.until(no, seconds=0.1)
    finally:
        await program.stop()


async def test_a_program_stops_in_order_when_it_is_asked(tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    program = await shell(script, tmp_path / "log")
    await until(wrote(program.log, "ready"))

    await program.stop()

    assert await program.tail(1) == "bye"
    assert await program.wait() == 0


@pytest.mark.parametrize("mode", ["exec", "watch"])
async def test_a_program_that_ignores_the_request_is_killed_with_its_children(
    tmp_path: Path, mode: str
) -> None:
    script = "trap '' TERM; sleep 300 & echo ready; while :; do sleep 300; done"
    program = await shell(script, tmp_path / "log", mode=mode)
    await until(wrote(program.log, "ready"))

    await program.stop(grace=0.1)

    assert not program.running
    assert await program.wait() == -signal.SIGKILL
    assert session(program.pid) == []


async def test_stopping_a_program_twice_or_after_its_end_is_harmless(
    tmp_path: Path,
) -> None:
    program = await shell("exit 0", tmp_path / "log")
    await program.wait()

    await program.stop()
    await program.stop()

    assert not program.running


async def test_a_program_sees_the_environment_it_was_given_and_no_other(
    tmp_path: Path,
) -> None:
    program = await Process.start(
        "program",
        [SHELL, "-c", "env"],
        log=tmp_path / "log",
        environ={"HOME": "/nowhere"},
    )
    await program.wait()

    names = {line.partition("=")[0] for line in (await program.tail()).splitlines()}
    assert "HOME" in names
    assert not names & {"VIRTUAL_ENV", "USER", "PYTEST_CURRENT_TEST"}


@pytest.mark.parametrize("mode", ["exec", "watch"])
async def test_a_program_dies_with_a_parent_that_is_killed(
    tmp_path: Path, mode: str
) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "log"), mode),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert session(child)

    parent.kill()
    await parent.wait()

    async with asyncio.timeout(60):
        await until(lambda: not session(child))
