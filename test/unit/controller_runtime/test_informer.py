"""Informers against the in-process API server: views, namespaces, lives, reminders."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from controller_runtime.cache import Cache, CacheOptions
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import ConfigError, ForbiddenError, NotCachedError
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, NamespacedName
from controller_runtime.metrics import Metrics
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport
from controller_runtime.wire import strip_managed_fields

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")

HOUR = 3600.0


class World:
    """An API server, a client of it, and a cache of it that runs."""

    def __init__(self, server: ApiServer, transport: HttpTransport) -> None:
        self.server = server
        self.transport = transport
        self.discovery = Discovery(transport)
        self.client = Client(transport, scheme=Scheme(), discovery=self.discovery)
        self.cache = self.cache_of(CacheOptions())

    def cache_of(self, options: CacheOptions) -> Cache:
        self.cache = Cache(
            self.transport,
            self.discovery,
            options=options,
            randomness=random.Random(1),  # noqa: S311
        )
        return self.cache

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.cache.run())
            await asyncio.sleep(0)  # it begins
            yield
            task.cancel()

    def put(self, name: str, namespace: str = "n", kind: str = "ConfigMap") -> None:
        metadata = {"name": name, "namespace": namespace}
        self.server.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})

    def watched(self, resource: str) -> set[str]:
        """Return the paths that were asked for objects of a kind."""
        return {request.path for request in self.server.requests.of("", resource)}


class Log:
    """A subscriber that remembers, and when."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self.batches: list[int] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        self.batches.append(len(events))
        self.times.append(asyncio.get_running_loop().time())

    @property
    def names(self) -> list[str]:
        return [f"{type(e).__name__} {e.object.meta.name}" for e in self.events]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, transport)


def digest_only(raw: bytes) -> bytes:
    return raw.replace(b'"data":', b'"hashed":')


async def test_who_wants_digests_and_who_wants_secrets_each_get_theirs(
    world: World,
) -> None:
    metadata = {"name": "a", "namespace": "n"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    world.server.create({**secret, "data": {"password": "aGk="}})
    digests = world.cache.view(ReflectorOptions(transform=digest_only))
    hashed, whole = digests.declare(SECRET), world.cache.declare(SECRET)
    also_hashed = world.cache.view(ReflectorOptions(transform=digest_only))

    async with world.running():
        await world.cache.synced()
        assert await also_hashed.informer(SECRET) is hashed

    (kept,), (known,) = hashed.list(), whole.list()
    assert b"hashed" in kept.raw
    assert b'"data"' in known.raw
    assert hashed.options.keeps_less
    assert not whole.options.keeps_less


async def test_options_of_a_kind_stand_instead_of_the_default(world: World) -> None:
    red = ReflectorOptions(namespace="n", label_selector="team=red")
    blue = ReflectorOptions(namespace="n", label_selector="team=blue")
    cache = world.cache_of(CacheOptions(by_object={CONFIG_MAP: red}, default=blue))

    assert cache.declare(CONFIG_MAP).options == red
    assert cache.declare(CONFIG_MAP, red) is cache.declare(CONFIG_MAP)
    assert cache.declare(SECRET).options == blue


@pytest.mark.parametrize(
    ("options", "less"),
    [
        (ReflectorOptions(), False),
        (ReflectorOptions(transform=strip_managed_fields), False),
        (ReflectorOptions(transform=digest_only), True),
        (ReflectorOptions(transform=digest_only, is_partial=False), False),
        (ReflectorOptions(metadata_only=True), True),
    ],
)
@pytest.mark.behaviour("K8")
def test_a_view_knows_whether_it_keeps_less_than_there_is(
    options: ReflectorOptions, *, less: bool
) -> None:
    assert options.keeps_less is less


@pytest.mark.behaviour("K7")
async def test_each_namespace_has_a_watch_and_all_are_read_as_one(world: World) -> None:
    for namespace in ("a", "b", "c"):
        world.put(f"in-{namespace}", namespace)
    options = ReflectorOptions(namespaces=("a", "b"))
    informer, log = world.cache.declare(CONFIG_MAP, options), Log()
    informer.add_index("name", lambda entry: [entry.meta.name])
    following = informer.subscribe(log)

    async with world.running():
        await informer.synced()
        await following.caught_up()
        world.put("later", "b")
        world.put("ignored", "c")
        await asyncio.sleep(1)

        assert {e.meta.name for e in informer.list()} == {"in-a", "in-b", "later"}
        assert {e.meta.name for e in informer.list("b")} == {"in-b", "later"}
        assert [e.key.namespace for e in informer.by_index("name", "in-b")] == ["b"]
        assert informer.get(NamespacedName("a", "in-a")) is not None
        for namespace in ("c", "d"):
            with pytest.raises(NotCachedError, match="a, b"):
                informer.get(NamespacedName(namespace, "in-c"))
        with pytest.raises(ConfigError, match="a, b"):
            _ = informer.store

    assert sorted(log.names) == ["Created in-a", "Created in-b", "Created later"]
    assert world.watched("configmaps") == {
        "/api/v1/namespaces/a/configmaps",
        "/api/v1/namespaces/b/configmaps",
    }


@pytest.mark.behaviour("K7")
async def test_a_kind_without_namespaces_is_watched_once_and_told_once(
    world: World,
) -> None:
    world.server.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    )
    several = ReflectorOptions(namespaces=("a", "b"))
    cache = world.cache_of(CacheOptions(default=several))
    informer, log = cache.declare(NAMESPACE), Log()
    informer.subscribe(log)

    async with world.running():
        await cache.synced()
        assert cache.unsynced == []
        assert informer.get(NamespacedName("whatever", "x")) is not None
        assert len(list(informer.list("a"))) == 1
        await asyncio.sleep(1)
        assert world.server.watch_count == 1

    assert log.names == ["Created x"]
    assert world.watched("namespaces") == {"/api/v1/namespaces"}


