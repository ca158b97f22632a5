"""The words that those who keep an object share: what is wanted, what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from controller_runtime import (
    GroupVersionKind,
    Json,
    NamespacedName,
    ObjectReference,
    reference,
)
from controllers.autopilot.assets import Asset
from controllers.autopilot.drift import Verdict
from controllers.autopilot.gauges import Target
from controllers.autopilot.pointers import Pointer


class Wanted(NamedTuple):
    """An object that an asset wants."""

    asset: Asset
    baseline: Json
    """As rendered, with our label."""

    gvk: GroupVersionKind
    key: NamespacedName
    epoch: int = 0
    """Changes with the schema of the kind."""

    is_source: bool = False
    """It is the source object, which is watched by name and never created."""

    @property
    def target(self) -> Target:
        """The object as metrics and Events name it."""
        return Target(self.gvk.group, self.gvk.kind, self.key.namespace, self.key.name)

    @property
    def reference(self) -> ObjectReference | None:
        """The object, if it has a namespace for Events of its own."""
        if not self.key.namespace or self.is_source:
            return None
        return reference(self.gvk, {"metadata": self.baseline["metadata"]})


class Became(StrEnum):
    """What became of an object."""

    SYNCED = "synced"
    """It was as wanted."""
    APPLIED = "applied"
    """It was made so."""
    UNMANAGED = "unmanaged"
    PAUSED = "paused"
    THROTTLED = "throttled"
    DRIFTED = "drifted"
    """It is not as wanted, and that is only told."""
    SKIPPED = "skipped"
    """There is no place for it yet."""
    EXCLUDED = "excluded"
    """Users do not want it applied."""
    EMPTY = "empty"
    """Its template makes nothing here."""


class Kept(NamedTuple):
    """What became of an object, and what it is now."""

    became: Became
    live: Json | None = None
    again: timedelta | None = None
    """When to look again, for what no event will tell."""


@dataclass(slots=True)
class Memory:
    """What is remembered of an object. Losing it costs a dry run."""

    verdict: Verdict | None = None
    applied: str = ""
    """Digest of what was applied last, or found in place."""
    masks: str = ""
    """The annotation that `atomic` belongs to."""
    atomic: frozenset[Pointer] = frozenset()
    """Masked fields that cannot be let go of."""
    epoch: int = 0
    baseline: str = ""
    """Digest of what the catalogue wanted last."""
    unserved: int = 0
    """Looks at it in a row that found no such kind."""
    refused: dict[str, str] = field(default_factory=dict)
    """Patch → why the server does not take what it makes of this baseline."""
    problem: str = ""
    """What is wrong with the patch, as told."""
    is_paused: bool = False
    paused_checked: str = ""
    """Version of a paused object that was compared."""
    edits: int = 0
    """Corrections of what somebody else wrote, since the last pause."""
    since: str = ""
    """When the first of them was; RFC 3339."""
