"""How events become keys in a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from controller_runtime.cache import Cache
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    AlreadyStartedError,
    ForbiddenError,
    NoKindMatchError,
    ShutDownError,
)
from controller_runtime.event import Created, Deleted, Event, Generic, Updated
from controller_runtime.handler import for_object, mapped
from controller_runtime.meta import GroupVersionKind, Kind, Meta, RawObject
from controller_runtime.predicate import by_object
from controller_runtime.reconcile import Request
from controller_runtime.source import ChannelSource, KindSource
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport
from controller_runtime.workqueue import LOW_PRIORITY, WorkQueue

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")

Queue = WorkQueue[Request]


def obj(name: str = "web", *, resource_version: str = "1") -> RawObject:
    meta = Meta(
        namespace="shop", name=name, resource_version=resource_version, uid=name
    )
    return RawObject(meta, b"{}")


class FakeSubscription:
    def __init__(self) -> None:
        self.has_caught_up = asyncio.Event()
        self.stopped = False

    async def caught_up(self) -> None:
        await self.has_caught_up.wait()

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeInformer:
    """An informer that tells what a test says."""

    failure: Exception | None = None
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    subscriptions: list[FakeSubscription] = field(default_factory=list)
    tell: Callable[[Sequence[Event]], None] | None = None

    def subscribe(
        self, callback: Callable[[Sequence[Event]], None], /
    ) -> FakeSubscription:
        self.tell = callback
        self.subscriptions.append(FakeSubscription())
        return self.subscriptions[-1]

    async def synced(self) -> None:
        await self.listed.wait()
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeCache:
    """A cache that knows a kind only from some moment on."""

    one: FakeInformer = field(default_factory=FakeInformer)
    served_after: int = 0
    asked_at: list[float] = field(default_factory=list)
    asked_for: list[Kind] = field(default_factory=list)

    async def informer(self, kind: Kind, /) -> FakeInformer:
        self.asked_at.append(asyncio.get_running_loop().time())
        self.asked_for.append(kind)
        if len(self.asked_at) <= self.served_after:
            raise NoKindMatchError("no ConfigMap here")
        return self.one


async def delivered(
    *events: Event,
    predicates: Sequence[Callable[[Event], bool]] = (),
    low_priority: int = LOW_PRIORITY,
) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return what a batch of events leaves in the queue: name, priority, causes."""
    cache, queue = FakeCache(), Queue()
    source = KindSource(
        cache, CONFIG_MAP, for_object(), predicates, low_priority=low_priority
    )
    await source.start(queue)
    assert cache.one.tell is not None
    cache.one.tell(events)
    return [(s.key.name, s.priority, s.causes) for s in queue.snapshot()]


async def test_a_delay_gathers_events_and_counts_from_the_first() -> None:
    cache, queue = FakeCache(), Queue()
    source = KindSource(
        cache, CONFIG_MAP, for_object(), delay=timedelta(seconds=2), low_priority=0
    )
    await source.start(queue)
    loop = asyncio.get_running_loop()
    assert cache.one.tell is not None

    for second in (0.0, 0.5, 1.0):
        loop.call_later(second, cache.one.tell, [Created(obj())])
    item = await queue.get()

    assert loop.time() == pytest.approx(2)
    queue.done(item.key)
    assert queue.snapshot() == []


async def test_each_event_of_a_batch_becomes_a_key_with_its_cause() -> None:
    assert await delivered(
        Created(obj("a")),
        Updated(obj("b"), obj("b", resource_version="2")),
        Deleted(obj("c")),
        Generic(obj("d")),
    ) == [
        ("a", 0, ("ConfigMap shop/a created",)),
        ("b", 0, ("ConfigMap shop/b updated",)),
        ("c", 0, ("ConfigMap shop/c deleted",)),
        ("d", 0, ("ConfigMap shop/d signalled",)),
    ]


async def test_what_was_there_before_or_has_not_changed_comes_with_low_priority() -> (
    None
):
    assert await delivered(
        Created(obj("a"), is_initial=True), Updated(obj("b"), obj("b"))
    ) == [
        ("a", -100, ("ConfigMap listed",)),
        ("b", -100, ("ConfigMap resynced",)),
    ]


async def test_how_low_the_low_priority_is_can_be_chosen() -> None:
    found = await delivered(Created(obj("a"), is_initial=True), low_priority=-1)

    assert [priority for _, priority, _ in found] == [-1]


async def test_every_predicate_must_admit_an_event() -> None:
    not_a = by_object(lambda o: o.meta.name != "a")
    not_b = by_object(lambda o: o.meta.name != "b")

    found = await delivered(
        *(Created(obj(name)) for name in "abc"), predicates=[not_a, not_b]
    )

    assert [name for name, _, _ in found] == ["c"]


