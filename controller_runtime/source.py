"""Where events come from, and how they become keys in a queue.

    informer ──batch──▶ KindSource ────┐
                                       ├▶ predicates ─▶ handler ─▶ queue.add
    anyone ───send────▶ ChannelSource ─┘

A controller starts its sources, waits until each has synced, which is when the keys
of all objects that were there at the start are in the queue, and only then works.

All of it happens inside the informer's call, for a batch of events at once: nothing
is buffered, no task is made, and a predicate or handler that is slow slows the watch.
One that raises costs its event and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Generic, Protocol, TypeVar

import structlog

from controller_runtime.errors import (
    AlreadyStartedError,
    NoKindMatchError,
    ShutDownError,
)
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.event import Generic as GenericEvent
from controller_runtime.handler import Handler
from controller_runtime.meta import Kind, kind_of
from controller_runtime.workqueue import LOW_PRIORITY, WorkQueue

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Hashable)

_KIND_RETRY = 10.0
"""Seconds between two looks for a kind that is not served, as in controller-runtime."""


class Source(Protocol[R]):
    """Fills the queue of one controller with keys."""

    def describe(self) -> str:
        """Say what this is a source of, for messages."""
        ...

    async def start(self, queue: WorkQueue[R], /) -> None:
        """Begin to fill `queue`. Cancelled half-way, it has not started."""
        ...

    async def synced(self) -> None:
        """Wait until `queue` has what was there at the start."""
        ...

    def stop(self) -> None:
        """Leave the queue alone from now on. May be called at any time, and twice."""
        ...


class Subscription(Protocol):
    """A callback's place at an informer."""

    async def caught_up(self) -> None:
        """Wait until the callback knows every object that the informer has."""
        ...

    def stop(self) -> None:
        """Call no more."""
        ...


class Informer(Protocol):
    """Tells what happens to the objects of one kind."""

    def subscribe(self, callback: Callable[[Sequence[Event]], None], /) -> Subscription:
        """Call with what is there, as `Created.is_initial`, then with what happens."""
        ...

    async def synced(self) -> None:
        """Wait until the first list was told to all; raises why it cannot be had."""
        ...


class InformerSource(Protocol):
    """Has one informer for each kind."""

    async def informer(self, kind: Kind, /) -> Informer:
        """Return the informer of a kind.

        Raises:
            NoKindMatchError: The server does not serve the kind.
        """
        ...


class KindSource(Generic[R]):
    """Events of the objects of one kind."""

    def __init__(
        self,
        cache: InformerSource,
        kind: Kind,
        handler: Handler[R],
        predicates: Sequence[Callable[[Event], bool]] = (),
        *,
        low_priority: int = LOW_PRIORITY,
        delay: timedelta = timedelta(),
    ) -> None:
        """Describe a source; `start` begins it.

        Args:
            cache: Who watches the kind.
            kind: Which objects.
            handler: What to reconcile for an event.
            predicates: All must admit the event.
            low_priority: For the keys of objects that were there before, or have not
                changed, so that a restart does not hold up what happens now.
            delay: Between an event and its keys, so that several events soon after one
                another lead to one reconcile; the first of them counts.
        """
        self._cache = cache
        self._kind = kind
        self._feed = _Feed(
            kind_of(kind).kind,
            handler,
            predicates,
            low_priority,
            delay.total_seconds(),
        )
        self._start: object | None = None
        """The call of `start` that has not been stopped since."""
        self._watch: tuple[Informer, Subscription] | None = None

    def describe(self) -> str:
        return str(kind_of(self._kind))

    async def start(self, queue: WorkQueue[R], /) -> None:
        """Subscribe to the kind, however long it takes until it is served.

        Raises:
            AlreadyStartedError: The source feeds a queue already.
        """
        if self._watch is not None:
            raise AlreadyStartedError(
                f"the source of {self.describe()} feeds a queue already; "
                "make one for each controller"
            )
        self._start = this = object()
        while (informer := await self._served()) is None:
            await asyncio.sleep(_KIND_RETRY)
            if self._start is not this:
                return
        subscription = informer.subscribe(partial(self._feed.deliver, queue))
        if self._start is this:
            self._watch = informer, subscription
        else:
            # Stopped meanwhile. An informer ends with its last subscriber: one that
            # never had any would stay.
            subscription.stop()

    async def synced(self) -> None:
        if self._watch is not None:
            informer, subscription = self._watch
            await informer.synced()
            await subscription.caught_up()

    def stop(self) -> None:
        self._start = None
        if self._watch is not None:
            _, subscription = self._watch
            subscription.stop()
            self._watch = None

    async def _served(self) -> Informer | None:
        try:
            return await self._cache.informer(self._kind)
        except NoKindMatchError as error:
            log.warning(
                "kind is not served; is its CRD installed?",
                kind=self.describe(),
                retry_in=_KIND_RETRY,
                error=str(error),
            )
            return None


