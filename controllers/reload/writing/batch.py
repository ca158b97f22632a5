"""Jobs: what a reload of a CronJob starts, and of a Job starts anew.

A pod template of a Job cannot change. So a CronJob runs an additional Job with what is
new, and a Job that is at work is deleted and created again. Both as stakater/Reloader
does it (`internal/pkg/callbacks`), but for what is suspended or has ended.

What a CronJob runs is named after its last reload, so that between two of them there is
one run, however often and by whomever it is tried; and it carries the record that the
CronJob gets next, for whoever finds it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from api.batch.v1 import CronJob, Job
from controller_runtime import Json
from controllers.reload.plan import Plan
from controllers.reload.record import RECORD, RELOADED_AT, parse_record
from controllers.reload.workloads import Workload
from controllers.reload.writing.patches import mark, notes

_INSTANTIATE = "cronjob.kubernetes.io/instantiate"
"""What `kubectl create job --from` writes."""

_BASE_MAX = 52
"""Characters of a CronJob's name that fit before a dash and ten digits."""

_MADE_BY_THE_SERVER = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)
"""Labels that tie pods to one Job, and would tie those of the next to the last."""


_QUOTA = re.compile(
    r"exceeded quota: .*used: count/jobs\.batch=(?P<used>\d{1,9}), "
    r"limited: count/jobs\.batch=(?P<limited>\d{1,9})$"
)
"""What the API server says of a quota that is used up."""


class Run(NamedTuple):
    """A Job that a CronJob has run for changes."""

    name: str
    record: Mapping[str, str]
    """What the CronJob runs with since then."""

    at: datetime

    def covers(self, plan: Plan, namespace: str) -> bool:
        """Tell whether it ran for all changes of a plan."""
        names = (marker.source.recorded_in(namespace) for marker in plan.markers)
        return all(self.record.get(name) == plan.record[name] for name in names)


def is_suspended(cron_job: Workload) -> bool:
    """Tell whether a CronJob is not to run."""
    return CronJob.model_validate_json(cron_job.raw).spec.suspend


def idle_reason(job: Workload, *, again: bool) -> str:
    """Say why a Job needs no new start; empty if it does.

    Args:
        job: The Job.
        again: One that has ended is to run again.
    """
    read = Job.model_validate_json(job.raw)
    if read.spec.suspend:
        return "it is suspended, and will start with what is new"
    if read.is_finished and not again:
        return "it has ended, and is not run again"
    return ""


def run_of(
    cron_job: Workload, plan: Plan, *, now: datetime, after: str | None = None
) -> Json:
    """Make the Job that a CronJob runs for a change; `read_run` reads it.

    Args:
        cron_job: What is to run.
        plan: What it is to run with.
        now: Wall-clock time.
        after: When it was reloaded last, or empty; by default, as it says itself.
    """
    if after is None:
        after = cron_job.meta.annotations.get(RELOADED_AT, "")
    uid, name = cron_job.meta.uid, cron_job.key.name
    template: Json = cron_job.document()["spec"]["jobTemplate"]
    mark(template["spec"]["template"], plan, now)
    metadata = template.get("metadata") or {}
    digits = sha256(f"{uid} {after}".encode()).hexdigest()[:10]
    return {
        "apiVersion": Job.gvk.api_version,
        "kind": Job.gvk.kind,
        "metadata": {
            "name": f"{name[:_BASE_MAX].rstrip('-.')}-{digits}",
            "namespace": cron_job.key.namespace,
            "labels": metadata.get("labels") or {},
            "annotations": {
                **(metadata.get("annotations") or {}),
                _INSTANTIATE: "manual",
                **notes(plan, now),
            },
            "ownerReferences": [
                {
                    "apiVersion": CronJob.gvk.api_version,
                    "kind": CronJob.gvk.kind,
                    "name": name,
                    "uid": uid,
                    "controller": True,
                }
            ],
        },
        "spec": template["spec"],
    }


def read_run(job: Json, cron_job: Workload) -> Run | None:
    """Read what `run_of` has made for a CronJob; `None` if it is another Job."""
    metadata = job["metadata"]
    annotations = metadata.get("annotations") or {}
    owners = metadata.get("ownerReferences") or ()
    record = parse_record(annotations.get(RECORD, ""))
    try:
        at = datetime.fromisoformat(annotations.get(RELOADED_AT, ""))
    except ValueError:
        return None
    is_its = any(owner["uid"] == cron_job.meta.uid for owner in owners)
    if not is_its or record is None or at.tzinfo is None:
        return None
    return Run(metadata["name"], record, at)


def started_anew(job: Workload, plan: Plan, *, now: datetime) -> Json:
    """Make the Job that takes the place of one."""
    document = job.document()
    old, spec = document["metadata"], document["spec"]
    template = spec["template"]
    if not spec.get("manualSelector"):
        spec.pop("selector", None)
        _drop(template.get("metadata", {}), "labels", _MADE_BY_THE_SERVER)
    mark(template, plan, now)
    metadata = {
        name: old[name]
        for name in ("name", "namespace", "labels", "annotations", "ownerReferences")
        if name in old
    }
    _drop(metadata, "labels", _MADE_BY_THE_SERVER)
    noted = metadata.get("annotations", {}) | notes(plan, now) | plan.notes
    annotations = {key: value for key, value in noted.items() if value is not None}
    return {
        "apiVersion": Job.gvk.api_version,
        "kind": Job.gvk.kind,
        "metadata": metadata | {"annotations": annotations},
        "spec": spec,
    }


def has_place(refusal: str) -> bool:
    """Tell whether a quota refuses a second Job that would take the place of the first.

    Args:
        refusal: What the server says of the second one.
    """
    found = _QUOTA.search(refusal)
    return found is not None and int(found["used"]) <= int(found["limited"])


def _drop(metadata: Json, name: str, keys: Iterable[str]) -> None:
    entries = metadata.get(name) or {}
    for key in keys:
        entries.pop(key, None)
