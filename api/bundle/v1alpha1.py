"""`WerfBundle`: a bundle in an OCI registry, and how it is deployed.

    spec.registry   where bundles are, and which of them is wanted
    spec.converge   how `werf bundle apply` is run for it: where, as whom, with what
    the rest        when, and what happens in the end

The schema is whole: what a version of the controller does not act on, it names in the
condition `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from api.bundle.status import BundleStatus
from controller_runtime import schema
from controller_runtime.meta import (
    ApiModel,
    Duration,
    GroupVersionKind,
    Json,
    KubeObject,
    Quantity,
)

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)

Name = Annotated[str, Field(min_length=1, max_length=253)]

Regex = Annotated[str, Field(max_length=256)]


class Reference(ApiModel):
    """An object in the namespace of the bundle or, failing that, of the release."""

    name: Name


@schema.marked(
    schema.ValidationRule(
        "!has(self.caSecretRef) || !has(self.insecureSkipVerify) "
        "|| !self.insecureSkipVerify",
        message="caSecretRef and insecureSkipVerify exclude each other",
    )
)
class TlsConfig(ApiModel):
    """Whom to believe, and as whom to come."""

    ca_secret_ref: Reference | None = None
    """Secret whose `ca.crt` is believed besides the system's authorities."""

    client_cert_secret_ref: Reference | None = None
    """Secret with `tls.crt` and `tls.key`, to poll with. werf has no client
    certificates, so such a registry can be polled and not deployed from."""

    insecure_skip_verify: bool = False
    """Believe whoever answers."""


class TagFilter(ApiModel):
    """Which tags count (RE2 expressions that may match anywhere in the tag)."""

    include: Regex = ""
    exclude: Regex = ""


class Verifier(StrEnum):
    """Who signs."""

    COSIGN = "cosign"
    NOTATION = "notation"


class Verification(ApiModel):
    """Deploy only what is signed."""

    provider: Verifier
    secret_ref: Reference
    """Secret with the public keys, as `*.pub`."""
    required: bool = True


@schema.marked(
    schema.ValidationRule(
        "(has(self.tag) ? 1 : 0) + (has(self.digest) ? 1 : 0) + "
        "(has(self.versionConstraint) && self.versionConstraint != '' ? 1 : 0) <= 1",
        message="at most one of tag, digest, versionConstraint may be set",
    ),
    schema.ValidationRule(
        "!has(self.tagFilter) || !(has(self.tag) || has(self.digest))",
        message="tagFilter chooses among versions: remove it, or tag and digest",
    ),
)
class RegistrySpec(ApiModel):
    """Where bundles are, and which of them is wanted."""

    url: Annotated[str, Field(min_length=1, max_length=512)]
    """Repository, such as `ghcr.io/org/bundle`; `oci://` may precede it."""

    secret_ref: Reference | None = None
    """Secret with the credentials: a docker config, `token`, or `username` and
    `password`."""

    poll_interval: Annotated[Duration, Field(ge=_MINUTE, le=_DAY)] = Duration("15m")
    """Time between two looks at the registry; up to a fifth is added, so that many
    bundles do not ask at once."""

    version_constraint: Annotated[str, Field(max_length=256)] = ""
    """Such as `>=1.2.0 <2.0.0`, as Helm reads it; empty is the newest release."""

    tag: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")] | None
    ) = None
    """One tag, followed to whatever it points to."""

    digest: Annotated[str, Field(pattern="^sha256:[a-f0-9]{64}$")] | None = None
    """One manifest, for ever."""

    tag_filter: TagFilter | None = None

    include_prereleases: bool = False
    """Whether pre-releases count that the constraint does not name."""

    allow_downgrade: bool = False
    """Whether a lower version is deployed when the one that runs has gone."""

    insecure: bool = False
    """Plain HTTP."""

    timeout: Annotated[
        Duration, Field(ge=timedelta(seconds=1), le=timedelta(minutes=5))
    ] = Duration("30s")
    """Longest that one whole look may take."""

    tls_config: TlsConfig | None = None

    verify: Verification | None = None

    proxy_secret_ref: Reference | None = None
    """Secret with `address`, and perhaps `username` and `password`."""


@schema.marked(schema.exactly_one_of("configMapRef", "secretRef"))
class ValuesSource(ApiModel):
    """A ConfigMap or Secret with values."""

    config_map_ref: Reference | None = None
    secret_ref: Reference | None = None

    key: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The one key that is read, as a YAML document; by default all are."""

    optional: bool = False
    """Whether it may be missing."""


class ValuesMode(StrEnum):
    """How values reach werf."""

    FILE = "File"
    SET = "Set"


class DriftMode(StrEnum):
    """What is done about drift."""

    DISABLED = "Disabled"
    DETECT = "Detect"
    CORRECT = "Correct"


@schema.marked(
    schema.ValidationRule(
        "!has(self.mode) || !has(self.enabled) || "
        "(self.enabled ? self.mode == 'Correct' : self.mode != 'Correct')",
        message="enabled true is mode Correct, enabled false is Detect or Disabled",
    )
)
class DriftDetection(ApiModel):
    """Whether what runs is still what was deployed."""

    enabled: bool | None = None
    """True corrects, false only tells."""
    mode: DriftMode | None = None
    interval: Annotated[Duration, Field(ge=_MINUTE, le=_DAY)] = Duration("15m")
    max_retries: Annotated[int, Field(ge=1, le=10), schema.Format("int32")] = 3


class ResourceLimits(ApiModel):
    """What the Job's pod gets; requests equal limits."""

    cpu: Annotated[Quantity, Field(gt=0)] = Quantity("1")
    memory: Annotated[Quantity, Field(ge=Quantity("64Mi"))] = Quantity("1Gi")


