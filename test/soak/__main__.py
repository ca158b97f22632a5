"""`make soak`: torment two managers for some minutes, and say how they bore it."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from pathlib import Path

from controller_runtime.errors import ControllerRuntimeError
from soak.plan import draw
from soak.report import Report
from soak.run import Soak

FAULTY = 0.85
"""Share of the time in which faults are thrown; the rest is for all to settle."""


def main() -> int:
    """Run a soak; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="of an earlier soak, to have it again")
    parser.add_argument("--folder", type=Path, default=Path(".soak"))
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    folder = given.folder / f"{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.jsonl"), *folder.glob("*.log")):
        old.unlink()
    try:
        report = asyncio.run(_run(given.minutes, seed, folder.resolve()))
    except ControllerRuntimeError as error:
        sys.stderr.write(f"soak: {error}\n")
        return 1
    sys.stdout.write(f"\n{report.table()}\n{report.save(folder)}\n")
    return 0 if report.is_good else 1


async def _run(minutes: float, seed: int, folder: Path) -> Report:
    return await Soak(draw(seed, minutes * 60 * FAULTY), folder, _say).run()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
