"""A plan → the one patch of a workload that carries it out.

    env-vars     a variable for each changed source, in the container that uses it
    annotations  one annotation of the pod template, for the first of them
    restart      of a Rollout: when it is to make its pods anew, and no more
    evicted      the others: what is begun, and the record when it is done

What a ReloaderConfig asks for leaves the marks of why-xn/reloader-operator too, so that
what reads these goes on to work: the hash of the content as an annotation of the pod
template, and the time as a variable of the first container, or as an annotation.

The record goes along, with the time of the reload and the name of the template that is
made, and the resource version: the server answers with a conflict when the workload
has changed since, and then all of it has to be decided again.

Kinds of Kubernetes' own are patched strategically, item by item. The others cannot be:
they get their list of containers back whole, as it was in the version that the patch
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from typing import Any

import msgspec

from controller_runtime import Json, Patch, merge_patch, strategic_merge_patch
from controllers.reload.options import Strategy
from controllers.reload.plan import Marker, Plan
from controllers.reload.record import (
    LAST_RELOADED_FROM,
    RECORD,
    RELOADED_AT,
    REVISION,
    next_revision,
    put_back_note,
)
from controllers.reload.rollouts.progress import ROLLING_KINDS
from controllers.reload.rollouts.restarts import RESTARTING, Restarting, restart_change
from controllers.reload.workloads import WORKLOADS, Workload, waits_for_deletion
from controllers.reload.writing.pause import Pausing

FIELD_MANAGER = "Reloader"
"""Owner of what is written: GitOps tools are told to ignore it by this name."""

TRIGGERED_AT = "RELOADER_TRIGGERED_AT"
"""Variable of the first container: when it was reloaded (RFC 3339)."""

LAST_RELOAD = "reloader.stakater.com/last-reload"
"""Annotation of a pod template: the same, where there are no variables."""

RESOURCE_HASH = "reloader.stakater.com/resource-hash"
"""Annotation of a pod template: SHA-256 of what the first changed source holds."""


def record_patch(
    workload: Workload, plan: Plan, *, reloaded: datetime | None = None
) -> Patch:
    """Build the patch that writes the record, and leaves the pods alone.

    Args:
        workload: The version that the plan is for.
        plan: What to write.
        reloaded: When it was reloaded in another way, if it was.
    """
    return merge_patch({"metadata": _metadata(workload, plan, reloaded)})


def begin_restart_patch(
    workload: Workload, plan: Plan | None, *, now: datetime
) -> Patch:
    """Build the patch that begins a restart by eviction; its record comes later.

    Where nothing happens to pods until they are deleted, new ones get the markers.
    """
    annotations: dict[str, str | None] = {
        RESTARTING: Restarting(restart_change(plan)).text
    }
    if plan is not None and plan.markers:
        annotations |= {RELOADED_AT: instant(now), **plan.notes}
    body: dict[str, object] = {
        "metadata": {
            "resourceVersion": workload.meta.resource_version,
            "annotations": annotations,
        }
    }
    if plan is not None and plan.markers and waits_for_deletion(workload):
        body["spec"] = {"template": _template(workload, plan, now)}
        return strategic_merge_patch(body)
    return merge_patch(body)


def restart_patch(workload: Workload, plan: Plan, *, now: datetime) -> Patch:
    """Build the patch by which a Rollout restarts its pods."""
    spec = {"restartAt": _moment(now)}
    return merge_patch({"metadata": _metadata(workload, plan, now), "spec": spec})


def patch_for(
    workload: Workload, plan: Plan, *, now: datetime, pausing: Pausing | None = None
) -> Patch:
    """Build the patch of a workload with a pod template.

    Args:
        workload: The version that the plan is for.
        plan: What to write.
        now: Wall-clock time, which makes one reload differ from the last.
        pausing: What becomes of the pause of a Deployment.
    """
    reloaded = now if plan.markers else None
    metadata = _metadata(workload, plan, reloaded, pausing)
    body: dict[str, Any] = {"metadata": metadata}
    if workload.key.kind in WORKLOADS:
        if plan.markers:
            body |= _at(workload, _template(workload, plan, now))
        if pausing is not None:
            body["spec"]["paused"] = pausing.is_paused
        return strategic_merge_patch(body)
    if plan.markers:
        body |= _at(workload, _whole_template(workload, plan, now))
    return merge_patch(body)


def _at(workload: Workload, template: Mapping[str, object]) -> dict[str, Any]:
    """Put what changes of a pod template where it is in the workload."""
    placed = dict(template)
    for name in reversed(workload.path):
        placed = {name: placed}
    return placed


def mark(template: Json, plan: Plan, now: datetime) -> None:
    """Put the markers of a plan into a pod template."""
    if annotations := _annotations(plan, now):
        metadata = template.get("metadata") or {}
        there = metadata.get("annotations") or {}
        template["metadata"] = metadata | {"annotations": there | annotations}
    if plan.strategy is Strategy.ANNOTATIONS:
        return
    containers = template["spec"]["containers"]
    for marker in plan.markers:
        for container in containers:
            if container.get("name", "") == marker.container:
                _put(container, marker.variable, marker.value)
    if plan.triggers:
        _put(containers[0], TRIGGERED_AT, _moment(now))


def _put(container: Json, variable: str, value: str | None) -> None:
    env: list[Json] = container.get("env") or []
    left = [one for one in env if one["name"] != variable]
    if value is not None:
        left.append({"name": variable, "value": value})
    container["env"] = left


def _annotations(plan: Plan, now: datetime) -> dict[str, str]:
    """Return what the pod template is annotated with."""
    first = plan.markers[0]
    is_written_here = plan.strategy is Strategy.ANNOTATIONS
    annotations = {}
    if is_written_here:
        annotations[LAST_RELOADED_FROM] = last_reloaded_from(first, now)
    if plan.triggers:
        annotations[RESOURCE_HASH] = first.content
        if is_written_here:
            annotations[LAST_RELOAD] = _moment(now)
    return annotations


def _moment(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def notes(plan: Plan, reloaded: datetime | None) -> Mapping[str, str]:
    """Return the annotations that a workload carries for us."""
    record = {RECORD: record_text(plan.record)}
    return record if reloaded is None else record | {RELOADED_AT: instant(reloaded)}


def instant(now: datetime) -> str:
    """Write a time as `RELOADED_AT` has it."""
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def _metadata(
    workload: Workload,
    plan: Plan,
    reloaded: datetime | None,
    pausing: Pausing | None = None,
) -> Mapping[str, object]:
    annotations: dict[str, str | None] = {**notes(plan, reloaded)}
    if reloaded is not None:
        annotations |= plan.notes
    if pausing is not None:
        annotations[pausing.key] = pausing.since
    if reloaded is not None and workload.key.kind in ROLLING_KINDS:
        annotations[REVISION] = next_revision(workload.key.kind, workload.meta)
    if RESTARTING in workload.meta.annotations:
        annotations[RESTARTING] = None  # with the record, it is over
    if plan.is_undone:
        annotations.update(put_back_note(workload.meta))
    return {
        "resourceVersion": workload.meta.resource_version,
        "annotations": annotations,
    }


def _whole_template(
    workload: Workload, plan: Plan, now: datetime
) -> Mapping[str, object]:
    if plan.strategy is Strategy.ANNOTATIONS:
        return _template(workload, plan, now)
    template: Json = reduce(getitem, workload.path, workload.document())
    mark(template, plan, now)
    body: dict[str, object] = {"spec": {"containers": template["spec"]["containers"]}}
    if annotations := _annotations(plan, now):
        body["metadata"] = {"annotations": annotations}
    return body


def _template(workload: Workload, plan: Plan, now: datetime) -> Mapping[str, object]:
    body: dict[str, object] = {}
    if annotations := _annotations(plan, now):
        body["metadata"] = {"annotations": annotations}
    if plan.strategy is Strategy.ANNOTATIONS:
        return body
    variables: dict[str, list[Mapping[str, str]]] = {}
    for marker in plan.markers:
        variables.setdefault(marker.container, []).append(_variable(marker))
    if plan.triggers:
        first = workload.template.spec.containers[0].name
        triggered = {"name": TRIGGERED_AT, "value": _moment(now)}
        variables.setdefault(first, []).append(triggered)
    containers = [{"name": c, "env": env} for c, env in variables.items()]
    return body | {"spec": {"containers": containers}}


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
