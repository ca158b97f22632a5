"""What was written and is not in the cache yet.

    Written        what a store must show: a version of an object, or that it is gone
    PendingWrite   the same, looked at after every change of its store until it shows

When does a store show a version? From Kubernetes 1.35 on the versions of one kind are
ordered (KEP-5504), so the store's own version tells, also of an object that it does not
have. Before, only versions of the object itself are compared, which grow with etcd's
revisions; what the store's selectors leave out then shows nowhere, and is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from controller_runtime.meta import NamespacedName, RawObject
from controller_runtime.store import Store

_PATIENCE = 5.0
"""Seconds after a write in which reads wait for the store."""

_MEMORY = 60.0
"""Seconds after which a write is forgotten that an unordered store may never show."""


class Written(NamedTuple):
    """What a store must show."""

    version: str = ""
    """Of the object, or later; empty for any."""

    gone: str = ""
    """The uid of an object that must not be there any more."""

    lingers: bool = False
    """It may be there as one that is being deleted."""

    def after(self, before: Written) -> Written:
        """Add what was written before to the same object."""
        if self.version and _at_least(self.version, before.version):
            return self
        return self._replace(version=before.version)

    def left(self, store: Store, key: NamespacedName, *, ordered: bool) -> Written:
        """Return what a store still does not show."""
        entry = store.get(key)
        reached = self._is_reached(store, entry, ordered=ordered)
        return Written(
            version="" if reached else self.version,
            gone="" if self._is_gone(entry) and reached else self.gone,
            lingers=self.lingers,
        )

    def __bool__(self) -> bool:
        """Tell whether there is anything to wait for."""
        return bool(self.version or self.gone)

    def _is_gone(self, entry: RawObject | None) -> bool:
        if not self.gone or entry is None or entry.meta.uid != self.gone:
            return True
        return self.lingers and bool(entry.meta.deletion_timestamp)

    def _is_reached(
        self, store: Store, entry: RawObject | None, *, ordered: bool
    ) -> bool:
        if not self.version:
            return True
        if entry is not None:
            # Even if the store has come further: then the object never had this
            # version, because to write it was to delete it.
            return _at_least(entry.meta.resource_version, self.version)
        return ordered and _at_least(store.resource_version, self.version)


class PendingWrite:
    """A write that its store does not show yet."""

    def __init__(
        self,
        key: NamespacedName,
        store: Store,
        *,
        is_ordered: Callable[[], bool],
        on_seen: Callable[[], None],
    ) -> None:
        self.key = key
        self.written = Written()
        self.until = 0.0
        """The moment of the loop's clock until which reads wait."""
        self.seen = asyncio.Event()
        self._store = store
        self._is_ordered = is_ordered
        self._on_seen = on_seen
        self._leave = store.on_change(self.look)

    def expect(self, written: Written) -> None:
        """Wait for one more write."""
        self.written = written.after(self.written)
        self.until = asyncio.get_running_loop().time() + _PATIENCE

    def move_to(self, store: Store) -> None:
        """Follow the kind to the store that it is in now."""
        if store is not self._store:
            self._leave()
            self._store = store
            self._leave = store.on_change(self.look)

    def look(self) -> None:
        """Look whether the store shows it, or never will."""
        ordered = self._is_ordered()
        self.written = self.written.left(self._store, self.key, ordered=ordered)
        if not self.written or (not ordered and self._is_old()):
            self._leave()
            self._on_seen()
            self.seen.set()

    def _is_old(self) -> bool:
        age = asyncio.get_running_loop().time() - self.until + _PATIENCE
        return age >= _MEMORY


def _at_least(version: str, wanted: str) -> bool:
    if version == wanted or not wanted:
        return True
    comparable = version.isdecimal() and wanted.isdecimal()
    return comparable and int(version) >= int(wanted)
