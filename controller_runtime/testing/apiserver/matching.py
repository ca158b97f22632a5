"""Which objects a list or a watch is about: namespace, labels, fields."""

from __future__ import annotations

from typing import NamedTuple

from controller_runtime.meta import Json
from controller_runtime.selectors import FieldSelector, LabelSelector, SelectorError
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import bad_request
from controller_runtime.testing.apiserver.storage import Change, Key, with_revision


class Seen(NamedTuple):
    """A change as one watcher sees it."""

    type: str
    """`ADDED`, `MODIFIED` or `DELETED`."""
    object: Json


class Matcher:
    """The selection of one list or watch request.

    Raises:
        StatusError: 400, a selector does not parse or names an unknown field.
    """

    def __init__(
        self, resource: Resource, namespace: str, labels: str, fields: str
    ) -> None:
        self._resource = resource
        self._namespace = namespace
        try:
            self._labels = LabelSelector.parse(labels)
            self._fields = FieldSelector.parse(fields)
        except SelectorError as error:
            raise bad_request(str(error)) from error
        self._defaults = {**_METADATA, **resource.field_selectors}
        for term in self._fields.terms:
            if term.field not in self._defaults:
                raise bad_request(_unknown_field(resource, term.field))

    @property
    def selects(self) -> bool:
        """Whether labels or fields narrow it down at all."""
        return bool(self._labels.requirements or self._fields.terms)

    def matches(self, object_: Json) -> bool:
        """Whether labels and fields fit; the namespace is up to the caller."""
        labels = object_["metadata"].get("labels") or {}
        if not self._labels.matches(labels):
            return False
        names = [term.field for term in self._fields.terms]
        return self._fields.matches(
            {name: _read(object_, name, self._defaults[name]) for name in names}
        )

    def contains(self, key: Key) -> bool:
        """Whether `key` is of this kind and in this namespace."""
        return key.collection == self._resource.collection and (
            self._namespace in {"", key.namespace}
        )

    def seen(self, change: Change) -> Seen | None:
        """Turn a change into what this watcher is told of it, if anything.

        An object that stops matching is deleted as far as the watcher can tell, and
        so carries its last matching version under the revision of the change.
        """
        if not self.contains(change.key):
            return None
        old, new = self._fitting(change.old), self._fitting(change.new)
        if new is not None:
            return Seen("ADDED" if old is None else "MODIFIED", new)
        if old is not None:
            return Seen("DELETED", with_revision(old, change.revision))
        return None

    def _fitting(self, stored: Json | None) -> Json | None:
        """Return a stored object as the watcher knows it, if it matches."""
        shown = None if stored is None else self._resource.shown(stored)
        return shown if shown is not None and self.matches(shown) else None


_METADATA = {"metadata.name": "", "metadata.namespace": ""}


def _unknown_field(resource: Resource, path: str) -> str:
    if resource.built_in and not resource.field_selectors:
        known = '"metadata.name", "metadata.namespace"'
        return f'"{path}" is not a known field selector: only {known}'
    return f"field label not supported: {path}"


def _read(object_: Json, path: str, default: str) -> str:
    value: object = object_
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return default
    return str(value).lower() if isinstance(value, bool) else str(value)
