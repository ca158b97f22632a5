"""The group `batch`, version `v1`: of a Job, what tells how it ends."""

from __future__ import annotations

from typing import ClassVar

from controller_runtime.meta import ApiModel, GroupVersionKind, KubeObject


class JobCondition(ApiModel):
    """One aspect of a Job; `Complete` and `Failed` are its two ends."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class JobStatus(ApiModel):
    """How far a Job is. Times are RFC 3339."""

    conditions: tuple[JobCondition, ...] = ()
    start_time: str = ""
    completion_time: str = ""


class JobSpec(ApiModel):
    """What of a Job's spec changes while it lives."""

    suspend: bool = False


class Job(KubeObject):
    """A pod that runs to its end."""

    gvk: ClassVar = GroupVersionKind("batch", "v1", "Job")

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()
