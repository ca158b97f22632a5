"""A workload that has windows reloads while they are open; see `schedules`."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.gates.schedules import next_open


class Windows(Gate):
    """Holds what is not welcome now."""

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until the windows of a workload are open."""
        windows = turn.policy.terms.windows
        if not windows:
            return None
        opening = next_open(windows, turn.now)
        if opening.at == turn.now:
            return None
        which = "its window is"
        if len(windows) > 1:
            which = f"all of its {len(windows)} windows are"
        if opening.at is None:
            text = f"until {which} open: {opening.problem}"
            return Hold(HoldReason.WINDOW, text)
        zone = windows[0].time_zone
        local = opening.at.astimezone(ZoneInfo(zone))
        text = f"until {local:%Y-%m-%d %H:%M} {zone}, when {which} open"
        return Hold(HoldReason.WINDOW, text, (opening.at - turn.now).total_seconds())