class ChannelSource(Generic[R]):
    """Events that somebody hands in, such as what a web hook learns.

    What comes before the controller has started is kept for it.
    """

    def __init__(
        self,
        handler: Handler[R],
        predicates: Sequence[Callable[[Event], bool]] = (),
        *,
        name: str = "channel",
        buffer: int = 1024,
    ) -> None:
        """Describe a source; `start` begins it.

        Args:
            handler: What to reconcile for an event.
            predicates: All must admit the event.
            name: What to call the source in messages and causes.
            buffer: Events kept until the start; then `send` waits.
        """
        self._name = name
        self._feed = _Feed(name, handler, predicates, LOW_PRIORITY)
        self._buffer: asyncio.Queue[Event] = asyncio.Queue(buffer)
        self._queue: WorkQueue[R] | None = None
        self._stopped = False

    def describe(self) -> str:
        return self._name

    async def send(self, event: Event) -> None:
        """Hand in an event; waits only for a start, and only if the buffer is full.

        Raises:
            ShutDownError: The source was stopped.
        """
        if not self._stopped:
            await self._buffer.put(event)
            self._flush()
        if self._stopped:
            raise ShutDownError(f"{self._name} takes no more events")

    async def start(self, queue: WorkQueue[R], /) -> None:
        self._queue = queue
        self._stopped = False
        self._flush()

    async def synced(self) -> None:
        """Return: what was sent before the start is in the queue since then."""

    def stop(self) -> None:
        self._stopped = True
        self._flush()

    def _flush(self) -> None:
        # Each event that is taken lets one `send` go on, which then flushes as well.
        while (self._queue is not None or self._stopped) and not self._buffer.empty():
            event = self._buffer.get_nowait()
            if self._queue is not None:
                self._feed.deliver(self._queue, (event,))


_WHAT_HAPPENED: Mapping[type, str] = {
    Created: "created",
    Updated: "updated",
    Deleted: "deleted",
    GenericEvent: "signalled",
}


@dataclass(frozen=True, slots=True)
class _Feed(Generic[R]):
    """Takes events through predicates and handler into a queue."""

    label: str
    handler: Handler[R]
    predicates: Sequence[Callable[[Event], bool]]
    low_priority: int
    delay: float = 0.0

    def deliver(self, queue: WorkQueue[R], events: Sequence[Event]) -> None:
        listed, resynced = f"{self.label} listed", f"{self.label} resynced"
        for event in events:
            try:
                if type(event) is Created and event.is_initial:
                    self._pass(queue, event, self.low_priority, listed)
                elif type(event) is Updated and event.is_resync:
                    self._pass(queue, event, self.low_priority, resynced)
                else:
                    self._pass(queue, event, 0, self._happened(event))
            except Exception:
                # Whatever a user's predicate or handler raises, the informer that
                # calls must go on to the next event, and to its other subscribers.
                log.exception(
                    "event skipped", source=self.label, object=str(event.object.key)
                )

    def _pass(
        self, queue: WorkQueue[R], event: Event, priority: int, cause: str
    ) -> None:
        for admits in self.predicates:
            if not admits(event):
                return
        # A handler that raises half-way has queued nothing.
        for request in tuple(self.handler.requests(event)):
            if self.delay:
                queue.add_after(request, self.delay, priority=priority, cause=cause)
            else:
                queue.add(request, priority=priority, cause=cause)

    def _happened(self, event: Event) -> str:
        return f"{self.label} {event.object.key} {_WHAT_HAPPENED[type(event)]}"
