"""Pump a watch into a store, and tell subscribers what changed.

    API server ─▶ Lines ─▶ Stepper ─▶ Store ─▶ events ─▶ subscribers

One reflector, one task, one store. It puts the stepper's questions to the API
server, applies what the stepper makes of the answers, and calls every subscriber
with the events, inline and in order: when `run` waits for the network again, every
subscriber knows what the store knows. So a subscriber must be quick; it may look at
metadata and add keys to a queue, and nothing else.

Before the first list has come, a refusal that waiting cannot cure (a missing
permission, a missing kind, refused credentials) ends `run` with that error, and
`synced` raises it to whoever waits. Afterwards every trouble is retried for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeAlias, TypeVar

import structlog

from controller_runtime.discovery import ApiResource, Discovery
from controller_runtime.errors import (
    ControllerRuntimeError,
    ForbiddenError,
    NoKindMatchError,
    UnauthorizedError,
)
from controller_runtime.event import Created, Event
from controller_runtime.meta import GroupVersionKind
from controller_runtime.store import Store
from controller_runtime.transport import TRANSPORT_ERRORS, Transport
from controller_runtime.watch import (
    Answer,
    Apply,
    Change,
    Changes,
    Closed,
    Delta,
    Failed,
    List,
    Page,
    Step,
    Stepper,
    Watch,
    WatchOptions,
    start,
)
from controller_runtime.wire import (
    Bookmark,
    Lines,
    Transform,
    read_event,
    read_object,
    read_page,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")

_BATCH = 256
"""Objects handled before the loop gets a turn: one to two milliseconds of work."""

_IDLE_MARGIN = 5.0
"""Seconds that a server may be late in closing a watch, as in kube-rs."""

_IDLE_BETWEEN_BOOKMARKS = 70.0
"""Seconds without a word after which a watch that gets bookmarks is dead: the server
sends one about every minute (`watch_cache_interval.go` of k8s.io/apiserver)."""

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)

_INCURABLE = (ForbiddenError, UnauthorizedError, NoKindMatchError)

Callback: TypeAlias = Callable[[Sequence[Event]], None]
"""Takes a batch of events, in the order in which they happened. Must not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorOptions:
    """Which objects of a kind are kept, and how much of each."""

    namespace: str = ""
    """Only this namespace; empty for all."""

    label_selector: str = ""
    """Only objects whose labels match, decided by the server."""

    field_selector: str = ""
    """Only objects whose fields match, decided by the server."""

    transform: Transform | None = None
    """Reduces an object before it is stored."""

    watch: WatchOptions = field(default_factory=WatchOptions)
    """How to list, watch and wait."""


class _Read(NamedTuple):
    changes: Changes
    error: ControllerRuntimeError | None


