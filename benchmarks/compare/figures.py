"""What was measured, against what was promised. Pure: numbers in, tables out.

A `Row` has the samples of each peer, one a round. It is summed up by medians, and two
peers are compared by the ratio of their medians; beside it stands the range of the
ratios of single rounds, which is the noise.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap


@dataclass(frozen=True, slots=True)
class Limit:
    """A promise about a row."""

    value: float
    against: str = ""
    """The peer that we are divided by; empty for an absolute value."""
    at_least: bool = False
    """More is better."""

    def holds(self, found: float) -> bool:
        """Tell whether it is kept."""
        return found >= self.value if self.at_least else found <= self.value

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        peer = f" of {self.against}" if self.against else ""
        return f"{sign} {self.value:g}{peer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured."""

    title: str
    unit: str
    objects: int
    samples: dict[str, list[float]] = field(default_factory=dict)
    """By peer, in the order of rounds."""
    limits: Sequence[Limit] = ()

    def add(self, peer: str, value: float) -> None:
        """Add what a round found."""
        self.samples.setdefault(peer, []).append(value)


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and how far single values are from it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up at least one value."""
        every = list(values)
        return cls(statistics.median(every), min(every), max(every))

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)} to {number(self.high)})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a promise."""

    limit: Limit
    found: Spread

    @property
    def is_kept(self) -> bool:
        return self.limit.holds(self.found.median)

    def __str__(self) -> str:
        return f"{self.found} {'holds' if self.is_kept else 'MISSED'}: {self.limit}"


def number(value: float) -> str:
    """Write a number with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(row: Row, ours: str, other: str) -> Spread | None:
    """Divide one peer by another, if both were measured."""
    mine, theirs = row.samples.get(ours), row.samples.get(other)
    if not mine or not theirs:
        return None
    rounds = [a / b for a, b in zip(mine, theirs, strict=False)]
    medians = statistics.median(mine) / statistics.median(theirs)
    return Spread(medians, min(rounds), max(rounds))


def verdicts(row: Row, ours: str) -> Sequence[Verdict]:
    """Judge the promises that can be: those whose peers were measured."""
    found = []
    for limit in row.limits:
        if limit.against:
            spread = ratio(row, ours, limit.against)
        else:
            spread = Spread.of(row.samples[ours]) if row.samples.get(ours) else None
        if spread is not None:
            found.append(Verdict(limit, spread))
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which so many percent are (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def markdown(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """Write a table, as it stands in docs/benchmarks.md."""
    ours = peers[0]
    head = ["what", "objects", *peers, f"{ours} ÷ peer", "promised"]
    lines = [head, ["---"] * len(head)]
    lines += [_cells(row, ours, peers) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: Row, ours: str, peers: Sequence[str]) -> list[str]:
    spreads = [
        str(Spread.of(row.samples[peer])) if row.samples.get(peer) else "-"
        for peer in peers
    ]
    against = {limit.against: limit for limit in row.limits}
    ratios = [
        f"{found}" + (f" of {peer}" if peer != peers[1] else "")
        for peer in peers[1:]
        if (found := ratio(row, ours, peer)) is not None
        and (peer == peers[1] or peer in against)
    ]
    judged = [
        f"{verdict.limit}: {'holds' if verdict.is_kept else '**missed**'}"
        for verdict in verdicts(row, ours)
    ]
    title = f"{row.title}, {row.unit}"
    return [
        title,
        f"{row.objects:,}",
        *spreads,
        "; ".join(ratios) or "-",
        "; ".join(judged) or "-",
    ]


def text(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """Write the same table for a terminal."""
    ours = peers[0]
    cells = [
        ["what", "objects", *peers, f"{ours} ÷ peer", "promised"],
        *(_cells(row, ours, peers) for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(starmap(str.ljust, zip(line, widths, strict=True))).rstrip()
        for line in cells
    )
    return "\n".join(lines).replace("**missed**", "MISSED") + "\n"


def document(
    rows: Sequence[Row], machine: Mapping[str, object], ours: str
) -> Mapping[str, object]:
    """Return everything, each sample too, as plain data."""
    return {
        "machine": machine,
        "rows": [
            {
                "title": row.title,
                "unit": row.unit,
                "objects": row.objects,
                "samples": row.samples,
                "promises": [
                    {
                        "promise": str(verdict.limit),
                        "found": verdict.found.median,
                        "holds": verdict.is_kept,
                    }
                    for verdict in verdicts(row, ours)
                ],
            }
            for row in rows
        ],
    }
