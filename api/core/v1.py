"""The core group's `v1`: ConfigMap, Secret and what a pod template says about them.

Only fields that a controller reads are named; the others are kept as they came.
Empty and absent are the same, as in Go: a list that the server leaves out is `()`.

What may be confidential (values of a Secret, of an environment variable) is left
out of reprs and of validation errors, so that it cannot reach a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ConfigDict, Field

from controller_runtime.meta import ApiModel, GroupVersionKind, KubeObject, ObjectMeta


class ConfigMap(KubeObject):
    """Configuration, as text or as bytes."""

    gvk: ClassVar = GroupVersionKind("", "v1", "ConfigMap")

    data: Mapping[str, str] = Field(default_factory=dict)
    binary_data: Mapping[str, str] = Field(default_factory=dict)
    """Base64, as in the JSON."""
    immutable: bool | None = None


class Secret(KubeObject):
    """Confidential bytes."""

    model_config = ConfigDict(hide_input_in_errors=True)

    gvk: ClassVar = GroupVersionKind("", "v1", "Secret")

    type: str = "Opaque"
    data: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Base64, as in the JSON; the bytes need not be text."""
    string_data: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Write-only: the server moves it to `data`."""
    immutable: bool | None = None


class NameReference(ApiModel):
    """The name of an object in the pod's namespace; `""` refers to nothing."""

    name: str = ""


class KeySelector(NameReference):
    """One key of an object in the pod's namespace."""

    key: str = ""


class EnvVarSource(ApiModel):
    """Where the value of an environment variable comes from."""

    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(ApiModel):
    """One environment variable."""

    name: str
    value: str = Field(default="", repr=False)
    value_from: EnvVarSource | None = None


class EnvFromSource(ApiModel):
    """An object whose every key becomes an environment variable."""

    config_map_ref: NameReference | None = None
    secret_ref: NameReference | None = None


class VolumeMount(ApiModel):
    """Where a container sees a volume, or one path of it."""

    name: str
    sub_path: str = ""
    sub_path_expr: str = ""
    """A path with variables in it, which only the kubelet can tell."""


class Container(ApiModel):
    """One container of a pod."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = ""
    """Always there in Kubernetes' own kinds; others may leave it out."""

    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()


class KeyToPath(ApiModel):
    """Which file of a volume a key becomes."""

    key: str = ""
    path: str = ""
    """Relative, without `..`; may have directories."""


class Projection(NameReference):
    """An object in the pod's namespace as files."""

    items: tuple[KeyToPath, ...] = ()
    """The only keys that become files; empty for all, each by its own name."""


class SecretVolumeSource(ApiModel):
    """A Secret as files."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    """As of a `Projection`."""


class VolumeProjection(ApiModel):
    """One of several objects that share a volume."""

    config_map: Projection | None = None
    secret: Projection | None = None


class ProjectedVolumeSource(ApiModel):
    """Several objects as files of one volume."""

    sources: tuple[VolumeProjection, ...] = ()


class CSIVolumeSource(ApiModel):
    """A volume that a driver provides."""

    driver: str = ""
    volume_attributes: Mapping[str, str] = Field(default_factory=dict)
    node_publish_secret_ref: NameReference | None = None
    """The Secret that the driver gets when it mounts the volume."""


class Volume(ApiModel):
    """A volume of a pod; of its kinds, those that hold configuration."""

    name: str
    config_map: Projection | None = None
    secret: SecretVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    csi: CSIVolumeSource | None = None


class PodSpec(ApiModel):
    """What runs in a pod."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    image_pull_secrets: tuple[NameReference, ...] = ()


class PodTemplateSpec(ApiModel):
    """The pods that a workload makes."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
