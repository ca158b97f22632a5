"""What is checked of every object, whatever its kind: its metadata.

Specs are not validated; the real server does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.status import Cause

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
    "characters, '-' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, "
    "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
    f"'MyValue',  or 'my_value',  or '12345', regex used for validation is '{_VALUE}')"
)


def metadata_causes(metadata: Json) -> list[Cause]:
    """Return what is wrong with the metadata of an object."""
    return [*_name(metadata), *_labels(metadata), *_owners(metadata)]


def update_causes(old: Json, new: Json) -> list[Cause]:
    """Return what an update does that it may not; both are metadata."""
    return [*_immutable(old, new), *_new_finalizers(old, new)]


def _name(metadata: Json) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
    elif len(name) > 253:
        yield Cause.invalid("metadata.name", name, "must be no more than 253 bytes")
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield Cause.invalid("metadata.name", name, _NAME_RULE)


def _labels(metadata: Json) -> Iterator[Cause]:
    for value in (metadata.get("labels") or {}).values():
        if len(value) > 63:
            detail = "must be no more than 63 bytes"
            yield Cause.invalid("metadata.labels", value, detail)
        elif not re.fullmatch(_VALUE, value):
            yield Cause.invalid("metadata.labels", value, _VALUE_RULE)


def _owners(metadata: Json) -> Iterator[Cause]:
    owners = metadata.get("ownerReferences") or []
    for name in ("apiVersion", "kind", "name", "uid"):
        if any(not owner.get(name) for owner in owners):
            yield Cause.invalid(
                f"metadata.ownerReferences.{name}", "", "must not be empty"
            )
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        detail = "Only one reference can have Controller set to true."
        yield Cause.invalid("metadata.ownerReferences", "", detail)


def _immutable(old: Json, new: Json) -> Iterator[Cause]:
    if new["uid"] != old["uid"]:
        yield Cause.invalid("metadata.uid", new["uid"], "field is immutable")


def _new_finalizers(old: Json, new: Json) -> Iterator[Cause]:
    if "deletionTimestamp" not in old:
        return
    added = set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())
    if added:
        names = ", ".join(f'"{name}"' for name in sorted(added))
        yield Cause.forbidden(
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted, found new "
            f"finalizers []string{{{names}}}",
        )