async def test_a_namespace_that_is_forbidden_is_told_to_who_waits(world: World) -> None:
    world.server.faults.on(resource="configmaps", times=1).answer(403)
    options = ReflectorOptions(namespaces=("a", "b"))
    informer = world.cache.declare(CONFIG_MAP, options)

    async with world.running():
        with pytest.raises(ForbiddenError):
            await informer.synced()
        assert isinstance(informer.failure, ForbiddenError)
        again = await world.cache.informer(CONFIG_MAP, options)
        await again.synced()

    assert again is informer


async def test_the_last_subscriber_to_leave_ends_the_watch(world: World) -> None:
    async with world.running():
        informer = await world.cache.informer(CONFIG_MAP)
        first, second = informer.subscribe(Log()), informer.subscribe(Log())
        await informer.synced()
        first.stop()
        await asyncio.sleep(1)
        assert world.server.watch_count == 1

        second.stop()
        second.stop()
        await asyncio.sleep(1)

        assert world.server.watch_count == 0
        assert list(world.cache) == []
        again = await world.cache.informer(CONFIG_MAP)
        await again.synced()
        assert again is not informer


async def test_a_declared_kind_is_kept_without_subscribers(world: World) -> None:
    async with world.running():
        informer = await world.cache.informer(CONFIG_MAP)
        following = informer.subscribe(Log())
        assert world.cache.declare(CONFIG_MAP) is informer
        following.stop()
        await asyncio.sleep(1)

        assert world.server.watch_count == 1
        assert await world.cache.reader(CONFIG_MAP) is informer


async def test_a_removed_informer_tells_nobody_and_can_be_had_anew(
    world: World,
) -> None:
    old, log = world.cache.declare(CONFIG_MAP), Log()
    old.subscribe(log)

    async with world.running():
        await old.synced()
        world.cache.remove_informer(CONFIG_MAP)
        world.cache.remove_informer(CONFIG_MAP)
        world.put("a")
        new = await world.cache.informer(CONFIG_MAP)
        await new.synced()
        await asyncio.sleep(1)

        assert world.server.watch_count == 1

    assert log.events == []
    assert len(list(new.list())) == 1


async def test_a_subscriber_may_leave_while_it_is_told(world: World) -> None:
    world.put("a")
    calls: list[int] = []

    async with world.running():
        informer = await world.cache.informer(CONFIG_MAP)

        def once(events: Sequence[Event]) -> None:
            calls.append(len(events))
            following.stop()

        following = informer.subscribe(once)
        await asyncio.sleep(1)
        world.put("b")
        await asyncio.sleep(1)

        assert world.server.watch_count == 0

    assert calls == [1]


