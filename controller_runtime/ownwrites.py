"""What one client has written, until the cache shows it.

    answered ─▶ note (key, version) ─────────────┐ the store's writer wakes who waits
                      ▲                          ▼
    answer lost ─▶ doubt (key, or namespace)    read: wait ─5 s after the write─▶ live
                      └── the next read asks the server what became of it ──┘

A note is a `PendingWrite`, and goes when the store shows it. A doubt is a write that
may have been done: a timeout, a broken connection, a server's trouble, a cancellation.
The first read that it could matter to lists what it is about, live, and notes what
differs from the store: from then on it is a write like any other. What such a write
still does after that, watches tell as they tell of the writes of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec

from controller_runtime.cache import Cache
from controller_runtime.calls import Target
from controller_runtime.discovery import server_version
from controller_runtime.errors import NotCachedError
from controller_runtime.informer import Informer
from controller_runtime.meta import GroupVersionKind, Meta, NamespacedName, RawObject
from controller_runtime.metrics import Metrics
from controller_runtime.nesting import surface
from controller_runtime.store import Store
from controller_runtime.transport import Transport
from controller_runtime.writes import PendingWrite, Written

_ORDERED_SINCE = (1, 35)
"""The Kubernetes that promises that versions of one kind can be compared."""

_DOUBTS_LAST = 60.0
"""Seconds after which a doubt that nobody read is dropped: the server gives up on a
request after as many (`--request-timeout`), and a watch is not that late."""

_DELETED_NOTED = 1000
"""Objects deleted by one call that are waited for one by one; more are listed."""


S = TypeVar("S", bound=msgspec.Struct)


class _Answer(msgspec.Struct):
    """An object, a list, or a Status."""

    kind: str = ""
    metadata: Meta = msgspec.field(default_factory=Meta)


class _Status(msgspec.Struct):
    class Details(msgspec.Struct):
        uid: str = ""

    details: Details = msgspec.field(default_factory=Details)


class _List(msgspec.Struct):
    class Item(msgspec.Struct):
        metadata: Meta

    items: list[Item] | None = None  # a nil slice of Go arrives as null


class _Doubt(NamedTuple):
    """Where something may have been written."""

    namespace: str
    name: str
    """Empty for any."""

    def concerns(self, namespace: str, name: str) -> bool:
        """Tell whether a read there might see it; empty arguments read all."""
        return (namespace in {"", self.namespace} or not self.namespace) and (
            not name or self.name in {"", name}
        )


class OwnWrites:
    """A `WriteLog` that knows when reads from a cache show what was written."""

    def __init__(
        self, cache: Cache, transport: Transport, metrics: Metrics | None = None
    ) -> None:
        """Know of no write.

        Args:
            cache: What is read.
            transport: Tells which Kubernetes the server is.
            metrics: Counts the reads for which the cache was too slow.
        """
        self._cache = cache
        self._transport = transport
        self._metrics = metrics
        self._pending: dict[GroupVersionKind, dict[NamespacedName, PendingWrite]] = {}
        self._doubts: dict[GroupVersionKind, dict[_Doubt, float]] = {}
        self._ordered: bool | None = None

    def wrote(self, target: Target, answer: bytes) -> None:
        informer = self._cache.default(target.gvk)
        if informer is None:
            return
        read = _read(_Answer, answer)
        if read is None or read.kind == "Status":
            self.lost(target)  # done to the object, and no word of what it is now
            return
        meta = read.metadata
        if not meta.resource_version:
            return  # made for the caller, such as a token; the object is as it was
        gone = ""
        if meta.deletion_timestamp and not meta.finalizers:
            before = _known(informer, meta.key)
            if before is not None and before.finalizers:
                gone = meta.uid  # the last finalizer went, and the object with it
        self._note(informer, meta.key, Written(meta.resource_version, gone))

    def deleted(self, target: Target, answer: bytes) -> None:
        informer = self._cache.default(target.gvk)
        if informer is None:
            return
        if not target.name:
            self._deleted_all(informer, target, answer)
            return
        key = informer.key(target.namespace, target.name)
        read = _read(_Answer, answer)
        if read is not None and read.kind != "Status":
            meta = read.metadata
            written = Written(meta.resource_version, meta.uid, lingers=True)
        else:
            status, known = _read(_Status, answer), _known(informer, key)
            uid = status.details.uid if status is not None else ""
            written = Written(gone=uid or (known.uid if known else ""))
        self._note(informer, key, written)

    def lost(self, target: Target) -> None:
        informer = self._cache.default(target.gvk)
        if informer is None:
            return
        key = informer.key(target.namespace, target.name)
        doubts = self._doubts.setdefault(target.gvk, {})
        _drop_expired(doubts)
        doubts[_Doubt(*key)] = _now() + _DOUBTS_LAST

    def concern(self, gvk: GroupVersionKind) -> bool:
        """Tell whether reads of a kind must be `settled` first."""
        return gvk in self._pending or gvk in self._doubts

    async def settled(
        self, informer: Informer, namespace: str, name: str = ""
    ) -> Iterable[Store] | None:
        """Wait until the stores show what was written where somebody wants to read.

        Args:
            informer: Whose stores are read.
            namespace: Where; empty for everywhere.
            name: Which object; empty for all.

        Returns:
            What to read instead of the stores, when these took too long.

        Raises:
            ApiError: A live read was necessary, and the server refuses.
            OSError: A live read was necessary, and the server is away.
        """
        await self._resolve_doubts(informer, namespace, name)
        pending = self._pending.get(informer.gvk, {})
        if name:
            one = pending.get(NamespacedName(namespace, name))
            writes = [] if one is None else [one]
        else:
            writes = [
                write
                for key, write in pending.items()
                if namespace in {"", key.namespace}
            ]
        if writes and not await self._are_seen(informer, writes):
            return await informer.snapshot(namespace, name)
        return None

    def _deleted_all(self, informer: Informer, target: Target, answer: bytes) -> None:
        read, found = _read(_Answer, answer), _read(_List, answer)
        if read is None or found is None or not read.kind.endswith("List"):
            self.lost(target)
            return
        items = found.items or []
        if len(items) > _DELETED_NOTED:
            self.lost(target)
            return
        for meta in (item.metadata for item in items):
            known = _known(informer, meta.key)
            # What the store does not have it may not have seen yet.
            is_new = self._ordered and (known is None or known.uid != meta.uid)
            version = meta.resource_version if is_new else ""
            self._note(informer, meta.key, Written(version, meta.uid, lingers=True))

    def _note(self, informer: Informer, key: NamespacedName, written: Written) -> None:
        try:
            store = informer.store_of(key.namespace)
        except NotCachedError:
            return  # nobody can read it here
        writes = self._pending.setdefault(informer.gvk, {})
        pending = writes.get(key)
        if pending is None:
            pending = writes[key] = PendingWrite(
                key,
                store,
                is_ordered=lambda: self._ordered is True,
                on_seen=lambda: self._forget(informer.gvk, key),
            )
        pending.expect(written)
        pending.look()

    def _forget(self, gvk: GroupVersionKind, key: NamespacedName) -> None:
        del self._pending[gvk][key]
        if not self._pending[gvk]:
            del self._pending[gvk]

    async def _resolve_doubts(
        self, informer: Informer, namespace: str, name: str
    ) -> None:
        doubts = self._doubts.get(informer.gvk, {})
        _drop_expired(doubts)
        for doubt in [it for it in doubts if it.concerns(namespace, name)]:
            until = doubts.get(doubt)
            if until is None:
                continue  # another reader cleared it up, while we asked about others
            for key, written in await _difference(informer, doubt):
                self._note(informer, key, written)
            # Not if another write was lost there while the server was asked.
            if doubts.get(doubt) == until:
                doubts.pop(doubt, None)
        if not self._doubts.get(informer.gvk, True):
            del self._doubts[informer.gvk]

    async def _are_seen(
        self, informer: Informer, writes: Sequence[PendingWrite]
    ) -> bool:
        """Wait until the stores show what was written; `False` when they took long."""
        try:
            async with asyncio.timeout_at(max(write.until for write in writes)):
                if self._ordered is None:
                    await self._learn_order()
                for write in writes:
                    if not write.seen.is_set():
                        write.move_to(informer.store_of(write.key.namespace))
                        write.look()
                    await write.seen.wait()
        except TimeoutError:
            if self._metrics is not None:
                gvk = informer.gvk
                self._metrics.stale_read(f"{gvk.kind}.{gvk.group}".rstrip("."))
            return False
        return True

    async def _learn_order(self) -> None:
        """Ask the server which Kubernetes it is; without an answer nothing changes."""
        version = await server_version(self._transport)
        if version is not None:
            self._ordered = version >= _ORDERED_SINCE


async def _difference(
    informer: Informer, doubt: _Doubt
) -> Iterable[tuple[NamespacedName, Written]]:
    """Ask the server what became of a doubt: what its stores do not show yet."""
    try:
        stores = tuple(informer.stores(doubt.namespace))
    except NotCachedError:
        return ()  # nobody can read it here
    before = [{e.key: e.meta.uid for e in _of(store, doubt)} for store in stores]
    found: list[tuple[NamespacedName, Written]] = []
    snapshots = await informer.snapshot(doubt.namespace, doubt.name)
    for store, known, snapshot in zip(stores, before, snapshots, strict=True):
        for entry in _of(snapshot, doubt):
            kept = store.get(entry.key)
            version = entry.meta.resource_version
            if kept is None or kept.meta.resource_version != version:
                found.append((entry.key, Written(version)))
            known.pop(entry.key, None)
        found += [(key, Written(gone=uid)) for key, uid in known.items()]
    return found


def _of(store: Store, doubt: _Doubt) -> Iterator[RawObject]:
    if not doubt.name:
        return store.list(doubt.namespace)
    entry = store.get(NamespacedName(doubt.namespace, doubt.name))
    return iter([] if entry is None else [entry])


def _read(form: type[S], answer: bytes) -> S | None:
    try:
        return surface(lambda data: msgspec.json.decode(data, type=form), answer)
    except msgspec.MsgspecError:
        return None  # it is done, whatever was said about it


def _known(informer: Informer, key: NamespacedName) -> Meta | None:
    with suppress(NotCachedError):
        entry = informer.get(key)
        return entry.meta if entry is not None else None
    return None


def _drop_expired(doubts: dict[_Doubt, float]) -> None:
    now = _now()
    for doubt in [doubt for doubt, until in doubts.items() if until < now]:
        del doubts[doubt]


def _now() -> float:
    return asyncio.get_running_loop().time()
