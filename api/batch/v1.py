"""The group `batch`, version `v1`: work that ends, its template and its end."""

from __future__ import annotations

from typing import ClassVar

from api.core.v1 import PodTemplateSpec
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
    """What a Job runs, and whether it does at the moment."""

    suspend: bool = False
    template: PodTemplateSpec = PodTemplateSpec()


class Job(KubeObject):
    """A pod that runs to its end."""

    gvk: ClassVar = GroupVersionKind("batch", "v1", "Job")

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    @property
    def is_finished(self) -> bool:
        """It has succeeded or failed, and starts no more pods."""
        return any(
            one.type in {"Complete", "Failed"} and one.status == "True"
            for one in self.status.conditions
        )


class JobTemplateSpec(ApiModel):
    """The Jobs that a CronJob makes."""

    spec: JobSpec = JobSpec()


class CronJobSpec(ApiModel):
    """What a CronJob runs; when is nothing that we read."""

    suspend: bool = False
    job_template: JobTemplateSpec = JobTemplateSpec()


class CronJob(KubeObject):
    """Jobs by the clock."""

    gvk: ClassVar = GroupVersionKind("batch", "v1", "CronJob")

    spec: CronJobSpec = CronJobSpec()
