"""The group `argoproj.io`, version `v1alpha1`: of Argo Rollouts, the Rollout."""

from __future__ import annotations

from typing import ClassVar

from api.apps.v1 import WorkloadSpec
from controller_runtime.meta import GroupVersionKind, KubeObject


class Rollout(KubeObject):
    """A Deployment with more ways to replace its pods.

    One with a `workloadRef` has no template of its own.
    """

    gvk: ClassVar = GroupVersionKind("argoproj.io", "v1alpha1", "Rollout")

    spec: WorkloadSpec = WorkloadSpec()
