"""Where an object of any kind stands: has what was asked for come about?

    gone ───────────────────────────────────────▶ NotFound
    deletionTimestamp ──────────────────────────▶ Terminating
    status.observedGeneration is not generation ▶ InProgress
    condition Reconciling=True ─────────────────▶ InProgress
    condition Stalled=True ─────────────────────▶ Failed
    a kind that is known here ──────────────────▶ as its rule says
    condition Ready ────────────────────────────▶ Current if True, else InProgress
    anything else ──────────────────────────────▶ Current

The first line that fits decides. The rules, their reasons and messages are those of
kstatus (sigs.k8s.io/cli-utils `pkg/kstatus/status`, whose users are Flux, kpt and
Config Sync), so that an object is in the same state whoever looks. Known are kinds that
do not say it by conditions. An object that cannot be read that way is Unknown.

Pure: an object and a moment in, an `ObjectStatus` out. The conditions that a controller
should write for others to read are in `conditions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from controller_runtime.meta import GroupVersionKind, KubeObject

Fields: TypeAlias = Mapping[str, Any]

_UNBOUNDED = 2**31 - 1
"""What `progressDeadlineSeconds` is when there is no deadline (`math.MaxInt32`)."""

_SCHEDULING = timedelta(seconds=15)
"""How long a pod may be unschedulable before that is a failure."""


class ObjectState(StrEnum):
    """What has become of the wish that an object is."""

    IN_PROGRESS = "InProgress"
    """The world does not agree with it yet."""
    FAILED = "Failed"
    """It ran into an error, or makes no headway."""
    CURRENT = "Current"
    """It has come about."""
    TERMINATING = "Terminating"
    """The object is on its way out."""
    NOT_FOUND = "NotFound"
    """There is no such object."""
    UNKNOWN = "Unknown"
    """The object cannot be understood."""


class ObjectStatus(NamedTuple):
    """A state, and why."""

    state: ObjectState
    reason: str = ""
    """One CamelCase word, where the object is in progress or has failed."""
    message: str = ""
    """The same for people."""


class _UnreadableError(Exception):
    """A field is not what it has to be."""


def compute_status(
    obj: KubeObject | Mapping[str, Any] | None, *, now: datetime
) -> ObjectStatus:
    """Tell where an object stands.

    Args:
        obj: The whole object, with its status; `None` if there is none.
        now: Decides whether a pod has been unschedulable for long enough.
    """
    if obj is None:
        return ObjectStatus(ObjectState.NOT_FOUND, message="Resource not found")
    try:
        return _compute(_Object.of(obj), now)
    except _UnreadableError as error:
        return ObjectStatus(ObjectState.UNKNOWN, "Unreadable", str(error))


class _Condition(NamedTuple):
    type: str
    status: str
    reason: str
    message: str


class _Object(NamedTuple):
    """An object as rules read it: fields by path, with a default."""

    gvk: GroupVersionKind
    fields: Fields

    @classmethod
    def of(cls, obj: KubeObject | Mapping[str, Any]) -> _Object:
        if isinstance(obj, KubeObject):
            dumped = obj.model_dump(mode="json", by_alias=True, exclude_unset=True)
            return cls(obj.gvk, dumped)
        gvk = GroupVersionKind.parse(
            str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
        )
        return cls(gvk, obj)

    def get(self, path: str) -> object:
        """Return the field at a dotted path; `None` if it is not there."""
        found: object = self.fields
        for name in path.split("."):
            if found is None:
                return None
            if not isinstance(found, Mapping):
                raise _UnreadableError(
                    f"{path} cannot be read: its parent is no object"
                )
            found = found.get(name)
        return found

    def number(self, path: str, default: int) -> int:
        found = self.get(path)
        if found is None:
            return default
        if not isinstance(found, int) or isinstance(found, bool):
            raise _UnreadableError(f"{path} is no integer")
        return found

    def text(self, path: str, default: str = "") -> str:
        found = self.get(path)
        if found is None:
            return default
        if not isinstance(found, str):
            raise _UnreadableError(f"{path} is no string")
        return found

    def conditions(self) -> Iterator[_Condition]:
        for item in self.items("status.conditions"):
            names = ("type", "status", "reason", "message")
            yield _Condition(*(str(item.get(name) or "") for name in names))

    def condition(self, type_: str) -> _Condition | None:
        return next((it for it in self.conditions() if it.type == type_), None)

    def is_true(self, type_: str) -> bool:
        found = self.condition(type_)
        return found is not None and found.status == "True"

    def items(self, path: str) -> Iterator[Fields]:
        found = self.get(path)
        if found is None:
            return
        if not isinstance(found, Sequence) or isinstance(found, str):
            raise _UnreadableError(f"{path} is no list")
        for item in found:
            if not isinstance(item, Mapping):
                raise _UnreadableError(f"{path} has something that is no object")
            yield item


_Rule: TypeAlias = Callable[[_Object], ObjectStatus]


def _compute(obj: _Object, now: datetime) -> ObjectStatus:
    if (status := _general(obj)) is not None:
        return status
    kind = (obj.gvk.group, obj.gvk.kind)
    if kind == ("", "Pod"):
        return _pod(obj, now)
    if (rule := _RULES.get(kind)) is not None:
        return rule(obj)
    ready = obj.condition("Ready")
    if ready is not None and ready.status == "True":
        return _current("Resource is Ready")
    if ready is not None and ready.status in {"False", "Unknown"}:
        return _in_progress(ready.reason, ready.message)
    return _current("Resource is current")


def _general(obj: _Object) -> ObjectStatus | None:
    """Decide by what every kind has, if that is enough."""
    if obj.text("metadata.deletionTimestamp"):
        return ObjectStatus(
            ObjectState.TERMINATING, message="Resource scheduled for deletion"
        )
    generation = obj.number("metadata.generation", -1)
    observed = obj.number("status.observedGeneration", generation)
    if generation not in {-1, observed}:
        return _in_progress(
            "LatestGenerationNotObserved",
            f"{obj.gvk.kind} generation is {generation}, "
            f"but latest observed generation is {observed}",
        )
    for condition in obj.conditions():
        match condition:
            case _Condition("Reconciling", "True", reason, message):
                return _in_progress(reason, message)
            case _Condition("Stalled", "True", reason, message):
                return _failed(reason, message)
            case _:
                pass
    return None


def _current(message: str) -> ObjectStatus:
    return ObjectStatus(ObjectState.CURRENT, message=message)


def _in_progress(reason: str, message: str) -> ObjectStatus:
    return ObjectStatus(ObjectState.IN_PROGRESS, reason, message)


def _failed(reason: str, message: str) -> ObjectStatus:
    return ObjectStatus(ObjectState.FAILED, reason, message)


class _Few(NamedTuple):
    """Fewer than there should be."""

    reason: str
    what: str
    have: int
    want: int


def _first_lack(*lacks: _Few) -> ObjectStatus | None:
    """Name the first of several numbers that is too low."""
    for reason, what, have, want in lacks:
        if have < want:
            return _in_progress(reason, f"{what}: {have}/{want}")
    return None


def _surplus(have: int, want: int) -> ObjectStatus | None:
    if have <= want:
        return None
    return _in_progress("ExtraPods", f"Pending termination: {have - want}")


def _deployment(obj: _Object) -> ObjectStatus:
    progress = obj.condition("Progressing")
    if progress is not None and progress.reason == "ProgressDeadlineExceeded":
        return _failed(progress.reason, "Progress deadline exceeded")
    want = obj.number("spec.replicas", 1)
    have = obj.number("status.replicas", 0)
    updated = obj.number("status.updatedReplicas", 0)
    available = obj.number("status.availableReplicas", 0)
    lack = (
        _first_lack(
            _Few("LessReplicas", "Replicas", have, want),
            _Few("LessUpdated", "Updated", updated, want),
        )
        or _surplus(have, want)
        or _first_lack(
            _Few("LessAvailable", "Available", available, updated),
            _Few("LessReady", "Ready", obj.number("status.readyReplicas", 0), want),
        )
    )
    if lack is not None:
        return lack
    # Without a deadline the controller never writes the condition.
    deadline = obj.number("spec.progressDeadlineSeconds", _UNBOUNDED)
    is_done = progress is not None and progress[1:3] == (
        "True",
        "NewReplicaSetAvailable",
    )
    if deadline != _UNBOUNDED and not is_done:
        return _in_progress("ReplicaSetNotAvailable", "ReplicaSet not Available")
    if not obj.is_true("Available"):
        return _in_progress("DeploymentNotAvailable", "Deployment not Available")
    return _current(f"Deployment is available. Replicas: {have}")


def _stateful_set(obj: _Object) -> ObjectStatus:
    if obj.text("spec.updateStrategy.type") == "OnDelete":
        return _current("StatefulSet is using the ondelete update strategy")
    want = obj.number("spec.replicas", 1)
    have = obj.number("status.replicas", 0)
    lack = _first_lack(
        _Few("LessReplicas", "Replicas", have, want),
        _Few("LessReady", "Ready", obj.number("status.readyReplicas", 0), want),
    ) or _surplus(have, want)
    if lack is not None:
        return lack
    updated = obj.number("status.updatedReplicas", 0)
    partition = obj.number("spec.updateStrategy.rollingUpdate.partition", -1)
    if partition != -1:
        rest = want - partition
        return _first_lack(
            _Few("PartitionRollout", "updated", updated, rest)
        ) or _current(f"Partition rollout complete. updated: {updated}")
    current = obj.number("status.currentReplicas", 0)
    if lack := _first_lack(_Few("LessCurrent", "current", current, want)):
        return lack
    if obj.text("status.currentRevision") != obj.text("status.updateRevision"):
        message = "Waiting for updated revision to match current"
        return _in_progress("RevisionMismatch", message)
    return _current(f"All replicas scheduled as expected. Replicas: {have}")


def _daemon_set(obj: _Object) -> ObjectStatus:
    # Its controller always writes these; without them it has not looked yet.
    for path, reason in (
        ("metadata.generation", "NoGeneration"),
        ("status.observedGeneration", "NoObservedGeneration"),
    ):
        if obj.get(path) is None:
            return _in_progress(reason, f"{obj.gvk.kind} {path} not found")
    want = obj.number("status.desiredNumberScheduled", -1)
    if want == -1:
        message = "Missing .status.desiredNumberScheduled"
        return _in_progress("NoDesiredNumber", message)
    lack = _first_lack(
        *(
            _Few(reason, what, obj.number(f"status.{field}", 0), want)
            for reason, what, field in (
                ("LessCurrent", "Current", "currentNumberScheduled"),
                ("LessUpdated", "Updated", "updatedNumberScheduled"),
                ("LessAvailable", "Available", "numberAvailable"),
                ("LessReady", "Ready", "numberReady"),
            )
        )
    )
    return lack or _current(f"All replicas scheduled as expected. Replicas: {want}")


def _replica_set(obj: _Object) -> ObjectStatus:
    if obj.is_true("ReplicaFailure"):
        message = "Replica Failure condition. Check Pods"
        return _in_progress("ReplicaFailure", message)
    want = obj.number("spec.replicas", 1)
    have = obj.number("status.replicas", 0)
    lack = _first_lack(
        *(
            _Few(reason, what, obj.number(f"status.{field}", 0), want)
            for reason, what, field in (
                ("LessLabelled", "Labelled", "fullyLabeledReplicas"),
                ("LessAvailable", "Available", "availableReplicas"),
                ("LessReady", "Ready", "readyReplicas"),
            )
        )
    )
    return (
        lack
        or _surplus(have, want)
        or _current(f"ReplicaSet is available. Replicas: {have}")
    )


def _job(obj: _Object) -> ObjectStatus:
    completions = obj.number("spec.completions", obj.number("spec.parallelism", 1))
    succeeded = obj.number("status.succeeded", 0)
    failed = obj.number("status.failed", 0)
    for condition in obj.conditions():
        match condition:
            case _Condition("Complete", "True"):
                return _current(f"Job Completed. succeeded: {succeeded}/{completions}")
            case _Condition("Failed", "True"):
                message = f"Job Failed. failed: {failed}/{completions}"
                return _failed("JobFailed", message)
            case _Condition("Suspended", "True") if obj.get("spec.suspend") is True:
                return _current("Job is suspended")
            case _:
                pass
    if not obj.text("status.startTime"):
        return _in_progress("JobNotStarted", "Job not started")
    active = obj.number("status.active", 0)
    return _current(
        f"Job in progress. success:{succeeded}, active: {active}, failed: {failed}"
    )


def _pod(obj: _Object, now: datetime) -> ObjectStatus:
    match phase := obj.text("status.phase"):
        case "Succeeded":
            return _current("Pod has completed successfully")
        case "Failed":
            return _current("Pod has completed, but not successfully")
        case "Running":
            return _running_pod(obj)
        case "Pending":
            return _pending_pod(obj, now)
        case "":
            return _in_progress("PodNotObserved", "Pod phase not available")
        case _:
            raise _UnreadableError(f"unknown phase {phase}")


def _running_pod(obj: _Object) -> ObjectStatus:
    if obj.is_true("Ready"):
        return _current("Pod is Ready")
    crashing = [
        str(container.get("name", ""))
        for container in obj.items("status.containerStatuses")
        if _Object(obj.gvk, container).get("state.waiting.reason") == "CrashLoopBackOff"
    ]
    if crashing:
        message = f"Containers in CrashLoop state: {','.join(crashing)}"
        return _failed("ContainerCrashLooping", message)
    return _in_progress("PodRunningNotReady", "Pod is running but is not Ready")


def _pending_pod(obj: _Object, now: datetime) -> ObjectStatus:
    scheduled = obj.condition("PodScheduled")
    if scheduled is None or scheduled[1:3] != ("False", "Unschedulable"):
        return _in_progress("PodPending", "Pod is in the Pending phase")
    if now - _SCHEDULING < _moment(obj, "metadata.creationTimestamp"):
        return _in_progress("PodNotScheduled", "Pod has not been scheduled")
    return _failed("PodUnschedulable", "Pod could not be scheduled")


def _moment(obj: _Object, path: str) -> datetime:
    text = obj.text(path, "0001-01-01T00:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise _UnreadableError(f"{path} is no time") from None


def _claim(obj: _Object) -> ObjectStatus:
    phase = obj.text("status.phase", "unknown")
    if phase != "Bound":
        return _in_progress("NotBound", f"PVC is not Bound. phase: {phase}")
    return _current("PVC is Bound")


def _service(obj: _Object) -> ObjectStatus:
    type_ = obj.text("spec.type", "ClusterIP")
    if type_ == "LoadBalancer" and not obj.text("spec.clusterIP"):
        message = "ClusterIP not set. Service type: LoadBalancer"
        return _in_progress("NoIPAssigned", message)
    return _current("Service is ready")


def _custom_resource_definition(obj: _Object) -> ObjectStatus:
    for condition in obj.conditions():
        match condition:
            case _Condition("NamesAccepted", "False", reason, message):
                return _failed(reason, message)
            case _Condition("Established", "True"):
                return _current("CRD is established")
            case _Condition("Established", "False", reason, message) if (
                reason != "Installing"
            ):
                return _failed(reason, message)
            case _:
                pass
    return _in_progress("Installing", "Install in progress")


def _always_ready(obj: _Object) -> ObjectStatus:
    return _current("Resource is always ready")


def _disruption_budget(obj: _Object) -> ObjectStatus:
    # Its controller has seen this generation, or the general rules had decided.
    return _current("AllowedDisruptions has been computed.")


_RULES: Mapping[tuple[str, str], _Rule] = MappingProxyType(
    {
        ("", "ConfigMap"): _always_ready,
        ("", "PersistentVolumeClaim"): _claim,
        ("", "Secret"): _always_ready,
        ("", "Service"): _service,
        ("apiextensions.k8s.io", "CustomResourceDefinition"): (
            _custom_resource_definition
        ),
        ("apps", "DaemonSet"): _daemon_set,
        ("apps", "Deployment"): _deployment,
        ("apps", "ReplicaSet"): _replica_set,
        ("apps", "StatefulSet"): _stateful_set,
        ("batch", "CronJob"): _always_ready,
        ("batch", "Job"): _job,
        ("policy", "PodDisruptionBudget"): _disruption_budget,
    }
)
"""Kind → its rule; a pod's needs the time as well."""
