"""How one kind differs from another, as far as the server cares.

A custom kind needs no more than its names:

    server.register(Resource(gvk=GroupVersionKind("example.com", "v1", "Widget"),
                             plural="widgets"))

The built-in ones, with all their peculiarities, are in `builtin`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.testing.apiserver.status import Cause

VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)

Prepare = Callable[[Json, Json | None], None]
"""(new object, stored one or None): fill in defaults, in place."""

Check = Callable[[Json, Json | None], list[Cause]]
"""(new object, stored one or None) → what is wrong with it."""

Form = Callable[[Json], Json]
"""One form of an object → another; neither changes."""

_METADATA_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"finalizers": (), "ownerReferences": ("uid",)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind as the server treats it. The defaults are those of a CRD."""

    gvk: GroupVersionKind

    plural: str
    """Name in the path, such as `configmaps`."""

    namespaced: bool = True

    short_names: tuple[str, ...] = ()

    subresources: tuple[str, ...] = ("status",)
    """With `status`, the main path ignores the status, and `/status` all else."""

    generation: tuple[str, ...] | None = ()
    """What `metadata.generation` counts changes of: fields, by path; empty stands
    for all but metadata and status, None for kinds that do not count."""

    built_in: bool = False
    """Compiled in: strategic merge, no nulls, list items without apiVersion, kind."""

    unconditional_update: bool = False
    """Whether a PUT without a resourceVersion overwrites whatever is there."""

    create_on_update: bool = False
    """Whether a PUT of an object that is not there makes it."""

    returns_deleted: bool = False
    """A completed deletion is answered with the object, otherwise with a Status."""

    orphans_by_default: bool = False
    """A deletion that does not say leaves the dependents alone."""

    field_selectors: Mapping[str, str] = field(default_factory=dict)
    """Selectable fields beside metadata.name and metadata.namespace, and the value
    that stands for an absent one."""

    list_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lists that merge item by item, by the name of their field: the keys that tell
    items apart, none for a set. All other lists are replaced whole."""

    atomic: frozenset[str] = frozenset()
    """Objects that are owned and replaced whole, by the name of their field."""

    prepare: Prepare = field(default=lambda new, old: None)

    check: Check = field(default=lambda new, old: [])

    stored_as: str = ""
    """Collection of another kind that shares its objects."""

    to_stored: Form = field(default=lambda object_: object_)
    """The kind's own form → the form that is stored."""

    from_stored: Form = field(default=lambda object_: object_)

    @property
    def qualified(self) -> str:
        """The name in messages: `deployments.apps`, or `configmaps` in the core."""
        return f"{self.plural}.{self.gvk.group}" if self.gvk.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind in messages, as stored: `Deployment.apps`, or `ConfigMap`."""
        group = "" if self.stored_as else self.gvk.group
        return f"{self.gvk.kind}.{group}" if group else self.gvk.kind

    @property
    def collection(self) -> str:
        """Where its objects are stored: all versions of a kind share one."""
        return self.stored_as or self.qualified

    @property
    def prefix(self) -> str:
        """Path of its group and version, without a slash at the end."""
        root = "apis" if self.gvk.group else "api"
        return f"/{root}/{self.gvk.api_version}"

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def merge_keys(self) -> Mapping[str, tuple[str, ...]]:
        """`list_keys`, and those of the metadata that every kind has."""
        return {**_METADATA_KEYS, **self.list_keys}

    def shown(self, stored: Json) -> Json:
        """Return a stored object in the form of this kind and version."""
        object_ = self.from_stored(stored)
        if object_["apiVersion"] == self.gvk.api_version:
            return object_
        return {**object_, "apiVersion": self.gvk.api_version}

    def discovery(self) -> list[Json]:
        """Its entries in an APIResourceList: itself, then its subresources."""
        entry: Json = {
            "name": self.plural,
            "singularName": self.gvk.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.gvk.kind,
            "verbs": list(VERBS),
        }
        if self.short_names:
            entry["shortNames"] = list(self.short_names)
        return [entry, *map(self._subresource, self.subresources)]

    def aggregated_discovery(self) -> Json:
        """Its entry in an APIGroupDiscoveryList."""
        group, version, kind = self.gvk
        own: Json = {"group": group, "version": version, "kind": kind}
        entry: Json = {
            "resource": self.plural,
            "responseKind": own,
            "scope": "Namespaced" if self.namespaced else "Cluster",
            "singularResource": kind.lower(),
            "verbs": list(VERBS),
        }
        if self.short_names:
            entry["shortNames"] = list(self.short_names)
        parts = [
            {"subresource": it, "responseKind": own, "verbs": _verbs_of(it)}
            for it in self.subresources
        ]
        return entry | ({"subresources": parts} if parts else {})

    def _subresource(self, name: str) -> Json:
        return {
            "name": f"{self.plural}/{name}",
            "singularName": "",
            "namespaced": self.namespaced,
            "kind": self.gvk.kind,
            "verbs": _verbs_of(name),
        }


def _verbs_of(subresource: str) -> list[str]:
    return ["update"] if subresource == "finalize" else ["get", "patch", "update"]
