"""The cache against the in-process API server: what is watched is what is read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from controller_runtime.cache import Cache, CacheOptions
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    CacheNotStartedError,
    ForbiddenError,
    NoKindMatchError,
)
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer, Resource
from controller_runtime.transport import HttpTransport
from controller_runtime.watch import WatchOptions
from controller_runtime.wire import strip_managed_fields

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
WIDGET = GroupVersionKind("example.com", "v1", "Widget")

PAGED = WatchOptions()
STREAMED = WatchOptions(paged_fill=False)
LISTED = WatchOptions(paged_fill=False, watch_list=False)


class World:
    """An API server, a client of it, and a cache of it that runs."""

    def __init__(
        self, server: ApiServer, transport: HttpTransport, *, way: WatchOptions
    ) -> None:
        self.server = server
        self.options = way
        self.opening = "watch" if way is STREAMED else "list"
        """How the cache asks for all objects."""
        self.lists = 0 if way is STREAMED else 1
        """How many lists one kind needs."""
        discovery = Discovery(transport)
        self.client = Client(transport, scheme=Scheme(), discovery=discovery)
        self.cache = Cache(
            transport,
            discovery,
            options=CacheOptions(default=ReflectorOptions(watch=self.options)),
            randomness=random.Random(1),  # noqa: S311 - jitter
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.cache.run())
            await asyncio.sleep(0)  # it begins
            yield
            task.cancel()

    async def put(self, name: str, value: str = "1", **metadata: object) -> Json:
        return await self.client.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "n", **metadata},
                "data": {"value": value},
            },
            force=True,
        )

    def fill(self, count: int) -> None:
        """Have that many objects from the beginning; a request for each would cost."""
        head = {"apiVersion": "v1", "kind": "ConfigMap"}
        for n in range(count):
            self.server.create(
                {**head, "metadata": {"name": f"c{n}", "namespace": "n"}}
            )

    async def delete(self, name: str) -> None:
        await self.client.delete(CONFIG_MAP, name, "n")

    async def seen(self, log: Log, count: int) -> list[Event]:
        async with asyncio.timeout(3600):
            while len(log.events) < count:
                log.changed.clear()
                await log.changed.wait()
        return log.events


class Log:
    """A subscriber that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.batches: list[int] = []
        self.changed = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        self.batches.append(len(events))
        self.changed.set()

    @property
    def names(self) -> list[str]:
        return [f"{type(e).__name__} {e.object.meta.name}" for e in self.events]


