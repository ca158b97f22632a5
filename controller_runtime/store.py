"""The objects of one kind: one writer, many readers, indexes.

    Replace ─▶ Replacement ─(chunks)─▶ commit ─▶ events
    Apply   ─▶ apply ──────────────────────────▶ events

An entry is a `RawObject`: bytes of JSON and typed metadata, both immutable. Readers
parse what they need, so nothing is copied for safety and nobody can damage the cache.

The writer (a reflector) turns what the server told into events against what the
store had: a store never tells of an update to an object that it did not have, nor
twice of the same version. Entries, indexes and the store's resource version change
together between two awaits; a reader sees all of a change or none of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableSequence,
    Sequence,
)
from typing import TypeAlias

from controller_runtime.errors import AlreadyStartedError, NotIndexedError
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, NamespacedName, RawObject
from controller_runtime.question import Change

IndexFunction = Callable[[RawObject], Iterable[str]]
"""Values under which an object is found; called once a version. What it raises is
a programming error and stops the reflector."""


class _Index:
    """value → keys, and for each key the values that it stands under."""

    __slots__ = ("_function", "_keys", "_values")

    def __init__(self, function: IndexFunction) -> None:
        self._function = function
        self._keys: dict[str, dict[NamespacedName, None]] = {}
        self._values: dict[NamespacedName, tuple[str, ...]] = {}

    def fresh(self) -> _Index:
        return _Index(self._function)

    def put(self, key: NamespacedName, entry: RawObject) -> None:
        values = tuple(self._function(entry))
        if self._values.get(key, ()) == values:
            return
        self.drop(key)
        if values:
            self._values[key] = values
        for value in values:
            self._keys.setdefault(value, {})[key] = None

    def drop(self, key: NamespacedName) -> None:
        for value in self._values.pop(key, ()):
            keys = self._keys.get(value)
            if keys is not None:
                keys.pop(key, None)
                if not keys:
                    del self._keys[value]

    def keys(self, value: str) -> Iterable[NamespacedName]:
        return self._keys.get(value, ())


class Store:
    """What a reflector keeps of one kind.

    Reads return entries in no particular order. The mappings behind them must not be
    held across an await.
    """

    def __init__(self, gvk: GroupVersionKind) -> None:
        self.gvk = gvk
        self.resource_version = ""
        """The version up to which it is complete; empty before the first list."""
        self._entries: dict[NamespacedName, RawObject] = {}
        self._indexes: dict[str, _Index] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: NamespacedName) -> RawObject | None:
        """Return the newest known version of an object."""
        return self._entries.get(key)

    def list(self, namespace: str = "") -> Iterator[RawObject]:
        """Yield the objects of a namespace, or all."""
        if not namespace:
            return iter(tuple(self._entries.values()))
        return iter(
            [e for e in self._entries.values() if e.meta.namespace == namespace]
        )

    def by_index(self, name: str, value: str) -> Iterator[RawObject]:
        """Yield the objects that the index `name` has under `value`.

        Raises:
            NotIndexedError: There is no such index.
        """
        index = self._indexes.get(name)
        if index is None:
            raise NotIndexedError(f"{self.gvk} has no index {name!r}; add it first")
        return iter([self._entries[key] for key in index.keys(value)])

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Index the objects that are here and those that will come.

        Raises:
            AlreadyStartedError: There is an index of this name.
        """
        if name in self._indexes:
            raise AlreadyStartedError(f"{self.gvk} has an index {name!r} already")
        index = _Index(function)
        for key, entry in self._entries.items():
            index.put(key, entry)
        self._indexes[name] = index

    def apply(
        self, changes: Sequence[Change], resource_version: str
    ) -> Iterable[Event]:
        """Take changes in order and return what they mean."""
        events: deque[Event] = deque()
        for change in changes:
            if change.gone:
                self._remove(change.object, events)
            else:
                self._put(change.object, events)
        self.resource_version = resource_version
        return events

    def replacement(self) -> Replacement:
        """Begin to replace everything; nothing changes before its `commit`."""
        return Replacement(self._indexes, self._swap)

    def _put(self, entry: RawObject, events: MutableSequence[Event]) -> None:
        key = entry.meta.key
        old = self._entries.get(key)
        self._entries[key] = entry
        for index in self._indexes.values():
            index.put(key, entry)
        events.extend(_difference(old, entry, is_initial=False))

    def _remove(self, last: RawObject, events: MutableSequence[Event]) -> None:
        key = last.meta.key
        old = self._entries.pop(key, None)
        for index in self._indexes.values():
            index.drop(key)
        if old is not None:
            # The stored version went through the transform; `last` did not.
            events.append(Deleted(old))

    def _swap(
        self, entries: _Entries, indexes: Mapping[str, _Index], resource_version: str
    ) -> Iterator[Event]:
        is_initial = not self.resource_version
        old, self._entries = self._entries, entries
        self._indexes.update(indexes)
        self.resource_version = resource_version
        return _differences(old, entries, is_initial=is_initial)


_Entries: TypeAlias = dict[NamespacedName, RawObject]
_Swap: TypeAlias = Callable[[_Entries, Mapping[str, _Index], str], Iterator[Event]]


class Replacement:
    """A whole new content, gathered in chunks so that the loop is never held up."""

    def __init__(self, indexes: Mapping[str, _Index], swap: _Swap) -> None:
        self._live = indexes
        self._indexes = {name: index.fresh() for name, index in indexes.items()}
        self._swap = swap
        self._entries: _Entries = {}

    def add(self, entries: Iterable[RawObject]) -> None:
        """Add entries; of two with one key the later counts."""
        for entry in entries:
            key = entry.meta.key
            self._entries[key] = entry
            for index in self._indexes.values():
                index.put(key, entry)

    def commit(self, resource_version: str) -> Iterator[Event]:
        """Put the new content in place, at once, and yield what that means.

        Objects that the store had and the server did not list were deleted while
        nobody watched. Objects of the same version are no event.
        """
        for name, index in self._live.items():
            if name not in self._indexes:  # added while the chunks came in
                self._indexes[name] = _filled(index.fresh(), self._entries)
        return self._swap(self._entries, self._indexes, resource_version)


def _filled(index: _Index, entries: Mapping[NamespacedName, RawObject]) -> _Index:
    for key, entry in entries.items():
        index.put(key, entry)
    return index


def _differences(
    old: Mapping[NamespacedName, RawObject],
    new: dict[NamespacedName, RawObject],
    *,
    is_initial: bool,
) -> Iterator[Event]:
    # The store goes on changing while this is consumed: walk what was, not what is.
    for entry in [e for key, e in old.items() if key not in new]:
        yield Deleted(entry, state_unknown=True)
    for key, entry in tuple(new.items()):
        yield from _difference(old.get(key), entry, is_initial=is_initial)


def _difference(
    old: RawObject | None, new: RawObject, *, is_initial: bool
) -> Iterator[Event]:
    if old is None:
        yield Created(new, is_initial=is_initial)
    elif old.meta.uid != new.meta.uid:
        # Deleted and created again while nobody watched: Go tells of an update.
        yield Deleted(old, state_unknown=True)
        yield Created(new)
    elif old.meta.resource_version != new.meta.resource_version:
        yield Updated(old, new)
