"""A source that never stops changing does not restart its workloads without end.

    free ──`limit` reloads within `window`──▶ braked ──no change for `quiet`──▶ free
                                              │    ▲
                                              └────┘ reload: the interval doubles

A braked workload reloads again when its interval has passed since the last time; the
interval doubles from `first` to `longest`. Whatever changes meanwhile is one reload
then, with what there is by then, so the last content always lands.

This is remembered by the process that sees it, for as long as it matters: one that
starts in the middle of a storm lets `limit` reloads pass and brakes again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from controller_runtime import Duration

LIMIT_MAX = 1000
"""Reloads that are worth counting: each is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeOptions:
    """When a workload is braked, and how much."""

    limit: int = 10
    """Reloads within `window` that are enough."""

    window: timedelta = timedelta(minutes=5)
    """In which they are counted."""

    first: timedelta = timedelta(seconds=5)
    """Interval that a workload gets when it is braked; doubles with each reload."""

    longest: timedelta = timedelta(minutes=5)
    """Longest of these."""

    quiet: timedelta = timedelta(minutes=5)
    """Without a change, until all is forgotten."""


def parse_brake(text: str) -> BrakeOptions | None:
    """Read `10/5m`, ten reloads in five minutes; `0` is no brake.

    Raises:
        ValueError: It is neither.
    """
    if text.strip() in {"", "0"}:
        return None
    count, _, span = text.partition("/")
    with suppress(ValueError):
        limit, window = int(count), Duration(span.strip())
        if 0 < limit <= LIMIT_MAX and window:
            return BrakeOptions(limit=limit, window=window)
    raise ValueError(
        f"{text!r} is no number of reloads in a time: 10/5m would be, or 0 for none; "
        f"the number is at most {LIMIT_MAX}"
    )


class Pace(NamedTuple):
    """How a workload has reloaded lately. Times are seconds of the loop's clock."""

    times: tuple[float, ...] = ()
    """Of reloads within the window, oldest first; of a braked one the last alone."""

    interval: float = 0.0
    """That must pass between two of them; 0 while it is free."""

    since: float = 0.0
    """When it was braked."""

    def reloaded(self, at: float, rule: BrakeOptions) -> Pace:
        """Count a reload."""
        if self.interval:
            longer = min(2 * self.interval, rule.longest.total_seconds())
            return self._replace(times=(at,), interval=longer)
        window = rule.window.total_seconds()
        times = (*(t for t in self.times if t > at - window), at)
        if len(times) < rule.limit:
            return self._replace(times=times)
        first = rule.first.total_seconds()
        return self._replace(times=(at,), interval=first, since=at)

    def rest(self, at: float) -> float:
        """Return the seconds until it may reload again."""
        if not self.interval:
            return 0.0
        return max(self.times[-1] + self.interval - at, 0.0)
