"""Where objects stand: the rules of kstatus, a line for each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import pytest

from controller_runtime.conditions import Condition
from controller_runtime.kstatus import ObjectState, compute_status
from controller_runtime.meta import ApiModel, GroupVersionKind, Json, KubeObject

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)

CURRENT, IN_PROGRESS, FAILED = (
    ObjectState.CURRENT,
    ObjectState.IN_PROGRESS,
    ObjectState.FAILED,
)


def obj(kind: str, spec: Json | None = None, **status: object) -> Json:
    """Return an object of `group/version/Kind` of which the spec was seen."""
    api_version, _, name = kind.rpartition("/")
    return {
        "apiVersion": api_version,
        "kind": name,
        "metadata": {"name": "it", "namespace": "n", "generation": 1},
        "spec": spec or {},
        "status": {"observedGeneration": 1, **status},
    }


def unseen(kind: str) -> Json:
    """Return an object that no controller has looked at."""
    it = obj(kind)
    del it["status"]
    return it


def conditions(**states: str) -> list[Json]:
    """Return conditions: `Type="ObjectStatus"` or `Type="ObjectStatus Reason"`."""
    found = []
    for type_, text in states.items():
        status, _, reason = text.partition(" ")
        found.append({"type": type_, "status": status, "reason": reason})
    return found


def deployment(spec: Json | None = None, **changes: object) -> Json:
    done = conditions(Progressing="True NewReplicaSetAvailable", Available="True")
    counts = dict.fromkeys(
        ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2
    )
    wanted = {"replicas": 2, "progressDeadlineSeconds": 600, **(spec or {})}
    status = {"conditions": done, **counts, **changes}
    return obj("apps/v1/Deployment", wanted, **status)


def stateful_set(spec: Json | None = None, **changes: object) -> Json:
    counts = dict.fromkeys(("replicas", "readyReplicas", "currentReplicas"), 2)
    revisions = {"currentRevision": "a", "updateRevision": "a"}
    wanted = {"replicas": 2, **(spec or {})}
    return obj("apps/v1/StatefulSet", wanted, **(counts | revisions | changes))


def partitioned(partition: int, **changes: object) -> Json:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return stateful_set({"updateStrategy": strategy}, **changes)


def daemon_set(**changes: object) -> Json:
    names = "desiredNumberScheduled currentNumberScheduled updatedNumberScheduled"
    counts = dict.fromkeys((*names.split(), "numberAvailable", "numberReady"), 2)
    return obj("apps/v1/DaemonSet", None, **(counts | changes))


def replica_set(**changes: object) -> Json:
    names = "replicas fullyLabeledReplicas availableReplicas readyReplicas"
    counts = dict.fromkeys(names.split(), 2)
    return obj("apps/v1/ReplicaSet", {"replicas": 2}, **(counts | changes))


def job(spec: Json | None = None, **status: object) -> Json:
    return obj("batch/v1/Job", spec, **status)


def pod(phase: str, *, created: str = "2030-01-01T11:00:00Z", **states: str) -> Json:
    it = obj("v1/Pod", phase=phase, conditions=conditions(**states))
    it["metadata"]["creationTimestamp"] = created
    return it


def crashing() -> Json:
    it = pod("Running", Ready="False")
    it["status"]["containerStatuses"] = [
        {"name": "fine", "state": {"running": {}}},
        {"name": "odd"},
        {"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
    ]
    return it


def custom(**states: str) -> Json:
    return obj("example.com/v1/Widget", conditions=conditions(**states))


def definition(**states: str) -> Json:
    kind = "apiextensions.k8s.io/v1/CustomResourceDefinition"
    return obj(kind, conditions=conditions(**states))


def changed(it: Json) -> Json:
    """Return it after a change of the spec that nobody has looked at."""
    return {**it, "metadata": {**it["metadata"], "generation": 2}}


ON_DELETE: Json = {"updateStrategy": {"type": "OnDelete"}}
LATE = "2030-01-01T11:59:50Z"

TABLE = [
    # what every kind has
    (changed(custom(Ready="True")), IN_PROGRESS, "LatestGenerationNotObserved"),
    (changed(deployment()), IN_PROGRESS, "LatestGenerationNotObserved"),
    (custom(Reconciling="True Busy"), IN_PROGRESS, "Busy"),
    (custom(Reconciling="True Busy", Ready="True"), IN_PROGRESS, "Busy"),
    (custom(Reconciling="False"), CURRENT, ""),
    (custom(Stalled="True Broken", Ready="True"), FAILED, "Broken"),
    (custom(Stalled="False", Ready="True"), CURRENT, ""),
    (custom(Ready="True"), CURRENT, ""),
    (custom(Ready="False Because"), IN_PROGRESS, "Because"),
    (custom(Ready="Unknown Because"), IN_PROGRESS, "Because"),
    (custom(Ready="odd"), CURRENT, ""),
    (custom(), CURRENT, ""),
    (unseen("example.com/v1/Widget"), CURRENT, ""),
    # Deployment
    (unseen("apps/v1/Deployment"), IN_PROGRESS, "LessReplicas"),
    (deployment(), CURRENT, ""),
    (deployment(replicas=1), IN_PROGRESS, "LessReplicas"),
    (deployment(updatedReplicas=1), IN_PROGRESS, "LessUpdated"),
    (deployment(replicas=3), IN_PROGRESS, "ExtraPods"),
    (deployment(availableReplicas=1), IN_PROGRESS, "LessAvailable"),
    (deployment(readyReplicas=1), IN_PROGRESS, "LessReady"),
    (
        deployment(conditions=conditions(Available="True")),
        IN_PROGRESS,
        "ReplicaSetNotAvailable",
    ),
    (
        deployment(
            {"progressDeadlineSeconds": 2**31 - 1},
            conditions=conditions(Available="True"),
        ),
        CURRENT,
        "",
    ),
    (
        deployment(conditions=conditions(Progressing="True NewReplicaSetAvailable")),
        IN_PROGRESS,
        "DeploymentNotAvailable",
    ),
    (
        deployment(
            replicas=0,
            conditions=conditions(Progressing="False ProgressDeadlineExceeded"),
        ),
        FAILED,
        "ProgressDeadlineExceeded",
    ),
    # StatefulSet
    (unseen("apps/v1/StatefulSet"), IN_PROGRESS, "LessReplicas"),
    (stateful_set(), CURRENT, ""),
    (stateful_set(replicas=1), IN_PROGRESS, "LessReplicas"),
    (stateful_set(readyReplicas=1), IN_PROGRESS, "LessReady"),
    (stateful_set(replicas=3), IN_PROGRESS, "ExtraPods"),
    (stateful_set(currentReplicas=1), IN_PROGRESS, "LessCurrent"),
    (stateful_set(updateRevision="b"), IN_PROGRESS, "RevisionMismatch"),
    (stateful_set(ON_DELETE, updateRevision="b", replicas=0), CURRENT, ""),
    (partitioned(0, updatedReplicas=1), IN_PROGRESS, "PartitionRollout"),
    (partitioned(1, updatedReplicas=1, updateRevision="b"), CURRENT, ""),
    # DaemonSet
    (unseen("apps/v1/DaemonSet"), IN_PROGRESS, "NoObservedGeneration"),
    ({"apiVersion": "apps/v1", "kind": "DaemonSet"}, IN_PROGRESS, "NoGeneration"),
    (obj("apps/v1/DaemonSet"), IN_PROGRESS, "NoDesiredNumber"),
    (daemon_set(), CURRENT, ""),
    (daemon_set(currentNumberScheduled=1), IN_PROGRESS, "LessCurrent"),
    (daemon_set(updatedNumberScheduled=1), IN_PROGRESS, "LessUpdated"),
    (daemon_set(numberAvailable=1), IN_PROGRESS, "LessAvailable"),
    (daemon_set(numberReady=1), IN_PROGRESS, "LessReady"),
    # ReplicaSet
    (unseen("apps/v1/ReplicaSet"), IN_PROGRESS, "LessLabelled"),
    (replica_set(), CURRENT, ""),
    (replica_set(fullyLabeledReplicas=1), IN_PROGRESS, "LessLabelled"),
    (replica_set(availableReplicas=1), IN_PROGRESS, "LessAvailable"),
    (replica_set(readyReplicas=1), IN_PROGRESS, "LessReady"),
    (replica_set(replicas=3), IN_PROGRESS, "ExtraPods"),
    (
        replica_set(conditions=conditions(ReplicaFailure="True Quota")),
        IN_PROGRESS,
        "ReplicaFailure",
    ),
    # Job
    (unseen("batch/v1/Job"), IN_PROGRESS, "JobNotStarted"),
    (job(startTime="2030-01-01T11:00:00Z", active=1), CURRENT, ""),
    (job(conditions=conditions(Complete="True")), CURRENT, ""),
    (job(conditions=conditions(Failed="True")), FAILED, "JobFailed"),
    (job({"suspend": True}, conditions=conditions(Suspended="True")), CURRENT, ""),
    (job(conditions=conditions(Suspended="True")), IN_PROGRESS, "JobNotStarted"),
    (unseen("batch/v1/CronJob"), CURRENT, ""),
    # Pod
    (unseen("v1/Pod"), IN_PROGRESS, "PodNotObserved"),
    (pod("Succeeded"), CURRENT, ""),
    (pod("Failed"), CURRENT, ""),
    (pod("Running", Ready="True"), CURRENT, ""),
    (pod("Running", Ready="False"), IN_PROGRESS, "PodRunningNotReady"),
    (crashing(), FAILED, "ContainerCrashLooping"),
    (pod("Pending"), IN_PROGRESS, "PodPending"),
    (pod("Pending", PodScheduled="False Unschedulable"), FAILED, "PodUnschedulable"),
    (
        pod("Pending", created=LATE, PodScheduled="False Unschedulable"),
        IN_PROGRESS,
        "PodNotScheduled",
    ),
    # the rest
    (unseen("v1/PersistentVolumeClaim"), IN_PROGRESS, "NotBound"),
    (obj("v1/PersistentVolumeClaim", phase="Pending"), IN_PROGRESS, "NotBound"),
    (obj("v1/PersistentVolumeClaim", phase="Bound"), CURRENT, ""),
    (unseen("v1/Service"), CURRENT, ""),
    (obj("v1/Service", {"type": "LoadBalancer"}), IN_PROGRESS, "NoIPAssigned"),
    (
        obj("v1/Service", {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}),
        CURRENT,
        "",
    ),
    (unseen("v1/ConfigMap"), CURRENT, ""),
    (unseen("v1/Secret"), CURRENT, ""),
    (obj("policy/v1/PodDisruptionBudget"), CURRENT, ""),
    (
        changed(obj("policy/v1/PodDisruptionBudget")),
        IN_PROGRESS,
        "LatestGenerationNotObserved",
    ),
    (definition(), IN_PROGRESS, "Installing"),
    (definition(Established="False Installing"), IN_PROGRESS, "Installing"),
    (definition(Established="False Odd"), FAILED, "Odd"),
    (definition(NamesAccepted="False Taken"), FAILED, "Taken"),
    (definition(NamesAccepted="True", Established="True"), CURRENT, ""),
]


@pytest.mark.parametrize(("it", "state", "reason"), TABLE)
def test_an_object_is_where_kstatus_says(
    it: Json, state: ObjectState, reason: str
) -> None:
    status = compute_status(it, now=NOW)

    assert (status.state, status.reason) == (state, reason)


def test_no_object_is_not_found() -> None:
    assert compute_status(None, now=NOW).state is ObjectState.NOT_FOUND


def test_what_is_being_deleted_is_terminating_whatever_else_it_is() -> None:
    it = custom(Stalled="True Broken")
    it["metadata"]["deletionTimestamp"] = "2030-01-01T11:00:00Z"

    assert compute_status(it, now=NOW).state is ObjectState.TERMINATING


@pytest.mark.parametrize(
    ("it", "message"),
    [
        (pod("Odd"), "unknown phase Odd"),
        (pod("Pending", created="x", PodScheduled="False Unschedulable"), "no time"),
        (deployment(replicas="two"), "status.replicas is no integer"),
        (custom() | {"status": "fine"}, "its parent is no object"),
        (custom() | {"status": {"conditions": {}}}, "status.conditions is no list"),
        (custom() | {"status": {"conditions": ["x"]}}, "something that is no object"),
        (custom() | {"metadata": {"deletionTimestamp": 1}}, "is no string"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_says_why(it: Json, message: str) -> None:
    status = compute_status(it, now=NOW)

    assert status.state is ObjectState.UNKNOWN
    assert message in status.message


def test_a_message_says_how_far_it_is() -> None:
    assert compute_status(deployment(readyReplicas=1), now=NOW).message == "Ready: 1/2"
    crash = compute_status(crashing(), now=NOW)
    assert crash.message == "Containers in CrashLoop state: main"


class WidgetStatus(ApiModel):
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()


class Widget(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Widget")

    status: WidgetStatus = WidgetStatus()


def test_an_object_with_a_model_is_read_the_same() -> None:
    it = custom(Ready="False Because")
    it["status"]["conditions"][0]["lastTransitionTime"] = "2030-01-01T11:00:00Z"
    widget = Widget.model_validate(it)

    assert compute_status(widget, now=NOW) == compute_status(it, now=NOW)
    assert compute_status(widget, now=NOW).reason == "Because"