@pytest.mark.behaviour("S6")
async def test_subscribers_are_reminded_of_everything_each_in_its_own_time(
    world: World,
) -> None:
    for number in range(300):
        world.put(f"c{number}")
    informer = world.cache.declare(CONFIG_MAP)
    often, seldom, never = Log(), Log(), Log()

    async with world.running():
        await informer.synced()
        await asyncio.sleep(1)
        before = len(world.server.requests)
        informer.subscribe(often, resync=60)
        informer.subscribe(seldom)
        informer.subscribe(never, resync=float("inf"))
        await asyncio.sleep(100)
        reminders = often.events[300:]
        asked = len(world.server.requests) - before

    assert len(reminders) == 300
    assert all(isinstance(e, Updated) and e.is_resync for e in reminders)
    assert 54 <= often.times[2] - often.times[0] <= 66
    assert max(often.batches) <= 256
    assert len(seldom.events) == len(never.events) == 300
    assert asked == 0


@pytest.mark.behaviour("S6")
async def test_a_kind_is_told_again_after_about_ten_hours(world: World) -> None:
    world.put("a")
    informer, log = world.cache.declare(CONFIG_MAP), Log()

    async with world.running():
        await informer.synced()
        began = asyncio.get_running_loop().time()
        following = informer.subscribe(log)
        while len(log.events) < 2:  # noqa: ASYNC110 - the clock is virtual
            await asyncio.sleep(60)
        waited = log.times[-1] - began
        following.stop()
        await asyncio.sleep(11 * HOUR)

    assert 9 * HOUR <= waited <= 11 * HOUR
    assert len(log.events) == 2


@pytest.mark.behaviour("S6")
async def test_nobody_is_reminded_more_than_once_a_second(world: World) -> None:
    world.put("a")
    informer, log = world.cache.declare(CONFIG_MAP), Log()

    async with world.running():
        await informer.synced()
        informer.subscribe(log, resync=0.001)
        await asyncio.sleep(10)

    assert 9 <= len(log.events) - 1 <= 11


@pytest.mark.behaviour("S6")
async def test_nobody_is_reminded_of_what_is_gone(world: World) -> None:
    world.put("a")
    informer, log = world.cache.declare(CONFIG_MAP), Log()
    informer.subscribe(log, resync=30)

    async with world.running():
        await informer.synced()
        await world.client.delete(CONFIG_MAP, "a", "n")
        await asyncio.sleep(100)

    assert [type(event) for event in log.events] == [Created, Deleted]


async def test_a_report_tells_what_every_store_holds(world: World) -> None:
    world.put("a", "x")
    world.put("b", "y")
    world.put("s", "y", "Secret")
    several = ReflectorOptions(namespaces=("x", "y"), transform=strip_managed_fields)
    world.cache.declare(CONFIG_MAP, several)
    secrets = world.cache.declare(SECRET)
    metrics = Metrics()
    metrics.stores(world.cache.report)

    async with world.running():
        await world.cache.synced()
        await asyncio.sleep(7)
        report = world.cache.report()
        exposed = metrics.exposition().decode()

    assert [(s.kind, s.namespace, s.objects, s.synced) for s in report] == [
        ("ConfigMap", "x", 1, True),
        ("ConfigMap", "y", 1, True),
        ("Secret", "", 1, True),
    ]
    assert [s.view for s in report] == [
        *["namespace x,y; transform strip_managed_fields"] * 2,
        "default",
    ]
    (secret,) = secrets.list()
    assert report[2].bytes == len(secret.raw)
    assert report[2].resource_version
    assert report[2].age == pytest.approx(7, abs=0.1)
    assert 'cache_objects{kind="Secret",view="default"} 1.0' in exposed
    assert f'cache_bytes{{kind="Secret",view="default"}} {len(secret.raw)}.0' in exposed
    objects = [line for line in exposed.splitlines() if "cache_objects{" in line]
    assert [line.rpartition(" ")[2] for line in objects] == ["2.0", "1.0"]


async def test_a_report_before_the_first_list_says_that_nothing_came(
    world: World,
) -> None:
    world.cache.declare(CONFIG_MAP)

    (report,) = world.cache.report()

    assert (report.age, report.objects, report.synced) == (None, 0, False)


def test_informers_that_watch_alike_have_equal_options() -> None:
    options = ReflectorOptions(label_selector="a")

    assert options == ReflectorOptions(label_selector="a")
    assert hash(options) == hash(replace(options))
