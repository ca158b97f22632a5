"""Cached reads on the in-process server, whose watches can be made to lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controller_runtime.cache import CacheOptions
from controller_runtime.cachedclient import CachedClient
from controller_runtime.errors import (
    BadRequestError,
    CacheNotStartedError,
    ForbiddenError,
    NotCachedError,
    NotFoundError,
    NotIndexedError,
    ServerError,
)
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.meta import GroupVersionKind
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response

pytest.register_assert_rewrite("conformance.cached")

from conformance.cached import *  # noqa: E402, F403 - the tests
from conformance.cached import (  # noqa: E402 - after the registration
    CONFIG_MAP,
    NAMESPACE,
    Place,
    World,
    reading,
)

DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
SECRET = GroupVersionKind("", "v1", "Secret")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def place(server: ApiServer) -> AsyncIterator[Place]:
    async with HttpTransport(server.config()) as transport:
        yield Place(transport, "n")


def now() -> float:
    return asyncio.get_running_loop().time()


def lag(server: ApiServer, seconds: float) -> None:
    server.faults.on(verb="watch", times=None).lag(seconds)


@pytest.mark.behaviour("K4")
async def test_a_read_waits_as_long_as_the_watch_lags_and_asks_nobody(
    server: ApiServer, place: Place
) -> None:
    lag(server, 3)
    async with reading(place) as world:
        await asyncio.sleep(1)  # the watch is open
        await world.create("a")
        before, began = len(server.requests), now()
        await world.get("a")
        waited = now() - began
        await world.get("a")
        asked = [request.path for request in server.requests[before:]]

    assert 2.9 <= waited <= 3.2
    assert asked == ["/version"]  # once, to know whether versions can be compared


@pytest.mark.behaviour("K4")
async def test_who_may_not_know_which_kubernetes_it_is_is_asked_no_second_time(
    server: ApiServer, place: Place
) -> None:
    asked = list[str]()

    async def refuse(call: Call, proceed: Proceed) -> Response:
        if call.path != "/version":
            return await proceed()
        asked.append(call.path)
        raise ForbiddenError("no", status=403)

    transport = InterceptedTransport(place.transport, {"*": refuse})
    lag(server, 1)
    async with reading(Place(transport, place.namespace)) as world:
        await asyncio.sleep(1)  # the watch is open
        asked.clear()
        for name in ("a", "b", "c"):
            await world.create(name)
            await world.get(name)

    assert asked == ["/version"]


@pytest.mark.behaviour("K4")
async def test_reads_of_other_objects_do_not_wait(
    server: ApiServer, place: Place
) -> None:
    async with reading(place) as world:
        await world.create("other")
        await world.get("other")
        server.faults.on(verb="watch", times=None).lag(4)
        server.disconnect_watches()
        await asyncio.sleep(1)
        await world.create("a")
        began = now()
        await world.get("other")
        assert now() == began
        await world.names()
        assert now() - began == pytest.approx(4, abs=0.3)


@pytest.mark.behaviour("K4")
async def test_a_watch_that_lags_for_too_long_is_passed_by_and_counted(
    server: ApiServer, place: Place
) -> None:
    lag(server, 30)
    async with reading(place) as world:
        await world.create("a", "new")
        began = now()
        read = await world.get("a")
        waited = now() - began
        again = now()
        names = await world.names()
        waited_again = now() - again

    assert 4.9 <= waited <= 5.2
    assert waited_again < 0.1
    assert read["data"] == {"value": "new"}
    assert names == {"a"}
    assert world.stale_reads == 2


@pytest.mark.behaviour("K4")
@pytest.mark.behaviour("K6")
async def test_a_live_read_finds_no_more_than_the_cache_would(
    server: ApiServer, place: Place
) -> None:
    lag(server, 30)
    async with reading(place, label_selector="team=red") as world:
        index = world.cache.declare(CONFIG_MAP)
        index.add_index("team", lambda e: [e.meta.labels["team"]])
        await world.create("in", labels={"team": "red"})
        await world.create("out", labels={"team": "blue"})

        found = await world.names(field_selector="team=red")
        with pytest.raises(NotFoundError):
            await world.get("out")

    assert found == {"in"}


@pytest.mark.behaviour("K4")
async def test_a_live_read_that_fails_says_so(server: ApiServer, place: Place) -> None:
    lag(server, 30)
    async with reading(place) as world:
        await world.create("a")
        server.faults.on(verb="list", resource="configmaps").answer(500)
        with pytest.raises(ServerError):
            await world.get("a")


@pytest.mark.behaviour("K4")
async def test_a_deletion_is_waited_for_like_any_write(
    server: ApiServer, place: Place
) -> None:
    lag(server, 2)
    async with reading(place) as world:
        await world.create("a")
        await world.client.delete(CONFIG_MAP, "a", "n")
        began = now()
        with pytest.raises(NotFoundError):
            await world.get("a")
        assert now() - began == pytest.approx(2, abs=0.2)


@pytest.mark.behaviour("K4")
async def test_what_was_only_tried_is_not_waited_for(
    server: ApiServer, place: Place
) -> None:
    lag(server, 3)
    async with reading(place) as world:
        await world.client.create(world.config_map("a"), dry_run=True)
        began = now()
        with pytest.raises(NotFoundError):
            await world.get("a")
        assert now() == pytest.approx(began, abs=0.05)


@pytest.mark.behaviour("K4")
async def test_who_gives_up_waiting_leaves_others_waiting(
    server: ApiServer, place: Place
) -> None:
    lag(server, 3)
    async with reading(place) as world:
        await world.create("a")
        async with asyncio.TaskGroup() as tasks:
            impatient = tasks.create_task(world.get("a"))
            patient = tasks.create_task(world.get("a"))
            await asyncio.sleep(1)
            impatient.cancel()
        assert patient.result()["metadata"]["name"] == "a"


@pytest.mark.behaviour("K4")
async def test_writes_that_were_seen_are_forgotten(
    server: ApiServer, place: Place
) -> None:
    lag(server, 1)
    async with reading(place) as world:
        for number in range(50):
            await world.create(f"a{number}")
        assert world.client._writes._pending
        await asyncio.sleep(2)
        assert not world.client._writes._pending


@pytest.mark.behaviour("K4")
async def test_a_write_that_the_store_never_shows_is_forgotten(
    server: ApiServer, place: Place
) -> None:
    async with reading(place, label_selector="team=red") as world:
        world.client._writes._ordered = False  # as before 1.35
        await world.create("out")
        began = now()
        with pytest.raises(NotFoundError):
            await world.get("out")
        assert now() - began == pytest.approx(5, abs=0.2)
        await asyncio.sleep(120)
        await world.live.create(world.config_map("other", labels={"team": "red"}))
        await asyncio.sleep(1)
        assert not world.client._writes._pending


@pytest.mark.behaviour("K4")
async def test_a_server_without_ordered_versions_shows_writes_as_well(
    server: ApiServer, place: Place
) -> None:
    lag(server, 2)
    async with reading(place) as world:
        world.client._writes._ordered = False
        await world.create("a")
        began = now()
        await world.get("a")
        assert now() - began == pytest.approx(2, abs=0.2)
        await world.change("a", data={"value": "2"})
        assert (await world.get("a"))["data"] == {"value": "2"}


@pytest.mark.behaviour("K1")
async def test_before_the_cache_runs_no_read_is_answered(place: Place) -> None:
    world = World(place)
    world.cache.declare(CONFIG_MAP)

    for read in (world.get("a"), world.client.list_meta(CONFIG_MAP)):
        with pytest.raises(CacheNotStartedError, match="ConfigMap"):
            await read


@pytest.mark.behaviour("K1")
async def test_what_is_not_in_the_cache_is_not_asked_of_the_server(
    server: ApiServer, place: Place
) -> None:
    async with reading(place) as world:
        before = len(server.requests)
        with pytest.raises(NotFoundError) as caught:
            await world.get("nobody")

    assert len(server.requests) == before
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")
    assert caught.value.details == {"name": "nobody", "group": "", "kind": "configmaps"}


@pytest.mark.behaviour("K1")
async def test_what_is_not_found_is_named_with_the_group_of_its_kind(
    place: Place,
) -> None:
    world = World(place)
    world.cache.declare(DEPLOYMENT)
    async with world.running():
        with pytest.raises(NotFoundError, match=r'deployments\.apps "web" not found'):
            await world.client.get(DEPLOYMENT, "web", "n")


async def test_a_kind_that_nobody_declared_cannot_be_read(place: Place) -> None:
    async with reading(place) as world:
        with pytest.raises(NotCachedError, match="Secret"):
            await world.client.get(SECRET, "a", "n")


async def test_a_kind_that_is_kept_in_another_way_alone_cannot_be_read(
    place: Place,
) -> None:
    world = World(place)
    world.cache.declare(SECRET, ReflectorOptions(transform=lambda raw: raw))

    async with world.running():
        with pytest.raises(NotCachedError, match="Secret"):
            await world.client.get(SECRET, "a", "n")


async def test_where_reads_may_start_to_watch_the_first_one_waits_for_the_list(
    server: ApiServer, place: Place
) -> None:
    world = World(place, CacheOptions(reader_fail_on_missing_informer=False))
    await world.live.create(world.config_map("a"))

    async with world.running():
        read = await world.get("a")
        await world.get("a")
        await asyncio.sleep(1)
        watches = server.watch_count

    assert read["metadata"]["name"] == "a"
    assert watches == 1


@pytest.mark.behaviour("K10")
async def test_who_gives_up_the_first_read_leaves_the_informer_alone(
    server: ApiServer, place: Place
) -> None:
    world = World(place, CacheOptions(reader_fail_on_missing_informer=False))
    await world.live.create(world.config_map("a"))
    server.faults.on(resource="configmaps").delay(20)

    async with world.running():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await world.get("a")
        began = now()
        await world.get("a")

    assert now() - began == pytest.approx(15, abs=0.5)


@pytest.mark.behaviour("K5")
async def test_a_limit_cuts_a_list_and_says_that_there_is_no_next_page(
    place: Place,
) -> None:
    async with reading(place) as world:
        for name in ("a", "b", "c"):
            await world.create(name)
        one = await world.client.list(CONFIG_MAP, "n", limit=1)
        some = await world.client.list(CONFIG_MAP, "n", limit=2)
        all_ = await world.client.list(CONFIG_MAP, "n", limit=3)

        with pytest.raises(BadRequestError, match="pages"):
            await world.client.list(CONFIG_MAP, "n", continue_=some.continue_)

    assert (len(one.items), one.remaining) == (1, 2)
    assert (len(some.items), some.remaining) == (2, 1)
    assert some.continue_ == "continue-not-supported"
    assert some.resource_version == all_.resource_version
    assert (len(all_.items), all_.continue_) == (3, "")
    assert int(all_.resource_version) >= 3


@pytest.mark.behaviour("K5")
async def test_an_index_cannot_say_what_a_field_is_not(place: Place) -> None:
    async with reading(place) as world:
        with pytest.raises(NotIndexedError, match=r"ConfigMap.*'a!=b'"):
            await world.client.list(CONFIG_MAP, "n", field_selector="a!=b")


async def test_a_cache_has_no_version_but_the_one_at_hand(place: Place) -> None:
    async with reading(place) as world:
        await world.client.list(CONFIG_MAP, "n", resource_version="0")
        with pytest.raises(BadRequestError, match="versions"):
            await world.client.list(CONFIG_MAP, "n", resource_version="7")


async def test_a_long_list_lets_others_run_after_every_256_objects(
    server: ApiServer, place: Place
) -> None:
    for number in range(600):
        server.create(World(place).config_map(f"a{number}"))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with reading(place) as world, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(others())
        await asyncio.sleep(0)
        before, began = turns, now()
        await world.client.list(CONFIG_MAP, "n", limit=255)
        assert turns == before
        await world.client.list(CONFIG_MAP, "n")
        task.cancel()

    assert turns == before + 2
    assert now() == began


@pytest.mark.behaviour("K9")
async def test_metadata_is_listed_of_one_namespace_or_of_all(
    server: ApiServer, place: Place
) -> None:
    world = World(place, CacheOptions())
    for namespace in ("n", "m"):
        server.create(World(Place(place.transport, namespace)).config_map(namespace))
    world.cache.declare(CONFIG_MAP)
    world.cache.declare(NAMESPACE)
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})

    async with world.running():
        everything = await world.client.list_meta(CONFIG_MAP)
        here = await world.client.list_meta(CONFIG_MAP, "n", limit=1)
        single = await world.client.get_meta(NAMESPACE, "n")
        whole = await world.client.list(CONFIG_MAP)

    assert {meta.name for meta in everything.items} == {"n", "m"}
    assert [meta.name for meta in here.items] == ["n"]
    assert single.name == "n"
    assert everything.resource_version == whole.resource_version


async def test_a_client_of_one_namespace_reads_the_cache_there(place: Place) -> None:
    async with reading(place) as world:
        await world.create("a")
        here = world.client.with_defaults(namespace="n")

        assert (await here.get(CONFIG_MAP, "a"))["metadata"]["name"] == "a"
        assert (await here.get_meta(CONFIG_MAP, "a")).name == "a"
        assert len((await here.list(CONFIG_MAP)).items) == 1
        assert len((await here.list_meta(CONFIG_MAP)).items) == 1
        for read in (
            here.get_meta(CONFIG_MAP, "a", "elsewhere"),
            here.list_meta(CONFIG_MAP, "elsewhere"),
        ):
            with pytest.raises(BadRequestError, match="kept to n"):
                await read


async def test_what_is_written_says_by_whom_and_how_strictly(
    server: ApiServer, place: Place
) -> None:
    async with reading(place) as world:
        await world.create("a")
        strict = CachedClient(
            world.cache,
            place.transport,
            scheme=Scheme(),
            field_owner="me",
            field_validation="Strict",
        )
        await strict.create(world.config_map("b"))

    first, second = server.requests.of("create", "configmaps")
    assert first.params == {"fieldManager": "pilothouse"}
    assert second.params == {"fieldManager": "me", "fieldValidation": "Strict"}


@pytest.mark.behaviour("K7")
async def test_a_namespace_that_is_not_kept_is_an_error_and_no_empty_answer(
    place: Place,
) -> None:
    async with reading(place) as world:
        with pytest.raises(NotCachedError, match="elsewhere"):
            await world.client.get(CONFIG_MAP, "a", "elsewhere")
        with pytest.raises(NotCachedError, match="elsewhere"):
            await world.client.list(CONFIG_MAP, "elsewhere")


async def test_a_subresource_is_read_live(server: ApiServer, place: Place) -> None:
    async with reading(place) as world:
        with pytest.raises(NotFoundError):
            await world.client.get(CONFIG_MAP, "a", "n", subresource="status")

    assert any(r.path.endswith("/a/status") for r in server.requests)


async def test_kinds_that_are_excepted_are_read_live_all_others_from_the_cache(
    server: ApiServer, place: Place
) -> None:
    async with reading(place) as world:
        client = CachedClient(
            world.cache, place.transport, scheme=Scheme(), disable_for=[SECRET]
        )
        metadata = {"name": "s", "namespace": "n"}
        await client.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        )
        server.requests.clear()

        found = await client.get(SECRET, "s", "n")
        listed = await client.list(SECRET, "n", limit=1)
        await client.list(CONFIG_MAP, "n")

    assert found == listed.items[0]
    assert [(it.verb, it.resource) for it in server.requests] == [
        ("get", "secrets"),
        ("list", "secrets"),
    ]


async def test_a_raw_query_is_nothing_that_a_cache_can_answer(place: Place) -> None:
    async with reading(place) as world:
        with pytest.raises(BadRequestError):
            await world.client.list(
                CONFIG_MAP, "n", raw={"resourceVersionMatch": "Exact"}
            )
