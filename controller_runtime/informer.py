"""One view of a kind: which of its objects are kept, and how much of each.

    Informer ──┬─ Reflector ─▶ Store      one for all namespaces, or one for each
               └─ Reflector ─▶ Store      of those that the options name
                      │
                      └─▶ subscribers: a controller's source is one

Readers ask the informer, which knows the store of a namespace, and refuses to answer
for a namespace that nobody watches: an empty answer would be a lie. A kind that turns
out to be cluster-scoped has one store, whatever namespaces the options name.

An informer that somebody declared is there for good. Another one is there for its
subscribers: when the last of them stops, its cache ends it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain

import structlog

from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    ConfigError,
    ControllerRuntimeError,
    NotCachedError,
    ServerError,
    TooManyRequestsError,
)
from controller_runtime.meta import GroupVersionKind, NamespacedName, RawObject
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.selectors import LabelSelector
from controller_runtime.servertraits import ServerTraits
from controller_runtime.store import IndexFunction, Store
from controller_runtime.subscription import Callback, Resync, Subscription
from controller_runtime.transport import TRANSPORT_ERRORS, Transport

log = structlog.get_logger(__name__)

_SCOPE_RETRY = 1.0
"""Seconds between two questions whether a kind has namespaces."""

_PASSING: tuple[type[Exception], ...] = (
    ServerError,
    TooManyRequestsError,
    *TRANSPORT_ERRORS,
)
"""Reasons why the server does not say whether a kind has namespaces, and later may."""


class Following:
    """A subscriber's place at every store of an informer."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription],
        resyncs: Iterable[Resync],
        on_stop: Callable[[Following], None],
    ) -> None:
        self._subscriptions = tuple(subscriptions)
        self._resyncs = tuple(resyncs)
        self._on_stop = on_stop

    async def caught_up(self) -> None:
        """Wait until the subscriber was told of every object that was here before."""
        for subscription in self._subscriptions:
            await subscription.caught_up()

    def stop(self) -> None:
        """Call the callback no more."""
        self.stop_resync()
        for subscription in self._subscriptions:
            subscription.stop()
        self._on_stop(self)

    def stop_resync(self) -> None:
        """Remind no more; what happens is still told."""
        for resync in self._resyncs:
            resync.stop()


