"""What a soak found: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from soak.evidence import Evidence, Life
from soak.plan import Plan
from soak.records import Sample
from soak.verdict import Verdict

_SHOWN = 10
"""Problems of one rule that a table has; JSON has them all."""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on one soak, and what they rest on."""

    plan: Plan
    evidence: Evidence
    verdicts: Sequence[Verdict]
    seconds: float

    @property
    def is_good(self) -> bool:
        return all(verdict.is_good for verdict in self.verdicts)

    def table(self) -> str:
        """Return a line for each rule, and under it what is wrong."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for verdict in self.verdicts:
            mark = "ok    " if verdict.is_good else "FAILED"
            yield f"{mark} {verdict.rule:15} {verdict.figures}"
            for problem in verdict.problems[:_SHOWN]:
                yield f"         - {problem}"
            if (more := len(verdict.problems) - _SHOWN) > 0:
                yield f"         - and {more} more"
        seed, minutes = self.plan.seed, self.seconds / 60
        yield f"seed {seed}, {minutes:.1f} minutes"

    def save(self, folder: Path) -> Path:
        """Write it as `report.json`, beside the journals it rests on."""
        path = folder / "report.json"
        text = msgspec.json.encode(self.content())
        path.write_bytes(msgspec.json.format(text, indent=2) + b"\n")
        return path

    def content(self) -> dict[str, Any]:
        return {
            "seed": self.plan.seed,
            "seconds": round(self.seconds, 1),
            "good": self.is_good,
            "verdicts": [
                {
                    "rule": it.rule,
                    "good": it.is_good,
                    "figures": it.figures,
                    "problems": list(it.problems),
                }
                for it in self.verdicts
            ],
            "lives": [_life(it, self.evidence.began) for it in self.evidence.lives],
            "plan": list(self.plan.describe()),
        }


def _life(life: Life, began: float) -> dict[str, Any]:
    samples = life.samples
    return {
        "identity": life.identity,
        "code": life.code,
        "led": life.has_led,
        "acts": len(life.acts),
        "ended": round(life.ended - began, 3),
        "first": _sample(samples[0], began) if samples else None,
        "last": _sample(samples[-1], began) if samples else None,
    }


def _sample(sample: Sample, began: float) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(sample),
        "t": round(sample.t - began, 3),
    }
