"""Entries of the record for sources that a workload does not use any more.

    first seen unused ── a day ──▶ dropped, in a patch that changes nothing else

A workload that is changed back within the day finds its entry, so that what changed
meanwhile is no surprise. After that the source counts as one that was never seen: what
it holds when it is used again is adopted, which is right, since using it made the pods
anew.

Since when an entry is unused is kept here and lost with the process: the next one
counts a day anew. All that a lost day does is that an entry stays.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import read_record
from controllers.reload.rollout import concerns
from controllers.reload.sources import Source, SourceKey
from controllers.reload.sources.digest import DELETED
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import record_patch
from controllers.reload.writing.upkeep import NOTHING, Chore

AGE = timedelta(hours=24)
"""For which an entry stays unused: a rollback is rolled forward sooner."""


class Ageing:
    """Drops what is unused for long; an `Upkeep`."""

    def __init__(self) -> None:
        self._since: dict[WorkloadKey, dict[str, datetime]] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __call__(
        self, workload: Workload, policy: ReloadPolicy, now: datetime, /
    ) -> Chore:
        """Note what is unused, and drop it when its day is over.

        That is seen at the looks of the resync: no look is made for its sake.
        """
        record = read_record(workload) or {}
        unused = [entry for entry in record if _is_unused(entry, workload, policy)]
        before = self._since.pop(workload.key, {})
        if not unused:
            return NOTHING
        since = {entry: before.get(entry, now) for entry in unused}
        self._since[workload.key] = since
        aged = {entry for entry, began in since.items() if now - began >= AGE}
        if not aged:
            return NOTHING
        left = {entry: had for entry, had in record.items() if entry not in aged}
        return Chore(record_patch(workload, Plan(left)))

    def forget(self, key: WorkloadKey, /) -> None:
        """Let go of a workload that is no more."""
        self._since.pop(key, None)


def _is_unused(entry: str, workload: Workload, policy: ReloadPolicy) -> bool:
    """Tell whether an entry is of a source that surely does not concern a workload.

    One that asks for nothing at the moment keeps its record whole, and so does one that
    ReloaderConfigs are about: they may mean sources by labels, which are not known of a
    source that is gone.
    """
    key = SourceKey.of_record(entry, workload.key.namespace)
    if key is None or key.namespace != workload.key.namespace:
        return False
    if policy.wishes or not policy.asks:
        return False
    tagged = Source(key, DELETED, {policy.keys.match: "true"})
    return not concerns(workload, policy, tagged)
