"""Restart by eviction: what is written down of it, and which pods go next.

    begun     annotation {"change": …}                      a look, through the gates
    bounded   annotation {"change": …, "olderThan": …}      `restarter`, from the pods
    under way a few old pods are evicted at a time          `restarter`
    done      no old pod is left, all are ready: the record lands, the annotation goes

The annotation is metadata of the workload, and restarts nothing. It says for which
content the pods are restarted, and which are old: those no younger than the youngest
that was there when it began, by the server's own clock. So a manager that is killed
goes on where it was, and pods that have what is new stay. The record is written last:
until then every look finds the same change, and another one begins anew.

A change that is taken back in the middle leaves pods with either content. Then all go
once more, under the change that is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.openshift.v1 import DeploymentConfig
from controller_runtime import Json, LabelSelector
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.rollouts.progress import desired_pods
from controllers.reload.workloads import Workload, WorkloadKey

RESTARTING = "reloader.stakater.com/restarting"
"""Annotation of a workload whose pods are evicted: JSON of a `Restarting`."""

_KINDS = frozenset(
    model.gvk.kind for model in (Deployment, StatefulSet, DaemonSet, DeploymentConfig)
)

_OWNERS: Mapping[str, str] = {
    Deployment.gvk.kind: "ReplicaSet",
    DeploymentConfig.gvk.kind: "ReplicationController",
}
"""Kind → what owns its pods, if it does not itself; named like it, and a dash."""


class Restarting(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A restart that was begun."""

    change: str
    """Of which sources, to what; empty when a change was taken back."""

    older_than: str = ""
    """Pods created then or before are old: RFC 3339, seconds; empty: not known yet."""

    @property
    def text(self) -> str:
        """As the annotation has it."""
        return msgspec.json.encode(self).decode()


class Pod(NamedTuple):
    """What matters of a pod."""

    name: str
    uid: str
    created: str
    """RFC 3339, seconds, UTC: texts compare."""

    is_ready: bool = True
    is_ending: bool = False
    """It was deleted, and is still there."""


class Step(NamedTuple):
    """What to do next."""

    evict: tuple[Pod, ...] = ()
    is_done: bool = False
    """All pods are new and ready."""


_decoder = msgspec.json.Decoder(Restarting)


def is_evicted(key: WorkloadKey, policy: ReloadPolicy) -> bool:
    """Tell whether a reload of a workload evicts its pods."""
    return policy.evicts and key.kind in _KINDS


def read_restarting(workload: Workload) -> Restarting | None:
    """Return the restart that a workload is in; `None` if in none."""
    text = workload.meta.annotations.get(RESTARTING)
    if text is None:
        return None
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError:
        return Restarting("?")  # somebody else's words: begun anew


def restart_change(plan: Plan | None) -> str:
    """Name what a restart is for: 10 hex digits, or empty if there is no change."""
    if plan is None or not plan.markers:
        return ""
    changes = (f"{marker.source.recorded} {marker.hash}" for marker in plan.markers)
    return sha256("\n".join(changes).encode()).hexdigest()[:10]


def next_step(pods: Iterable[Pod], *, older_than: str, want: int, batch: int) -> Step:
    """Decide which pods are evicted now.

    Those that are not ready serve nobody, and may lack just what is new: they go at
    once. Of the others no more go than leave `batch` pods missing in all.

    Args:
        pods: All of the workload.
        older_than: Whatever is not younger is old.
        want: How many there should be.
        batch: How many may be missing.
    """
    pods = tuple(pods)
    ready = sum(pod.is_ready and not pod.is_ending for pod in pods)
    old = [pod for pod in pods if pod.created <= older_than]
    if not old and ready >= want:
        return Step(is_done=True)
    waiting = sorted((pod for pod in old if not pod.is_ending), key=_age)
    unready = [pod for pod in waiting if not pod.is_ready]
    room = max(0, batch - max(0, want - ready))
    return Step((*unready, *[pod for pod in waiting if pod.is_ready][:room]))


def youngest(pods: Iterable[Pod]) -> str:
    """Return when the youngest pod was created; empty if there is none."""
    return max((pod.created for pod in pods), default="")


def pods_of(workload: Workload, documents: Iterable[Json]) -> tuple[Pod, ...]:
    """Read the pods that a workload owns, of those that its selector has found."""
    return tuple(
        _pod(document) for document in documents if _is_owned(workload, document)
    )


def selector_of(workload: Workload) -> str:
    """Return what selects the pods of a workload, as a query has it.

    Raises:
        SelectorError: It cannot be read.
    """
    found = workload.document()["spec"].get("selector") or {}
    if workload.key.kind == DeploymentConfig.gvk.kind:
        found = {"matchLabels": found}
    return str(LabelSelector.from_dict(found))


def batch_of(workload: Workload) -> int:
    """Return how many pods may be missing: what its own rollout may, or one."""
    spec = workload.document()["spec"]
    name = "strategy" if workload.key.kind in _OWNERS else "updateStrategy"
    strategy = spec.get(name) or {}
    parameters = strategy.get("rollingUpdate") or strategy.get("rollingParams") or {}
    return max(1, _resolved(parameters.get("maxUnavailable"), desired_pods(workload)))


def _resolved(value: object, whole: int) -> int:
    """Return a number, or a percentage of a whole, rounded down."""
    if isinstance(value, int):
        return value
    digits = value.removesuffix("%") if isinstance(value, str) else ""
    return whole * int(digits) // 100 if digits.isdecimal() else 0


def _age(pod: Pod) -> tuple[str, str]:
    return pod.created, pod.name


def _is_owned(workload: Workload, document: Json) -> bool:
    status = document.get("status") or {}
    if status.get("phase") in {"Succeeded", "Failed"}:
        return False  # it is over, and was counted by nobody
    owners = document["metadata"].get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return False
    if (between := _OWNERS.get(workload.key.kind)) is None:
        return bool(owner["uid"] == workload.meta.uid)
    is_between = owner["kind"] == between
    return is_between and str(owner["name"]).startswith(f"{workload.key.name}-")


def _pod(document: Json) -> Pod:
    metadata: Mapping[str, Any] = document["metadata"]
    conditions = (document.get("status") or {}).get("conditions") or ()
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        is_ready=any(
            one.get("type") == "Ready" and one.get("status") == "True"
            for one in conditions
        ),
        is_ending="deletionTimestamp" in metadata,
    )