class Informer:
    """Tells what happens to the objects of one kind, and what there is.

    Args:
        transport: Carries the requests.
        discovery: Finds the paths.
        gvk: The kind.
        options: What is kept.
        randomness: Spreads periods and pauses.
        server: What is known of the server; shared by all informers of a cache.
        permanent: Somebody holds on to it, subscribed or not.
        must_have_namespaces: The options are for a kind that has namespaces.
        on_idle: Called when one that is not permanent has lost its last subscriber.
    """

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        gvk: GroupVersionKind,
        *,
        options: ReflectorOptions,
        randomness: random.Random,
        server: ServerTraits,
        permanent: bool,
        on_idle: Callable[[Informer], None],
        must_have_namespaces: bool = False,
    ) -> None:
        self.gvk = gvk
        self.options = options
        self.permanent = permanent
        self.held = False
        """It was declared, and is not filled before somebody asks for it."""
        self._discovery = discovery
        self._random = randomness
        self._on_idle = on_idle
        self._namespaced: bool | None = None
        self._must_have_namespaces = must_have_namespaces
        self._scope_known = asyncio.Event()
        self._is_ready = False
        self._followings: list[Following] = []
        self._running: dict[Reflector, asyncio.Task[None]] = {}
        self._parts: Mapping[str, Reflector] = {
            place: Reflector(
                transport,
                discovery,
                gvk,
                options=part,
                randomness=randomness,
                server=server,
            )
            for place, part in options.parts.items()
        }
        self._keeps_less = options.keeps_less
        self._is_split = must_have_namespaces or options.places != ("",)

    @property
    def store(self) -> Store:
        """The only store.

        Raises:
            ConfigError: There is one for each of several namespaces.
        """
        if len(self._parts) > 1:
            raise ConfigError(
                f"{self.gvk} has a store for each of {', '.join(self._parts)}; "
                "read it through its informer"
            )
        (reflector,) = self._parts.values()
        return reflector.store

    @property
    def parts(self) -> Mapping[str, Reflector]:
        """What keeps the stores, by namespace; empty for all."""
        return self._parts

    @property
    def is_synced(self) -> bool:
        """Every first list is in its store and every subscriber was told of it."""
        return all(reflector.is_synced for reflector in self._parts.values())

    @property
    def is_ready(self) -> bool:
        """Somebody has waited for `synced` already: reads are complete."""
        return self._is_ready

    @property
    def failure(self) -> ControllerRuntimeError | None:
        """Why a first list cannot be had, if one cannot."""
        failures = (reflector.failure for reflector in self._parts.values())
        return next(filter(None, failures), None)

    def store_of(self, namespace: str) -> Store:
        """Return where the objects of one namespace are.

        Raises:
            NotCachedError: Nobody watches there.
        """
        return self._part(namespace).store

    def keeps_less(self, namespace: str) -> bool:
        """Tell whether objects there lack what a write of the whole would take away."""
        return self._keeps_less and self._part(namespace).options.keeps_less

    def get(self, key: NamespacedName) -> RawObject | None:
        """Return the newest known version of an object.

        Raises:
            NotCachedError: Nobody watches its namespace.
        """
        if self._namespaced is False:
            key = self.key(key.namespace, key.name)
        return self._part(key.namespace).store.get(key)

    def key(self, namespace: str, name: str) -> NamespacedName:
        """Name an object; a namespace says nothing of a cluster-scoped one."""
        return NamespacedName("" if self._namespaced is False else namespace, name)

    def list(self, namespace: str = "") -> Iterator[RawObject]:
        """Yield the objects of a namespace, or all that are kept.

        Raises:
            NotCachedError: Nobody watches there.
        """
        return self.select(namespace)

    def by_index(self, name: str, value: str) -> Iterator[RawObject]:
        """Yield the objects that the index `name` has under `value`.

        Raises:
            NotIndexedError: There is no such index.
        """
        return self.select(indexed=[(name, value)])

    def select(
        self,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        indexed: Iterable[tuple[str, str]] = (),
        stores: Iterable[Store] | None = None,
    ) -> Iterator[RawObject]:
        """Yield the objects that match in every respect.

        Args:
            namespace: Where they are; empty for everywhere.
            labels: What their labels must be.
            indexed: Names of indexes, and values that the objects stand under there.
            stores: Looked through instead of `stores(namespace)`.

        Raises:
            NotCachedError: Nobody watches there.
            NotIndexedError: There is no such index.
        """
        namespace, _ = self.key(namespace, "")
        terms = tuple(indexed)
        places = self.stores(namespace) if stores is None else stores
        return chain.from_iterable(
            [s.select(namespace, labels=labels, indexed=terms) for s in places]
        )

    def stores(self, namespace: str = "") -> Iterable[Store]:
        """Return the stores that a read of a namespace, or of all, goes through.

        Raises:
            NotCachedError: Nobody watches there.
        """
        if namespace:
            return (self.store_of(namespace),)
        return tuple(reflector.store for reflector in self._parts.values())

    @property
    def is_unwatched(self) -> bool:
        """Some of it may not be watched, and is served by lists."""
        return any(reflector.is_unwatched for reflector in self._parts.values())

    def refresh(self) -> None:
        """List soon what may not be watched; see `Reflector.refresh`."""
        for reflector in self._parts.values():
            reflector.refresh()

    async def snapshot(self, namespace: str = "", name: str = "") -> Iterable[Store]:
        """Read from the server what the stores should have, and leave these alone.

        Raises:
            ApiError: The server refuses.
            NotCachedError: Nobody watches there.
        """
        parts = [self._part(namespace)] if namespace else self._parts.values()
        return [await reflector.snapshot(namespace, name) for reflector in parts]

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Index the objects that are here and those that will come.

        Raises:
            AlreadyStartedError: There is an index of this name.
        """
        for reflector in self._parts.values():
            reflector.store.add_index(name, function)

    def subscribe(
        self, callback: Callback, /, *, resync: float | None = None
    ) -> Following:
        """Call `callback` with what is here and then with all that happens.

        What is here comes as `Created` with `is_initial`, without gap or repetition
        before what follows.

        Args:
            callback: Must be quick, and must not raise.
            resync: Seconds after which it is told of everything again, at least one;
                by default what the options say, and `inf` for never.
        """
        parts = tuple(self._parts.values())
        subscriptions = [reflector.subscribe(callback) for reflector in parts]
        periods = [r.options.sync_period if resync is None else resync for r in parts]
        resyncs = (
            Resync(reflector, subscription, period=period, randomness=self._random)
            for reflector, subscription, period in zip(
                parts, subscriptions, periods, strict=True
            )
            if period != float("inf")
        )
        following = Following(subscriptions, resyncs, self._left)
        self._followings.append(following)
        return following

    async def synced(self) -> None:
        """Wait for the first list.

        Raises:
            ForbiddenError, UnauthorizedError, NoKindMatchError: It cannot be had.
            ConfigError: Namespaces were named for a kind that has none.
        """
        if self._is_split:
            await self._scope_known.wait()
        for reflector in self._parts.values():
            await reflector.synced()
        self._namespaced = (await self._discovery.resource(self.gvk)).namespaced
        self._is_ready = True

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Keep the stores, with tasks of this group; what runs already goes on."""
        for reflector in self._parts.values():
            task = self._running.get(reflector)
            if task is None or task.done():
                if reflector.failure is not None and self._namespaced is None:
                    self._scope_known.clear()
                reflector.reset()
                self._running[reflector] = tasks.create_task(
                    self._run(reflector), name=f"reflector {self.gvk}"
                )

    def stop(self) -> None:
        """End the watches; subscribers hear no more."""
        for following in tuple(self._followings):
            following.stop()
        for task in self._running.values():
            task.cancel()

    def ended(self) -> None:
        """Take note that the tasks of the group have ended."""
        self._running.clear()
        for following in self._followings:
            following.stop_resync()

    def _part(self, namespace: str) -> Reflector:
        # The empty one stands for all namespaces that are not named beside it.
        reflector = self._parts.get(namespace) or self._parts.get("")
        if reflector is None:
            raise NotCachedError(
                f"{self.gvk} in {namespace or 'all namespaces'} is not cached: "
                f"the cache watches {', '.join(self._parts)}"
            )
        return reflector

    async def _run(self, reflector: Reflector) -> None:
        try:
            if self._is_split:
                await self._learn_scope()
            if reflector in self._parts.values():
                await reflector.run()
        except ControllerRuntimeError as error:
            # Whoever waits for it is told; the other kinds go on.
            reflector.refuse(error)
            self._scope_known.set()
            log.warning("kind cannot be cached", kind=str(self.gvk), error=str(error))

    async def _learn_scope(self) -> None:
        """Keep one store alone when the kind has no namespaces, before any list."""
        while self._namespaced is None:
            with suppress(*_PASSING):
                resource = await self._discovery.resource(self.gvk)
                self._take_scope(namespaced=resource.namespaced)
                break
            await asyncio.sleep(_SCOPE_RETRY)
        self._scope_known.set()

    def _take_scope(self, *, namespaced: bool) -> None:
        if self._namespaced is None and not namespaced:
            if self._must_have_namespaces:
                raise ConfigError(
                    f"{self.gvk} is in no namespace: take `namespaces` from its options"
                )
            first = next(iter(self._parts.values()))
            first.use(self.options.everywhere)
            self._parts = {"": first}
        self._namespaced = namespaced

    def _left(self, following: Following) -> None:
        if following in self._followings:
            self._followings.remove(following)
            if not self._followings and not self.permanent:
                self._on_idle(self)
