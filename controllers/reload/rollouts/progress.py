"""How far the rollout of a workload has come: its spec and status → `RolloutState`.

    not seen by its controller                  PENDING
    paused, or a canary that somebody promotes  PAUSED
    all pods are new and available              COMPLETE
    its controller has given up                 FAILED
    anything else                               PROGRESSING

Deployments, StatefulSets and DaemonSets are read as kstatus does, which is at least as
strict as `kubectl rollout status`. Argo's Rollouts say it themselves, in their phase.
DeploymentConfigs are counted like Deployments, as `oc rollout status` does.

Pure. Whatever cannot be read is in progress: who waits for it has a limit of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.argoproj.v1alpha1 import Rollout
from api.openshift.v1 import DeploymentConfig
from controller_runtime import Json, ObjectState, RawObject, compute_status
from controllers.reload.workloads import Workload

ROLLING_KINDS = frozenset(
    model.gvk.kind
    for model in (Deployment, StatefulSet, DaemonSet, Rollout, DeploymentConfig)
)
"""Kinds that replace their pods step by step, and say how far they are."""

_KSTATUS_KINDS = frozenset(
    model.gvk.kind for model in (Deployment, StatefulSet, DaemonSet)
)

_UNBOUNDED = 2**31 - 1
"""What `progressDeadlineSeconds` is when there is none (`math.MaxInt32`)."""

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""kstatus asks for the time on account of pods alone."""


class Stage(StrEnum):
    """How far a rollout has come."""

    PENDING = "Pending"
    """Its controller has not seen the new template."""

    PROGRESSING = "Progressing"
    """Pods are being replaced."""

    PAUSED = "Paused"
    """It goes on when somebody lets it."""

    COMPLETE = "Complete"
    """All pods are new, and available."""

    FAILED = "Failed"
    """Its controller has given up on it."""


class RolloutState(NamedTuple):
    """Where a rollout stands."""

    stage: Stage
    text: str = ""
    """What is missing, or what went wrong."""

    score: int = 0
    """New pods, and those that are available: grows while there is headway."""

    has_rolled: bool = False
    """No pod of an older template is left, available or not: what is missing now may
    have gone missing long after."""


class _Counts(msgspec.Struct, rename="camel"):
    observed_generation: object = None
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0


class _Wanted(msgspec.Struct):
    replicas: int = 1


class _Counted(msgspec.Struct):
    spec: _Wanted = msgspec.field(default_factory=_Wanted)
    status: _Counts = msgspec.field(default_factory=_Counts)


_counted = msgspec.json.Decoder(_Counted)


def is_at_rest(entry: RawObject) -> bool:
    """Tell whether a workload surely does not roll out; `False` in every doubt.

    Of thousands that were reloaded once nearly all are at rest, and this is all that
    is read of them.
    """
    try:
        read = _counted.decode(entry.raw)
    except msgspec.MsgspecError:
        return False
    status = read.status
    counts = {
        status.replicas,
        status.updated_replicas,
        status.ready_replicas,
        status.available_replicas,
    }
    is_seen = str(status.observed_generation) == str(entry.meta.generation)
    return is_seen and counts == {read.spec.replicas}


def rollout_state(workload: Workload) -> RolloutState:
    """Tell where the newest rollout of a workload stands."""
    document = workload.document()
    spec, status = _part(document, "spec"), _part(document, "status")
    stage, text = _stage(workload, document, spec, status)
    if stage is Stage.PENDING:
        return RolloutState(stage, text)  # what it counts is of the last template
    return RolloutState(stage, text, _score(status), _has_rolled(workload, status))


def deadline_seconds(workload: Workload) -> float:
    """Return after how long without headway its own controller gives up; 0 is never."""
    found = _part(workload.document(), "spec").get("progressDeadlineSeconds")
    is_one = isinstance(found, int) and found < _UNBOUNDED
    return float(found) if is_one and isinstance(found, int) else 0.0


