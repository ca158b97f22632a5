"""Files that can be fetched again, and how many of them are kept."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller_runtime.testing.clock import FakeClock
from controllers.release.chart.shelf import IN_USE, Shelf

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def put(shelf: Shelf, name: str, content: bytes = b"12345") -> Path:
    raw = shelf.unfinished(name)
    raw.write_bytes(content)
    return await shelf.put(name, raw)


async def test_what_was_not_used_for_longest_makes_room(
    tmp_path: Path, clock: FakeClock
) -> None:
    shelf = Shelf(tmp_path, limit=10, clock=clock)
    for name in ("a", "b"):
        await put(shelf, name)
        clock.advance(IN_USE * 2)
    assert await shelf.take("a") is not None
    clock.advance(IN_USE * 2)
    await put(shelf, "c")

    assert listed(tmp_path) == ["a", "c"]


async def test_what_was_used_within_the_hour_stays_over_the_limit(
    tmp_path: Path, clock: FakeClock
) -> None:
    shelf = Shelf(tmp_path, limit=1, clock=clock)
    for name in ("a", "b"):
        await put(shelf, name)
        clock.advance(timedelta(minutes=1))

    assert listed(tmp_path) == ["a", "b"]


async def test_what_is_not_what_it_should_be_is_gone(
    tmp_path: Path, clock: FakeClock
) -> None:
    shelf = Shelf(tmp_path, limit=10, clock=clock)
    digest = f"sha256:{hashlib.sha256(b'12345').hexdigest()}"
    await put(shelf, "a")
    await put(shelf, "b", b"other")

    assert await shelf.take("a", digest=digest) == tmp_path / "a"
    assert await shelf.take("b", digest=digest) is None
    assert await shelf.take("b") is None
    assert await shelf.take("never") is None


async def test_what_was_left_half_done_is_cleared_away(
    tmp_path: Path, clock: FakeClock
) -> None:
    shelf = Shelf(tmp_path / "new" / "shelf", limit=10, clock=clock)
    await shelf.open()
    half, old = shelf.unfinished("half"), shelf.unfinished("old")
    for path, age in ((half, timedelta(0)), (old, IN_USE * 2)):
        path.write_bytes(b"x")
        then = (clock.now() - age).timestamp()
        os.utime(path, (then, then))
    await put(shelf, "a")

    await shelf.open()

    assert listed(shelf.folder) == [half.name, "a"]
