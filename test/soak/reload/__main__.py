"""`make soak-reload`: change data under two managers that die, and look for doubles."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from controller_runtime.errors import ControllerRuntimeError
from soak.reload.plan import draw
from soak.reload.run import ReloadSoak, table
from soak.verdict import Verdict


def main() -> int:
    """Run a reload soak; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seed", type=int, help="of an earlier soak, to have it again")
    parser.add_argument("--folder", type=Path, default=Path(".soak"))
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = given.folder / f"reload-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.log"):
        old.unlink()
    plan = draw(seed, given.changes)
    try:
        verdicts = asyncio.run(_run(ReloadSoak(plan, folder.resolve(), _say)))
    except ControllerRuntimeError as error:
        sys.stderr.write(f"soak: {error}\n")
        return 1
    sys.stdout.write(f"\n{table(plan, verdicts)}")
    return 0 if all(verdict.is_good for verdict in verdicts) else 1


async def _run(soak: ReloadSoak) -> Sequence[Verdict]:
    return await soak.run()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
