"""The status of a `WerfBundle`: what was seen, what was done, what is under way.

Enums are open here, so that two versions of the controller can share a cluster.
Texts have bounds because a status travels with every event of its object.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller_runtime import schema
from controller_runtime.conditions import Condition
from controller_runtime.meta import ApiModel

MESSAGE_MAX = 1024
"""Longest message in characters."""

Message = Annotated[str, Field(max_length=MESSAGE_MAX)]


class Phase(StrEnum):
    """Where a bundle stands."""

    PENDING = "Pending"
    SYNCING = "Syncing"
    SYNCED = "Synced"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"


class JobType(StrEnum):
    """What a Job does."""

    APPLY = "apply"
    PLAN = "plan"
    UNINSTALL = "uninstall"


class JobResult(StrEnum):
    """How a Job stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Trigger(StrEnum):
    """Why something is applied."""

    NEW_VERSION = "NewVersion"
    DIGEST_CHANGED = "DigestChanged"
    VALUES_CHANGED = "ValuesChanged"
    SPEC_CHANGED = "SpecChanged"
    DRIFT = "Drift"
    ROLLBACK = "Rollback"
    RETRY = "Retry"
    MANUAL = "Manual"


class Observed(ApiModel):
    """The candidate: what the registry has that fits."""

    tag: str
    digest: str
    chart_version: str = ""
    validated_at: datetime | None = None
    """When its content was found to be a bundle; absent if it is none."""
    verified: bool | None = None
    """Whether its signature was found to be right, if that was asked for."""
    tags_hash: str = ""
    """Of the sorted tags that the candidate was chosen from."""
    tag_count: int = 0
    skipped_tags: int = 0
    """How many tags are no versions."""
    selection: str = ""
    """Hash of what in the spec led to this candidate."""


class ActiveJob(ApiModel):
    """The Job that is about to be made, or runs."""

    name: str
    namespace: str
    type: schema.Open[JobType] = JobType.APPLY
    trigger: schema.Open[Trigger] = Trigger.NEW_VERSION
    tag: str = ""
    digest: str = ""
    chart_version: str = ""
    fingerprint: str = ""
    values_hash: str = ""
    attempt: int = 1
    created_at: datetime | None = None
    """Absent while nobody knows whether it was made."""


class LastJob(ApiModel):
    """The Job that ended last."""

    name: str
    exit_code: int | None = None
    reason: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    logs_config_map: str = ""
    """`namespace/name`, if the log is too long for the status."""


class Drift(ApiModel):
    """What was found to differ from what was deployed."""

    last_check_time: datetime | None = None
    next_check_time: datetime | None = None
    detected_at: datetime | None = None
    summary: Message = ""
    resources: Annotated[tuple[str, ...], Field(max_length=20)] = ()


class HistoryEntry(ApiModel):
    """One version that was deployed."""

    version: str
    """The tag."""
    digest: str
    chart_version: str = ""
    deployed_at: datetime
    job_name: str
    trigger: schema.Open[Trigger]
    values_hash: str = ""


class Rollback(ApiModel):
    """A rollback, and what it keeps from being deployed again."""

    requested_version: str = ""
    from_version: str = ""
    phase: str = ""
    requested_at: datetime | None = None
    skip: Annotated[tuple[str, ...], Field(max_length=20)] = ()


class BundleStatus(ApiModel):
    """What the controller saw and did."""

    observed_generation: int | None = None
    """`metadata.generation` that this speaks about."""

    phase: schema.Open[Phase] | None = None

    last_applied_tag: str = ""
    last_applied_digest: str = ""
    last_applied_fingerprint: str = ""
    """Hash of all that the last successful apply depended on."""
    last_applied_values_hash: str = ""
    last_sync_time: datetime | None = None

    last_error_message: Message = ""
    last_error_time: datetime | None = None

    last_e_tag: Annotated[str, Field(alias="lastETag")] = ""
    etag_scope: str = ""
    """Hash of URL, selection and credential version that the ETag belongs to."""
    consecutive_failures: Annotated[int, Field(ge=0)] = 0
    """Polls that failed since the last good one."""
    last_poll_time: datetime | None = None
    next_poll_time: datetime | None = None
    observed: Observed | None = None

    last_attempted_fingerprint: str = ""
    apply_attempts: int = 0
    """Applies of that fingerprint that were begun."""
    next_retry_time: datetime | None = None

    active_job_name: str = ""
    active_job: ActiveJob | None = None
    last_job_status: schema.Open[JobResult] | None = None
    last_job_logs: str = ""
    """End of the last Job's log, or where it is kept."""
    last_job: LastJob | None = None

    resolved_target_namespace: str = ""
    target_namespace: str = ""
    """The same, under the name that older tools look for."""
    resolved_release_name: str = ""

    drift_check_count: int = 0
    drift_correction_attempts: int = 0
    drift: Drift | None = None

    version_history: Annotated[
        tuple[HistoryEntry, ...], Field(max_length=10), schema.ListAtomic()
    ] = ()
    """What was deployed, the newest first."""

    rollback: Rollback | None = None

    handled_reconcile_at: str = ""
    """Value of `werf.io/reconcile-requested-at` that was acted upon."""

    conditions: Annotated[tuple[Condition, ...], schema.ListMap("type")] = ()
