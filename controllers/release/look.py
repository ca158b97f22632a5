"""One look at one ManagedRoost, while it lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from api.release.status import ManagedRoostStatus
from api.release.v1alpha1 import ManagedRoost
from controller_runtime import find_condition
from controllers.release.desired import Desired
from controllers.release.identity import ReleaseKey, release_key
from controllers.release.records import Revision
from controllers.release.status import RELEASED, Aspect, Outcome, conclude


@dataclass(slots=True, kw_only=True)
class Look:
    """What is known by now, and what has been done."""

    roost: ManagedRoost
    status: ManagedRoostStatus
    """As it shall be written."""
    desired: Desired
    source: Aspect
    """What there is to say about the chart."""
    revisions: Sequence[Revision] = ()
    aspects: dict[str, Aspect | None] = field(default_factory=dict)
    """What was learned on the way, for the conditions."""
    last: Outcome | None = None
    """What the last step came to, if it failed."""
    is_forced: bool = False
    """Somebody asked for an upgrade, needed or not."""
    is_unlocked: bool = False
    """Somebody says that the pending operation is dead."""
    rollback_to: int | None = None
    """Revision that somebody wants back, until it is."""

    @property
    def key(self) -> ReleaseKey:
        return release_key(self.roost)

    @property
    def generation(self) -> int:
        return self.roost.metadata.generation

    @property
    def newest(self) -> Revision | None:
        """The newest record of the release."""
        return self.revisions[0] if self.revisions else None

    def update(self, **changes: object) -> None:
        """Change the status that shall be written."""
        self.status = self.status.model_copy(update=changes)

    @property
    def cause(self) -> str:
        """Why the last attempt failed, from this look or from the status."""
        if self.last is not None:
            return self.last.ready.message
        released = find_condition(self.status.conditions, RELEASED)
        return released.message if released is not None else ""

    def conclude(self, outcome: Outcome, now: datetime) -> None:
        """Have the status say what came out, and what was learned on the way."""
        full = replace(outcome, aspects={**self.aspects, **outcome.aspects})
        self.status = conclude(self.status, full, generation=self.generation, now=now)

    def __str__(self) -> str:
        return f"{self.desired} as {self.key}"
