"""Times at which reloads are welcome.

    schedule  0 2 * * 1-5      when a window opens, as cron says it, in five fields
    duration  2h               how long it stays open
    zone      Europe/Berlin    whose clock the schedule means

Outside of it a change waits until it opens, and is one reload then with all that came
meanwhile. If there are several windows, all have to be open at once.

Where clocks are put forward, what would open in the hour that is left out opens right
after it; where they are put back, what opens at an hour opens once (as Debian's cron
does it, through `cronsim`). A duration is time that passes, whatever clocks show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from controller_runtime import Duration
from controllers.reload.terms import Window

SCHEDULE_MAX = 256
"""Characters; longer ones cost time to read, and nobody needs them."""

_LONGEST = timedelta(days=366)

_TRIES = 50
"""Openings that are looked through for a moment at which all windows are open."""

_FITS = "0 2 * * 1-5 would be 2:00 from Monday to Friday"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A window that could be read."""

    window: Window
    zone: ZoneInfo

    def next_open(self, moment: datetime) -> datetime:
        """Return the first moment from this one on at which it is open."""
        # What opened less than a duration ago is still open.
        return max(moment, self.next_opening(moment - self.window.duration))

    def next_opening(self, after: datetime) -> datetime:
        """Return the first moment after this one at which it opens."""
        start = after.astimezone(self.zone)
        if start.fold:
            # What opened in this hour when it was there for the first time must be
            # seen, or it would open again.
            start = (after - timedelta(hours=2)).astimezone(self.zone)
        line = CronSim(self.window.schedule, start)
        openings = (it.astimezone(UTC) for it in line)
        return next(opening for opening in openings if opening > after)


def read_window(window: Window) -> Schedule:
    """Read a window.

    Raises:
        ValueError: A part cannot be read; the text says which, and what would fit.
    """
    shown = repr(window.schedule[:64])
    if not timedelta() < window.duration <= _LONGEST:
        raise ValueError(f"a window is open for up to 366 days, not {window.duration}")
    if len(window.schedule) > SCHEDULE_MAX or len(window.schedule.split()) != 5:
        raise ValueError(f"{shown} is no schedule of five fields: {_FITS}")
    schedule = Schedule(window, _zone(window.time_zone))
    try:
        schedule.next_opening(datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"{shown} is no schedule: {error}; {_FITS}") from None
    except StopIteration:
        raise ValueError(f"the schedule {shown} never comes") from None
    return schedule


def parse_window(text: str) -> Window:
    """Read `schedule; duration` or `schedule; duration; time zone`.

    Raises:
        ValueError: It cannot be read; the text says why.
    """
    parts = [part.strip() for part in text.split(";")]
    if len(parts) not in {2, 3}:
        raise ValueError(
            f"{text[:64]!r} is no window: a schedule, a duration and a time zone would "
            "be, such as 0 2 * * 1-5; 2h; Europe/Berlin"
        )
    schedule, duration, *zone = parts
    return read_window(Window(schedule, Duration(duration), *zone)).window


class Opening(NamedTuple):
    """When reloads are welcome next."""

    at: datetime | None
    """`None` if that cannot be told."""

    problem: str = ""
    """Why not."""


def next_open(windows: Sequence[Window], now: datetime) -> Opening:
    """Return the first moment at which all windows are open; `now` if they are.

    A window that cannot be read is never open: who asked for one wants reloads at some
    times and not at others, and which is not known.
    """
    schedules: list[Schedule] = []
    for window in windows:
        found = _known(window)
        if isinstance(found, str):
            return Opening(None, f"its window cannot be read: {found}")
        schedules.append(found)
    moment = now
    for _ in range(_TRIES):
        later = max((it.next_open(moment) for it in schedules), default=moment)
        if later == moment:
            return Opening(moment)
        moment = later
    return Opening(None, "they are not soon open at once")


@lru_cache(maxsize=1024)
def _known(window: Window) -> Schedule | str:
    """Read a window, once; return what is wrong with it if it cannot be read."""
    try:
        return read_window(window)
    except ValueError as error:
        return str(error)


def _zone(name: str) -> ZoneInfo:
    """Return a time zone; reads a small file the first time."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{name[:64]!r} is no time zone such as Europe/Berlin or UTC"
        ) from None
