"""One minute of everything at once; `make soak` has ten, and any seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soak.plan import draw
from soak.run import Soak

SEED = 1
"""Fixed, so that a failure is about the change. `SEED=…` has another."""

FAULTY = 45.0
"""Seconds of faults; with start, settling and stop it takes a little over a minute."""


@pytest.mark.timeout(300)
@pytest.mark.behaviour("L6")
@pytest.mark.behaviour("L8")
@pytest.mark.behaviour("R6")
async def test_a_minute_of_faults_leaves_one_leader_nothing_missed_nothing_behind(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    plan = draw(int(os.environ.get("SEED", SEED)), FAULTY)

    report = await Soak(plan, tmp_path, said.append).run()

    assert report.is_good, "\n".join([*said, "", report.table()])
