"""`up`: what `make run` shows, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controllers.settings import CONTROLLERS

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def up(state: Path, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `up` with a folder of its own and a KUBECONFIG that leads nowhere."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controllers", "up", f"--state={state}", *flags),
        cwd=ROOT,
        env=os.environ | {"KUBECONFIG": "/nonexistent", "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def output_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    seen = ""
    async for line in process.stdout:
        seen += line.decode()
        if text in seen:
            return seen
    raise AssertionError(f"{text!r} never came: {seen}")


def processes_that_name(folder: Path) -> list[str]:
    """Return the command lines that have the folder in them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # no process, or one that ended meanwhile
        if str(folder) in command:
            found.append(command)
    return found


async def ends(folder: Path) -> None:
    """Wait until no process names the folder."""
    async with asyncio.timeout(30):
        while await asyncio.to_thread(processes_that_name, folder):  # noqa: ASYNC110 - /proc tells nobody
            await asyncio.sleep(0.05)


async def test_once_shows_each_controller_and_ends_with_nothing_left(
    tmp_path: Path,
) -> None:
    async with up(tmp_path, "--once") as process:
        out, err = (part.decode() for part in await process.communicate())

    assert process.returncode == 0, err
    assert "pods" in out
    assert "STAKATER_SHOP_DATABASE_SECRET=" in out
    assert "Reloaded: 'shop-database'" in out
    assert "STAKATER_ORDERS_DATABASE_SECRET" in out
    assert "reloadCount 1" in out
    verdicts = [line for line in out.splitlines() if line.startswith(("✓", "✗"))]
    assert [line.split(":")[0] for line in verdicts] == [f"✓ {n}" for n in CONTROLLERS]
    assert "Traceback" not in err
    assert processes_that_name(tmp_path) == []


async def test_it_works_again_on_the_state_of_the_last_time(tmp_path: Path) -> None:
    for _ in range(2):
        async with up(tmp_path, "--once") as process:
            _, err = await process.communicate()
        assert process.returncode == 0, err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_nothing_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with up(tmp_path) as process:
        shown = await output_until(process, "/metrics")
        assert f"KUBECONFIG={tmp_path}/kubeconfig" in shown

        process.send_signal(number)
        _, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    assert "Traceback" not in err.decode()
    assert processes_that_name(tmp_path) == []


async def test_a_kill_takes_the_control_plane_along(tmp_path: Path) -> None:
    async with up(tmp_path) as process:
        await output_until(process, "goes on reacting")
        assert len(processes_that_name(tmp_path)) > 5

        process.kill()
        await process.wait()
        await ends(tmp_path)


async def test_a_second_one_on_the_same_state_is_refused_with_a_sentence(
    tmp_path: Path,
) -> None:
    async with up(tmp_path) as first:
        await output_until(first, "goes on reacting")
        async with up(tmp_path) as second:
            _, err = await second.communicate()

    assert second.returncode == 1
    assert err.decode().splitlines()[-1].startswith("pilothouse: ")
    assert "Traceback" not in err.decode()
