"""The objects of one kind: one writer, many readers, indexes.

    Replace ─▶ Replacement ─(chunks)─▶ commit ─▶ events
    Apply   ─▶ apply ──────────────────────────▶ events

An entry is a `RawObject`: bytes of JSON and typed metadata, both immutable. Readers
parse what they need, so nothing is copied for safety and nobody can damage the cache.

The writer (a reflector) turns what the server told into events against what the
store had: a store never tells of an update to an object that it did not have, nor
twice of the same version. Entries, indexes and the store's resource version change
together between two awaits; a reader sees all of a change or none of it. Listeners
are called after each: who waits for a version is woken by the writer.
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
from functools import partial
from typing import TypeAlias

import structlog

from controller_runtime.errors import (
    AlreadyStartedError,
    DecodeError,
    NotIndexedError,
)
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName, RawObject
from controller_runtime.question import Change
from controller_runtime.selectors import LabelSelector

IndexFunction: TypeAlias = Callable[[RawObject], Iterable[str]]
"""Values under which an object is found; called once a version. What it raises is
a programming error and stops the reflector."""

log = structlog.get_logger(__name__)


def index_by_body(function: Callable[[Json], Iterable[str]]) -> IndexFunction:
    """Index by what the whole object says, not by its metadata alone.

    The object is parsed once a version, which takes tens of microseconds, and dropped
    when its values are known. One that cannot be parsed, since it is nested too deeply,
    has none, and is logged.
    """

    def values(entry: RawObject) -> Iterable[str]:
        try:
            body = entry.parse()
        except DecodeError as error:
            log.warning("object not indexed", object=str(entry.key), error=str(error))
            return ()
        return function(body)

    return values


_NO_KEYS: Mapping[NamespacedName, None] = {}


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

    def keys(self, value: str) -> Mapping[NamespacedName, None]:
        return self._keys.get(value, _NO_KEYS)


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
        self._bytes = 0
        self._listeners: dict[object, Callable[[], None]] = {}

    @property
    def bytes(self) -> int:
        """The size of all entries as JSON."""
        return self._bytes

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
        return iter([self._entries[key] for key in self._indexed(name, value)])

    def select(
        self,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        indexed: Iterable[tuple[str, str]] = (),
    ) -> Iterator[RawObject]:
        """Yield the objects that match in every respect.

        Args:
            namespace: Where they are; empty for everywhere.
            labels: What their labels must be.
            indexed: Names of indexes, and values that the objects stand under there.

        Raises:
            NotIndexedError: There is no such index.
        """
        found = self._found(namespace, [self._indexed(*term) for term in indexed])
        if labels is None or not labels.requirements:
            return found
        return iter([e for e in found if labels.matches(e.meta.labels)])

    def _found(
        self, namespace: str, terms: Sequence[Mapping[NamespacedName, None]]
    ) -> Iterator[RawObject]:
        if not terms:
            return self.list(namespace)
        rarest, *others = sorted(terms, key=len)
        return iter(
            [
                self._entries[key]
                for key in rarest
                if namespace in {"", key.namespace}
                and all(key in other for other in others)
            ]
        )

    def _indexed(self, name: str, value: str) -> Mapping[NamespacedName, None]:
        index = self._indexes.get(name)
        if index is None:
            raise NotIndexedError(f"{self.gvk} has no index {name!r}; add it first")
        return index.keys(value)

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
        self._tell()
        return events

    def replacement(self) -> Replacement:
        """Begin to replace everything; nothing changes before its `commit`."""
        return Replacement(self._indexes, self._swap)

    def scratch(self) -> Store:
        """Return an empty store with the same indexes, for a content of its own."""
        store = Store(self.gvk)
        store._indexes = {name: index.fresh() for name, index in self._indexes.items()}
        return store

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change of entries or version.

        It must be quick and must not change the store.

        Returns:
            A function that ends it.
        """
        place = object()
        self._listeners[place] = listener
        return partial(self._forget_listener, place)

    def _forget_listener(self, place: object) -> None:
        self._listeners.pop(place, None)

    def _tell(self) -> None:
        if self._listeners:
            for listener in tuple(self._listeners.values()):
                listener()

    def _put(self, entry: RawObject, events: MutableSequence[Event]) -> None:
        key = entry.meta.key
        old = self._entries.get(key)
        self._entries[key] = entry
        self._bytes += len(entry.raw) - (len(old.raw) if old is not None else 0)
        for index in self._indexes.values():
            index.put(key, entry)
        events.extend(_difference(old, entry))

    def _remove(self, last: RawObject, events: MutableSequence[Event]) -> None:
        key = last.meta.key
        old = self._entries.pop(key, None)
        for index in self._indexes.values():
            index.drop(key)
        if old is not None:
            self._bytes -= len(old.raw)
            # The stored version went through the transform; `last` did not.
            events.append(Deleted(old))

    def _swap(
        self, entries: _Entries, indexes: Mapping[str, _Index], resource_version: str
    ) -> Iterator[Event]:
        is_initial = not self.resource_version
        old, self._entries = self._entries, entries
        self._bytes = sum(len(entry.raw) for entry in entries.values())
        self._indexes.update(indexes)
        self.resource_version = resource_version
        self._tell()
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
    if not old:
        for entry in tuple(new.values()):
            yield Created(entry, is_initial=is_initial)
        return
    for entry in [e for key, e in old.items() if key not in new]:
        yield Deleted(entry, state_unknown=True)
    for key, entry in tuple(new.items()):
        yield from _difference(old.get(key), entry)


def _difference(old: RawObject | None, new: RawObject) -> Iterator[Event]:
    if old is None:
        yield Created(new)
    elif old.meta.uid != new.meta.uid:
        # Deleted and created again while nobody watched: Go tells of an update.
        yield Deleted(old, state_unknown=True)
        yield Created(new)
    elif old.meta.resource_version != new.meta.resource_version:
        yield Updated(old, new)
