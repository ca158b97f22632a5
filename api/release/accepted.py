"""What a ManagedRoost may say and nothing acts on yet.

It is accepted, so that manifests written for roost-keeper apply and keep what they
say. `status.unsupportedFields` names what an object sets of it. No field of these has
a default that the server would write: that would look as if a user had set it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.release.chart import SecretReference
from controller_runtime.meta import ApiModel, Duration, Json
from controller_runtime.schema import (
    NoDefault,
    PreserveUnknownFields,
    discriminated_by,
    marked,
)

KEEPS = PreserveUnknownFields()


@marked(KEEPS)
class Hooks(ApiModel):
    """Which hooks of the chart run."""

    pre_install: bool | None = None
    post_install: bool | None = None
    pre_upgrade: bool | None = None
    post_upgrade: bool | None = None
    timeout: Duration | None = None


class VerifySpec(ApiModel):
    """How the chart's signature is checked."""

    provider: Literal["pgp", "cosign"]
    secret_ref: SecretReference | None = None
    required: bool | None = None


@marked(
    discriminated_by(
        "type",
        {
            kind: kind
            for kind in ("http", "tcp", "udp", "grpc", "prometheus", "kubernetes")
        },
    )
)
class HealthCheck(ApiModel):
    """One probe of what the release serves."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    type: Literal["http", "tcp", "udp", "grpc", "prometheus", "kubernetes"]
    interval: Duration | None = None
    timeout: Duration | None = None
    failure_threshold: Annotated[int | None, Field(ge=1)] = None
    weight: Annotated[int | None, Field(ge=0, le=100)] = None

    http: Json | None = None
    tcp: Json | None = None
    udp: Json | None = None
    grpc: Json | None = None
    prometheus: Json | None = None
    kubernetes: Json | None = None


@marked(KEEPS)
class TeardownTrigger(ApiModel):
    """Something that ends the release before the object is deleted."""

    type: Literal[
        "timeout", "failure_count", "resource_threshold", "schedule", "webhook"
    ]
    timeout: Duration | None = None
    failure_count: Annotated[int | None, Field(ge=1)] = None
    resource_threshold: Json | None = None
    schedule: str = ""
    webhook: Json | None = None


@marked(KEEPS)
class TeardownPolicy(ApiModel):
    """When the release ends by itself, and what is kept then."""

    triggers: Annotated[tuple[TeardownTrigger, ...], Field(max_length=64)] = ()
    require_manual_approval: bool | None = None
    data_preservation: Json | None = None
    cleanup: Json | None = None
    action: Annotated[Literal["Uninstall", "Delete"], NoDefault()] = "Uninstall"


class IgnoreRule(ApiModel):
    """What may differ from what was deployed."""

    paths: Annotated[tuple[str, ...], Field(max_length=256)] = ()
    target: Json | None = None


class DriftDetection(ApiModel):
    """What is done about objects that were changed by others."""

    mode: Literal["disabled", "warn", "enabled"] | None = None
    ignore: Annotated[tuple[IgnoreRule, ...], Field(max_length=256)] = ()


class TestSpec(ApiModel):
    """Whether the chart's tests run."""

    __test__ = False  # the name is Helm's, pytest need not look

    enable: bool | None = None
    ignore_failures: bool | None = None
    filters: Any | None = None
    timeout: Duration | None = None


@marked(KEEPS)
class PostRenderer(ApiModel):
    """Changes to what a chart renders."""

    patches: Annotated[tuple[Json, ...], Field(max_length=256)] = ()
    images: Annotated[tuple[Json, ...], Field(max_length=256)] = ()


class CommonMetadata(ApiModel):
    """Labels and annotations for everything that a chart renders."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class KubeConfig(ApiModel):
    """Another cluster."""

    secret_ref: SecretReference
