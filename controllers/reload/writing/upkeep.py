"""What a look does for a workload besides reloading it: chores that fall due.

    look ─▶ plan? ─▶ written: the next look comes with its event
              └─ none, or held, or refused ─▶ upkeep ─▶ a patch, or when to look again

A chore comes from what the object says and from the time, as a plan does from its
sources; no gate holds it, and no reload that is refused keeps it waiting. It is written
with the version that it was decided for, one at a time: its event brings the look that
finds the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from controller_runtime import Patch
from controllers.reload.policy import ReloadPolicy
from controllers.reload.workloads import Workload, WorkloadKey


class Chore(NamedTuple):
    """What is due, or when it will be."""

    patch: Patch | None = None
    """To be written now; names the version that it is for."""

    seconds: float | None = None
    """Until something may be due; `None`: an event will tell."""

    reason: str = ""
    """Of the Event about it; empty for none."""

    text: str = ""
    """What the Event says after the name of the workload."""

    is_warning: bool = False
    """Somebody has to know of it."""


NOTHING = Chore()


class Upkeep(Protocol):
    """Knows one sort of chore."""

    def __call__(
        self, workload: Workload, policy: ReloadPolicy, now: datetime, /
    ) -> Chore:
        """Decide what is due for a workload; `now` is wall-clock time with a zone."""
        ...

    def forget(self, key: WorkloadKey, /) -> None:
        """Let go of a workload that is no more."""
        ...


def due(
    row: Sequence[Upkeep], workload: Workload, policy: ReloadPolicy, now: datetime
) -> Chore:
    """Return the first chore that is due, or how long it is until the next."""
    chores = [upkeep(workload, policy, now) for upkeep in row]
    for chore in chores:
        if chore.patch is not None:
            return chore
    times = [chore.seconds for chore in chores if chore.seconds is not None]
    return Chore(seconds=min(times, default=None))
