"""So many reloads a second, of all workloads together.

    ask ──▶ a place in the row ──its time──▶ pass

One source may concern ten thousand workloads. Each gets a place when it first asks,
and comes back when its time has come: nobody is passed over, and nobody asks in vain.
A place that is not needed after all stays empty. A second's worth passes at once.

A place is lost by who is held for another reason, or a thousand that have waited for a
window would pass when it opens. One whose write was refused keeps it: a conflict is no
reason to go to the end of the row.
"""

from __future__ import annotations

from controller_runtime import TokenBucket
from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.workloads import WorkloadKey


class RateLimit(Gate):
    """Holds what would be too much at once; the last of a row."""

    def __init__(self, per_second: float) -> None:
        """Let pass so many.

        Args:
            per_second: Reloads of any workloads; more than 0.
        """
        burst = max(int(per_second), 1)
        self._bucket = TokenBucket(rate=per_second, burst=burst)
        self._places: dict[WorkloadKey, float] = {}

    def __len__(self) -> int:
        return len(self._places)

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until its time; the first question takes a place, others do not."""
        place = self._places.get(turn.key)
        if place is None:
            place = turn.at + self._bucket.reserve(turn.at)
            self._places[turn.key] = place
        if place <= turn.at:
            return None
        text = "for its turn: many workloads reload at once"
        return Hold(HoldReason.RATE, text, place - turn.at, quiet=True)

    def begin(self, turn: Turn) -> None:
        """Give the place away."""
        self._places.pop(turn.key, None)

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Give it back to who could not use it."""
        if is_reloaded:
            self._places.pop(turn.key, None)
        else:
            self._places[turn.key] = turn.at

    def withdraw(self, key: WorkloadKey, hold: Hold) -> None:
        """Leave the place empty, unless it has to wait for others to roll out.

        These come one by one, and each has only a moment to follow when it is called.
        """
        if hold.reason is not HoldReason.BUDGET:
            self._places.pop(key, None)

    def settle(self, key: WorkloadKey) -> None:
        """Leave the place empty."""
        self._places.pop(key, None)

    def forget(self, key: WorkloadKey) -> None:
        """Leave the place empty."""
        self._places.pop(key, None)
