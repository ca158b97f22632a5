"""The group `secrets-store.csi.x-k8s.io`, version `v1`: secrets from elsewhere.

A SecretProviderClass says what to fetch. For each pod that mounts it, the driver
writes a SecretProviderClassPodStatus that says which version of what the pod has.
"""

from __future__ import annotations

from typing import ClassVar

from controller_runtime.meta import ApiModel, GroupVersionKind, KubeObject

_GROUP = "secrets-store.csi.x-k8s.io"


class SecretProviderClass(KubeObject):
    """What to fetch, and from where; we read its annotations alone."""

    gvk: ClassVar = GroupVersionKind(_GROUP, "v1", "SecretProviderClass")


class MountedObject(ApiModel):
    """One thing that was fetched."""

    id: str = ""
    version: str = ""


class PodStatus(ApiModel):
    """What one pod has."""

    secret_provider_class_name: str = ""
    objects: tuple[MountedObject, ...] = ()


class SecretProviderClassPodStatus(KubeObject):
    """What one pod has of one SecretProviderClass."""

    gvk: ClassVar = GroupVersionKind(_GROUP, "v1", "SecretProviderClassPodStatus")
    plural: ClassVar = "secretproviderclasspodstatuses"

    status: PodStatus = PodStatus()
