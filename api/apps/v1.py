"""The group `apps`, version `v1`: workloads that keep pods running.

All three have their pod template in the same place, which is all that we read. A
ControllerRevision keeps what a workload was.
"""

from __future__ import annotations

from typing import Any, ClassVar

from api.core.v1 import PodTemplateSpec
from controller_runtime.meta import ApiModel, GroupVersionKind, KubeObject


class WorkloadSpec(ApiModel):
    """The part of a spec that Deployments, StatefulSets and DaemonSets share."""

    template: PodTemplateSpec = PodTemplateSpec()


class Deployment(KubeObject):
    """Interchangeable pods, replaced step by step."""

    gvk: ClassVar = GroupVersionKind("apps", "v1", "Deployment")

    spec: WorkloadSpec = WorkloadSpec()


class StatefulSet(KubeObject):
    """Pods with names and storage of their own, replaced in order."""

    gvk: ClassVar = GroupVersionKind("apps", "v1", "StatefulSet")

    spec: WorkloadSpec = WorkloadSpec()


class DaemonSet(KubeObject):
    """A pod on each node."""

    gvk: ClassVar = GroupVersionKind("apps", "v1", "DaemonSet")

    spec: WorkloadSpec = WorkloadSpec()


class ControllerRevision(KubeObject):
    """The document of one version of something; it cannot change."""

    gvk: ClassVar = GroupVersionKind("apps", "v1", "ControllerRevision")

    revision: int = 0
    data: Any = None
