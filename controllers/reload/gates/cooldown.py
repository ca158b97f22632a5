"""After a reload, a workload may ask to be left alone for a while.

    change ──▶ reload ──▶ period: changes wait ──▶ one reload for all of them, or none

The first change reloads at once. When that was, stands on the workload itself, written
by the very patch that reloads: so it holds for whichever process looks next. Periods
are asked for by annotations, ReloaderConfigs (`pausePeriod`, `minInterval`) and a flag;
the longest counts.

A time of the future was not written by us, a little skew of clocks apart, and counts
for nothing: no annotation can hold a workload for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller_runtime import Duration
from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.gates.fading import Fading
from controllers.reload.record import RELOADED_AT
from controllers.reload.terms import Terms
from controllers.reload.workloads import Workload, WorkloadKey

LONGEST = timedelta(days=366)
"""Of a period; what is longer counts as this."""

_SKEW = timedelta(minutes=1)
"""By which the clock of another replica may be ahead."""


def period(terms: Terms) -> timedelta:
    """Return the time between two reloads; zero if nobody cares."""
    return min(max(terms.cooldown, terms.min_interval), LONGEST)


def reloaded_at(workload: Workload, now: datetime) -> datetime | None:
    """Return when a workload was reloaded last, as it says itself.

    Args:
        workload: What carries the time.
        now: Wall-clock time; what is later was not written by us.
    """
    try:
        at = datetime.fromisoformat(workload.meta.annotations.get(RELOADED_AT, ""))
    except ValueError:
        return None
    if at.tzinfo is None or at - now > _SKEW:
        return None
    return at


def held_until(workload: Workload, terms: Terms, now: datetime) -> datetime | None:
    """Return the end of a workload's cooldown; `None` if it may reload."""
    last = reloaded_at(workload, now)
    if last is None or last + period(terms) <= now:
        return None
    return last + period(terms)


class Cooldown(Gate):
    """Holds what has reloaded lately and asked for a rest."""

    def __init__(self) -> None:
        self._here: Fading[WorkloadKey, float] = Fading()
        """When this process reloaded it, in seconds of the loop's clock: the cache may
        be behind, annotations may be taken away, and wall clocks are put right."""

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until the period since the last reload has passed."""
        span = period(turn.policy.terms)
        if not span:
            return None
        seconds = self._rest(turn, span.total_seconds())
        if seconds <= 0:
            return None
        until = (turn.now + timedelta(seconds=seconds)).astimezone(UTC)
        text = (
            f"until {until:%Y-%m-%dT%H:%M:%SZ}: it reloads once in "
            f"{Duration.of(span)} at most"
        )
        return Hold(HoldReason.COOLDOWN, text, seconds)

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Note when it reloaded."""
        span = period(turn.policy.terms).total_seconds()
        if is_reloaded and span:
            until = turn.at + span
            self._here.put(turn.key, turn.at, until=until, now=turn.at)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._here.pop(key)

    def _rest(self, turn: Turn, span: float) -> float:
        """Return the seconds until the end; 0 or less when it is over."""
        rests = [0.0]
        if (last := reloaded_at(turn.workload, turn.now)) is not None:
            rests.append(span - (turn.now - last).total_seconds())
        if (here := self._here.get(turn.key, now=turn.at)) is not None:
            rests.append(here + span - turn.at)
        return max(rests)
