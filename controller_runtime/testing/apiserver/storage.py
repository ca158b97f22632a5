"""Revisions, history and compaction: what etcd and the watch cache do.

Every write takes the next revision, one sequence for all kinds, and the object
carries it as `metadata.resourceVersion`. The log of changes answers two questions:
what happened after revision n (a watch), and what was there at revision n (an exact
list, a page after the first). Compaction forgets its beginning.

Objects that are handed in or out are shared and must not be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from controller_runtime.meta import Json


class Key(NamedTuple):
    """Where an object is kept. Collections are named `deployments.apps`."""

    collection: str
    namespace: str
    name: str


class Change(NamedTuple):
    """One revision: an object made (`old` is None), changed, or removed (`new` is)."""

    revision: int
    key: Key
    old: Json | None
    new: Json | None


class CompactedError(Exception):
    """The history that was asked for is forgotten."""


Listener = Callable[[Change], None]


def with_revision(object_: Json, revision: int) -> Json:
    """Return `object_` with another resourceVersion; the rest is shared."""
    metadata = {**object_["metadata"], "resourceVersion": str(revision)}
    return {**object_, "metadata": metadata}


class Storage:
    """Objects by key, and what happened to them."""

    def __init__(self) -> None:
        self.revision = 1
        """Of the last write; a server that nobody wrote to is at 1, as etcd is."""
        self.compacted = 0
        """History up to and including this revision is forgotten."""
        self._objects: dict[Key, Json] = {}
        self._log: list[Change] = []
        self._listeners: list[Listener] = []

    def get(self, key: Key) -> Json | None:
        return self._objects.get(key)

    def put(self, key: Key, object_: Json) -> Json:
        """Keep `object_` under the next revision and return it as kept."""
        kept = with_revision(object_, self.revision + 1)
        self._commit(key, kept)
        self._objects[key] = kept
        return kept

    def delete(self, key: Key) -> Json:
        """Remove an object that is there; return it with the deletion's revision."""
        self._commit(key, None)
        return with_revision(self._objects.pop(key), self.revision)

    def items(self, collection: str, namespace: str = "") -> list[tuple[Key, Json]]:
        """Return the objects there are now, by namespace and name."""
        return _select(self._objects, collection, namespace)

    def items_at(
        self, revision: int, collection: str, namespace: str = ""
    ) -> list[tuple[Key, Json]]:
        """Return the objects there were at `revision`, by undoing what came later.

        Raises:
            CompactedError: That far back is forgotten.
        """
        objects = dict(self._objects)
        for change in reversed(list(self.since(revision))):
            if change.old is None:
                del objects[change.key]
            else:
                objects[change.key] = change.old
        return _select(objects, collection, namespace)

    def since(self, revision: int) -> Iterator[Change]:
        """Return the changes after `revision`, oldest first.

        Raises:
            CompactedError: Some of them are forgotten.
        """
        if revision < self.compacted:
            raise CompactedError
        return (change for change in self._log if change.revision > revision)

    def compact(self, revision: int | None = None) -> None:
        """Forget the history up to `revision`, by default all of it."""
        limit = self.revision if revision is None else min(revision, self.revision)
        self.compacted = max(self.compacted, limit)
        self._log = [change for change in self._log if change.revision > limit]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every later change, inline; call the result to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _commit(self, key: Key, new: Json | None) -> None:
        self.revision += 1
        change = Change(self.revision, key, self._objects.get(key), new)
        self._log.append(change)
        for listener in list(self._listeners):
            listener(change)


def _select(
    objects: dict[Key, Json], collection: str, namespace: str
) -> list[tuple[Key, Json]]:
    found: Iterable[tuple[Key, Json]] = (
        (key, object_)
        for key, object_ in objects.items()
        if key.collection == collection and namespace in {"", key.namespace}
    )
    return sorted(found, key=lambda item: item[0])
