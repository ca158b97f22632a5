"""What is written of the Events of a process, and when: decided here, done elsewhere.

                      again ─▶ one more, in memory
                      ┌──────┐
    record ─▶ waiting ┤      ├──take──▶ in flight ──settle──▶ told
                 ▲    └──────┘              │                  │ the second time,
                 ├───── at its time ── postpone                │ half an hour later,
                 └─────────────────────────────────────────────┘ at the end

Events that say the same of the same object are one series: the first is created, the
second makes it a series on the server, and from then on they are counted here. The
count is told every 30 minutes, which also keeps the server from forgetting the Event,
and when the series ends: after six minutes of silence, when too many are remembered,
or when the process stops (client-go `tools/events/event_broadcaster.go`, KEP-383).

A series is in flight once at most, so no two writes of it overtake each other. What
happens while it waits goes with it: five Events before the first write are one request.
A write that is postponed is in nobody's way.

Memory is bounded: so many Events may wait before a new one is refused, so many series
are remembered. Times are seconds of the event loop, and none may be before the last.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, TypeAlias

from controller_runtime.meta import Json

IDLE = 6 * 60.0
"""Seconds of silence that end a series."""

REFRESH = 30 * 60.0
"""Seconds after which the count of a series that goes on is told again."""

TRIES = 12
"""Times that a write is tried before it is given up."""

WAITING = 1000
"""Events that may wait to be written; client-go's queue is as long."""

REMEMBERED = 4096
"""Series that are remembered; as many as client-go's older correlator keeps."""

Key: TypeAlias = tuple[object, ...]


def series_key(event: Json) -> Key:
    """Return what the Events of one series have in common (KEP-383).

    The note is not in it, and that of the first Event stays: who has different things
    to tell needs different actions or reasons.
    """
    return (
        event["type"],
        event["action"],
        event["reason"],
        event["reportingController"],
        event["reportingInstance"],
        frozenset(event["regarding"].items()),
        frozenset(event.get("related", {}).items()),
    )


@dataclass(slots=True, eq=False, kw_only=True)
class Series:
    """One Event, and how often it happened; only its outbox changes it."""

    key: Key
    event: Json
    """As it was the first time."""
    seen: float
    """When it happened last."""
    observed: str
    """The same as the server writes it."""
    count: int = 1
    """How often it happened."""
    wanted: int = 1
    """The count that the server should have been told by now."""
    settled: int = 0
    """The count in the last write of which the fate is known, whatever it was."""
    settled_at: float = 0.0
    told: int = 0
    """The count that the server has; 0 when it has no such Event."""
    tries: int = 0
    """Failures of the present write."""
    is_busy: bool = False
    """It waits or is in flight."""

    @property
    def is_due(self) -> bool:
        """Whether there is something to write, and nobody sees to it yet."""
        return not self.is_busy and self.settled < self.wanted


class Write(NamedTuple):
    """What is to be written of a series, as it was when it was taken."""

    series: Series
    times: int
    """How often it happened until then."""
    event: Json
    """What to create."""
    patch: Json
    """What to change of it where it exists; empty for what is no series."""

    @property
    def is_known(self) -> bool:
        """Whether the server is believed to have the Event."""
        return self.series.told > 0


