"""The benchmark of reload in small, with a server of its own: it must not break."""

from __future__ import annotations

import pytest

from benchmarks.reload import recorded
from benchmarks.reload.__main__ import arguments, measure


@pytest.mark.timeout(300)
async def test_single_changes_and_a_manager_that_dies_are_measured() -> None:
    given = arguments(["--only=changes,S6", "--changes=2", "--scale=0.05"])

    rows = {row.title: row.samples[recorded.OURS] for row in await measure(given)}

    assert len(rows[recorded.CHANGE]) == len(rows[recorded.CHANGE_DEFAULT]) == 2
    assert rows[recorded.LISTS] == rows[recorded.METADATA] == [0]
    assert rows[recorded.PATCHES] == rows[recorded.EVENTS] == [1]
    assert rows[recorded.of_shape("S6", recorded.STALE)] == [0]