async def test_an_event_that_concerns_nobody_leaves_the_queue_alone() -> None:
    cache, queue = FakeCache(), Queue()
    nobody: list[Request] = []
    await KindSource(cache, CONFIG_MAP, mapped(lambda o: nobody)).start(queue)
    assert cache.one.tell is not None

    cache.one.tell([Created(obj("a"))])

    assert queue.snapshot() == []


@pytest.mark.behaviour("S9")
async def test_a_handler_that_raises_costs_its_event_and_no_other() -> None:
    def fickle(o: RawObject) -> Iterable[Request]:
        yield o.key
        if o.meta.name == "b":
            raise ValueError("cannot map b")

    cache, queue = FakeCache(), Queue()
    await KindSource(cache, CONFIG_MAP, mapped(fickle)).start(queue)
    assert cache.one.tell is not None

    with capture_logs() as logs:
        cache.one.tell([Created(obj(name)) for name in "abc"])

    assert [state.key.name for state in queue.snapshot()] == ["a", "c"]
    assert [(line["event"], line["source"], line["object"]) for line in logs] == [
        ("event skipped", "ConfigMap", "shop/b")
    ]
    assert logs[0]["exc_info"] is True


@pytest.mark.behaviour("S9")
async def test_a_predicate_that_raises_costs_its_event_and_no_other() -> None:
    def fickle(event: Event) -> bool:
        if event.object.meta.name == "b":
            raise ValueError("cannot judge b")
        return True

    with capture_logs() as logs:
        found = await delivered(
            *(Created(obj(name)) for name in "abc"), predicates=[fickle]
        )

    assert [name for name, _, _ in found] == ["a", "c"]
    assert len(logs) == 1


@pytest.mark.behaviour("S8")
async def test_a_batch_is_in_the_queue_when_the_informer_has_told_it(
    looptime: float,
) -> None:
    cache, queue = FakeCache(), Queue()
    await KindSource(cache, CONFIG_MAP, for_object()).start(queue)
    assert cache.one.tell is not None

    cache.one.tell([Created(obj(str(n))) for n in range(1000)])

    assert len(queue) == 1000, "nothing is buffered on the way"
    assert looptime == 0


async def test_a_source_has_synced_when_its_own_callback_was_told_everything() -> None:
    cache = FakeCache()
    source = KindSource(cache, CONFIG_MAP, for_object())
    await source.start(Queue())

    async with asyncio.TaskGroup() as tasks:
        synced = tasks.create_task(source.synced())
        await asyncio.sleep(1)
        cache.one.listed.set()
        await asyncio.sleep(1)
        assert not synced.done(), "a late subscriber has the store still to hear of"
        cache.one.subscriptions[0].has_caught_up.set()


async def test_a_source_that_cannot_list_says_why() -> None:
    cache = FakeCache(FakeInformer(ForbiddenError("no list", status=403)))
    cache.one.listed.set()
    source = KindSource(cache, CONFIG_MAP, for_object())
    await source.start(Queue())

    with pytest.raises(ForbiddenError):
        await source.synced()


async def test_a_kind_that_is_not_served_is_looked_for_every_10_seconds() -> None:
    cache = FakeCache(served_after=2)
    source = KindSource(cache, CONFIG_MAP, for_object())

    with capture_logs() as logs:
        await source.start(Queue())

    assert cache.asked_at == pytest.approx([0, 10, 20])
    assert cache.asked_for == [CONFIG_MAP] * 3
    assert len(cache.one.subscriptions) == 1
    assert [(line["log_level"], line["kind"], line["retry_in"]) for line in logs] == [
        ("warning", "ConfigMap (v1)", 10)
    ] * 2
    assert logs[0]["error"] == "no ConfigMap here"


async def test_a_source_stopped_while_its_kind_is_not_served_never_subscribes() -> None:
    cache = FakeCache(served_after=1)
    source = KindSource(cache, CONFIG_MAP, for_object())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.start(Queue()))
        await asyncio.sleep(5)
        source.stop()

    assert cache.one.subscriptions == []
    await source.synced()


async def test_a_source_stopped_while_it_starts_leaves_no_watch_behind() -> None:
    async with (
        ApiServer() as server,
        HttpTransport(server.config()) as transport,
        asyncio.TaskGroup() as tasks,
    ):
        cache = Cache(transport, Discovery(transport))
        running = tasks.create_task(cache.run())
        server.faults.on().delay(5)  # until it is known where the kind is served
        source = KindSource(cache, CONFIG_MAP, for_object())
        starting = tasks.create_task(source.start(Queue()))
        await asyncio.sleep(1)
        source.stop()
        await starting
        await asyncio.sleep(1)

        assert list(cache) == []
        assert server.watch_count == 0
        running.cancel()


