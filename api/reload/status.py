"""The status of a `ReloaderConfig`: what it watches, what came of it, what waits.

conditions             whether it does what it says   targetStatus  the same, of each
watchedResourceHashes  what it has seen of sources    pending       reloads to come
history                the last reloads               wouldReload   those of a dry run

Enums are open here, so that two versions of the controller can share a cluster. Lists
and texts have bounds because a status travels with every event of its object.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller_runtime import schema
from controller_runtime.conditions import Condition
from controller_runtime.meta import ApiModel

MESSAGE_MAX = 1024
"""Longest message in characters."""

PENDING_MAX = 100
"""Most reloads that are listed as pending, or as planned by a dry run."""

HISTORY_MAX = 100
"""Most reloads that `history` has."""

Message = Annotated[str, Field(max_length=MESSAGE_MAX)]
Count = Annotated[int, Field(ge=0), schema.Format("int64")]


class RolloutState(StrEnum):
    """How far the pods of a target are."""

    PENDING = "Pending"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    """It goes on when somebody lets it."""
    COMPLETE = "Complete"
    FAILED = "Failed"


class ReloadOutcome(StrEnum):
    """What became of a reload."""

    RELOADED = "Reloaded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    PLANNED = "Planned"
    COMPLETE = "Complete"
    """Reloaded, and all pods are new."""
    ROLLOUT_FAILED = "RolloutFailed"
    """Reloaded, and the new pods do not get ready."""


class TargetStatus(ApiModel):
    """What is known of one workload."""

    kind: str
    name: str
    namespace: str

    last_reload_time: datetime | None = None
    reload_count: Count = 0

    paused_until: datetime | None = None
    """Until when changes are held."""

    last_error: Message = ""
    """Why the last reload failed; gone when one succeeds."""

    rollout_state: schema.Open[RolloutState] | None = None

    observed_hashes: Mapping[str, str] = Field(default_factory=dict)
    """namespace/Kind/name of a source → hash that it runs with (20 hex digits)."""


class HistoryEntry(ApiModel):
    """One reload of one workload."""

    time: datetime

    source: str
    """namespace/Kind/name of what changed; several with commas."""

    hash: str = ""
    """Of the content, in 20 hex digits; that of the first of several."""

    workload: str
    """namespace/Kind/name."""

    outcome: schema.Open[ReloadOutcome]

    duration_seconds: int | None = None
    """From the reload until the rollout was over."""


class PendingReload(ApiModel):
    """A reload that waits."""

    workload: str
    """namespace/Kind/name."""

    sources: tuple[str, ...] = ()
    """namespace/Kind/name of what has changed."""

    reason: str = ""
    """What it waits for, in one CamelCase word."""

    message: Message = ""
    since: datetime | None = None

    until: datetime | None = None
    """When it is looked at again, if that is known."""


class PlannedReload(ApiModel):
    """A reload that only the dry run keeps from being made."""

    workload: str
    """namespace/Kind/name."""

    sources: tuple[str, ...] = ()
    """namespace/Kind/name of what has changed."""

    time: datetime | None = None


class ReloaderConfigStatus(ApiModel):
    """What the controller saw and did."""

    observed_generation: int | None = None
    """`metadata.generation` that this speaks about."""

    conditions: Annotated[tuple[Condition, ...], schema.ListMap("type")] = ()
    """`Available`, `Progressing` and `Degraded`."""

    last_reload_time: datetime | None = None

    reload_count: Count = 0
    """Changes of sources that reloaded something, however many workloads that was."""

    watched_resource_hashes: Mapping[str, str] = Field(default_factory=dict)
    """namespace/Kind/name of each source that is watched → SHA-256 of its content."""

    reloaded_hashes: Mapping[str, str] = Field(default_factory=dict)
    """namespace/Kind/name of a source → content (20 hex digits of its hash) of the last
    change that `reloadCount` has counted. A workload that reloads for it later, or that
    a restarted controller finds reloaded, is not counted again."""

    target_status: Annotated[
        tuple[TargetStatus, ...], schema.ListMap("kind", "namespace", "name")
    ] = ()

    history: Annotated[
        tuple[HistoryEntry, ...], Field(max_length=HISTORY_MAX), schema.ListAtomic()
    ] = ()
    """The newest first, `spec.historyLimit` of them."""

    pending_count: Count = 0
    """How many wait, those included that are not listed."""

    pending: Annotated[
        tuple[PendingReload, ...], Field(max_length=PENDING_MAX), schema.ListAtomic()
    ] = ()

    would_reload: Annotated[
        tuple[PlannedReload, ...], Field(max_length=PENDING_MAX), schema.ListAtomic()
    ] = ()
