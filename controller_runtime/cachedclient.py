"""A client whose reads come from the cache, and see what it has written.

    write ─▶ API server ─answer─▶ OwnWrites
    read ──▶ does one of them concern it? ─no─▶ store
               └yes─▶ wait until the store shows it, or read live

A read of a key that was written waits until the store shows it, and so does a list of
its kind there; all other reads are a look into a dict. When the watch lags for too long
the server is asked, with the selectors and the transform of the store: the answer is
that of a cache that does not lag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, Unpack, overload

from controller_runtime.cache import Cache
from controller_runtime.client import Client, FieldValidation, ListOptions
from controller_runtime.discovery import Discovery, bad_request
from controller_runtime.errors import (
    NotCachedError,
    NotFoundError,
    NotIndexedError,
)
from controller_runtime.informer import Informer
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    Meta,
    NamespacedName,
    PartialJson,
    RawObject,
    kind_of,
)
from controller_runtime.metrics import Metrics
from controller_runtime.ownwrites import OwnWrites
from controller_runtime.scheme import ObjectList, Scheme
from controller_runtime.selectors import FieldSelector, LabelSelector
from controller_runtime.transport import Transport

T = TypeVar("T", bound=KubeObject)

_YIELD_AFTER = 256
"""Objects of a list that are read in one go: about 10 ms of models."""

_NO_CONTINUE = "continue-not-supported"
"""What stands in for the token of a next page, as in controller-runtime."""


class CachedClient(Client):
    """A `Client` for reconcilers: it stands wherever one is asked for.

    `get` and `list` read the default view of a kind (see `Cache`); subresources, and
    the kinds that are excepted, are read live. Objects are parsed for the caller, who
    owns them.

    Args:
        cache: What is read.
        transport: Carries what is written.
        scheme: Reads and writes the objects.
        discovery: Finds the paths.
        field_owner: See `Client`.
        field_validation: See `Client`.
        metrics: Counts the reads for which the cache was too slow.
        disable_for: Kinds that `get` and `list` read live.
    """

    def __init__(
        self,
        cache: Cache,
        transport: Transport,
        *,
        scheme: Scheme,
        discovery: Discovery | None = None,
        field_owner: str = "pilothouse",
        field_validation: FieldValidation | None = None,
        metrics: Metrics | None = None,
        disable_for: Iterable[Kind] = (),
    ) -> None:
        self._cache = cache
        self._live = frozenset(map(kind_of, disable_for))
        self._writes = OwnWrites(cache, transport, metrics)
        super().__init__(
            transport,
            scheme=scheme,
            discovery=discovery,
            field_owner=field_owner,
            field_validation=field_validation,
            log=self._writes,
        )

    @overload
    async def get(
        self, kind: type[T], name: str, namespace: str = "", *, subresource: str = ""
    ) -> T: ...
    @overload
    async def get(
        self,
        kind: GroupVersionKind,
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> Json: ...

    async def get(
        self, kind: Kind, name: str, namespace: str = "", *, subresource: str = ""
    ) -> KubeObject | Json:
        """Read an object from the cache.

        Raises:
            NotFoundError: The cache has no such object.
            NotCachedError: It does not keep the kind, the namespace, or more than
                metadata.
            CacheNotStartedError: It does not run.
        """
        if subresource or (self._live and kind_of(kind) in self._live):
            return await super().get(kind, name, namespace, subresource=subresource)
        if self._calls.defaults.namespace:
            namespace = await self._calls.place(kind_of(kind), namespace)
        informer = await self._whole(kind)
        entry = self._at_hand(informer, name, namespace)
        if entry is None:
            entry = await self._entry(informer, name, namespace)
        return self._read(kind, informer, entry)

    async def get_meta(self, kind: Kind, name: str, namespace: str = "") -> Meta:
        """Read the metadata of an object from the cache, without parsing anything.

        Raises:
            NotFoundError: The cache has no such object.
            NotCachedError: It does not keep the kind, or the namespace.
            CacheNotStartedError: It does not run.
        """
        namespace = await self._calls.place(kind_of(kind), namespace)
        informer = await self._cache.reader(kind)
        return (await self._entry(informer, name, namespace)).meta

    @overload
    async def list(
        self, kind: type[T], namespace: str = "", **options: Unpack[ListOptions]
    ) -> ObjectList[T]: ...
    @overload
    async def list(
        self,
        kind: GroupVersionKind,
        namespace: str = "",
        **options: Unpack[ListOptions],
    ) -> ObjectList[Json]: ...

    async def list(
        self, kind: Kind, namespace: str = "", **options: Unpack[ListOptions]
    ) -> ObjectList[Any]:
        """Read what matches from the cache, in no particular order.

        `field_selector` names indexes, which `Informer.add_index` adds, and values.
        There are no pages: what `limit` cuts off cannot be had by `continue_`.

        Raises:
            NotIndexedError: There is no index of that name.
            NotCachedError: The cache does not keep the kind, the namespace, or more
                than metadata.
            CacheNotStartedError: It does not run.
            BadRequestError: `continue_`, a version or anything `raw` is given.
        """
        if self._live and kind_of(kind) in self._live:
            return await super().list(kind, namespace, **options)
        namespace = await self._calls.place(kind_of(kind), namespace)
        informer = await self._whole(kind)
        found = await self._entries(informer, namespace, options)
        items = []
        for number, entry in enumerate(found.items):
            if number % _YIELD_AFTER == _YIELD_AFTER - 1:
                await asyncio.sleep(0)
            items.append(self._read(kind, informer, entry))
        return ObjectList(items, *found[1:])

    async def list_meta(
        self, kind: Kind, namespace: str = "", **options: Unpack[ListOptions]
    ) -> ObjectList[Meta]:
        """Read the metadata of what matches, as `list`, without parsing anything."""
        namespace = await self._calls.place(kind_of(kind), namespace)
        informer = await self._cache.reader(kind)
        found = await self._entries(informer, namespace, options)
        return ObjectList([entry.meta for entry in found.items], *found[1:])

    async def _whole(self, kind: Kind) -> Informer:
        informer = self._cache.ready(kind_of(kind)) or await self._cache.reader(kind)
        if informer.options.metadata_only:
            raise NotCachedError(
                f"the cache keeps metadata alone of {informer.gvk}: use get_meta"
            )
        return informer

    def _read(
        self, kind: Kind, informer: Informer, entry: RawObject
    ) -> KubeObject | Json:
        obj: KubeObject | Json = self.scheme.decode(kind, entry.raw)
        if not informer.keeps_less(entry.meta.namespace):
            return obj
        return obj.mark_partial() if isinstance(obj, KubeObject) else PartialJson(obj)

    def _at_hand(
        self, informer: Informer, name: str, namespace: str
    ) -> RawObject | None:
        """Find an object of a kind of which no write is pending, as `_entry` does."""
        if self._writes.concern(informer.gvk):
            return None
        return informer.get(NamespacedName(namespace, name))

    async def _entry(self, informer: Informer, name: str, namespace: str) -> RawObject:
        key = informer.key(namespace, name)
        store = informer.store_of(key.namespace)
        if self._writes.concern(informer.gvk):
            instead = await self._writes.settled(informer, key.namespace, name)
            # Meanwhile the kind may have got another store.
            (store,) = instead or [informer.store_of(key.namespace)]
        entry = store.get(key)
        if entry is None:
            raise await self._not_found(informer.gvk, name)
        return entry

    async def _entries(
        self, informer: Informer, namespace: str, options: ListOptions
    ) -> ObjectList[RawObject]:
        is_any = options.get("resource_version", "") in _ANY
        if options.get("continue_") or options.get("raw") or not is_any:
            raise bad_request("a cache has neither pages nor versions to choose from")
        namespace, _ = informer.key(namespace, "")
        stores = informer.stores(namespace)
        if self._writes.concern(informer.gvk):
            instead = await self._writes.settled(informer, namespace)
            stores = instead or informer.stores(namespace)
        found = informer.select(
            namespace,
            labels=LabelSelector.parse(options.get("label_selector", "")),
            indexed=_terms(informer.gvk, options.get("field_selector", "")),
            stores=stores,
        )
        version = [store.resource_version for store in stores][-1]
        return _cut(list(found), version, options.get("limit", 0))

    async def _not_found(self, gvk: GroupVersionKind, name: str) -> NotFoundError:
        plural = (await self.discovery.resource(gvk)).plural
        resource = f"{plural}.{gvk.group}" if gvk.group else plural
        return NotFoundError(
            f'{resource} "{name}" not found in the cache',
            status=404,
            reason="NotFound",
            details={"name": name, "group": gvk.group, "kind": plural},
        )


_ANY = frozenset({"", "0"})
"""Resource versions that ask for none in particular."""


def _terms(gvk: GroupVersionKind, selector: str) -> Iterable[tuple[str, str]]:
    terms = FieldSelector.parse(selector).terms
    for term in terms:
        if term.negated:
            raise NotIndexedError(f"{gvk}: an index cannot answer {str(term)!r}")
    return [(term.field, term.value) for term in terms]


def _cut(
    entries: Sequence[RawObject], version: str, limit: int
) -> ObjectList[RawObject]:
    if not 0 < limit < len(entries):
        return ObjectList(list(entries), version)
    return ObjectList(
        list(entries[:limit]), version, _NO_CONTINUE, len(entries) - limit
    )
