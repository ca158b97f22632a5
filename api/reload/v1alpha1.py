"""`ReloaderConfig`: which workloads reload, and for which ConfigMaps and Secrets.

    spec.watchedResources   the sources            spec.targets   the workloads
    the rest                how, when, and whom to tell

The group, the kind and most fields are those of why-xn/reloader-operator, so that its
manifests apply unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from api.meta.v1 import LabelSelector
from api.reload.alerts import Alerts
from api.reload.status import HISTORY_MAX, ReloaderConfigStatus
from controller_runtime import schema
from controller_runtime.meta import ApiModel, Duration, GroupVersionKind, KubeObject

GROUP = "reloader.stakater.com"

Name = Annotated[str, Field(min_length=1, max_length=253)]
Namespace = Annotated[str, Field(max_length=63)]
DataKey = Annotated[str, Field(min_length=1, max_length=253)]

Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
"""A name, or a regular expression (RE2) between slashes that matches whole names."""


class SourceKind(StrEnum):
    """What workloads reload for."""

    SECRET = "Secret"  # noqa: S105 - a kind, not a password
    CONFIG_MAP = "ConfigMap"


class TargetKind(StrEnum):
    """What reloads."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    DEPLOYMENT_CONFIG = "DeploymentConfig"
    ROLLOUT = "Rollout"
    CRON_JOB = "CronJob"
    JOB = "Job"
    ANY = "*"
    """All of them."""


class ReloadStrategy(StrEnum):
    """What of the pod template is changed."""

    ENV_VARS = "env-vars"
    ANNOTATIONS = "annotations"


class RolloutStrategy(StrEnum):
    """How pods come to be new."""

    ROLLOUT = "rollout"
    """The pod template changes, and the workload replaces its pods."""

    RESTART = "restart"
    """The pods are evicted, and the template stays as it is: nothing differs from what
    is in Git."""


class FailurePolicy(StrEnum):
    """What is done about a rollout that fails."""

    NONE = "None"
    ROLLBACK = "Rollback"
    """The pod template is put back, once. What sources held before is not."""


class KeyScope(ApiModel):
    """Which keys of a source count."""

    kind: SourceKind
    name: Pattern

    keys: Annotated[
        tuple[DataKey, ...], Field(max_length=256), schema.ListAtomic()
    ] = ()
    """The only ones that count; by default all."""

    ignore_keys: Annotated[
        tuple[DataKey, ...], Field(max_length=256), schema.ListAtomic()
    ] = ()
    """Those that do not count."""


class WatchedResources(ApiModel):
    """The sources: those that are named, and those that the selectors select."""

    secrets: Annotated[
        tuple[Pattern, ...], Field(max_length=1024), schema.ListAtomic()
    ] = ()
    """Secrets of the config's namespace: names, or `/regex/` for whole names."""

    config_maps: Annotated[
        tuple[Pattern, ...], Field(max_length=1024), schema.ListAtomic()
    ] = ()
    """ConfigMaps of the config's namespace: names, or `/regex/` for whole names."""

    namespace_selector: LabelSelector | None = None
    """Also every Secret and ConfigMap of namespaces with such labels, as far as
    `resourceSelector` selects it. Namespaces other than the config's need
    `--reload-allow-cross-namespace`."""

    resource_selector: LabelSelector | None = None
    """Also every Secret and ConfigMap with such labels, in the config's namespace or
    where `namespaceSelector` says."""

    enable_targeted_reload: bool = False
    """Reload targets that say `requireReference` only for what their pods use."""

    key_scopes: Annotated[
        tuple[KeyScope, ...], Field(max_length=256), schema.ListMap("kind", "name")
    ] = ()
    """Which keys count, of sources that are named here; of all others, all do."""


@schema.marked(
    schema.ValidationRule(
        "(self.name != '') != has(self.selector)",
        message="exactly one of name, selector must be set",
    ),
    schema.ValidationRule(
        "!self.canary || self.name != ''",
        message="canary needs a name: a selector may select any number",
    ),
)
class Target(ApiModel):
    """A workload, or all that have certain labels."""

    kind: TargetKind

    namespace: Annotated[Namespace, schema.Default("")] = ""
    """By default that of the config. Another one needs
    `--reload-allow-cross-namespace`."""

    name: Annotated[str, Field(max_length=253), schema.Default("")] = ""

    selector: LabelSelector | None = None
    """Labels of the workloads, instead of a name; empty selects all of the kind."""

    reload_strategy: ReloadStrategy | None = None
    """By default `spec.reloadStrategy`."""

    rollout_strategy: RolloutStrategy | None = None
    """By default `spec.rolloutStrategy`."""

    pause_period: Duration | None = None
    """For so long after a reload changes are held; then one reload brings them all."""

    require_reference: bool = False
    """With `enableTargetedReload`: reload only for what the pods use."""

    containers: Annotated[tuple[Name, ...], Field(max_length=64), schema.ListSet()] = ()
    """Only what these containers use counts as used, and one of them gets the mark; by
    default all count."""

    canary: bool = False
    """Reload it first, and the other targets that the same source concerns when its
    rollout is complete. If that fails, they wait."""


