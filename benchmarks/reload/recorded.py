"""What was promised of reload, and what stakater/Reloader was seen to do elsewhere.

The original is not run here. Its figures were taken once, of v1.4.21 on a machine with
two shared processors, kube-apiserver 1.36.3, without a kubelet; they stand beside ours
for orientation, and no ratio is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.compare.figures import Limit, Row, Spread, verdicts

OURS = "pilothouse"

HEAD = ("what", "unit", "measured", "promised", "original, recorded elsewhere")


class Known(NamedTuple):
    """What is known of a row before it is measured."""

    limits: Sequence[Limit] = ()
    original: str = "-"
    """As it was recorded, in words."""


START = "start to ready"
IDLE = "resident memory, idle"
CHANGE = "one change to patched template"
CHANGE_DEFAULT = "one change to patched template, default debounce"
LISTS = "LISTs and GETs for a change"
PATCHES = "PATCHes for a change"
EVENTS = "Events written for a change"
METADATA = "calls for 10 updates of metadata alone"
FAN_FIRST = "fan-out to 50, the first"
FAN_ALL = "fan-out to 50, all"
THREE = "3 updates 5 s apart, of 50, all after the last"
THREE_ROLLOUTS = "3 updates 5 s apart, of 50, rollouts"
DOWN = "50 changes while down, all after the start"
DOWN_ROLLOUTS = "50 changes while down, rollouts"
BIG_START = "many, start to ready"
BIG_FIRST = "many, first start to ready"
BIG_ADOPTED = "many, first start to all adopted"
BIG_MEMORY = "many, resident memory"
BIG_PEAK = "many, highest resident memory"
BIG_CPU = "many, processor until ready"
BIG_CHANGE = "many, one change to patched template"


def unused(kind: str, size: int) -> tuple[str, str]:
    """Name the rows about sources that nobody uses: memory, and the most of it."""
    what = f"unrelated {kind}s of {size >> 10} KiB"
    return f"{what}, memory above idle", f"{what}, highest memory above idle"


def of_shape(name: str, what: str) -> str:
    """Name a row about a load shape."""
    return f"{name}, {what}"


CONVERGED = "converged after the last update"
CALLS = "calls for a rollout"
CPU = "processor"
AVERAGE = "resident memory, average"
PEAK = "resident memory, highest"
STALE = "workloads left behind"
ROLLOUTS = "rollouts for an update"

KNOWN: Mapping[str, Known] = {
    START: Known([Limit(2)], "0.06"),
    IDLE: Known([Limit(80 * 1.048576)], "38 MiB"),
    CHANGE: Known([Limit(60)], "21"),
    CHANGE_DEFAULT: Known([Limit(650)]),
    LISTS: Known([Limit(0)], "5 LIST"),
    PATCHES: Known([Limit(1)], "1"),
    EVENTS: Known([Limit(1)], "1"),
    METADATA: Known([Limit(0)], "0"),
    FAN_FIRST: Known((), "0.049"),
    FAN_ALL: Known([Limit(1.5)], "8.2"),
    THREE: Known([Limit(2)], "15"),
    THREE_ROLLOUTS: Known((), "150"),
    DOWN: Known([Limit(10)], "never"),
    DOWN_ROLLOUTS: Known([Limit(50), Limit(50, at_least=True)], "0"),
    unused("Secret", 12 << 10)[0]: Known([Limit(12 * 1.048576)], "57 MiB"),
    unused("ConfigMap", 12 << 10)[0]: Known([Limit(12 * 1.048576)]),
    unused("Secret", 900 << 10)[0]: Known([Limit(12 * 1.048576)]),
    BIG_START: Known([Limit(10)]),
    BIG_FIRST: Known([Limit(10)]),
    BIG_MEMORY: Known([Limit(250 * 1.048576)]),
    BIG_CHANGE: Known([Limit(100)]),
    of_shape("S1", CONVERGED): Known([Limit(2)]),
    of_shape("S1", CALLS): Known([Limit(2.2)], "6.6"),
    of_shape("S1", CPU): Known([Limit(4)], "1.95"),
    of_shape("S1", PEAK): Known((), "45 MiB"),
    of_shape("S7", CONVERGED): Known([Limit(5)], "over 120"),
    of_shape("S7", STALE): Known([Limit(0)]),
    of_shape("S7", CPU): Known((), "10.9"),
    of_shape("S7", PEAK): Known((), "51 MiB"),
}
"""By title. What a title lacks was neither promised nor recorded."""


def table(rows: Sequence[Row]) -> str:
    """Write what was measured beside what was promised."""
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[Row]) -> str:
    """Write the same table for a page."""
    lines = [HEAD, ["---"] * len(HEAD), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: Row) -> Sequence[str]:
    judged = [
        f"{it.limit}: {'holds' if it.is_kept else 'MISSED'}"
        for it in verdicts(row, OURS)
    ]
    known = KNOWN.get(row.title, Known())
    title = f"{row.title} ({row.objects:,})" if row.objects else row.title
    return (
        title,
        row.unit,
        str(Spread.of(row.samples[OURS])),
        "; ".join(judged) or "-",
        known.original,
    )