class Subscription:
    """A subscriber's place in the line, behind the objects that were here before."""

    def __init__(self, callback: Callback, backlog: Sequence[Event]) -> None:
        self._callback = callback
        self._backlog: list[Event] = list(backlog)
        self._caught_up = asyncio.Event()
        self._stopped = False
        if backlog:
            # One batch a turn of the loop; what happens meanwhile queues up behind.
            asyncio.get_running_loop().call_soon(self._replay, 0)
        else:
            self._caught_up.set()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Call the callback no more."""
        self._stopped = True
        self._backlog.clear()
        self._caught_up.set()

    def deliver(self, events: Sequence[Event]) -> None:
        """Tell the subscriber, after everything that it has not been told yet."""
        if self._stopped:
            return
        if self._caught_up.is_set():
            self._callback(events)
        else:
            self._backlog.extend(events)

    async def caught_up(self) -> None:
        """Wait until the subscriber was told of every object that was here before."""
        await self._caught_up.wait()

    def _replay(self, told: int) -> None:
        batch = self._backlog[told : told + _BATCH]
        if batch:
            self._callback(batch)
            asyncio.get_running_loop().call_soon(self._replay, told + len(batch))
        else:
            self._backlog.clear()
            self._caught_up.set()


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
    ) -> None:
        self.gvk = gvk
        self.store = Store(gvk)
        self.options = options
        self._transport = transport
        self._discovery = discovery
        self._stepper = Stepper(options.watch, randomness)
        self._subscriptions: list[Subscription] = []
        self._settled = asyncio.Event()
        self._failure: ControllerRuntimeError | None = None
        self._is_synced = False
        self._gets_bookmarks = False

    @property
    def is_synced(self) -> bool:
        """The first list is in the store and every subscriber was told of it."""
        return self._is_synced

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

    async def synced(self) -> None:
        """Wait for the first list.

        Raises:
            ForbiddenError, UnauthorizedError, NoKindMatchError: It cannot be had.
        """
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

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
            self._failure = error
            self._settled.set()
            raise

    async def _pump(self) -> None:
        step = start()
        while True:
            await asyncio.sleep(step.pause)
            match step.state.ask:
                case List() as ask:
                    step = await self._advance(step, await self._list(ask))
                case Watch() as ask:
                    step = await self._watch(step, ask)

    async def _list(self, ask: List) -> Answer:
        params = {"resourceVersion": ask.resource_version} | self._selectors()
        if ask.limit:
            params["limit"] = str(ask.limit)
        if ask.continue_token:
            params["continue"] = ask.continue_token
            del params["resourceVersion"]  # the token has it; both together are refused
        try:
            response = await self._transport.request(
                "GET", await self._path(), params=params, timeout=None
            )
            page = read_page(response.body)
            objects = [
                read_object(raw, self.options.transform)
                async for batch in _batches(page.items)
                for raw in batch
            ]
        except _TROUBLE as error:
            if isinstance(error, _INCURABLE) and not self._is_synced:
                raise
            log.warning("list failed", kind=str(self.gvk), error=_text(error))
            return Failed(error)
        return Page(objects, page.resource_version, page.continue_token)

    async def _watch(self, step: Step, ask: Watch) -> Step:
        """Follow one stream to its end and return what comes after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_open = False
        answer: Answer
        try:
            async with self._transport.stream(
                await self._path(),
                params=self._watch_params(ask),
                idle_timeout=self._idle_timeout(ask),
            ) as chunks:
                is_open = True
                async for changes in self._read(chunks, ask.resource_version):
                    step = await self._advance(step, changes)
            answer = Closed(loop.time() - began)
        except ControllerRuntimeError as error:
            log.info("watch ended", kind=str(self.gvk), error=_text(error))
            answer = Failed(error)
        except TRANSPORT_ERRORS as error:
            # A connection that breaks after it was good is an end like any other.
            log.info("watch broke off", kind=str(self.gvk), error=_text(error))
            answer = Closed(loop.time() - began) if is_open else Failed(error)
        return await self._advance(step, answer)

    async def _read(
        self, chunks: AsyncIterator[bytes], version: str
    ) -> AsyncIterator[Changes]:
        lines = Lines()
        async for chunk in chunks:
            async for batch in _batches(lines.feed(chunk)):
                read = self._decode(batch, version)
                version = read.changes.resource_version
                yield read.changes
                if read.error is not None:
                    raise read.error

    def _decode(self, batch: Iterable[bytes], version: str) -> _Read:
        """Decode lines up to the first that is an error: what came before happened."""
        changes: list[Change] = []
        error: ControllerRuntimeError | None = None
        try:
            for line in batch:
                match read_event(line, self.gvk, self.options.transform):
                    case Bookmark() as bookmark:
                        self._gets_bookmarks = True
                        version = bookmark.resource_version
                    case Change() as change:
                        changes.append(change)
                        version = change.object.meta.resource_version
                    case None:
                        continue
        except ControllerRuntimeError as caught:
            error = caught
        return _Read(Changes(changes, version), error)

    async def _advance(self, before: Step, answer: Answer) -> Step:
        now = asyncio.get_running_loop().time()
        after = self._stepper.step(before, answer, now=now)
        for delta in after.deltas:
            await self._apply(delta)
        return after

    async def _apply(self, delta: Delta) -> None:
        # Whoever subscribes while this goes on is told by the replay of the store.
        subscriptions = tuple(self._subscriptions)
        async for batch in _batches(await self._into_store(delta)):
            for subscription in subscriptions:
                subscription.deliver(batch)
        if not self._is_synced:
            self._is_synced = True
            self._settled.set()
            log.debug("synced", kind=str(self.gvk), objects=len(self.store))

    async def _into_store(self, delta: Delta) -> Iterable[Event]:
        if isinstance(delta, Apply):
            return self.store.apply(delta.changes, delta.resource_version)
        replacement = self.store.replacement()
        async for batch in _batches(delta.objects):
            replacement.add(batch)
        return replacement.commit(delta.resource_version)

    async def _path(self) -> str:
        resource: ApiResource = await self._discovery.resource(self.gvk)
        return resource.path(self.options.namespace if resource.namespaced else "")

    def _selectors(self) -> dict[str, str]:
        options = self.options
        selectors = {
            "labelSelector": options.label_selector,
            "fieldSelector": options.field_selector,
        }
        return {name: value for name, value in selectors.items() if value}

    def _watch_params(self, ask: Watch) -> dict[str, str]:
        return self._selectors() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": ask.resource_version,
            "timeoutSeconds": str(int(ask.timeout)),
        }

    def _idle_timeout(self, ask: Watch) -> float:
        if self._gets_bookmarks:
            return _IDLE_BETWEEN_BOOKMARKS
        return ask.timeout + _IDLE_MARGIN


async def _batches(items: Iterable[T]) -> AsyncIterator[Sequence[T]]:
    """Yield `items` in batches and give the loop a turn after each full one."""
    iterator: Iterator[T] = iter(items)
    while batch := tuple(islice(iterator, _BATCH)):
        yield batch
        if len(batch) == _BATCH:
            await asyncio.sleep(0)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
