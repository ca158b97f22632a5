"""The objects that a release consists of, out of its manifest: pure.

    manifest ─▶ Item … ─▶ status.inventory ─▶ Item …

What an object is called is all that is kept. Objects that say
`helm.sh/resource-policy: keep` outlive the release, so they are not waited for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import yaml

from api.release.status import Inventory
from controller_runtime import DecodeError, GroupVersionKind

MAX_ENTRIES = 500
"""Objects that a status names; more make it too large for every watcher."""

_POLICY = "helm.sh/resource-policy"

_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Reads every scalar as text: `=`, 2024-02-30 or a tag of somebody's own in the data of
an object are an error to the others, and are none to Helm."""


class Item(NamedTuple):
    """One object of a release."""

    namespace: str
    """As the manifest says; empty is the namespace of the release, or none."""
    name: str
    group: str
    kind: str
    version: str = ""
    is_kept: bool = False

    @property
    def id(self) -> str:
        """Its name in a status, which has no version: objects are had in every one."""
        return "_".join((self.namespace, self.name, self.group, self.kind))

    @property
    def gvk(self) -> GroupVersionKind:
        return GroupVersionKind(self.group, self.version, self.kind)

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


def read_manifest(manifest: str, *, namespace: str) -> tuple[Item, ...]:
    """Read what a release consists of. Tenths of a second for hundreds of objects.

    Args:
        manifest: YAML documents, as Helm stores them.
        namespace: Of the release, for objects that name none.

    Raises:
        DecodeError: It is not YAML.
    """
    try:
        documents = list(yaml.load_all(manifest, Loader=_Loader))
    except yaml.YAMLError as error:
        raise DecodeError(
            f"the manifest of the release is not YAML: {type(error).__name__}"
        ) from None
    return tuple(dict.fromkeys(_items(documents, namespace)))


def _items(documents: Iterable[object], namespace: str) -> Iterator[Item]:
    for document in documents:
        if not isinstance(document, dict):
            continue
        metadata = _mapping(document.get("metadata"))
        if str(document.get("kind", "")).endswith("List") and "items" in document:
            yield from _items(document["items"] or (), namespace)
        elif metadata.get("name"):
            gvk = GroupVersionKind.parse(
                str(document.get("apiVersion", "")), str(document.get("kind", ""))
            )
            annotations = _mapping(metadata.get("annotations"))
            yield Item(
                namespace=str(metadata.get("namespace") or namespace),
                name=str(metadata["name"]),
                group=gvk.group,
                kind=gvk.kind,
                version=gvk.version,
                is_kept=str(annotations.get(_POLICY)).strip().lower() == "keep",
            )


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def to_status(items: Iterable[Item]) -> Inventory:
    """Return what a status says about the objects of a release."""
    kept = {item.id: item.is_kept for item in items}
    ids = sorted(kept)
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    entries = tuple(ids[:MAX_ENTRIES])
    return Inventory(
        count=len(ids),
        hash=f"sha256:{digest}",
        entries=entries,
        kept=tuple(it for it in entries if kept[it]),
    )


def from_status(inventory: Inventory | None) -> tuple[Item, ...]:
    """Return the objects that a status names; without versions."""
    if inventory is None:
        return ()
    kept = frozenset(inventory.kept)
    return tuple(_named(it, is_kept=it in kept) for it in inventory.entries)


def _named(entry: str, *, is_kept: bool) -> Item:
    place, _, rest = entry.partition("_")
    # Names may have a `_`, as those of roles do; nothing else may.
    name, group, kind = rest.rsplit("_", 2)
    return Item(place, name, group, kind, is_kept=is_kept)