class IgnoredResource(ApiModel):
    """A source that this config never reloads for."""

    kind: SourceKind
    name: Name

    namespace: Namespace = ""
    """By default any."""


class ReloadWindow(ApiModel):
    """When reloads may begin; changes wait for it."""

    schedule: Annotated[str, Field(min_length=9, max_length=256)]
    """When it opens, as a cron line of five fields: `0 2 * * 1-5`."""

    duration: Annotated[Duration, Field(ge=timedelta(minutes=1), le=timedelta(days=7))]
    """How long it stays open."""

    time_zone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    """Of the schedule, such as `Europe/Berlin`."""


@schema.marked(
    schema.ValidationRule("self.kind != '*'", message="kind must be one kind, not all")
)
class Dependency(ApiModel):
    """A workload in the namespace of the one that waits for it."""

    kind: TargetKind
    name: Name


class ReloaderConfigSpec(ApiModel):
    """Sources, workloads, and how the ones reload for the others."""

    watched_resources: WatchedResources | None = None

    targets: Annotated[
        tuple[Target, ...],
        Field(max_length=512),
        schema.ListMap("kind", "namespace", "name"),
    ] = ()
    """The workloads. Without any, nothing reloads."""

    reload_strategy: ReloadStrategy = ReloadStrategy.ENV_VARS

    rollout_strategy: RolloutStrategy = RolloutStrategy.ROLLOUT

    auto_reload_all: bool = False
    """Watch all that a target's pods use, for that target."""

    reload_on_create: bool = False
    """Reload for a source that appears. By default it is taken as it is."""

    reload_on_delete: bool = False
    """Reload for a source that goes."""

    ignore_resources: Annotated[
        tuple[IgnoredResource, ...], Field(max_length=1024), schema.ListAtomic()
    ] = ()
    """Sources that are not watched, whatever else is said here."""

    ignore_keys: Annotated[
        tuple[DataKey, ...], Field(max_length=256), schema.ListSet()
    ] = ()
    """Keys that do not count, in any source."""

    match_labels: Mapping[str, str] = Field(default_factory=dict)
    """Labels that a source must have, all of them. With nothing else to say which are
    watched, that is all that a target's pods use."""

    alerts: Alerts | None = None

    suspend: bool = False
    """Hold reloads; changes wait until this is taken away."""

    dry_run: bool = False
    """Say what would reload, and leave the workloads alone."""

    window: ReloadWindow | None = None

    max_concurrent: Annotated[
        int | None, Field(ge=1, le=10000), schema.Format("int32")
    ] = None
    """Most targets that roll out at once."""

    min_interval: Duration | None = None
    """Least time between two reloads of one target; changes wait."""

    depends_on: Annotated[
        tuple[Dependency, ...], Field(max_length=64), schema.ListMap("kind", "name")
    ] = ()
    """Workloads whose reload and rollout have to be over first."""

    on_failure: FailurePolicy = FailurePolicy.NONE

    history_limit: Annotated[
        int, Field(ge=0, le=HISTORY_MAX), schema.Format("int32")
    ] = 10
    """Reloads that the status remembers."""


class ReloaderConfig(KubeObject):
    """Reloads workloads when ConfigMaps and Secrets change, without annotations."""

    gvk: ClassVar = GroupVersionKind(GROUP, "v1alpha1", "ReloaderConfig")
    crd: ClassVar = schema.CrdOptions(
        short_names=("rc", "rlc"),
        printer_columns=(
            schema.PrinterColumn("Strategy", ".spec.reloadStrategy"),
            schema.PrinterColumn("Targets", ".spec.targets[*].name", type="string"),
            schema.PrinterColumn("Reloads", ".status.reloadCount"),
            schema.PrinterColumn("Last Reload", ".status.lastReloadTime"),
            schema.PrinterColumn(
                "Ready", '.status.conditions[?(@.type=="Available")].status'
            ),
            schema.AGE,
            schema.PrinterColumn("Pending", ".status.pendingCount", priority=1),
        ),
    )

    spec: ReloaderConfigSpec
    status: ReloaderConfigStatus = ReloaderConfigStatus()
