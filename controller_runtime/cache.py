"""An informer for each view of a kind, shared by every controller of a manager.

    declare(kind) ─▶ Informer (its stores are empty) ─▶ run ─▶ synced ─▶ reads

A view is a kind and what of it is kept: two controllers that want the same of a kind
share one watch and one store, and one that wants all of its Secrets is not served the
digests that another one keeps of them. Every kind has one default view, which the
cache's options describe; `view` leads to others. Typed, plain and metadata reads are
made of the same bytes and need no views of their own.

Views are declared before the cache runs, and then stay; or they appear with the first
`informer` call, and go with the last subscriber.

The cache owns the tasks of the reflectors. One that ends, because its first list
was refused, leaves the others alone: whoever waits for it is told why, and the
next `informer` call tries again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from controller_runtime.cacheoptions import CacheOptions
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    AlreadyStartedError,
    CacheNotStartedError,
    NotCachedError,
)
from controller_runtime.footprint import Footprints, Holding
from controller_runtime.informer import Informer
from controller_runtime.meta import GroupVersionKind, Kind, kind_of
from controller_runtime.rbac import Watched
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.servertraits import ServerTraits
from controller_runtime.transport import Transport

__all__ = ["Cache", "CacheOptions", "CacheView", "StoreReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """What one store holds at the moment, in plain data."""

    kind: str
    """Such as `Deployment.apps`."""

    view: str
    """`default`, or how the view differs from it."""

    namespace: str
    """Empty for all."""

    objects: int

    bytes: int
    """Of JSON. Metadata and indexes come on top, about 2 KB an object."""

    resource_version: str
    """The version that it has reached; empty before the first list."""

    age: float | None
    """Seconds since the server last said anything; `None` before it did."""

    synced: bool

    unwatched: bool
    """It may not be watched, and is listed now and then."""

    failure: str | None
    """Why the first list cannot be had."""

    fields: Mapping[str, float] = field(default_factory=dict)
    """What the bytes of the view are: fields → shares. Empty where they are few."""


@dataclass(frozen=True, slots=True)
class CacheView:
    """The kinds of a cache with options of one's own: an `InformerSource`.

    Options are equal when their transforms are the same function: make a view once, and
    use it for all that must share a store.
    """

    cache: Cache
    options: ReflectorOptions

    def declare(self, kind: Kind) -> Informer:
        """Return the informer of a kind, as `Cache.declare`."""
        return self.cache.declare(kind, self.options)

    async def informer(self, kind: Kind, /) -> Informer:
        """Return the running informer of a kind, as `Cache.informer`."""
        return await self.cache.informer(kind, self.options)

    @property
    def is_unwatched(self) -> bool:
        """Some kind of it may not be watched, and is served by lists."""
        return any(informer.is_unwatched for informer in self._informers())

    def refresh(self) -> None:
        """List soon what of it may not be watched; what is watched needs no list."""
        for informer in self._informers():
            informer.refresh()

    def _informers(self) -> Iterator[Informer]:
        return (it for it in self.cache if it.options == self.options)


class Cache:
    """The stores of a manager, and the informers that keep them."""

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        *,
        options: CacheOptions | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._transport = transport
        self._discovery = discovery
        self._options = options or CacheOptions()
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._server = ServerTraits()
        self._informers: dict[tuple[GroupVersionKind, ReflectorOptions], Informer] = {}
        self._defaults: dict[GroupVersionKind, Informer] = {}
        self._kinds: dict[GroupVersionKind, Kind] = {}
        self._held: list[Informer] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._now: Callable[[], float] = lambda: 0.0
        self._footprints: Footprints | None = None
        if self._options.memory_warning is not None:
            budget = self._options.memory_warning
            self._footprints = Footprints(self._holdings, budget)

    def __iter__(self) -> Iterator[Informer]:
        return iter(tuple(self._informers.values()))

    def view(self, options: ReflectorOptions) -> CacheView:
        """Return the kinds of this cache, kept as `options` say."""
        return CacheView(self, options)

    def declare(self, kind: Kind, options: ReflectorOptions | None = None) -> Informer:
        """Return the informer of a kind, for good; it fills once the cache runs.

        Args:
            kind: What is kept.
            options: How; by default as this cache's options say, which is the view that
                a `CachedClient` reads. With the same options it is the same informer.
        """
        informer = self._informer(kind_of(kind), options)
        if self._held is None:
            informer.held = False
        else:
            informer.held |= not informer.permanent
            self._held.append(informer)
        informer.permanent = True
        self._kinds[informer.gvk] = kind
        return informer

    @contextmanager
    def holding(self) -> Iterator[list[Informer]]:
        """Hold back what is declared inside, and list it.

        Such an informer fills when `informer` first asks for it, or a reader does; or
        with the cache, if somebody else declares it too. Nobody waits for it before.
        """
        held: list[Informer] = []
        self._held = held
        try:
            yield held
        finally:
            self._held = None

    async def informer(
        self, kind: Kind, options: ReflectorOptions | None = None
    ) -> Informer:
        """Return the running informer of a kind; does not wait for its first list.

        One that nobody declared ends with its last subscriber.

        Raises:
            CacheNotStartedError: The cache does not run.
            NoKindMatchError: The server does not serve the kind.
        """
        gvk = kind_of(kind)
        self._running(gvk)
        await self._discovery.resource(gvk)
        informer = self._informer(gvk, options)
        informer.held = False
        informer.start(self._running(gvk))
        return informer

    def ready(self, gvk: GroupVersionKind) -> Informer | None:
        """Return the default informer of a kind if it can answer now: see `reader`."""
        informer = self._defaults.get(gvk)
        return informer if self._tasks and informer and informer.is_ready else None

    async def reader(self, kind: Kind) -> Informer:
        """Return the default informer of a kind when it can answer.

        Raises:
            CacheNotStartedError: The cache does not run.
            NotCachedError: Nobody declared or watches the kind.
            ForbiddenError, UnauthorizedError, NoKindMatchError: It cannot be listed.
        """
        gvk = kind_of(kind)
        tasks = self._running(gvk)
        informer = self._defaults.get(gvk)
        if informer is None:
            if self._options.reader_fail_on_missing_informer:
                raise NotCachedError(
                    f"{gvk} is not cached: declare it before the start, or read it live"
                )
            informer = self.declare(gvk)
            informer.start(tasks)
        elif informer.held:
            informer.held = False
            informer.start(tasks)
        if not informer.is_ready:
            await informer.synced()
        return informer

    def default(self, gvk: GroupVersionKind) -> Informer | None:
        """Return the default informer of a kind, if there is one."""
        return self._defaults.get(gvk)

    def remove_informer(
        self, kind: Kind, options: ReflectorOptions | None = None
    ) -> None:
        """Stop to watch a kind, whoever wants it, and forget what was kept.

        Subscribers hear no more of it. The next call for the kind starts anew.
        """
        gvk = kind_of(kind)
        informer = self._informers.get((gvk, options or self._default_options(gvk)))
        if informer is not None:
            self._forget(informer)
            informer.stop()

    @property
    def watched(self) -> list[Watched]:
        """What is kept, for the role that this takes; see `Manager.grants`."""
        return [
            Watched(
                self._kinds.get(informer.gvk, informer.gvk),
                informer.options.places,
                informer.options.field_selector,
            )
            for informer in self
        ]

    async def synced(self) -> None:
        """Wait for the first list of every kind that is declared now, and not held.

        Raises:
            ForbiddenError, UnauthorizedError, NoKindMatchError: One cannot be had.
        """
        for informer in self:
            if not informer.held:
                await informer.synced()

    @property
    def unsynced(self) -> list[GroupVersionKind]:
        """The kinds whose first list was asked for and has not come."""
        return [i.gvk for i in self if not (i.held or i.is_synced)]

    def report(self) -> list[StoreReport]:
        """Tell what every store holds."""
        now = self._now()
        return [
            StoreReport(
                kind=_group_kind(informer.gvk),
                view=self._view_name(informer),
                namespace=place,
                objects=len(reflector.store),
                bytes=reflector.store.bytes,
                resource_version=reflector.store.resource_version,
                age=None if reflector.told_at is None else now - reflector.told_at,
                synced=reflector.is_synced,
                unwatched=reflector.is_unwatched,
                failure=str(reflector.failure) if reflector.failure else None,
                fields=self._fields(informer),
            )
            for informer in self
            for place, reflector in informer.parts.items()
        ]

    async def run(self) -> None:
        """Keep every declared kind until cancelled.

        Raises:
            AlreadyStartedError: The cache runs already.
        """
        if self._tasks is not None:
            raise AlreadyStartedError("the cache runs already")
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._now = asyncio.get_running_loop().time
                for informer in self:
                    if not informer.held:
                        informer.start(tasks)
                if self._footprints is not None:
                    tasks.create_task(self._footprints.run(), name="footprints")
                await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            self._tasks = None
            for informer in self:
                informer.ended()

    def _holdings(self) -> Iterable[Holding]:
        return [
            Holding(
                _group_kind(informer.gvk),
                self._view_name(informer),
                [reflector.store for reflector in informer.parts.values()],
            )
            for informer in self
        ]

    def _fields(self, informer: Informer) -> Mapping[str, float]:
        if self._footprints is None:
            return {}
        view = self._view_name(informer)
        return self._footprints.fields(_group_kind(informer.gvk), view)

    def _running(self, gvk: GroupVersionKind) -> asyncio.TaskGroup:
        if self._tasks is None:
            raise CacheNotStartedError(
                f"cannot read {gvk}: the cache runs with its manager"
            )
        return self._tasks

    def _default_options(self, gvk: GroupVersionKind) -> ReflectorOptions:
        return self._options.of(gvk)

    def _informer(
        self, gvk: GroupVersionKind, options: ReflectorOptions | None
    ) -> Informer:
        usual = self._default_options(gvk)
        chosen = options or usual
        informer = self._informers.get((gvk, chosen))
        if informer is None:
            informer = Informer(
                self._transport,
                self._discovery,
                gvk,
                options=chosen,
                randomness=self._random,
                server=self._server,
                permanent=False,
                on_idle=self._end,
                must_have_namespaces=(
                    chosen == usual and self._options.names_namespaces_of(gvk)
                ),
            )
            self._informers[gvk, chosen] = informer
            if chosen == usual:
                self._defaults[gvk] = informer
        return informer

    def _end(self, informer: Informer) -> None:
        if self._informers.get((informer.gvk, informer.options)) is informer:
            self._forget(informer)
            informer.stop()

    def _forget(self, informer: Informer) -> None:
        del self._informers[informer.gvk, informer.options]
        if self._defaults.get(informer.gvk) is informer:
            del self._defaults[informer.gvk]

    def _view_name(self, informer: Informer) -> str:
        if self._defaults.get(informer.gvk) is informer:
            return "default"
        return _describe(informer.options)


def _describe(options: ReflectorOptions) -> str:
    """Say what a view keeps, as short as a label of a metric should be."""
    transform = getattr(options.transform, "__name__", "transform")
    parts = {
        "namespace": ",".join(filter(None, options.places)),
        "labels": options.label_selector,
        "fields": options.field_selector,
        "transform": transform if options.transform is not None else "",
        "only": "metadata" if options.metadata_only else "",
    }
    return "; ".join(f"{name} {text}" for name, text in parts.items() if text) or "all"


def _group_kind(gvk: GroupVersionKind) -> str:
    return f"{gvk.kind}.{gvk.group}" if gvk.group else gvk.kind