class Outbox:
    """The series of a process, and the line of those that are to be written."""

    def __init__(self, *, limit: int = WAITING, remembered: int = REMEMBERED) -> None:
        self._limit = limit
        self._capacity = remembered
        self._ready: deque[Series] = deque()
        self._paused: list[tuple[float, int, Series]] = []
        self._in_flight = 0
        self._order = count()
        self._by_silence: OrderedDict[Key, Series] = OrderedDict()
        """Those that may go on, the one that has been silent for longest first."""
        self._by_refresh: OrderedDict[Key, Series] = OrderedDict()
        """Those of them that were told as series, the first to be told again first."""

    def __len__(self) -> int:
        """Return how many writes wait or are in flight."""
        return self.waiting + self._in_flight

    @property
    def waiting(self) -> int:
        """How many writes wait for a writer, or for their time."""
        return len(self._ready) + len(self._paused)

    @property
    def remembered(self) -> int:
        """How many series may go on."""
        return len(self._by_silence)

    def record(self, event: Json, now: float) -> bool:
        """Take an Event in; `False` when it is new and too many wait already."""
        self.advance(now)
        key = series_key(event)
        series = self._by_silence.get(key)
        if series is None:
            if self.waiting >= self._limit:
                return False
            observed = event["eventTime"]
            series = Series(key=key, event=event, seen=now, observed=observed)
            self._by_silence[key] = series
        else:
            series.seen, series.observed = now, event["eventTime"]
            series.count += 1
            series.wanted = max(series.wanted, 2)
            self._by_silence.move_to_end(key)
        self._enqueue(series)
        if len(self._by_silence) > self._capacity:
            self._end(next(iter(self._by_silence.values())))
        return True

    def advance(self, now: float) -> None:
        """Let time pass: pauses end, counts are due again, silent series end."""
        while self._paused and self._paused[0][0] <= now:
            self._ready.append(heapq.heappop(self._paused)[2])
        while (series := _first(self._by_refresh)) and (
            series.settled_at + REFRESH <= now
        ):
            self._refresh(series, now)
        while (series := _first(self._by_silence)) and series.seen + IDLE <= now:
            self._end(series)

    def next_due(self) -> float | None:
        """Return when time alone will change something; `None` if it will not."""
        moments = [self._paused[0][0]] if self._paused else []
        if refreshed := _first(self._by_refresh):
            moments.append(refreshed.settled_at + REFRESH)
        if silent := _first(self._by_silence):
            moments.append(silent.seen + IDLE)
        return min(moments, default=None)

    def take(self) -> Write | None:
        """Return what to write next; its fate has to be told."""
        if not self._ready:
            return None
        series = self._ready.popleft()
        self._in_flight += 1
        if series.count < 2:
            return Write(series, 1, series.event, {})
        told = {"count": series.count, "lastObservedTime": series.observed}
        patch = {"series": told}
        return Write(series, series.count, series.event | patch, patch)

    def settle(self, write: Write, now: float, *, is_written: bool) -> None:
        """Tell that a write was done, or given up for good."""
        series = write.series
        if is_written:
            series.told = write.times
        self._in_flight -= 1
        series.is_busy = False
        series.settled, series.settled_at, series.tries = write.times, now, 0
        if write.times > 1 and self._goes_on(series):
            self._by_refresh[series.key] = series
            self._by_refresh.move_to_end(series.key)
        self._enqueue(series)

    def postpone(self, write: Write, now: float, *, until: float) -> bool:
        """Tell that a write failed and may be tried again; `False` when it may not."""
        series = write.series
        series.tries += 1
        if series.tries >= TRIES:
            self.settle(write, now, is_written=False)
            return False
        self._in_flight -= 1
        heapq.heappush(self._paused, (until, next(self._order), series))
        return True

    @staticmethod
    def learn(write: Write, *, exists: bool) -> None:
        """Tell that the server has the Event, contrary to belief, or has it not."""
        write.series.told = 1 if exists else 0

    def close(self) -> None:
        """End every series, and every pause."""
        for series in tuple(self._by_silence.values()):
            self._end(series)
        self._ready.extend(series for _, _, series in sorted(self._paused))
        self._paused.clear()

    def _enqueue(self, series: Series) -> None:
        if series.is_due:
            series.is_busy = True
            self._ready.append(series)

    def _refresh(self, series: Series, now: float) -> None:
        series.settled_at = now
        self._by_refresh.move_to_end(series.key)
        series.wanted = series.count
        self._enqueue(series)

    def _end(self, series: Series) -> None:
        """Let a series go, with a last word if the server's count is not its own."""
        del self._by_silence[series.key]
        self._by_refresh.pop(series.key, None)
        if series.count > 1:
            series.wanted = series.count
        self._enqueue(series)

    def _goes_on(self, series: Series) -> bool:
        return self._by_silence.get(series.key) is series


def _first(series: OrderedDict[Key, Series]) -> Series | None:
    return next(iter(series.values()), None)