@pytest.fixture(params=[PAGED, STREAMED, LISTED], ids=["paged", "streamed", "listed"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, transport, way=request.param)


async def test_what_is_there_and_what_comes_is_in_the_store(world: World) -> None:
    await world.put("a")
    reflector, log = world.cache.declare(CONFIG_MAP), Log()
    reflector.subscribe(log)

    async with world.running():
        await reflector.synced()
        assert log.names == ["Created a"]
        await world.put("b")
        await world.put("a", "2")
        await world.delete("b")
        await world.seen(log, 4)

    assert log.names == ["Created a", "Created b", "Updated a", "Deleted b"]
    assert isinstance(log.events[0], Created)
    assert log.events[0].is_initial
    assert isinstance(log.events[1], Created)
    assert not log.events[1].is_initial
    entry = reflector.store.get(NamespacedName("n", "a"))
    assert entry is not None
    assert b'"value":"2"' in entry.raw.replace(b" ", b"")


@pytest.mark.behaviour("S2")
async def test_an_empty_first_list_is_a_sync(world: World) -> None:
    reflector = world.cache.declare(CONFIG_MAP)
    assert world.cache.unsynced == [CONFIG_MAP]

    async with world.running():
        await world.cache.synced()

    assert reflector.is_synced
    assert world.cache.unsynced == []


@pytest.mark.behaviour("R5")
async def test_a_connection_that_breaks_costs_neither_an_event_nor_a_list(
    world: World,
) -> None:
    reflector, log = world.cache.declare(CONFIG_MAP), Log()
    reflector.subscribe(log)

    async with world.running():
        await reflector.synced()
        await world.put("a")
        await world.seen(log, 1)
        world.server.disconnect_watches()
        await world.put("b")
        await world.seen(log, 2)

    assert log.names == ["Created a", "Created b"]
    assert len(world.server.requests.of("list", "configmaps")) == world.lists


@pytest.mark.behaviour("R6")
async def test_an_outage_costs_neither_an_event_nor_a_list(world: World) -> None:
    reflector, log = world.cache.declare(CONFIG_MAP), Log()
    reflector.subscribe(log)

    async with world.running():
        await reflector.synced()
        await world.put("a")
        await world.seen(log, 1)
        await world.server.stop()
        await asyncio.sleep(300)
        await world.server.start()
        await world.put("b")
        await world.seen(log, 2)

    assert log.names == ["Created a", "Created b"]
    assert len(world.server.requests.of("list", "configmaps")) == world.lists


@pytest.mark.behaviour("R1")
@pytest.mark.behaviour("R13")
async def test_a_compacted_version_leads_to_a_list_that_finds_what_was_missed(
    world: World,
) -> None:
    await world.put("kept")
    await world.put("lost")
    reflector, log = world.cache.declare(CONFIG_MAP), Log()
    reflector.subscribe(log)

    async with world.running():
        await reflector.synced()
        await world.server.stop()
        await world.server.start()
        world.server.faults.on(verb="watch", times=1).delay(5)
        world.server.disconnect_watches()
        await world.delete("lost")
        await world.put("new")
        world.server.compact()
        await world.seen(log, 4)

    assert set(log.names[2:]) == {"Deleted lost", "Created new"}
    (deleted,) = (e for e in log.events if isinstance(e, Deleted))
    assert deleted.state_unknown


@pytest.mark.behaviour("R7")
async def test_garbage_in_the_stream_leads_to_a_list_and_nothing_is_lost(
    world: World,
) -> None:
    reflector, log = world.cache.declare(CONFIG_MAP), Log()
    reflector.subscribe(log)
    world.server.faults.on(verb="watch").corrupt(after=1)

    async with world.running():
        await reflector.synced()
        for name in ("a", "b", "c"):
            await world.put(name)
        await world.seen(log, 3)

    assert sorted(log.names) == ["Created a", "Created b", "Created c"]


@pytest.mark.behaviour("R10")
async def test_a_server_that_refuses_to_stream_is_asked_once_about_each_kind() -> None:
    async with (
        ApiServer(watch_list=False) as server,
        HttpTransport(server.config()) as transport,
    ):
        world = World(server, transport, way=STREAMED)
        first = world.cache.declare(CONFIG_MAP)

        async with world.running():
            await first.synced()
            second = await world.cache.informer(SECRET)
            await second.synced()

        refused = [r for r in server.requests if "sendInitialEvents" in r.params]
        assert [r.resource for r in refused] == ["configmaps", "secrets"]


@pytest.mark.behaviour("R12")
async def test_a_forbidden_first_list_is_told_at_once_to_who_waits(
    world: World,
) -> None:
    world.server.faults.on(verb=world.opening, resource="secrets", times=None).answer(
        403
    )
    secrets = world.cache.declare(SECRET)
    config_maps = world.cache.declare(CONFIG_MAP)

    async with world.running():
        began = asyncio.get_running_loop().time()
        with pytest.raises(ForbiddenError, match="secrets"):
            await secrets.synced()
        assert asyncio.get_running_loop().time() - began < 1
        await config_maps.synced()  # the other kind goes on


async def test_a_kind_that_was_refused_can_be_asked_for_again(world: World) -> None:
    world.server.faults.on(verb=world.opening, resource="secrets", times=1).answer(403)
    secrets = world.cache.declare(SECRET)

    async with world.running():
        with pytest.raises(ForbiddenError):
            await secrets.synced()
        again = await world.cache.informer(SECRET)
        await again.synced()

    assert again is secrets


@pytest.mark.parametrize("status", [429, 500, 504])
async def test_a_first_list_that_fails_otherwise_is_tried_again(
    world: World, status: int
) -> None:
    world.server.faults.on(verb=world.opening, times=3).answer(status)
    reflector = world.cache.declare(CONFIG_MAP)

    async with world.running():
        await reflector.synced()


async def test_a_kind_that_the_server_does_not_serve_is_named(world: World) -> None:
    async with world.running():
        with pytest.raises(NoKindMatchError, match="Widget"):
            await world.cache.informer(WIDGET)


@pytest.mark.behaviour("K1")
async def test_before_the_cache_runs_it_answers_nobody(world: World) -> None:
    with pytest.raises(CacheNotStartedError, match="ConfigMap"):
        await world.cache.informer(CONFIG_MAP)


async def test_one_kind_is_watched_once_however_often_it_is_wanted(
    world: World,
) -> None:
    first, log = world.cache.declare(CONFIG_MAP), Log()
    first.subscribe(log)

    async with world.running():
        second = await world.cache.informer(CONFIG_MAP)
        await second.synced()
        await world.put("a")
        await world.seen(log, 1)

    assert second is first
    assert len(world.server.requests.of("list", "configmaps")) == world.lists
    assert len(world.server.requests.of("watch", "configmaps")) == 1


async def test_one_kind_can_be_kept_in_two_ways_and_each_is_watched_once(
    world: World,
) -> None:
    await world.put("in", labels={"team": "red"})
    await world.put("out", labels={"team": "blue"})
    red = ReflectorOptions(label_selector="team=red")
    some, whole = world.cache.declare(CONFIG_MAP, red), world.cache.declare(CONFIG_MAP)
    same = world.cache.view(ReflectorOptions(label_selector="team=red"))

    async with world.running():
        await world.cache.synced()
        again = await same.informer(CONFIG_MAP)
        await asyncio.sleep(1)
        watches = world.server.watch_count

    assert again is some
    assert [len(some.store), len(whole.store)] == [1, 2]
    assert watches == 2


async def test_a_kind_first_wanted_while_the_cache_runs_is_watched_from_then(
    world: World,
) -> None:
    await world.put("a")

    async with world.running():
        reflector = await world.cache.informer(CONFIG_MAP)
        await reflector.synced()

    assert len(reflector.store) == 1


@pytest.mark.behaviour("K6")
async def test_what_the_selector_leaves_out_is_not_in_the_store(world: World) -> None:
    await world.put("in", labels={"team": "red"})
    await world.put("out", labels={"team": "blue"})
    reflector = world.cache.declare(
        CONFIG_MAP,
        ReflectorOptions(label_selector="team=red", watch=world.options),
    )
    log = Log()
    reflector.subscribe(log)

    async with world.running():
        await reflector.synced()
        await world.put("in", labels={"team": "blue"})
        await world.seen(log, 2)

    assert log.names == ["Created in", "Deleted in"]


async def test_the_transform_reduces_what_is_kept(world: World) -> None:
    await world.put("a")
    reflector = world.cache.declare(
        CONFIG_MAP,
        ReflectorOptions(transform=strip_managed_fields, watch=world.options),
    )

    async with world.running():
        await reflector.synced()

    entry = reflector.store.get(NamespacedName("n", "a"))
    assert entry is not None
    assert b"managedFields" not in entry.raw
    assert b'"value"' in entry.raw


@pytest.mark.behaviour("S3")
async def test_who_subscribes_late_is_told_of_everything_once(world: World) -> None:
    world.fill(600)
    reflector, log = world.cache.declare(CONFIG_MAP), Log()

    async with world.running():
        await reflector.synced()
        subscription = reflector.subscribe(log)
        await world.put("c0", "changed while the others are told")
        await subscription.caught_up()
        await world.seen(log, 601)

    assert [type(e) for e in log.events] == [Created] * 600 + [Updated]
    assert all(e.is_initial for e in log.events if isinstance(e, Created))
    assert max(log.batches) <= 256


async def test_who_has_stopped_is_told_nothing(world: World) -> None:
    reflector, log, other = world.cache.declare(CONFIG_MAP), Log(), Log()
    subscription = reflector.subscribe(log)
    reflector.subscribe(other)

    async with world.running():
        await reflector.synced()
        subscription.stop()
        await world.put("a")
        await world.seen(other, 1)

    assert log.events == []


async def test_a_large_first_list_comes_whole_and_in_batches(world: World) -> None:
    world.fill(600)
    reflector, log = world.cache.declare(CONFIG_MAP), Log()
    reflector.subscribe(log)

    async with world.running():
        await reflector.synced()

    assert len(log.events) == 600
    assert max(log.batches) == 256


async def test_a_kind_that_is_served_in_another_place_is_found_there(
    world: World,
) -> None:
    widgets = Resource(gvk=WIDGET, plural="widgets")
    head = {"apiVersion": WIDGET.api_version, "kind": WIDGET.kind}
    world.server.register(widgets)
    world.server.create({**head, "metadata": {"name": "a", "namespace": "n"}})
    informer = world.cache.declare(WIDGET)

    async with world.running():
        await informer.synced()
        world.server.unregister(widgets)
        world.server.disconnect_watches()
        await asyncio.sleep(3)
        world.server.register(Resource(gvk=WIDGET, plural="gadgets", namespaced=False))
        world.server.create({**head, "metadata": {"name": "b"}})
        await asyncio.sleep(20)

        assert [str(entry.key) for entry in informer.list()] == ["b"]
