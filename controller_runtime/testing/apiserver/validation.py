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
_KEY = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
    f"'123-abc', regex used for validation is '{_KEY}')"
)
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, "
    "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
    f"'MyValue',  or 'my_value',  or '12345', regex used for validation is '{_VALUE}')"
)
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})


def metadata_causes(metadata: Json, *, built_in: bool) -> list[Cause]:
    """Return what is wrong with the metadata of an object."""
    causes = [*_name(metadata), *_labels(metadata), *_owners(metadata)]
    return causes + list(_finalizers(metadata)) if built_in else causes


def update_causes(old: Json, new: Json) -> list[Cause]:
    """Return what an update does that it may not; both are metadata."""
    return [*_immutable(old, new), *_new_finalizers(old, new)]


def namespace_causes(new: Json, old: Json | None) -> list[Cause]:
    """Return what is wrong with a Namespace: it must be a label in host names."""
    name = new["metadata"].get("name", "")
    text = "must not contain dots"
    return [Cause.invalid("metadata.name", name, text)] if "." in name else []


def _name(metadata: Json) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
    elif len(name) > 253:
        yield Cause.invalid("metadata.name", name, "must be no more than 253 bytes")
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield Cause.invalid("metadata.name", name, _NAME_RULE)


def _labels(metadata: Json) -> Iterator[Cause]:
    for field in ("labels", "annotations"):
        for key in metadata.get(field) or {}:
            yield from _key(f"metadata.{field}", key)
    for value in (metadata.get("labels") or {}).values():
        if len(value) > 63:
            detail = "must be no more than 63 bytes"
            yield Cause.invalid("metadata.labels", value, detail)
        elif not re.fullmatch(_VALUE, value):
            yield Cause.invalid("metadata.labels", value, _VALUE_RULE)


def _key(field: str, key: str) -> Iterator[Cause]:
    """Check a qualified name: an optional domain, a slash, a name."""
    domain, slash, name = key.rpartition("/")
    if slash and not re.fullmatch(_SUBDOMAIN, domain.lower()):
        yield Cause.invalid(field, key, f"prefix part {_NAME_RULE}")
    if len(name) > 63:
        yield Cause.invalid(field, key, "name part must be no more than 63 bytes")
    elif not re.fullmatch(_KEY, name):
        yield Cause.invalid(field, key, _KEY_RULE)


def _finalizers(metadata: Json) -> Iterator[Cause]:
    """Built-in kinds take only finalizers that say whose they are."""
    for index, name in enumerate(metadata.get("finalizers") or ()):
        yield from _key("metadata.finalizers", name)
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully "
            yield Cause.invalid(
                f"metadata.finalizers[{index}]", name, f"{detail}qualified"
            )


def _owners(metadata: Json) -> Iterator[Cause]:
    owners = metadata.get("ownerReferences") or []
    for name in ("apiVersion", "kind", "name", "uid"):
        if any(not owner.get(name) for owner in owners):
            field = f"metadata.ownerReferences.{name}"
            yield Cause.invalid(field, "", "must not be empty")
    controllers = [
        f"{owner.get('kind')}/{owner.get('name')}"
        for owner in owners
        if owner.get("controller")
    ]
    if len(controllers) > 1:
        first, second, *_ = controllers
        yield Cause.invalid(
            "metadata.ownerReferences",
            owners,
            "Only one reference can have Controller set to true. Found "
            f'"true" in references for {first} and {second}',
        )


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
