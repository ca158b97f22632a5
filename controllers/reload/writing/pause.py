"""A Deployment that rests after a reload: it rolls out when its pause has ended.

    reload, and it has a period   paused, `paused-at`, marker and record, in one patch
    reload during the pause       marker and record; the pause goes on
    the period has ended          not paused any more, and `paused-at` goes

So changes of one period become one rollout at its end. The pause is the one of
stakater/Reloader (`internal/pkg/handler/pause_deployment.go`), with its annotations;
there, it is ended by a timer of the process that began it.

Nothing is remembered here. Each look reads from the object what is left of the pause:
a restart, another leader or a missed event neither prolongs it nor forgets it. It
ends early when the workload has no (valid) period any more, and when `paused-at` is
no time, or one later than a period from now: better too soon than never.

A Deployment that is paused without `paused-at` was paused by somebody else. It gets
marker and record, and stays paused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from api.apps.v1 import Deployment
from controller_runtime import Patch, merge_patch
from controllers.reload.policy import ReloadPolicy
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.upkeep import NOTHING, Chore


class Pausing(NamedTuple):
    """What a patch says about the pause."""

    is_paused: bool
    key: str
    """The annotation `paused-at`."""

    since: str | None
    """Its value, in RFC 3339; `None` takes it away."""


def pause_of_reload(
    workload: Workload, policy: ReloadPolicy, now: datetime
) -> Pausing | None:
    """Decide what a reload does about the pause; `None` leaves it as it is."""
    if workload.key.kind != Deployment.gvk.kind:
        return None
    key, period = policy.keys.paused_at, policy.terms.pause_period
    if not _is_paused(workload):
        if period is None:
            return None
        return Pausing(True, key, now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    since = workload.meta.annotations.get(key)
    if since is None or _left(since, period, now):
        return None
    return Pausing(False, key, None)  # and rolls out now, as one with what waited


class Resuming:
    """Ends pauses; an `Upkeep` that remembers nothing."""

    def __call__(
        self, workload: Workload, policy: ReloadPolicy, now: datetime, /
    ) -> Chore:
        """Decide whether a pause has ended."""
        return upkeep(workload, policy, now)

    def forget(self, key: WorkloadKey, /) -> None:
        """Return: there is nothing to let go of."""


def upkeep(workload: Workload, policy: ReloadPolicy, now: datetime) -> Chore:
    """Decide whether a pause has ended, or when it will have."""
    key = policy.keys.paused_at
    since = workload.meta.annotations.get(key)
    if since is None or workload.key.kind != Deployment.gvk.kind:
        return NOTHING
    if not _is_paused(workload):
        # Else the next pause of somebody else would pass for ours.
        return Chore(_ended(workload, key, {}))
    if left := _left(since, policy.terms.pause_period, now):
        return Chore(seconds=left)
    patch = _ended(workload, key, {"spec": {"paused": False}})
    return Chore(patch, reason="Resumed", text="rolls out: its pause has ended")


def _ended(workload: Workload, key: str, more: Mapping[str, object]) -> Patch:
    version = workload.meta.resource_version
    metadata = {"resourceVersion": version, "annotations": {key: None}}
    return merge_patch({"metadata": metadata, **more})


def _left(since: str, period: timedelta | None, now: datetime) -> float:
    """Return the seconds until the end of a pause; 0 when it is over."""
    try:
        began = datetime.fromisoformat(since)
    except ValueError:
        return 0
    if period is None or began.tzinfo is None or began - now > period:
        return 0
    return max(0.0, (period - (now - began)).total_seconds())


class _Spec(msgspec.Struct):
    paused: bool = False


class _Deployment(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


_deployment = msgspec.json.Decoder(_Deployment)


def _is_paused(workload: Workload) -> bool:
    return _deployment.decode(workload.raw).spec.paused
