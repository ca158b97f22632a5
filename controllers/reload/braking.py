"""A source that never stops changing does not restart its workloads without end.

    free ──`limit` reloads within `window`──▶ braked ──no change for `quiet`──▶ free
                                              │    ▲
                                              └────┘ reload: the interval doubles

A braked workload reloads again when its interval has passed since the last time; the
interval doubles from `first` to `longest`. Whatever changes meanwhile is one reload
then, with what there is by then, so the last content always lands.

This is remembered by the process that sees it, for as long as it matters. A workload
that reloads again within the window carries it, too, written by the patch that reloads:
a process that starts in the middle of a storm goes on from there. What it carries may
be anybody's text; it can hold a workload for `longest` and no more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from controller_runtime import Duration

LIMIT_MAX = 1000
"""Reloads that are worth counting: each is remembered."""

_CARRIED_MAX = 256
"""Reloads that a workload carries: 4 KiB."""

_SKEW = 60.0
"""Seconds by which the clock of another replica may be ahead."""


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


class _Carried(msgspec.Struct, omit_defaults=True):
    """A `Pace` by the wall clock: milliseconds since 1970."""

    times: list[int]
    interval: float = 0.0
    since: int = 0


_decoder = msgspec.json.Decoder(_Carried)


def pace_text(pace: Pace, *, at: float, now: datetime) -> str:
    """Write a pace as a workload carries it; empty for a single reload.

    Args:
        pace: What to write.
        at: Seconds of the loop's clock.
        now: The same moment, with a zone.
    """
    if len(pace.times) < 2 and not pace.interval:
        return ""
    epoch = now.timestamp() - at
    times = [round(1000 * (epoch + time)) for time in pace.times[-_CARRIED_MAX:]]
    since = round(1000 * (epoch + pace.since)) if pace.interval else 0
    return msgspec.json.encode(_Carried(times, pace.interval, since)).decode()


def read_pace(text: str, *, at: float, now: datetime, rule: BrakeOptions) -> Pace:
    """Read what `pace_text` writes, as far as it still counts."""
    try:
        carried = _decoder.decode(text)
    except msgspec.MsgspecError:
        return Pace()
    epoch = now.timestamp() - at
    found = sorted(time / 1000 - epoch for time in carried.times)
    times = tuple(min(time, at) for time in found if time <= at + _SKEW)
    interval = min(max(carried.interval, 0.0), rule.longest.total_seconds())
    span = rule.quiet if interval else rule.window
    if not times or at - times[-1] >= max(span.total_seconds(), interval):
        return Pace()
    if not interval:
        return Pace(times)
    return Pace(times[-1:], interval, carried.since / 1000 - epoch)
