"""`ManagedRoost`: a chart, its values, and where and how its release is kept.

The group, the kind and most fields are those of birbparty/roost-keeper, so that its
manifests apply unchanged. What is accepted and not acted on is in `accepted`, and is
listed in `status.unsupportedFields` of an object that sets it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from api.release.accepted import (
    CommonMetadata,
    DriftDetection,
    HealthCheck,
    Hooks,
    KubeConfig,
    PostRenderer,
    TeardownPolicy,
    TestSpec,
    VerifySpec,
)
from api.release.chart import ChartRepository, ChartValues, GitSource
from api.release.status import ManagedRoostStatus
from controller_runtime.meta import (
    ApiModel,
    Duration,
    GroupVersionKind,
    Json,
    KubeObject,
)
from controller_runtime.schema import (
    AGE,
    CrdOptions,
    ListMap,
    NoDefault,
    PrinterColumn,
    immutable,
    marked,
)

GROUP = "roost.birb.party"

FINALIZER = f"{GROUP}/finalizer"

ROOST_KEEPER_FINALIZER = "roost-keeper.io/finalizer"
"""The original's, which is removed as ours is."""

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
RELEASE_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

Positive = Field(gt=timedelta())


class UpgradePolicy(ApiModel):
    """How an upgrade is done, and what becomes of one that fails."""

    force: bool = False
    """Replace objects instead of patching them; only with `applyMode: client`."""

    timeout: Annotated[Duration | None, Positive] = None
    """Longest that an upgrade or a rollback waits for objects; by default as
    `spec.timeout`."""

    atomic: bool = True
    """Roll back to the last good revision when an upgrade fails."""

    cleanup_on_fail: bool = True
    """Delete objects that a failed upgrade has created."""


class ChartSpec(ApiModel):
    """Which chart, from where, and with which values."""

    repository: ChartRepository

    name: Annotated[str, Field(pattern=DNS_LABEL, max_length=250)]
    """Name of the chart in its repository."""

    version: Annotated[str, Field(min_length=1, max_length=256)]
    """An exact version or a range such as `>=1.2.0 <2.0.0`; pre-releases count only
    where a range names one (`>=1.2.0-0`)."""

    digest: Annotated[str, Field(pattern=r"^(sha256:[a-f0-9]{64})?$")] = ""
    """What the chart must be: digest of the manifest (OCI) or of the archive."""

    values: ChartValues = ChartValues()
    upgrade_policy: UpgradePolicy = UpgradePolicy()

    hooks: Hooks | None = None
    verify: VerifySpec | None = None
    git: GitSource | None = None


class Dependency(ApiModel):
    """Another ManagedRoost that has to be ready first."""

    name: Annotated[str, Field(min_length=1, max_length=253)]

    namespace: Annotated[str, Field(max_length=63)] = ""
    """By default that of the object."""


class InstallSpec(ApiModel):
    """How a release begins."""

    crds: Literal["Skip", "Create", "CreateReplace"] = "Create"
    """What to do with the chart's `crds/`; `CreateReplace` is as `Create` so far."""

    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Attempts after the first; then the object is Stalled."""

    remediation: Literal["none", "uninstall"] = "none"
    """What to do after a failure: nothing, so that it can be looked at and upgraded
    from, or uninstall. The latter deletes whatever the chart has created."""


class UpgradeSpec(ApiModel):
    """How a release goes on."""

    crds: Literal["Skip", "Create", "CreateReplace"] = "Skip"
    """As of the install; Helm itself never upgrades CRDs."""

    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Attempts after the first; then the object is Stalled."""

    remediation: Literal["rollback", "none"] = "rollback"
    """What to do after a failure; `none` also where the upgrade is not atomic."""

    remediate_last: bool = True
    """Roll back after the last attempt as well."""


