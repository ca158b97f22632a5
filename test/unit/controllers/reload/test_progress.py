"""How far a rollout has come, read off spec and status."""

from __future__ import annotations

import json

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Json, Meta, RawObject
from controllers.reload.rollouts.progress import (
    Stage,
    deadline_seconds,
    desired_pods,
    is_at_rest,
    rollout_state,
)
from controllers.reload.workloads import Workload, WorkloadKey

DONE = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
GOING = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
AVAILABLE = {"type": "Available", "status": "True"}


def workload(
    kind: str, status: Json, spec: Json | None = None, generation: int = 2
) -> Workload:
    meta = Meta(name="web", namespace="shop", generation=generation)
    raw = {
        "metadata": {"name": "web", "namespace": "shop", "generation": generation},
        "spec": {"replicas": 3, **(spec or {})},
        "status": status,
    }
    key = WorkloadKey(kind, "shop", "web")
    return Workload(key, meta, PodTemplateSpec(), json.dumps(raw).encode())


def replicas(updated: int, available: int, total: int = 3, **more: object) -> Json:
    return {
        "observedGeneration": 2,
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": available,
        "availableReplicas": available,
        **more,
    }


def stateful(revision: str, *, updated: int = 3, ready: int = 3) -> Json:
    return replicas(
        updated, ready, currentReplicas=3, currentRevision=revision, updateRevision="b"
    )


def daemons(updated: int, available: int) -> Json:
    return {
        "observedGeneration": 2,
        "desiredNumberScheduled": 3,
        "currentNumberScheduled": 3,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberReady": available,
    }


BOUNDED = {"progressDeadlineSeconds": 600}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "stage"),
    [
        ("Deployment", BOUNDED, {}, Stage.PENDING),
        ("Deployment", BOUNDED, {"observedGeneration": 1}, Stage.PENDING),
        (
            *("Deployment", BOUNDED),
            replicas(1, 3, 4, conditions=[GOING, AVAILABLE]),
            Stage.PROGRESSING,
        ),
        (
            *("Deployment", BOUNDED),
            replicas(3, 2, conditions=[GOING, AVAILABLE]),
            Stage.PROGRESSING,
        ),
        (
            *("Deployment", BOUNDED),
            replicas(1, 3, 4, conditions=[LATE, AVAILABLE]),
            Stage.FAILED,
        ),
        (
            *("Deployment", BOUNDED),
            replicas(3, 3, conditions=[DONE, AVAILABLE]),
            Stage.COMPLETE,
        ),
        (
            *("Deployment", {"paused": True, **BOUNDED}),
            replicas(0, 3, conditions=[AVAILABLE]),
            Stage.PAUSED,
        ),
        ("Deployment", {"paused": True}, {"observedGeneration": 1}, Stage.PAUSED),
        ("StatefulSet", {}, stateful("a", updated=1), Stage.PROGRESSING),
        ("StatefulSet", {}, stateful("b", ready=2), Stage.PROGRESSING),
        ("StatefulSet", {}, stateful("b"), Stage.COMPLETE),
        ("DaemonSet", {}, daemons(1, 3), Stage.PROGRESSING),
        ("DaemonSet", {}, daemons(3, 2), Stage.PROGRESSING),
        ("DaemonSet", {}, daemons(3, 3), Stage.COMPLETE),
        ("Rollout", {}, {"observedGeneration": "1"}, Stage.PENDING),
        (
            *("Rollout", {}),
            {"observedGeneration": "2", "phase": "Progressing"},
            Stage.PROGRESSING,
        ),
        ("Rollout", {}, {"observedGeneration": "2"}, Stage.PROGRESSING),
        (
            *("Rollout", {}),
            {"observedGeneration": "2", "phase": "Paused"},
            Stage.PAUSED,
        ),
        (
            *("Rollout", {}),
            {"observedGeneration": "2", "phase": "Degraded", "message": "timed out"},
            Stage.FAILED,
        ),
        (
            *("Rollout", {}),
            {"observedGeneration": "2", "phase": "Healthy"},
            Stage.COMPLETE,
        ),
        (
            *("Rollout", {"restartAt": "2026-01-02T00:00:00Z"}),
            {
                "observedGeneration": "2",
                "phase": "Healthy",
                "restartedAt": "2026-01-01T00:00:00Z",
            },
            Stage.PROGRESSING,
        ),
        (
            *("Rollout", {"restartAt": "2026-01-02T00:00:00Z"}),
            {
                "observedGeneration": "2",
                "phase": "Healthy",
                "restartedAt": "2026-01-02T00:00:00Z",
            },
            Stage.COMPLETE,
        ),
        ("DeploymentConfig", {}, replicas(1, 3, 4), Stage.PROGRESSING),
        ("DeploymentConfig", {}, replicas(3, 2), Stage.PROGRESSING),
        ("DeploymentConfig", {}, replicas(3, 3), Stage.COMPLETE),
        ("DeploymentConfig", {}, replicas(1, 3, conditions=[LATE]), Stage.FAILED),
        ("Deployment", {"replicas": "many"}, replicas(3, 3), Stage.PROGRESSING),
    ],
)
def test_a_stage_is_read_off_spec_and_status(
    kind: str, spec: Json, status: Json, stage: Stage
) -> None:
    assert rollout_state(workload(kind, status, spec)).stage is stage


def test_a_new_template_that_was_not_seen_has_no_score_from_the_last_one() -> None:
    seen = rollout_state(workload("Deployment", replicas(1, 3)))
    unseen = rollout_state(workload("Deployment", replicas(3, 3), generation=3))

    assert unseen.score == 0 < seen.score


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("Deployment", replicas(3, 1, conditions=[DONE]), True),
        ("Deployment", replicas(3, 1, conditions=[GOING]), False),
        ("StatefulSet", stateful("b", ready=1), True),
        ("StatefulSet", stateful("a", ready=1), False),
        ("DaemonSet", daemons(3, 1), True),
        ("DaemonSet", daemons(2, 1), False),
    ],
)
def test_a_pod_that_fails_later_is_no_rollout(
    kind: str, status: Json, expected: bool
) -> None:
    found = rollout_state(workload(kind, status))

    assert found.stage is Stage.PROGRESSING
    assert found.has_rolled is expected


def test_the_deadline_is_that_of_the_deployment() -> None:
    assert deadline_seconds(workload("Deployment", {}, BOUNDED)) == 600
    unbounded = {"progressDeadlineSeconds": 2**31 - 1}
    assert deadline_seconds(workload("Deployment", {}, unbounded)) == 0
    assert deadline_seconds(workload("StatefulSet", {})) == 0


def test_how_many_pods_are_wanted_is_in_the_spec_and_of_a_daemon_in_the_status() -> (
    None
):
    assert desired_pods(workload("Deployment", {}, {"replicas": 0})) == 0
    assert desired_pods(workload("Deployment", {})) == 3
    assert desired_pods(workload("DaemonSet", daemons(3, 3), {"replicas": 7})) == 3


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (replicas(3, 3), True),
        (replicas(2, 2, 2), False),  # the third is about to be made
        (replicas(2, 3), False),
        (replicas(3, 2), False),
        (replicas(3, 3) | {"observedGeneration": 1}, False),
        ({}, False),
        ({"replicas": "many"}, False),
    ],
)
def test_what_is_surely_at_rest_needs_no_more_reading(
    status: Json, expected: bool
) -> None:
    of = workload("Deployment", status)

    assert is_at_rest(RawObject(of.meta, of.raw)) is expected
