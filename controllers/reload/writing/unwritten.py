"""Records that may not be written, kept here instead.

What reloads without a patch, a CronJob that runs a Job and a Job that is started anew,
can do so under a role that does not let it be patched: that of the original's chart
gives `list` and `get` on CronJobs, and besides these `create` and `delete` on Jobs.
What would be in the annotations of such a workload stays in memory, and it is compared
as if it were there. A role that has `patch` by now is made use of with the next record,
or ten minutes later.

It is lost with the process: what changes while nobody runs is adopted then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog

from api.batch.v1 import CronJob, Job
from controller_runtime import ApiError, Patch, merge_patch
from controllers.reload.policy import ReloadPolicy
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.upkeep import NOTHING, Chore

log = structlog.get_logger(__name__)

_KINDS = frozenset({CronJob.gvk.kind, Job.gvk.kind})
"""What reloads without a patch."""


_AGAIN = timedelta(minutes=10)
"""Until it is tried again: as often as workloads are looked at in any case."""


class _Notes(NamedTuple):
    uid: str
    annotations: Mapping[str, str | None]
    tried: datetime


class _Metadata(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    annotations: dict[str, str | None]
    resource_version: str = ""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """What a patch holds that changes nothing but annotations."""

    metadata: _Metadata


_decoder = msgspec.json.Decoder(_Body)


class Unwritten:
    """Annotations that workloads would have; an `Upkeep` that tries to write them."""

    def __init__(self) -> None:
        self._notes: dict[WorkloadKey, _Notes] = {}
        self._told: set[str] = set()

    def seen(self, workload: Workload) -> Workload:
        """Return a workload as if what it may not have were there."""
        notes = self._of(workload)
        if notes is None:
            return workload
        there = {**workload.meta.annotations, **notes.annotations}
        annotations = {key: value for key, value in there.items() if value is not None}
        meta = msgspec.structs.replace(workload.meta, annotations=annotations)
        return workload._replace(meta=meta)

    def __call__(
        self, workload: Workload, policy: ReloadPolicy, now: datetime, /
    ) -> Chore:
        """Try again what was refused a while ago."""
        del policy
        notes = self._of(workload)
        if notes is None:
            return NOTHING
        left = notes.tried + _AGAIN - now
        if left > timedelta():
            return Chore(seconds=left.total_seconds())
        version = workload.meta.resource_version
        metadata = {"resourceVersion": version, "annotations": notes.annotations}
        return Chore(merge_patch({"metadata": metadata}))

    def keep(
        self, workload: Workload, patch: Patch, refusal: ApiError, now: datetime
    ) -> bool:
        """Keep what a refused patch would have written; tell whether that will do."""
        kind = workload.key.kind
        if kind not in _KINDS:
            return False
        try:
            body = _decoder.decode(patch.body)
        except msgspec.MsgspecError:
            return False  # it changes more than annotations
        before = self._of(workload)
        notes = {} if before is None else before.annotations
        self._notes[workload.key] = _Notes(
            workload.meta.uid, {**notes, **body.metadata.annotations}, now
        )
        if kind not in self._told:
            self._told.add(kind)
            log.warning(
                "records are kept in memory: changes that are made while this does not "
                "run are missed",
                kind=kind,
                error=str(refusal),
                remedy=f"allow patch on {kind.lower()}s",
            )
        return True

    def forget(self, key: WorkloadKey) -> None:
        """Let go of what is written by now, or is no more."""
        self._notes.pop(key, None)

    def _of(self, workload: Workload) -> _Notes | None:
        notes = self._notes.get(workload.key)
        return notes if notes is not None and notes.uid == workload.meta.uid else None
