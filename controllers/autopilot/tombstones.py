"""Objects that were wanted once, and are deleted where they still carry our label.

    not there, kind unknown ─▶ 0 gone
    another label, unmanaged ─▶ -2 skipped
    ours ─▶ DELETE of just this version ─▶ 1 until it is gone ─▶ 0
                     └─ refused ─▶ -1 failed, and the sweep goes on

Only an object that is ours by its label, and only the version that was looked at, is
deleted. That a deletion was accepted does not mean that the object is gone: finalizers
may hold it up, and the status says so for as long as they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from enum import IntEnum

import structlog

from controller_runtime import (
    Client,
    GroupVersionKind,
    Json,
    NoKindMatchError,
    NotFoundError,
)
from controllers.autopilot.annotations import AnnotationKeys, labels_of, read_wishes
from controllers.autopilot.apply import FAILURES
from controllers.autopilot.assets import Tombstone
from controllers.autopilot.gauges import AutopilotMetrics, Target
from controllers.autopilot.metadata import Identity
from controllers.autopilot.notices import Notices, Reason

log = structlog.get_logger(__name__)


_UNSERVED = timedelta(seconds=5)
"""A server knows a CRD a moment before it serves the kind."""


class Status(IntEnum):
    """What became of an object that is to go; values of the metric."""

    PRESENT = 1
    GONE = 0
    FAILED = -1
    SKIPPED = -2


class Gravedigger:
    """Deletes what a catalogue does not want any more.

    Args:
        client: Reads live.
        identity: Whose objects are ours.
        notices: Tells of it.
        metrics: Count it.
        epoch: A number of a kind that changes when its CRD comes or goes.
        now: Seconds on a clock that does not go back.
        age: How long an object that is gone is believed to be.
        refresh: Lets the client look again whether a kind is served.
    """

    def __init__(
        self,
        client: Client,
        *,
        identity: Identity,
        notices: Notices,
        metrics: AutopilotMetrics,
        epoch: Callable[[GroupVersionKind], int],
        now: Callable[[], float],
        age: timedelta,
        refresh: Callable[[GroupVersionKind], None],
    ) -> None:
        self._client = client
        self._identity = identity
        self._notices = notices
        self._metrics = metrics
        self.again: timedelta | None = None
        """When to look again for a kind that is about to be served."""
        self._epoch = epoch
        self._refresh = refresh
        self._now = now
        self._age = age.total_seconds()
        self._gone: dict[Tombstone, tuple[int, float]] = {}
        """Those that were found to be gone: in which epoch of their kind, and when."""

    async def bury(self, tombstones: Iterable[Tombstone]) -> Mapping[str, str]:
        """Delete what is left of these; return what failed: object → why."""
        failures: dict[str, str] = {}
        self.again = None
        for tombstone in tombstones:
            target = _target(tombstone)
            if self._is_known_gone(tombstone):
                continue
            try:
                status = await self._bury(tombstone, target)
            except NoKindMatchError:
                self.again = _UNSERVED
                continue
            except FAILURES as error:
                status = Status.FAILED
                failures[str(target)] = str(error)
                self._tell(Reason.TOMBSTONE_FAILED, tombstone, f"failed: {error}")
            if status is Status.GONE:
                self._gone[tombstone] = self._epoch(tombstone.kind), self._now()
            self._metrics.tombstone(target, status)
        return failures

    def _is_known_gone(self, tombstone: Tombstone) -> bool:
        """Whether it was gone a moment ago, and its kind is as it was."""
        epoch, at = self._gone.get(tombstone, (0, float("-inf")))
        return self._now() - at < self._age and epoch == self._epoch(tombstone.kind)

    async def _bury(self, tombstone: Tombstone, target: Target) -> Status:
        live = await self._read(tombstone)
        if live is None:
            return Status.GONE
        if why := _kept_because(live, self._identity):
            self._tell(Reason.TOMBSTONE_SKIPPED, tombstone, f"kept: {why}")
            return Status.SKIPPED
        metadata = live["metadata"]
        if not metadata.get("deletionTimestamp"):
            await self._delete(tombstone, metadata)
            log.info("tombstone deleted", target=str(target))
            self._metrics.buried(target)
            self._tell(Reason.TOMBSTONE_DELETED, tombstone, "deleted")
        left = await self._read(tombstone)
        return Status.GONE if left is None else Status.PRESENT

    async def _read(self, tombstone: Tombstone) -> Json | None:
        namespace, name = tombstone.key
        if self._epoch(tombstone.kind):
            self._refresh(tombstone.kind)  # it may have been missed a moment ago
        try:
            return await self._client.get(tombstone.kind, name, namespace)
        except NotFoundError:
            return None
        except NoKindMatchError:
            if self._epoch(tombstone.kind):
                raise  # its CRD is there: the server will serve it in a moment
            return None

    async def _delete(self, tombstone: Tombstone, metadata: Json) -> None:
        namespace, name = tombstone.key
        try:
            await self._client.delete(
                tombstone.kind,
                name,
                namespace,
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
                propagation_policy="Background",
            )
        except NotFoundError:
            return  # somebody was quicker

    def _tell(self, reason: Reason, tombstone: Tombstone, what: str) -> None:
        target = _target(tombstone)
        self._notices.tell(
            reason, f"{target} ({tombstone.file}) {what}", what=str(target)
        )


def _kept_because(live: Json, identity: Identity) -> str:
    """Say why an object is not ours to delete; empty if it is."""
    label = identity.managed_by_label
    if labels_of(live).get(label) != identity.managed_by_value:
        return f"its label {label} is not {identity.managed_by_value}"
    keys = AnnotationKeys(identity.domain)
    if read_wishes(live, keys).is_unmanaged:
        return f"{keys.mode} is unmanaged"
    return ""


def _target(tombstone: Tombstone) -> Target:
    namespace, name = tombstone.key
    return Target(tombstone.kind.group, tombstone.kind.kind, namespace, name)
