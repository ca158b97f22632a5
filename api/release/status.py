"""What is known about the release of a ManagedRoost.

helmRelease   the newest revision        history     the last ones that we made
inventory     the objects it consists of operation   what is being done right now
failures      attempts in a row          conditions  what all of it means
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller_runtime.conditions import Condition
from controller_runtime.meta import ApiModel
from controller_runtime.schema import ListMap, ListSet, Open


class Phase(StrEnum):
    """Where a release stands, in one word."""

    PENDING = "Pending"
    DEPLOYING = "Deploying"
    UPGRADING = "Upgrading"
    ROLLING_BACK = "RollingBack"
    READY = "Ready"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    TEARING_DOWN = "TearingDown"
    TORN_DOWN = "TornDown"


class Health(StrEnum):
    """What the health checks say."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


class HelmReleaseStatus(ApiModel):
    """The newest revision, as Helm recorded it."""

    name: str
    namespace: str
    revision: int
    status: str
    """Helm's word: `deployed`, `failed`, `pending-upgrade`, …"""
    description: str = ""
    notes: str = ""
    """The chart's notes, 4 KiB of them at most."""
    first_deployed: str = ""
    last_deployed: str = ""
    chart_name: str = ""
    chart_version: str = ""
    app_version: str = ""
    chart_digest: str = ""
    config_digest: str = ""


class Snapshot(ApiModel):
    """One revision that was ours."""

    revision: int
    status: str
    action: str = ""
    """What made it: `install`, `upgrade`, `rollback`, or `adopt`."""
    chart_version: str = ""
    chart_digest: str = ""
    config_digest: str = ""
    """Of chart and values together: equal digests are the same deployment."""
    deployed_at: str = ""


class Inventory(ApiModel):
    """The objects of the release."""

    count: int = 0
    hash: str = ""
    entries: Annotated[tuple[str, ...], ListSet()] = ()
    """`namespace_name_group_kind`, the first 500 of them."""
    kept: Annotated[tuple[str, ...], ListSet()] = ()
    """Those of the entries that outlive the release (`helm.sh/resource-policy`)."""


class Operation(ApiModel):
    """What is being done to the release right now."""

    id: str
    action: str
    holder: str
    """`host/pid/instance` of the manager that does it."""
    started_at: datetime
    deadline: datetime
    """When it is over in any case."""
    attempt: int = 1


class LastAttempted(ApiModel):
    """What was last tried, whatever came of it."""

    action: str
    generation: int = 0
    chart_version: str = ""
    chart_digest: str = ""
    config_digest: str = ""
    duration: str = ""


class Failures(ApiModel):
    """Attempts that failed in a row; the spec, the chart or the values start anew."""

    install: int = 0
    upgrade: int = 0
    uninstall: int = 0
    total: int = 0


class LastHandled(ApiModel):
    """The tokens of one-shot annotations that were acted on."""

    reconcile_at: str = ""
    force_at: str = ""
    reset_at: str = ""
    rollback_at: str = ""
    unlock_at: str = ""


class ManagedRoostStatus(ApiModel):
    """What the manager last saw and did."""

    observed_generation: int | None = None
    """`metadata.generation` that this speaks about."""

    phase: Open[Phase] | None = None
    health: Open[Health] | None = None

    helm_release: HelmReleaseStatus | None = None

    history: Annotated[tuple[Snapshot, ...], Field(max_length=5)] = ()
    """The newest first."""

    inventory: Inventory | None = None
    operation: Operation | None = None
    last_attempted: LastAttempted | None = None
    failures: Failures | None = None
    next_retry_time: datetime | None = None
    last_handled: LastHandled | None = None

    unsupported_fields: tuple[str, ...] = ()
    """Fields of the spec that are set and not acted on."""

    conditions: Annotated[tuple[Condition, ...], ListMap("type")] = ()

    last_update_time: datetime | None = None
    """When this was last written."""
