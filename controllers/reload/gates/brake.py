"""A workload that reloads too often is braked; see `braking`."""

from __future__ import annotations

from collections.abc import Mapping

from controller_runtime import Duration
from controllers.reload.braking import BrakeOptions, Pace, pace_text, read_pace
from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.gates.cooldown import reloaded_at
from controllers.reload.gates.fading import Fading
from controllers.reload.record import PACE
from controllers.reload.workloads import WorkloadKey


class StormBrake(Gate):
    """Holds what reloads again and again."""

    def __init__(self, rule: BrakeOptions) -> None:
        self._rule = rule
        self._paces: Fading[WorkloadKey, Pace] = Fading()

    def __len__(self) -> int:
        return len(self._paces)

    def notice(self, turn: Turn) -> None:
        """Note that it is not quiet: there is a change, or one waits."""
        pace = self._pace(turn)
        if pace.interval:
            self._remember(turn, pace)

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until the interval has passed."""
        pace = self._pace(turn)
        if not (seconds := pace.rest(turn.at)):
            return None
        text = (
            f"for {seconds:.0f} s: it has reloaded {self._rule.limit} times within "
            f"{Duration.of(self._rule.window)}, and is slowed down until its sources "
            f"have not changed for {Duration.of(self._rule.quiet)}"
        )
        return Hold(
            HoldReason.THROTTLED,
            text,
            seconds,
            warning="ReloadThrottled",
            episode=pace.since,
        )

    def notes(self, turn: Turn) -> Mapping[str, str | None]:
        """Have the workload carry how it will have reloaded."""
        pace = self._pace(turn).reloaded(turn.at, self._rule)
        text = pace_text(pace, at=turn.at, now=turn.now)
        is_there = PACE in turn.workload.meta.annotations
        return {PACE: text or None} if text or is_there else {}

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Count a reload."""
        if is_reloaded:
            self._remember(turn, self._pace(turn).reloaded(turn.at, self._rule))

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._paces.pop(key)

    def _pace(self, turn: Turn) -> Pace:
        known = self._paces.get(turn.key, now=turn.at)
        return self._carried(turn) if known is None else known

    def _carried(self, turn: Turn) -> Pace:
        """Read what other processes have left, or this one long ago."""
        text = turn.workload.meta.annotations.get(PACE)
        if text is not None:
            return read_pace(text, at=turn.at, now=turn.now, rule=self._rule)
        last = reloaded_at(turn.workload, turn.now)
        if last is None or turn.now - last >= self._rule.window:
            return Pace()
        ago = max((turn.now - last).total_seconds(), 0.0)
        return Pace((turn.at - ago,))

    def _remember(self, turn: Turn, pace: Pace) -> None:
        span = self._rule.quiet if pace.interval else self._rule.window
        # While it is held it must not be forgotten, nor at the moment when it may go.
        until = turn.at + max(span.total_seconds(), pace.rest(turn.at) + 1)
        self._paces.put(turn.key, pace, until=until, now=turn.at)
