"""Takes a reload back whose rollout fails, for those who ask for that.

    begin ─▶ what the markers take the place of is kept
    failed ─▶ it is put back, once, and told ─▶ the pods of before are there again
    complete ─▶ it is forgotten

The pod template is then what it was before the first reload that did not roll out, and
the old pods need not be replaced. The record stays as it is: it says that the content
was tried, so no reload follows until a source changes again. Pods that read a source
once more get what it holds now: old content of a Secret comes back from nowhere.

What is kept is lost with the process: a reload of another one is not taken back. Nor is
one after which somebody else has changed the pod template.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from controller_runtime import Json, Patch, strategic_merge_patch
from controllers.reload.gates import Gate, Turn
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import (
    LAST_RELOADED_FROM,
    is_as_reloaded,
    put_back_note,
)
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.progress import Stage
from controllers.reload.rollouts.restarts import is_evicted
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import LAST_RELOAD, RESOURCE_HASH, TRIGGERED_AT
from controllers.reload.writing.upkeep import NOTHING, Chore

KINDS = frozenset(model.gvk.kind for model in (Deployment, StatefulSet, DaemonSet))
"""Kinds whose reloads can be taken back; Argo's Rollouts abort by themselves."""

_ANNOTATIONS = (LAST_RELOADED_FROM, LAST_RELOAD, RESOURCE_HASH)

_TEXT = (
    "is taken back to the pod template from before, since its rollout failed; what "
    "sources held before does not come back: correct them, and it reloads again"
)


class _Before(NamedTuple):
    """What a pod template had where reloads put their markers; `None` is nothing."""

    variables: Mapping[tuple[str, str], str | None]
    """By container and name."""

    annotations: Mapping[str, str | None]

    order: Mapping[str, tuple[str, ...]]
    """All variables of each container: in another order, pods would be made anew."""


class Rollback(Gate):
    """Lets every reload pass; an `Upkeep`, too. Comes before `Rollouts` in the row."""

    def __init__(self, rollouts: Rollouts) -> None:
        """Keep nothing yet.

        Args:
            rollouts: Says what has failed.
        """
        self._rollouts = rollouts
        self._kept: dict[WorkloadKey, _Before] = {}
        self._begun: dict[WorkloadKey, _Before | None] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self, turn: Turn) -> None:
        """Keep what a reload is about to replace."""
        key, policy = turn.key, turn.policy
        kept = self._begun[key] = self._kept.pop(key, None)
        if not policy.terms.rolls_back or key.kind not in KINDS:
            return
        if is_evicted(key, policy):
            return  # the template stays
        before = _before(turn)
        if kept is not None and self._rollouts.stage(key) is not None:
            # The last reload has not rolled out either: what was before it is good.
            variables = {**before.variables, **kept.variables}
            before = kept._replace(variables=variables)
        self._kept[key] = before

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Keep what was kept before, if nothing was written."""
        before = self._begun.pop(turn.key, None)
        if is_reloaded:
            return
        self._kept.pop(turn.key, None)
        if before is not None:
            self._kept[turn.key] = before

    def __call__(
        self, workload: Workload, policy: ReloadPolicy, now: datetime, /
    ) -> Chore:
        """Put back what was there before a rollout that has failed."""
        del now
        key = workload.key
        before = self._kept.get(key)
        if before is None:
            return NOTHING
        stage = self._rollouts.stage(key)
        if stage is None:
            del self._kept[key]  # it has rolled out
        is_due = stage is Stage.FAILED and policy.terms.rolls_back
        if not is_due or not is_as_reloaded(key.kind, workload.meta):
            return NOTHING
        note = put_back_note(workload.meta) if policy.terms.is_canary else {}
        patch = _undo(workload, before, note)
        if patch is None:
            del self._kept[key]  # it is done, and is not done again
            return NOTHING
        self._rollouts.take_back(key)
        return Chore(patch, reason="ReloadRolledBack", text=_TEXT, is_warning=True)

    def forget(self, key: WorkloadKey, /) -> None:
        """Let go of a workload."""
        self._kept.pop(key, None)
        self._begun.pop(key, None)


def _before(turn: Turn) -> _Before:
    workload, plan = turn.workload, turn.plan
    places = {(marker.container, marker.variable) for marker in plan.markers}
    places |= {(one.name, TRIGGERED_AT) for one in workload.template.spec.containers}
    there = _variables(workload)
    annotations = workload.template.metadata.annotations
    return _Before(
        {place: there.get(place) for place in places},
        {name: annotations.get(name) for name in _ANNOTATIONS},
        {
            container.name: tuple(one.name for one in container.env)
            for container in workload.template.spec.containers
        },
    )


def _undo(workload: Workload, before: _Before, note: Mapping[str, str]) -> Patch | None:
    """Build the patch that puts things back; `None` if there is nothing to change."""
    there = _variables(workload)
    changed: dict[str, dict[str, str | None]] = {}
    for (container, name), value in before.variables.items():
        if there.get((container, name)) != value:
            changed.setdefault(container, {})[name] = value
    marked = workload.template.metadata.annotations
    annotations = {
        name: value
        for name, value in before.annotations.items()
        if marked.get(name) != value
    }
    if not changed and not annotations:
        return None
    containers = [
        {"name": name, **_variables_patch(values, before.order.get(name, ()))}
        for name, values in changed.items()
    ]
    template: Json = {"metadata": {"annotations": annotations}}
    if containers:
        template["spec"] = {"containers": containers}
    version = workload.meta.resource_version
    metadata: Json = {"resourceVersion": version}
    if note:
        metadata["annotations"] = note
    return strategic_merge_patch({"metadata": metadata, "spec": {"template": template}})


def _variables_patch(
    values: Mapping[str, str | None], order: tuple[str, ...]
) -> Mapping[str, object]:
    """Return what changes of a container's variables, and their order from then on."""
    put = [{"name": name, "value": values[name]} for name in order if name in values]
    gone = [
        {"name": name, "$patch": "delete"}
        for name, value in values.items()
        if value is None
    ]
    patch: dict[str, object] = {"env": [*put, *gone]}
    if order:
        patch["$setElementOrder/env"] = [{"name": name} for name in order]
    return patch


def _variables(workload: Workload) -> dict[tuple[str, str], str]:
    return {
        (container.name, one.name): one.value
        for container in workload.template.spec.containers
        for one in container.env
    }
