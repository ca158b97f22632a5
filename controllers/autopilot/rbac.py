"""What a catalogue asks of the API server, from its own assets.

A managed kind is watched, read, created and applied; a tombstoned one read and deleted;
the source object applied and never created. Applies are patches, so nothing is updated.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller_runtime import GroupVersionKind, Permission
from controllers.autopilot.assets import Catalog
from controllers.autopilot.lookups import CRD
from controllers.autopilot.scene import PLATFORM

_WATCH = ("list", "watch")

_EVERYWHERE = ("",)
"""All namespaces: templates say where their objects are."""


def permissions(catalog: Catalog) -> Iterator[Permission]:
    """Yield what the controller asks for besides its lasting watches.

    Raises:
        CatalogError: A template is none, or does not say what it asks about.
    """
    # Parses templates, which a process that only runs has no need of.
    from controllers.autopilot.asks import asked_kinds  # noqa: PLC0415 - lazy

    source = catalog.source
    source_kind = GroupVersionKind(source.group, source.versions[0], source.kind)
    yield _permission(source_kind, *_WATCH, "get", "patch")
    yield _permission(CRD, "get")
    for kind in sorted(asked_kinds(catalog) | {it.kind for it in PLATFORM}):
        if kind != CRD:
            yield _permission(kind, *_WATCH)
    for kind in dict.fromkeys(asset.kind for asset in catalog.assets):
        if (kind.group, kind.kind) != (source.group, source.kind):
            yield _permission(kind, *_WATCH, "get", "create", "patch")
    for tombstone in catalog.tombstones:
        yield _permission(tombstone.kind, "get", "delete", names=(tombstone.key.name,))


def _permission(
    kind: GroupVersionKind, *verbs: str, names: tuple[str, ...] = ()
) -> Permission:
    return Permission(kind, verbs, names=names, namespaces=_EVERYWHERE)
