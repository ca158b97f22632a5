"""Patches: what to change, and in which language it is said.

merge_patch            RFC 7386: nulls remove, lists are replaced
strategic_merge_patch  Kubernetes' own, which merges lists; not for custom resources
json_patch             RFC 6902: a list of operations
apply_patch            server-side apply: the fields that we have an opinion on
merge_patch_from       the merge patch that leads from one object to another
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from controller_runtime.meta import Json, KubeObject


class Patch(NamedTuple):
    """A patch as it is sent."""

    content_type: str
    body: bytes


APPLY = "application/apply-patch+yaml"
"""JSON is YAML; older servers know the media type by this name alone."""


def merge_patch(changes: Mapping[str, object]) -> Patch:
    """Set the fields in `changes`; those that are `None` are removed."""
    return Patch("application/merge-patch+json", msgspec.json.encode(changes))


def strategic_merge_patch(changes: Mapping[str, object]) -> Patch:
    """Set the fields in `changes`, merging lists by the keys that the kind defines."""
    return Patch("application/strategic-merge-patch+json", msgspec.json.encode(changes))


def json_patch(operations: Sequence[Mapping[str, object]]) -> Patch:
    """Do `operations` in order, all or none of them."""
    return Patch("application/json-patch+json", msgspec.json.encode(operations))


def apply_patch(desired: Mapping[str, object] | KubeObject) -> Patch:
    """Own the fields of `desired`, which has apiVersion, kind and name."""
    return Patch(APPLY, msgspec.json.encode(document(desired)))


def merge_patch_from(
    old: Mapping[str, object] | KubeObject,
    new: Mapping[str, object] | KubeObject,
    *,
    optimistic_lock: bool = False,
) -> Patch:
    """Return the patch that makes `old` into `new`; `{}` when they are equal.

    Args:
        old: What was read.
        new: What it shall be.
        optimistic_lock: Let the server refuse (`ConflictError`) unless the object
            still has the resourceVersion of `old`.

    Raises:
        ValueError: There is no resourceVersion to lock on.
    """
    before, after = document(old), document(new)
    changes = _difference(before, after)
    if optimistic_lock:
        changes["metadata"] = {**_section(changes), **_lock(before)}
    return merge_patch(changes)


def _lock(obj: Mapping[str, object]) -> Mapping[str, object]:
    version = _section(obj).get("resourceVersion")
    if not version:
        raise ValueError(
            "an optimistic lock needs an object with a resourceVersion: read it first"
        )
    return {"resourceVersion": version}


def _section(obj: Mapping[str, object]) -> Mapping[str, object]:
    metadata = obj.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _difference(old: Mapping[str, object], new: Mapping[str, object]) -> Json:
    changes: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            if nested := _difference(before, value):
                changes[key] = nested
        elif key not in old or before != value or type(before) is not type(value):
            changes[key] = value  # to Python, 1 equals True
    return changes


def document(obj: Mapping[str, object] | KubeObject) -> Mapping[str, object]:
    """Return an object as plain JSON: of a model, the fields that are set."""
    if not isinstance(obj, KubeObject):
        return obj
    fields = obj.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude={"apiVersion", "kind"}
    )
    return {"apiVersion": obj.gvk.api_version, "kind": obj.gvk.kind, **fields}