class Toleration(ApiModel):
    """A taint that does not keep the pod away (`core/v1 Toleration`)."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: Annotated[int, schema.Format("int64")] | None = None


class ConvergeSpec(ApiModel):
    """How the bundle is deployed."""

    service_account_name: Annotated[str, Field(min_length=1, max_length=253)] | None = (
        None
    )
    """Whom the Job acts as, in the target namespace; required if that is another one
    than the bundle's."""

    target_namespace: (
        Annotated[str, Field(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
        | None
    ) = None
    """Where the release and its Job are, by default beside the bundle. It is never
    created here."""

    release_name: (
        Annotated[str, Field(max_length=53, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
        | None
    ) = None
    """Helm release; by default the bundle's name, shortened with a hash if need be."""

    resource_limits: ResourceLimits = ResourceLimits()

    log_retention_days: Annotated[int, Field(ge=1, le=365), schema.Format("int32")] = 7
    """Days that an ended Job and its log are kept."""

    values_from: Annotated[
        tuple[ValuesSource, ...], Field(max_length=32), schema.ListAtomic()
    ] = ()
    """Later ones win over earlier ones, and all over `values`."""

    values: Json = Field(default_factory=dict)
    """Values of the chart."""

    values_mode: ValuesMode = ValuesMode.FILE
    """How they reach werf: as a file, which is always safe."""

    drift_detection: DriftDetection | None = None

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Image with werf, by default that of the controller's settings."""

    image_pull_secrets: Annotated[
        tuple[Reference, ...], Field(max_length=16), schema.ListAtomic()
    ] = ()

    priority_class_name: Annotated[str, Field(max_length=253)] = ""

    node_selector: Mapping[str, str] = Field(default_factory=dict)

    tolerations: Annotated[
        tuple[Toleration, ...], Field(max_length=64), schema.ListAtomic()
    ] = ()

    pod_labels: Mapping[str, str] = Field(default_factory=dict)
    """Added to the pod's labels; the controller's own win."""

    timeout: Annotated[Duration, Field(ge=_MINUTE, le=timedelta(hours=6))] = Duration(
        "30m"
    )
    """Longest that one apply may take; werf has no limit of its own."""

    auto_rollback: bool = False
    """Whether werf goes back to the earlier revision when an apply fails."""

    retries: Annotated[int, Field(ge=0, le=10), schema.Format("int32")] = 3
    """How often a failed apply is tried again, after 1, 5 and 15 minutes."""


class UpdateMode(StrEnum):
    """When a new version is deployed."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"
    ONCE = "Once"


class Window(ApiModel):
    """When new versions may be deployed."""

    days: Annotated[tuple[str, ...], Field(max_length=7), schema.ListSet()] = ()
    start: Annotated[str, Field(pattern="^[0-2][0-9]:[0-5][0-9]$")]
    end: Annotated[str, Field(pattern="^[0-2][0-9]:[0-5][0-9]$")]
    timezone: Annotated[str, Field(max_length=64)] = "UTC"


class UpdatePolicy(ApiModel):
    """When new versions are deployed."""

    mode: UpdateMode = UpdateMode.AUTOMATIC
    windows: Annotated[
        tuple[Window, ...], Field(max_length=32), schema.ListAtomic()
    ] = ()


class DeletionPolicy(StrEnum):
    """What becomes of the release when the bundle is deleted."""

    RETAIN = "Retain"
    UNINSTALL = "Uninstall"


class RollbackHold(StrEnum):
    """How long a rolled back version is not deployed again."""

    NEXT_VERSION = "NextVersion"
    MANUAL = "Manual"


class BundleSpec(ApiModel):
    """What the user wants."""

    registry: RegistrySpec
    converge: ConvergeSpec = ConvergeSpec()
    update_policy: UpdatePolicy = UpdatePolicy()

    suspend: bool = False
    """Neither ask the registry nor start Jobs; one that runs is followed to its end."""

    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    rollback_hold: RollbackHold = RollbackHold.NEXT_VERSION


class WerfBundle(KubeObject):
    """A bundle in an OCI registry that is kept deployed."""

    gvk: ClassVar = GroupVersionKind("werf.io", "v1alpha1", "WerfBundle")
    plural: ClassVar = "werfbundles"
    crd: ClassVar = schema.CrdOptions(
        short_names=("wb", "wbs"),
        categories=("werf",),
        printer_columns=(
            schema.PrinterColumn("Phase", ".status.phase"),
            schema.PrinterColumn("LastAppliedTag", ".status.lastAppliedTag"),
            schema.PrinterColumn(
                "Ready", '.status.conditions[?(@.type=="Ready")].status'
            ),
            schema.PrinterColumn("Target", ".status.resolvedTargetNamespace"),
            schema.PrinterColumn(
                "Drifted", '.status.conditions[?(@.type=="Drifted")].status'
            ),
            schema.PrinterColumn("Suspended", ".spec.suspend"),
            schema.AGE,
            schema.PrinterColumn("Candidate", ".status.observed.tag", priority=1),
            schema.PrinterColumn("Digest", ".status.lastAppliedDigest", priority=1),
            schema.PrinterColumn(
                "NextPoll", ".status.nextPollTime", type="string", priority=1
            ),
            schema.PrinterColumn(
                "Message",
                '.status.conditions[?(@.type=="Ready")].message',
                priority=1,
            ),
        ),
    )

    spec: BundleSpec
    status: BundleStatus = BundleStatus()
