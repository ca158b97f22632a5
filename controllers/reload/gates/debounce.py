"""Changes that come together become one reload.

    change ──▶ gathering ──nothing new for `quiet`, or `longest` after the first──▶ pass
                 ▲   │
                 └───┘ another change

Each workload has a window of its own, and none waits for another. What is taken back
while it is open never was: the look that follows finds nothing to do, and settles.

The window lies in this process alone. One that starts meanwhile sees the difference
from the record at its first look, and opens another: nothing is lost or done twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.workloads import WorkloadKey


class Gathering(NamedTuple):
    """An open window. Times are seconds of the event loop's clock."""

    wanted: Mapping[str, str]
    """The record that the last change would make; says what the sources hold."""

    first: float
    """When the first of the changes was seen."""

    last: float
    """When the last was."""

    is_begun: bool = False
    """It was written, or tried to be: another change opens another window."""


def gather(before: Gathering | None, wanted: Mapping[str, str], at: float) -> Gathering:
    """Take note of what a workload is to run with.

    The same as before is no news, however often it is seen.
    """
    if before is None or (before.is_begun and before.wanted != wanted):
        return Gathering(wanted, at, at)
    if before.wanted == wanted:
        return before
    return before._replace(wanted=wanted, last=at)


class Debounce(Gate):
    """Holds a change until there are no more to come with it."""

    def __init__(self, quiet: timedelta, longest: timedelta) -> None:
        """Wait for silence.

        Args:
            quiet: How long nothing has to change.
            longest: How long the first change waits at most; never less than `quiet`.
        """
        self._quiet = quiet.total_seconds()
        self._longest = max(longest, quiet).total_seconds()
        self._open: dict[WorkloadKey, Gathering] = {}

    def __len__(self) -> int:
        return len(self._open)

    def notice(self, turn: Turn) -> None:
        """Open a window, or keep it open."""
        before = self._open.get(turn.key)
        self._open[turn.key] = gather(before, turn.plan.record, turn.at)

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until the window closes."""
        window = self._open[turn.key]
        closes = min(window.last + self._quiet, window.first + self._longest)
        if window.is_begun or closes <= turn.at:
            return None
        text = "for a moment, in case that more changes with it"
        return Hold(HoldReason.GATHERING, text, closes - turn.at, quiet=True)

    def begin(self, turn: Turn) -> None:
        """Let it be tried again at once, should it fail."""
        self._open[turn.key] = self._open[turn.key]._replace(is_begun=True)

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Forget what has been done."""
        if is_reloaded:
            self._open.pop(turn.key, None)

    def settle(self, key: WorkloadKey) -> None:
        """Close the window of what was taken back."""
        self._open.pop(key, None)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._open.pop(key, None)