class UninstallSpec(ApiModel):
    """How a release ends."""

    disable_hooks: bool = False

    keep_history: bool = False
    """Keep the record of the release, as uninstalled."""

    deletion_propagation: Literal["background", "foreground", "orphan"] = "background"

    timeout: Annotated[Duration | None, Positive] = None
    """Longest that one attempt waits for objects to go; by default as
    `spec.timeout`."""

    on_failure: Literal["Retry", "Orphan"] = "Retry"
    """After three failures: go on for ever, or leave what is there and let the object
    go."""


@marked(immutable("namespace"), immutable("releaseName"))
class ManagedRoostSpec(ApiModel):
    """What is wanted of a release."""

    chart: ChartSpec

    namespace: Annotated[
        str, Field(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63)
    ] = ""
    """Where the chart is installed; by default where the object is. Another one needs
    `serviceAccountName`, or a manager that allows it. Cannot be changed."""

    release_name: Annotated[str, Field(max_length=53)] = ""
    """Name of the release; by default that of the object, shortened with a hash if it
    has more than 53 characters. Cannot be changed."""

    service_account_name: Annotated[str, Field(max_length=253)] = ""
    """Account of the object's namespace that everything is done as."""

    suspend: bool = False
    """Leave the release alone; deleting the object still uninstalls it."""

    interval: Annotated[Duration, Field(ge=timedelta(seconds=1))] = Duration("5m")
    """Time between two looks at chart, values and release, when nothing happens."""

    timeout: Annotated[Duration, Positive] = Duration("5m")
    """Longest that an operation waits for objects to be ready."""

    max_history: Annotated[int, Field(ge=0, le=100)] = 5
    """Revisions that Helm keeps; 0 for all."""

    create_namespace: bool = True
    """Create the namespace of the release if it is not there."""

    depends_on: Annotated[tuple[Dependency, ...], Field(max_length=64)] = ()
    """Objects that have to be Ready before anything is done for this one."""

    install: InstallSpec = InstallSpec()
    upgrade: UpgradeSpec = UpgradeSpec()
    uninstall: UninstallSpec = UninstallSpec()

    retry_interval: Annotated[Duration, Positive] = Duration("1m")
    """Time until the first retry of what failed; doubles with each, up to 15m."""

    adopt: Literal["Never", "IfUnowned", "Always"] = "IfUnowned"
    """Whether to take over a release that is there already: that nobody manages, or
    even another object's."""

    take_ownership: bool = False
    """Take over objects that exist and belong to no release."""

    apply_mode: Literal["ssa", "client", "auto"] = "ssa"
    """Server-side apply, Helm 3's three-way merge, or what the release had."""

    approval: Annotated[Literal["Automatic", "Manual"], NoDefault()] = "Automatic"

    health_checks: Annotated[
        tuple[HealthCheck, ...], ListMap("name"), Field(max_length=64)
    ] = ()
    teardown_policy: TeardownPolicy | None = None
    drift_detection: DriftDetection | None = None
    test: TestSpec | None = None
    post_renderers: Annotated[tuple[PostRenderer, ...], Field(max_length=64)] = ()
    common_metadata: CommonMetadata | None = None
    kube_config: KubeConfig | None = None

    tenancy: Json | None = None
    observability: Json | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class ManagedRoost(KubeObject):
    """A Helm release that follows a chart and its values.

    The manager installs it, upgrades it when chart, values or spec change, rolls back
    what fails, and uninstalls it when the object is deleted.
    """

    gvk: ClassVar = GroupVersionKind(GROUP, "v1alpha1", "ManagedRoost")
    crd: ClassVar = CrdOptions(
        short_names=("roost",),
        printer_columns=(
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Health", ".status.health"),
            PrinterColumn("Chart", ".spec.chart.name"),
            PrinterColumn("Version", ".spec.chart.version"),
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Revision", ".status.helmRelease.revision"),
            AGE,
            PrinterColumn(
                "Message",
                '.status.conditions[?(@.type=="Ready")].message',
                priority=1,
            ),
        ),
    )

    spec: ManagedRoostSpec
    status: ManagedRoostStatus = ManagedRoostStatus()
