"""What became of a reload: told once, to all who want to know.

    Reloader ──News──▶ Announcer   Event, log line and metrics
                  └──▶ …           whoever else listens

A listener is told in the middle of a look: it takes note, and does what takes time
elsewhere. What it raises is a bug, and fails the look.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from controller_runtime import NamespacedName
from controllers.reload.gates import Hold
from controllers.reload.plan import Plan
from controllers.reload.workloads import Workload


class Topic(StrEnum):
    """What became of it."""

    RELOADED = "reloaded"
    """It was written."""

    FAILED = "failed"
    """It was refused, and is tried again."""

    HELD = "held"
    """It waits; told again when it waits for something else."""

    SETTLED = "settled"
    """It waited, and there is nothing left to do."""

    PLANNED = "planned"
    """It would be written, but for the dry run."""

    SKIPPED = "skipped"
    """There was a change, and nothing restarts."""

    ROLLED_OUT = "rolloutComplete"
    """It was written, and all pods are new and available."""

    STUCK = "rolloutFailed"
    """It was written, and its pods do not get there."""


class Outcome(NamedTuple):
    """What came of a plan, as an Event says it."""

    reason: str
    text: str
    """After the name of the workload."""

    topic: Topic = Topic.RELOADED


class News(NamedTuple):
    """What became of one reload of one workload."""

    workload: Workload
    plan: Plan
    """Has markers: the sources that changed. Of a rollout that another process began,
    they are not known."""

    outcome: Outcome
    now: datetime
    """Wall-clock time, with a zone."""

    seconds: float = 0.0
    """That the write took; of a rollout, that it took."""

    error: Exception | None = None
    """Why it failed."""

    hold: Hold | None = None
    """What it waits for."""

    waited: float | None = None
    """Seconds since this process first saw the change; `None` if nobody knows."""

    claimants: tuple[NamespacedName, ...] = ()
    """The ReloaderConfigs that may have wanted it, if it is not known what changed."""

    @property
    def topic(self) -> Topic:
        """What became of it."""
        return self.outcome.topic

    @property
    def configs(self) -> tuple[NamespacedName, ...]:
        """The ReloaderConfigs that it concerns, by name."""
        return self.plan.configs if self.plan.markers else self.claimants


Listener: TypeAlias = Callable[[News], None]
