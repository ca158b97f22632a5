"""Deployments, StatefulSets and DaemonSets in one view.

What reloads is a thing with a pod template; which thing only matters for its address.
A key names a workload in the queue, and a `Workload` is one version of it, parsed
from the cache when it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta, NamespacedName, RawObject

WorkloadModel = type[Deployment] | type[StatefulSet] | type[DaemonSet]

WORKLOADS: Mapping[str, WorkloadModel] = {
    model.gvk.kind: model for model in (Deployment, StatefulSet, DaemonSet)
}
"""kind → model, of everything that can reload."""


class WorkloadKey(NamedTuple):
    """Which workload. The kind is part of it: all kinds share one queue."""

    kind: str
    namespace: str
    name: str

    @property
    def object_key(self) -> NamespacedName:
        """Its place among the workloads of its kind."""
        return NamespacedName(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class Workload(NamedTuple):
    """One version of a workload."""

    key: WorkloadKey
    meta: Meta
    """Its own metadata; that of its pods is in `template`."""

    template: PodTemplateSpec


def workload_key(kind: str, entry: RawObject) -> WorkloadKey:
    """Name an object of the cache."""
    return WorkloadKey(kind, entry.meta.namespace, entry.meta.name)


def read_workload(kind: str, entry: RawObject) -> Workload:
    """Parse an object of the cache."""
    template = WORKLOADS[kind].model_validate_json(entry.raw).spec.template
    return Workload(workload_key(kind, entry), entry.meta, template)
