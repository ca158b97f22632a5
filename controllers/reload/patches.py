"""A plan → the one patch of a workload that carries it out.

    env-vars     a variable for each changed source, in the container that uses it
    annotations  one annotation of the pod template, for the first of them
    restart      of a Rollout: when it is to make its pods anew, and no more

The record goes along, and the resource version: the server answers with a conflict
when the workload has changed since, and then all of it has to be decided again.

Kinds of Kubernetes' own are patched strategically, item by item. The others cannot be:
they get their list of containers back whole, as it was in the version that the patch
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from api.batch.v1 import CronJob
from controller_runtime import Json, Patch, merge_patch, strategic_merge_patch
from controllers.reload.options import Strategy
from controllers.reload.rollout import LAST_RELOADED_FROM, RECORD, Marker, Plan
from controllers.reload.workloads import OPTIONAL_WORKLOADS, Workload


def record_patch(workload: Workload, plan: Plan) -> Patch:
    """Build the patch that writes the record, and leaves the pods alone."""
    return merge_patch({"metadata": _metadata(workload, plan)})


def restart_patch(workload: Workload, plan: Plan, *, now: datetime) -> Patch:
    """Build the patch by which a Rollout restarts its pods."""
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    spec = {"restartAt": moment}
    return merge_patch({"metadata": _metadata(workload, plan), "spec": spec})


def patch_for(workload: Workload, plan: Plan, *, now: datetime) -> Patch:
    """Build the patch of a workload with a pod template.

    Args:
        workload: The version that the plan is for.
        plan: What to write.
        now: Wall-clock time, which makes one reload differ from the last.
    """
    body: dict[str, object] = {"metadata": _metadata(workload, plan)}
    if workload.key.kind in OPTIONAL_WORKLOADS:
        if plan.markers:
            body["spec"] = {"template": _whole_template(workload, plan, now)}
        return merge_patch(body)
    if plan.markers:
        body["spec"] = {"template": _template(plan, now)}
        if workload.key.kind == CronJob.gvk.kind:
            body["spec"] = {"jobTemplate": {"spec": body["spec"]}}
    return strategic_merge_patch(body)


def mark(template: Json, plan: Plan, now: datetime) -> None:
    """Put the markers of a plan into a pod template."""
    if plan.strategy is Strategy.ANNOTATIONS:
        metadata = template.setdefault("metadata", {})
        annotations = metadata.setdefault("annotations", {})
        annotations[LAST_RELOADED_FROM] = last_reloaded_from(plan.markers[0], now)
        return
    for marker in plan.markers:
        for container in template["spec"]["containers"]:
            if container["name"] == marker.container:
                _put(container, marker)


def _put(container: Json, marker: Marker) -> None:
    env: list[Json] = container.get("env") or []
    left = [one for one in env if one["name"] != marker.variable]
    if marker.value is not None:
        left.append({"name": marker.variable, "value": marker.value})
    container["env"] = left


def _metadata(workload: Workload, plan: Plan) -> Mapping[str, object]:
    return {
        "resourceVersion": workload.meta.resource_version,
        "annotations": {RECORD: record_text(plan.record)},
    }


def _whole_template(
    workload: Workload, plan: Plan, now: datetime
) -> Mapping[str, object]:
    if plan.strategy is Strategy.ANNOTATIONS:
        return _template(plan, now)
    template = workload.document()["spec"]["template"]
    mark(template, plan, now)
    return {"spec": {"containers": template["spec"]["containers"]}}


def _template(plan: Plan, now: datetime) -> Mapping[str, object]:
    if plan.strategy is Strategy.ANNOTATIONS:
        annotations = {LAST_RELOADED_FROM: last_reloaded_from(plan.markers[0], now)}
        return {"metadata": {"annotations": annotations}}
    variables: dict[str, list[Mapping[str, str]]] = {}
    for marker in plan.markers:
        variables.setdefault(marker.container, []).append(_variable(marker))
    containers = [{"name": c, "env": env} for c, env in variables.items()]
    return {"spec": {"containers": containers}}


def _variable(marker: Marker) -> Mapping[str, str]:
    if marker.value is None:
        return {"name": marker.variable, "$patch": "delete"}
    return {"name": marker.variable, "value": marker.value}


def record_text(record: Mapping[str, str]) -> str:
    """Write a record as its annotation has it."""
    return msgspec.json.encode(record, order="sorted").decode()


class _LastReloadedFrom(msgspec.Struct, rename="camel"):
    """The original's keys in the original's order."""

    type: str
    name: str
    namespace: str
    hash: str
    container_refs: Sequence[str]
    observed_at: int


def last_reloaded_from(marker: Marker, now: datetime) -> str:
    """Write the marker of the `annotations` strategy."""
    source = marker.source
    last = _LastReloadedFrom(
        type=source.kind.type_name,
        name=source.name,
        namespace=source.namespace,
        hash=marker.hash,
        container_refs=[marker.container],
        observed_at=int(now.timestamp()),
    )
    return msgspec.json.encode(last).decode()
