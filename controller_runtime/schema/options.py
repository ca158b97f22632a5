"""What a CRD says beside its schema: names, columns, subresources, versions.

    class Website(KubeObject):
        gvk: ClassVar = GroupVersionKind("example.com", "v1", "Website")
        crd: ClassVar = CrdOptions(short_names=("web",))

A model with `crd` is one that we own; its plural and scope are its own words, since
roles and paths need them too. A model is one version; several of one kind make
one CRD, in which exactly one of them is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

ColumnType: TypeAlias = Literal["integer", "number", "string", "boolean", "date"]


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of `kubectl get`."""

    name: str

    path: str
    """JSON path, such as `.spec.image` or
    `.status.conditions[?(@.type=="Ready")].status`."""

    type: ColumnType | None = field(default=None, kw_only=True)
    """By default what the schema has at the path; times are shown as their age."""

    description: str = field(default="", kw_only=True)
    """By default that of the field."""

    format: str = field(default="", kw_only=True)

    priority: int = field(default=0, kw_only=True)
    """Columns above 0 are shown by `-o wide` only."""


AGE = PrinterColumn("Age", ".metadata.creationTimestamp", type="date")
"""The server adds this column only where there are no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale subresource: `kubectl scale` and autoscalers."""

    spec_replicas_path: str = ".spec.replicas"
    status_replicas_path: str = ".status.replicas"
    label_selector_path: str = ""
    """Where the status has a selector as a string; autoscalers of pods need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConversion:
    """Who converts between versions.

    What comes from the cluster (the CA bundle, another namespace) is patched in when
    the CRD is installed.
    """

    service: str
    namespace: str
    path: str = "/convert"
    port: int = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class CrdOptions:
    """What the CRD of a kind says beside its schema.

    The first group is about the kind: of several versions, what the stored one says
    counts, and another may repeat it or be silent.
    """

    singular: str = ""
    """By default the kind in lower case."""

    list_kind: str = ""
    """By default the kind and `List`."""

    short_names: tuple[str, ...] = ()
    """For `kubectl get`; those of built-in kinds win over them."""

    categories: tuple[str, ...] = ()
    """Groups of kinds for `kubectl get`, such as `all`."""

    conversion: WebhookConversion | None = None
    """By default versions differ in nothing but their name and what they prune."""

    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the CRD itself, for instance for a CA injector."""

    storage: bool = True
    """Whether this version is the one that etcd has; exactly one is."""

    served: bool = True

    deprecated: bool = False
    """Whether the server warns those who use this version."""

    deprecation_warning: str = ""
    """What it warns with, instead of its own words; implies `deprecated`."""

    printer_columns: tuple[PrinterColumn, ...] = ()
    """By default name and age."""

    scale: Scale | None = None

    selectable_fields: tuple[str, ...] = ()
    """Paths of scalars, such as `.spec.color`, that field selectors may name."""


KIND_OPTIONS = (
    "singular",
    "list_kind",
    "short_names",
    "categories",
    "conversion",
    "annotations",
)
"""Options that are about the kind, not about one version of it."""
