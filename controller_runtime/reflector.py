"""Pump a watch into a store, and tell subscribers what changed.

    API server ─▶ ListWatch ─▶ Stepper ─▶ Store ─▶ events ─▶ subscribers

One reflector, one task, one store. It puts the stepper's questions to the API
server, applies what the stepper makes of the answers, and calls every subscriber
with the events, inline and in order: when `run` waits for the network again, every
subscriber knows what the store knows. So a subscriber must be quick; it may look at
metadata and add keys to a queue, and nothing else.

Before all objects have come, a refusal that waiting cannot cure (a missing
permission, a missing kind, refused credentials) ends `run` with that error, and
`synced` raises it to whoever waits. Afterwards every trouble is retried for ever. What
came in pages is held back until its watch is open, or in trouble that can be cured: who
may list and not watch is told, or served by lists: one now and then, in which a watch
is tried again, and one as soon as somebody says that it is time (`refresh`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    ConfigError,
    ControllerRuntimeError,
    ForbiddenError,
    NoKindMatchError,
    UnauthorizedError,
)
from controller_runtime.event import Created, Event
from controller_runtime.listwatch import ListWatch, batches
from controller_runtime.meta import GroupVersionKind
from controller_runtime.question import Answer, Failed, List, Opened, Watch, WatchList
from controller_runtime.servertraits import ServerTraits
from controller_runtime.store import Store
from controller_runtime.subscription import Callback, Subscription
from controller_runtime.transport import Transport
from controller_runtime.watch import (
    Apply,
    Delta,
    Step,
    Stepper,
    WatchOptions,
)
from controller_runtime.wire import Transform, strip_managed_fields

log = structlog.get_logger(__name__)

_NEWEST = List(resource_version="", limit=0)
"""Everything as it is now, in one answer."""

_PAGES_SINCE = (1, 34)
"""The Kubernetes whose watch cache has the pages of a list: `ListFromCacheSnapshot`."""

_BETWEEN_LISTS = 0.5
"""Seconds from one list to the next where a watch is forbidden, however many ask."""

_INCURABLE = (ForbiddenError, UnauthorizedError, NoKindMatchError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorOptions:
    """Which objects of a kind are kept, and how much of each."""

    namespace: str = ""
    """Only this namespace; empty for all."""

    label_selector: str = ""
    """Only objects whose labels match, decided by the server."""

    field_selector: str = ""
    """Only objects whose fields match, decided by the server."""

    namespaces: tuple[str | ReflectorOptions, ...] = ()
    """Only these, with a watch for each, so that a role in each is enough. Stands
    instead of `namespace`, and as that, says nothing to cluster-scoped kinds. One that
    is kept in another way than the rest has whole options of its own, which name it."""

    transform: Transform | None = None
    """Reduces an object before it is stored."""

    is_partial: bool | None = None
    """The transform drops what the server would lose if the object were written back
    whole. By default every transform does but `strip_managed_fields`: the server keeps
    those itself."""

    metadata_only: bool = False
    """The server sends metadata and nothing else, for stores that need no more."""

    sync_period: float = 36_000.0
    """Seconds, less or more by up to a tenth, after which a subscriber is told of every
    object again, without a call to the server; `inf` for never. A subscription may
    have its own. The default is controller-runtime's 10 hours."""

    watch: WatchOptions = field(default_factory=WatchOptions)
    """How to list, watch and wait."""

    def __post_init__(self) -> None:
        """Refuse parts that cannot be read as one.

        Raises:
            ConfigError: A namespace is named twice, or one alone is metadata only.
        """
        if len(self.parts) < len(self.namespaces):
            raise ConfigError("a namespace is to be watched twice; name it once")
        if any(
            part.metadata_only != self.metadata_only for part in self.parts.values()
        ):
            raise ConfigError("metadata only is for all namespaces of a kind, or none")

    @property
    def places(self) -> tuple[str, ...]:
        """The namespaces that are watched; one empty name for all."""
        return tuple(self.parts)

    @property
    def parts(self) -> Mapping[str, ReflectorOptions]:
        """How each namespace is kept; an empty name for all, or all others."""
        if not self.namespaces:
            return {self.namespace: self}
        named = (
            one
            if isinstance(one, ReflectorOptions)
            else replace(self.everywhere, namespace=one)
            for one in self.namespaces
        )
        return {options.namespace: options for options in named}

    @property
    def everywhere(self) -> ReflectorOptions:
        """The same without namespaces, for a kind that has none."""
        return replace(self, namespace="", namespaces=())

    @property
    def keeps_less(self) -> bool:
        """What is stored lacks something that a write of the whole would take away."""
        if self.namespaces:
            return any(part.keeps_less for part in self.parts.values())
        if self.metadata_only:
            return True
        if self.is_partial is not None:
            return self.is_partial
        return self.transform not in {None, strip_managed_fields}

    @property
    def reduces(self) -> bool:
        """What comes may be far larger than what is kept of it."""
        return self.transform is not None and self.keeps_less

    @property
    def selectors(self) -> dict[str, str]:
        """The selectors that there are, as the query has them."""
        both = {
            "labelSelector": self.label_selector,
            "fieldSelector": self.field_selector,
        }
        return {name: value for name, value in both.items() if value}