async def test_of_two_starts_with_a_stop_between_them_the_second_counts() -> None:
    cache = FakeCache(served_after=1)
    source, first, second = (
        KindSource(cache, CONFIG_MAP, for_object()),
        Queue(),
        Queue(),
    )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.start(first))
        await asyncio.sleep(5)
        source.stop()
        await source.start(second)

    assert len(cache.one.subscriptions) == 1
    assert cache.one.tell is not None
    cache.one.tell([Created(obj())])
    assert (len(first), len(second)) == (0, 1)


async def test_a_stopped_source_leaves_its_informer_and_may_start_again() -> None:
    cache = FakeCache()
    source = KindSource(cache, CONFIG_MAP, for_object())
    await source.start(Queue())

    source.stop()
    source.stop()
    await source.start(Queue())

    assert [s.stopped for s in cache.one.subscriptions] == [True, False]


async def test_a_source_feeds_one_queue_only() -> None:
    source = KindSource(FakeCache(), CONFIG_MAP, for_object())
    await source.start(Queue())

    with pytest.raises(AlreadyStartedError, match=r"ConfigMap \(v1\)"):
        await source.start(Queue())


async def test_a_source_that_never_started_can_be_stopped() -> None:
    source = KindSource(FakeCache(), CONFIG_MAP, for_object())

    source.stop()


def test_a_source_is_named_after_its_kind() -> None:
    assert KindSource(FakeCache(), CONFIG_MAP, for_object()).describe() == (
        "ConfigMap (v1)"
    )


def channel(*, buffer: int = 1024) -> ChannelSource[Request]:
    return ChannelSource(
        for_object(),
        [by_object(lambda o: o.meta.name != "skip")],
        name="hook",
        buffer=buffer,
    )


async def test_what_is_sent_after_the_start_is_in_the_queue_at_once() -> None:
    source, queue = channel(), Queue()
    await source.start(queue)
    await source.synced()

    await source.send(Generic(obj("a")))
    await source.send(Generic(obj("skip")))

    assert [(s.key.name, s.priority, s.causes) for s in queue.snapshot()] == [
        ("a", 0, ("hook shop/a signalled",))
    ]


async def test_what_is_sent_before_the_start_is_kept_for_it() -> None:
    source, queue = channel(), Queue()

    await source.send(Generic(obj("a")))
    await source.send(Generic(obj("b")))
    await source.start(queue)

    assert [state.key.name for state in queue.snapshot()] == ["a", "b"]


async def test_a_sender_waits_for_the_start_once_the_buffer_is_full(
    looptime: float,
) -> None:
    source, queue = channel(buffer=1), Queue()
    await source.send(Generic(obj("a")))

    async with asyncio.TaskGroup() as tasks:
        late = [tasks.create_task(source.send(Generic(obj(name)))) for name in "bc"]
        await asyncio.sleep(60)
        assert not any(task.done() for task in late)
        await source.start(queue)

    assert looptime == 60
    assert [state.key.name for state in queue.snapshot()] == ["a", "b", "c"]


async def test_a_channel_keeps_1024_events_unless_told_otherwise() -> None:
    source = ChannelSource(for_object())
    for n in range(1024):
        await source.send(Generic(obj(str(n))))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await source.send(Generic(obj("one too many")))


async def test_a_stopped_channel_refuses_events_and_lets_waiting_senders_go() -> None:
    source = channel(buffer=1)
    await source.send(Generic(obj("a")))

    async def refused() -> None:
        with pytest.raises(ShutDownError, match="hook takes no more events"):
            await source.send(Generic(obj("b")))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(refused())
        await asyncio.sleep(1)
        source.stop()
    await refused()


async def test_a_stopped_channel_leaves_the_queue_alone() -> None:
    source, queue = channel(), Queue()
    await source.start(queue)
    source.stop()

    with pytest.raises(ShutDownError):
        await source.send(Generic(obj("a")))

    assert len(queue) == 0


async def test_a_stopped_channel_may_start_again() -> None:
    source, queue = channel(), Queue()
    await source.start(queue)
    source.stop()

    await source.start(queue)
    await source.send(Generic(obj("a")))

    assert len(queue) == 1


def test_a_channel_goes_by_its_name() -> None:
    assert channel().describe() == "hook"
