"""Pump a watch into a store, and tell subscribers what changed.

    API server ─▶ ListWatch ─▶ Stepper ─▶ Store ─▶ events ─▶ subscribers

One reflector, one task, one store. It puts the stepper's questions to the API
server, applies what the stepper makes of the answers, and calls every subscriber
with the events, inline and in order: when `run` waits for the network again, every
subscriber knows what the store knows. So a subscriber must be quick; it may look at
metadata and add keys to a queue, and nothing else.

Before all objects have come, a refusal that waiting cannot cure (a missing
permission, a missing kind, refused credentials) ends `run` with that error, and
`synced` raises it to whoever waits. Afterwards every trouble is retried for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    ControllerRuntimeError,
    ForbiddenError,
    NoKindMatchError,
    UnauthorizedError,
)
from controller_runtime.event import Created, Event
from controller_runtime.listwatch import BATCH, ListWatch, batches
from controller_runtime.meta import GroupVersionKind
from controller_runtime.question import Answer, Failed, List, Watch, WatchList
from controller_runtime.store import Store
from controller_runtime.transport import Transport
from controller_runtime.watch import (
    Apply,
    Delta,
    ServerTraits,
    Step,
    Stepper,
    WatchOptions,
)
from controller_runtime.wire import Transform

log = structlog.get_logger(__name__)

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

    @property
    def selectors(self) -> dict[str, str]:
        """The selectors that there are, as the query has them."""
        both = {
            "labelSelector": self.label_selector,
            "fieldSelector": self.field_selector,
        }
        return {name: value for name, value in both.items() if value}


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
        batch = self._backlog[told : told + BATCH]
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
        server: ServerTraits | None = None,
    ) -> None:
        self.gvk = gvk
        self.store = Store(gvk)
        self.options = options
        self._server = ListWatch(
            transport,
            discovery,
            gvk,
            namespace=options.namespace,
            selectors=options.selectors,
            transform=options.transform,
        )
        self._stepper = Stepper(options.watch, randomness, server)
        self._subscriptions: list[Subscription] = []
        self._settled = asyncio.Event()
        self._failure: ControllerRuntimeError | None = None
        self._is_synced = False

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
        step = self._stepper.start()
        while True:
            await asyncio.sleep(step.pause)
            match step.state.ask:
                case List() as ask:
                    step = await self._advance(step, await self._server.list(ask))
                case Watch() | WatchList() as ask:
                    step = await self._follow(step, ask)

    async def _follow(self, step: Step, ask: Watch | WatchList) -> Step:
        """Follow one stream as long as it is of use, return what comes after it."""
        async with aclosing(self._server.watch(ask)) as answers:
            async for answer in answers:
                step = await self._advance(step, answer)
                if not step.stays:
                    break
        return step

    async def _advance(self, before: Step, answer: Answer) -> Step:
        if isinstance(answer, Failed) and not self._is_synced:
            _raise_incurable(answer.error)
        now = asyncio.get_running_loop().time()
        after = self._stepper.step(before, answer, now=now)
        for delta in after.deltas:
            await self._apply(delta)
        return after

    async def _apply(self, delta: Delta) -> None:
        # Whoever subscribes while this goes on is told by the replay of the store.
        subscriptions = tuple(self._subscriptions)
        async for batch in batches(await self._into_store(delta)):
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
        async for batch in batches(delta.objects):
            replacement.add(batch)
        return replacement.commit(delta.resource_version)


def _raise_incurable(error: Exception) -> None:
    if isinstance(error, _INCURABLE):
        raise error