def desired_pods(workload: Workload) -> int:
    """Return how many pods a workload wants to have."""
    document = workload.document()
    if workload.key.kind == DaemonSet.gvk.kind:
        return _number(_part(document, "status"), "desiredNumberScheduled")
    return _number(_part(document, "spec"), "replicas", 1)


def _stage(
    workload: Workload,
    document: Json,
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
) -> tuple[Stage, str]:
    kind, gvk = workload.key.kind, workload.key.gvk
    # Argo writes it as text.
    if str(status.get("observedGeneration", "")) != str(workload.meta.generation):
        is_paused = spec.get("paused") is True
        return (Stage.PAUSED if is_paused else Stage.PENDING), "it was not begun yet"
    if kind == Rollout.gvk.kind:
        return _argo(spec, status)
    if kind == DeploymentConfig.gvk.kind:
        stage, text = _deployment_config(spec, status)
    elif kind in _KSTATUS_KINDS:
        # The items of a list do not say of which kind they are.
        whole = document | {"apiVersion": gvk.api_version, "kind": kind}
        found = compute_status(whole, now=_NO_TIME)
        stage = _STAGES.get(found.state, Stage.PROGRESSING)
        text = found.message
    else:
        return Stage.COMPLETE, ""
    if spec.get("paused") is True and stage is not Stage.COMPLETE:
        return Stage.PAUSED, "it is paused"
    return stage, text


_STAGES = {ObjectState.CURRENT: Stage.COMPLETE, ObjectState.FAILED: Stage.FAILED}

_PHASES = {
    "Healthy": Stage.COMPLETE,
    "Degraded": Stage.FAILED,
    "Paused": Stage.PAUSED,
}
"""Argo's `RolloutPhase`; what it does not name is under way."""


def _argo(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[Stage, str]:
    text = str(status.get("message") or "")
    stage = _PHASES.get(str(status.get("phase")), Stage.PROGRESSING)
    asked, done = str(spec.get("restartAt") or ""), str(status.get("restartedAt") or "")
    if stage is Stage.COMPLETE and asked > done:  # of one length, so texts compare
        return Stage.PROGRESSING, f"it restarts since {asked}"
    return stage, text


def _deployment_config(
    spec: Mapping[str, Any], status: Mapping[str, Any]
) -> tuple[Stage, str]:
    for condition in status.get("conditions") or ():
        is_progress = condition.get("type") == "Progressing"
        if is_progress and condition.get("status") == "False":
            return Stage.FAILED, str(condition.get("message") or "")
    want = _number(spec, "replicas", 1)
    updated, available = (
        _number(status, name) for name in ("updatedReplicas", "availableReplicas")
    )
    if updated < want or _number(status, "replicas") > updated or available < updated:
        return Stage.PROGRESSING, f"Updated: {updated}/{want}, available: {available}"
    return Stage.COMPLETE, ""


def _score(status: Mapping[str, Any]) -> int:
    return sum(
        _number(status, name)
        for name in (
            "updatedReplicas",
            "availableReplicas",
            "readyReplicas",
            "updatedNumberScheduled",
            "numberAvailable",
        )
    )


def _has_rolled(workload: Workload, status: Mapping[str, Any]) -> bool:
    match workload.key.kind:
        case Deployment.gvk.kind:
            return any(
                one.get("type") == "Progressing"
                and one.get("reason") == "NewReplicaSetAvailable"
                for one in status.get("conditions") or ()
            )
        case StatefulSet.gvk.kind:
            return status.get("currentRevision") == status.get("updateRevision")
        case DaemonSet.gvk.kind:
            updated = _number(status, "updatedNumberScheduled")
            return updated >= _number(status, "desiredNumberScheduled")
        case _:
            return False


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(fields: Mapping[str, Any], name: str, default: int = 0) -> int:
    found = fields.get(name)
    return found if isinstance(found, int) else default
