"""The group `apps.openshift.io`, version `v1`: OpenShift's older workload."""

from __future__ import annotations

from typing import ClassVar

from api.apps.v1 import WorkloadSpec
from controller_runtime.meta import GroupVersionKind, KubeObject


class DeploymentConfig(KubeObject):
    """What OpenShift had before Deployments."""

    gvk: ClassVar = GroupVersionKind("apps.openshift.io", "v1", "DeploymentConfig")

    spec: WorkloadSpec = WorkloadSpec()