class Reflector:
    """Keeps the store of one kind in step with the API server."""

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        gvk: GroupVersionKind,
        *,
        options: ReflectorOptions,
        randomness: random.Random,
        server: ServerTraits | None = None,
    ) -> None:
        self.gvk = gvk
        self.store = Store(gvk)
        self._discovery = discovery
        self._traits = server or ServerTraits()
        self._list_watch = partial(ListWatch, transport, discovery, gvk)
        self._new_stepper = partial(
            Stepper, randomness=randomness, server=self._traits, kind=gvk
        )
        self.use(options)
        self._subscriptions: list[Subscription] = []
        self._settled = asyncio.Event()
        self._failure: ControllerRuntimeError | None = None
        self._is_synced = False
        self._held: tuple[Delta, ...] = ()
        self.told_at: float | None = None
        """When the last change or bookmark came, on the loop's clock."""
        self.is_telling = False
        """Subscribers are being told of what the store has already."""
        self._is_unwatched = False
        self._wanted = asyncio.Event()
        self._listed_at = float("-inf")

    @property
    def is_synced(self) -> bool:
        """The first list is in the store and every subscriber was told of it."""
        return self._is_synced

    @property
    def is_unwatched(self) -> bool:
        """It may not be watched, and is served by lists: see `WatchOptions.poll`."""
        return self._is_unwatched

    def refresh(self) -> None:
        """List soon what may not be watched; what is watched needs no list.

        However often this is called, there are at most two lists a second.
        """
        if self._is_unwatched:
            self._wanted.set()

    @property
    def failure(self) -> ControllerRuntimeError | None:
        """Why `run` ended before the first list, if it did."""
        return self._failure

    def subscribe(self, callback: Callback) -> Subscription:
        """Call `callback` with what is here and then with all that happens.

        What is here comes as `Created` with `is_initial`, without gap or repetition
        before what follows.
        """
        here = [Created(e, is_initial=True) for e in self.store.list()]
        subscription = Subscription(callback, here)
        self._subscriptions = [s for s in self._subscriptions if not s.stopped]
        self._subscriptions.append(subscription)
        return subscription

    def use(self, options: ReflectorOptions) -> None:
        """Keep something else, before `run`."""
        self.options = options
        self._questions = partial(
            self._list_watch,
            transform=options.transform,
            metadata_only=options.metadata_only,
        )
        self._server = self._questions(
            namespace=options.namespace, selectors=options.selectors
        )
        watch = options.watch
        if watch.paged_fill is None:
            watch = replace(watch, paged_fill=not options.reduces)
        self._stepper = self._new_stepper(watch)

    async def synced(self) -> None:
        """Wait for the first list.

        Raises:
            ForbiddenError, UnauthorizedError, NoKindMatchError: It cannot be had.
        """
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def snapshot(self, namespace: str = "", name: str = "") -> Store:
        """List what the server has now, as the store would hold it, beside the store.

        Args:
            namespace: Only this one, of those that are watched.
            name: Only this object.

        Raises:
            ApiError: The server refuses.
        """
        options = self.options
        terms = filter(None, [options.field_selector, name and f"metadata.name={name}"])
        server = self._questions(
            namespace=options.namespace or namespace,
            selectors=replace(options, field_selector=",".join(terms)).selectors,
        )
        page = await server.list(_NEWEST)
        if isinstance(page, Failed):
            raise page.error
        scratch = self.store.scratch()
        replacement = scratch.replacement()
        async for batch in batches(page.objects):
            replacement.add(batch)
        replacement.commit(page.resource_version)
        return scratch

    def refuse(self, error: ControllerRuntimeError) -> None:
        """Tell whoever waits for the first list that it will not come."""
        self._failure = error
        self._settled.set()

    def reset(self) -> None:
        """Forget that the first list was refused, before another try."""
        if self._failure is not None:
            self._failure = None
            self._settled.clear()

    async def run(self) -> None:
        """List and watch until cancelled.

        Raises:
            ForbiddenError, UnauthorizedError, NoKindMatchError: The first list was
                refused. After `reset` it may be called again.
        """
        try:
            await self._pump()
        except _INCURABLE as error:
            self.refuse(error)
            raise

    async def _pump(self) -> None:
        await self._learn_of_pages()
        self._held = ()
        step = self._stepper.start()
        while True:
            step = await self._rest(step)
            if not isinstance(step.state.ask, Watch) and await self._learn_of_pages():
                step = self._again(step)
            match step.state.ask:
                case List() as ask:
                    step = await self._follow(step, self._server.pages(ask))
                case Watch() | WatchList() as ask:
                    step = await self._follow(step, self._server.watch(ask))

    async def _rest(self, step: Step) -> Step:
        """Wait as a step says, or until a list is wanted; return what comes then."""
        if not (step.memory.unwatched and isinstance(step.state.ask, Watch)):
            await asyncio.sleep(step.pause)
            return step
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(step.pause):
                await self._wanted.wait()
        except TimeoutError:
            return step
        await asyncio.sleep(self._listed_at + _BETWEEN_LISTS - now())
        self._listed_at = now()
        self._wanted.clear()
        return self._stepper.listed(step)

    async def _learn_of_pages(self) -> bool:
        """Find out whether the server has pages in memory; whether that is news.

        A server that was away when this began is asked again before everything is.
        """
        if self._traits.serves_pages:
            return False
        version = await self._discovery.server_version()
        self._traits.serves_pages = version >= _PAGES_SINCE
        return self._traits.serves_pages

    def _again(self, step: Step) -> Step:
        """Put the first question once more, as it is with what is known by now."""
        return step if step.memory.last_version else self._stepper.start()

    async def _follow(
        self, step: Step, asked: AsyncGenerator[Answer | Opened, None]
    ) -> Step:
        """Follow one stream as long as it is of use, return what comes after it."""
        async with aclosing(asked) as answers:
            async for answer in answers:
                if isinstance(answer, Opened):
                    self._note_watch(is_forbidden=False)
                    await self._take_held()
                    continue
                step = await self._advance(step, answer)
                if not step.stays:
                    break
        return step

    async def _advance(self, before: Step, answer: Answer) -> Step:
        now = asyncio.get_running_loop().time()
        after = self._stepper.step(before, answer, now=now)
        may_list = after.memory.unwatched and not before.memory.unwatched
        if isinstance(answer, Failed) and not (self._is_synced or may_list):
            _raise_incurable(answer.error)
        if after.memory.unwatched and after.memory.last_version:
            self._note_watch(is_forbidden=True)
        self._held += after.deltas
        if not _waits(after):
            await self._take_held()
        return after

    def _note_watch(self, *, is_forbidden: bool) -> None:
        """Say once that it may not be watched, and once that it may again."""
        if is_forbidden and not self._is_unwatched:
            log.warning(
                "kind may not be watched: it is listed now and then",
                kind=str(self.gvk),
                namespace=self.options.namespace,
                remedy="allow the verb watch",
            )
        elif self._is_unwatched and not is_forbidden:
            log.info("kind may be watched now", kind=str(self.gvk))
        self._is_unwatched = is_forbidden

    async def _take_held(self) -> None:
        held, self._held = self._held, ()
        for delta in held:
            await self._apply(delta)

    async def _apply(self, delta: Delta) -> None:
        # Whoever subscribes while this goes on is told by the replay of the store.
        subscriptions = tuple(self._subscriptions)
        events = await self._into_store(delta)
        self.told_at = asyncio.get_running_loop().time()
        self.is_telling = True
        try:
            async for batch in batches(events):
                for subscription in subscriptions:
                    subscription.deliver(batch)
        finally:
            self.is_telling = False
        if not self._is_synced:
            self._is_synced = True
            self._settled.set()
            log.debug("synced", kind=str(self.gvk), objects=len(self.store))

    async def _into_store(self, delta: Delta) -> Iterable[Event]:
        if isinstance(delta, Apply):
            return self.store.apply(delta.changes, delta.resource_version)
        replacement = self.store.replacement()
        async for batch in batches(delta.objects):
            replacement.add(batch)
        return replacement.commit(delta.resource_version)


def _waits(step: Step) -> bool:
    """Tell whether a store must not be filled before the next question is answered."""
    ask = step.state.ask
    return not step.stays and isinstance(ask, Watch) and ask.patience is not None


def _raise_incurable(error: Exception) -> None:
    if isinstance(error, _INCURABLE):
        raise error
