"""What `metadata.yaml` of a catalogue says, field by field.

Frozen models: what is not written here is refused, so a misspelt field is an error and
not a condition that nobody asks. Derived values are `assets`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

API_VERSION = "autopilot/v1"
KIND = "Catalog"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _CamelModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class Identity(_CamelModel):
    """Under what name the catalogue's objects are owned."""

    domain: str = Field(default="platform.kubevirt.io", min_length=1)
    """Prefix of every annotation and label, without the slash."""

    managed_by_value: str = Field(min_length=1)
    """Value of the label that marks an applied object."""

    field_manager: str = Field(min_length=1)
    """Field manager of server-side apply."""

    managed_by_key: str = Field(default="", alias="managedByLabel")
    """Key of that label; empty is `managed-by` of the domain."""

    @property
    def managed_by_label(self) -> str:
        """Key of the label that marks an applied object."""
        return self.managed_by_key or self.key("managed-by")

    def key(self, name: str) -> str:
        """Return a label's or annotation's key in the domain."""
        return f"{self.domain}/{name}"


class SourceKind(_CamelModel):
    """The object that a catalogue reads: where it is, where its fields are."""

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...] = Field(min_length=1)
    """Served versions that are understood, the preferred one first."""

    name: str
    namespace: str
    """Where it is unless a setting says otherwise."""

    fields: Mapping[str, Mapping[str, str]] = {}
    """Name of a setting → version → dotted path, where the versions differ."""

    @property
    def crd(self) -> str:
        """Name of its CRD."""
        return f"{self.plural}.{self.group}"


class Match(_CamelModel):
    """A key, and what its value must be."""

    key: str
    """Regular expression (RE2) for the whole key."""

    value: str | None = None
    """Regular expression for the whole value; unset takes any but an empty one."""


class FactRule(_CamelModel):
    """A fact is true if any Node matches any of this."""

    name: str
    description: str
    labels: tuple[Match, ...] = ()
    annotations: tuple[Match, ...] = ()
    resources: tuple[str, ...] = ()
    """Regular expressions for the whole name of a capacity that is not zero."""

    resources_except: tuple[str, ...] = ()
    """Names of resources that never count."""


class Install(StrEnum):
    """Whether an asset needs a reason to be applied."""

    ALWAYS = "always"
    OPT_IN = "opt-in"


class OnInactive(StrEnum):
    """What happens to the object of an asset that no longer applies."""

    LEAVE = "leave"
    RELEASE = "release"
    DELETE = "delete"


class Drift(StrEnum):
    """What happens to an object that somebody changed."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


class Maturity(StrEnum):
    """How far a feature is: developer preview, technology preview, generally there."""

    DP = "dp"
    TP = "tp"
    GA = ""


class AnnotationCondition(_Model):
    """The source object has an annotation."""

    type: Literal["annotation"]
    key: str = Field(min_length=1)
    """Whole key, domain and all."""

    value: str | None = None
    """What it must be; unset takes any value."""


class HardwareCondition(_Model):
    """A fact about the Nodes is true."""

    type: Literal["hardware-detection"]
    detector: str = Field(min_length=1)


class FeatureGateCondition(_Model):
    """A feature gate of the source object is on."""

    type: Literal["feature-gate"]
    value: str = Field(min_length=1)


class ImageCondition(_Model):
    """An image is known, from `RELATED_IMAGE_…` of the environment."""

    type: Literal["image"]
    key: str = Field(min_length=1)


class FieldUnconfiguredCondition(_Model):
    """A field of the source object is missing, null or an empty map."""

    type: Literal["hco-field-unconfigured"]
    path: str = Field(min_length=1)
    """Dotted path, or one that starts with a name of `source.fields`."""


class TopologyCondition(_Model):
    """A yes-or-no field of the topology is as asked."""

    type: Literal["topology"]
    field: str = Field(min_length=1)
    value: Literal["true", "false"] = "true"


class CrdCondition(_Model):
    """A CRD is there and established."""

    type: Literal["crd"]
    name: str = Field(min_length=1)
    """`plural.group`."""

    version: str = ""
    """A version that must be served; empty for any."""


class NotCondition(_Model):
    """Another condition does not hold."""

    type: Literal["not"]
    condition: Condition


class AnyCondition(_Model):
    """One of several conditions holds."""

    type: Literal["any"]
    conditions: tuple[Condition, ...] = Field(min_length=1)


Condition: TypeAlias = Annotated[
    AnnotationCondition
    | HardwareCondition
    | FeatureGateCondition
    | ImageCondition
    | FieldUnconfiguredCondition
    | TopologyCondition
    | CrdCondition
    | NotCondition
    | AnyCondition,
    Field(discriminator="type"),
]

NotCondition.model_rebuild()
AnyCondition.model_rebuild()


class AssetEntry(_Model):
    """One object that the catalogue wants."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    path: str = Field(min_length=1)
    component: str = ""
    """Kind of the object, for readers; must be the template's."""

    group: str = ""
    """Name by which several assets are chosen at once."""

    phase: int = Field(default=1, ge=0)
    """0 the source object, 1 baseline, 2 advanced; for readers and filters."""

    install: Install = Install.ALWAYS
    reconcile_order: int = Field(default=1, ge=0)
    """0 is for the source object's configuration alone."""

    conditions: tuple[Condition, ...] = ()
    """All must hold."""

    gate_crd: str = ""
    """`plural.group` of a CRD that must be there besides the object's own."""

    required_crd: str | None = None
    """`plural.group` of the object's own CRD, where the guess is wrong; empty: none."""

    template_params: Mapping[str, str] = {}
    wave: int = Field(default=0, ge=0)
    health: Mapping[str, Any] = {}
    on_inactive: OnInactive = OnInactive.LEAVE
    drift: Drift = Drift.ENFORCE
    depends_on: tuple[str, ...] = ()
    sensitive: bool = False
    """Users' patches are refused, as they are for kinds that grant rights."""


class FeatureEntry(_Model):
    """What users know an asset, or several, by."""

    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    maturity: Maturity | None = None
    assets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    recommended: tuple[str, ...] = ()


class Framework(_Model):
    """What is said of the whole catalogue."""

    maturity: Maturity = Maturity.GA
    opt_in: str = ""


class Metadata(_CamelModel):
    """`metadata.yaml`."""

    api_version: Literal["autopilot/v1"]
    kind: Literal["Catalog"]
    identity: Identity
    source: SourceKind
    facts: tuple[FactRule, ...] = ()
    framework: Framework = Framework()
    assets: tuple[AssetEntry, ...] = ()
    features: tuple[FeatureEntry, ...] = ()
    excluded_assets: tuple[str, ...] = Field(default=(), alias="excluded_assets")

    @field_validator("assets")
    @classmethod
    def _names_are_unique(cls, value: tuple[AssetEntry, ...]) -> Any:
        names = [entry.name for entry in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two assets are named {name!r}; rename one")
        return value
