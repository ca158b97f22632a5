"""50 changes under managers that die; `make soak-reload` has 200, and any seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soak.reload.plan import draw
from soak.reload.run import ReloadSoak, table

SEED = 1
"""Fixed, so that a failure is about the change. `SEED=…` has another."""

CHANGES = 50
"""With start, settling and the witness they take a minute and a half."""


@pytest.mark.timeout(480)
async def test_a_change_comes_to_every_workload_once_whoever_dies_meanwhile(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    plan = draw(int(os.environ.get("SEED", SEED)), CHANGES)

    verdicts = await ReloadSoak(plan, tmp_path, said.append).run()

    report = "\n".join([*said, "", table(plan, verdicts)])
    assert all(verdict.is_good for verdict in verdicts), report
