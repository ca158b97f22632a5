"""A dry run: everything is decided, and nothing is written to a workload.

What the record would be is kept here instead, so that a second change is a second
change. It is lost with the process, and begun again from what workloads carry.
"""

from __future__ import annotations

import msgspec

from controller_runtime import Patch
from controllers.reload.news import Outcome, Topic
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import RECORD
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.ledger import Owed
from controllers.reload.writing.memory import Memory
from controllers.reload.writing.patches import record_text

PLANNED = Outcome("ReloadPlanned", "would reload, but for the dry run", Topic.PLANNED)


class Rehearsal:
    """Does as if; an `Acts`."""

    def __init__(self, memory: Memory | None = None) -> None:
        """Keep nothing yet.

        Args:
            memory: Of the records of workloads as they are seen here, if there is one.
                It tells them apart by versions, and here they are of the same.
        """
        self._memory = Memory() if memory is None else memory
        self._records: dict[WorkloadKey, str] = {}

    def seen(self, workload: Workload, /) -> Workload:
        """Return a workload with the record that it would have."""
        record = self._records.get(workload.key)
        if record is None:
            return workload
        annotations = {**workload.meta.annotations, RECORD: record}
        meta = msgspec.structs.replace(workload.meta, annotations=annotations)
        return workload._replace(meta=meta)

    async def carry_out(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan, /
    ) -> Outcome:
        """Remember what would be written."""
        del policy
        self._records[workload.key] = record_text(plan.record)
        self._memory.forget(workload.key)
        return PLANNED

    async def keep_up(self, workload: Workload, patch: Patch, /) -> bool:
        """Return: who pauses nothing has nothing to resume."""
        del workload, patch
        return False

    async def settle(
        self, key: WorkloadKey, current: Workload | None, /
    ) -> Owed | None:
        """Return: nothing was begun."""
        del key, current
        return None

    def owes(self, key: WorkloadKey, /) -> Owed | None:
        """Return: nothing was begun."""
        del key
        return None

    async def begin_restart(self, workload: Workload, plan: Plan | None, /) -> None:
        """Leave what another process has begun as it is."""

    async def end_restart(self, workload: Workload, plan: Plan | None, /) -> None:
        """Leave what another process has begun as it is."""

    def forget(self, key: WorkloadKey, /) -> None:
        """Forget a workload."""
        self._records.pop(key, None)
