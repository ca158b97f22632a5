"""Lost answers on the in-process server, whose watches can be made to lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controller_runtime.controllerutil import create_or_update
from controller_runtime.errors import ConflictError, NotFoundError, ServerError
from controller_runtime.patch import merge_patch
from controller_runtime.rbac import Roles, Watched, needed
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.permissions import RecordingTransport
from controller_runtime.transport import TRANSPORT_ERRORS, HttpTransport

pytest.register_assert_rewrite("conformance.cached", "conformance.lostwrites")

from conformance.cached import CONFIG_MAP, Place, World, reading  # noqa: E402
from conformance.lostwrites import *  # noqa: E402, F403 - the tests


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


async def write_in_vain(world: World) -> None:
    """Change `a`, and have the connection cut after it was done."""
    with pytest.raises(TRANSPORT_ERRORS):
        await world.change("a", data={"value": "2"})


@asynccontextmanager
async def lagging(server: ApiServer, place: Place) -> AsyncIterator[World]:
    """Lend a world with an object `a`, whose watch tells of things 3 s late."""
    server.faults.on(verb="watch", times=None).lag(3)
    async with reading(place) as world:
        await world.create("a")
        await world.get("a")
        yield world


@pytest.mark.behaviour("K4")
async def test_a_read_after_a_lost_answer_asks_once_and_waits_as_after_any_write(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").cut(handled=True)
        await write_in_vain(world)
        server.requests.clear()

        began = now()
        read = await world.get("a")
        waited = now() - began
        await world.get("a")
        await world.names()

        assert read["data"] == {"value": "2"}
        assert waited == pytest.approx(3, abs=0.2)
        assert [r.verb for r in server.requests] == ["list"]


@pytest.mark.behaviour("K4")
async def test_what_was_not_done_after_all_is_not_waited_for(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").cut()
        await write_in_vain(world)

        began = now()
        read = await world.get("a")

        assert read["data"] == {"value": "1"}
        assert now() == pytest.approx(began, abs=0.1)


@pytest.mark.behaviour("K4")
async def test_a_cancelled_write_may_have_been_done(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").delay(1)
        writing = asyncio.timeout(0.5)
        with pytest.raises(TimeoutError):
            async with writing:
                await world.change("a", data={"value": "2"})
        server.requests.clear()

        await world.get("a")

        assert [r.verb for r in server.requests] == ["list"]


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize("status", [500, 504])
async def test_a_server_in_trouble_may_have_done_what_it_was_asked(
    server: ApiServer, place: Place, status: int
) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").answer(status)
        with pytest.raises(ServerError):
            await world.change("a", data={"value": "2"})
        server.requests.clear()

        await world.names()
        await world.names()

        assert [r.verb for r in server.requests] == ["list"]


@pytest.mark.behaviour("K4")
async def test_a_refused_write_is_no_reason_to_ask(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        with pytest.raises(ConflictError):
            await world.change("a", metadata={"resourceVersion": "1"})
        with pytest.raises(NotFoundError):
            await world.change("b", data={})
        server.requests.clear()

        await world.get("a")
        await world.names()

        assert not server.requests


@pytest.mark.behaviour("K4")
async def test_while_the_server_is_away_what_could_not_be_written_is_still_read(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        await server.stop()
        with pytest.raises(TRANSPORT_ERRORS):
            await world.change("a", data={"value": "2"})

        assert (await world.get("a"))["data"] == {"value": "1"}
        await server.start()


@pytest.mark.behaviour("K4")
async def test_a_doubt_that_cannot_be_cleared_up_is_an_error_and_stays(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").cut(handled=True)
        await write_in_vain(world)
        server.faults.on(verb="list").answer(500)

        with pytest.raises(ServerError):
            await world.get("a")
        assert (await world.get("a"))["data"] == {"value": "2"}


@pytest.mark.behaviour("K4")
async def test_a_lost_write_of_one_object_is_no_matter_to_others(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        await world.create("other")
        await world.get("other")
        server.faults.on(verb="patch").cut(handled=True)
        await write_in_vain(world)
        server.requests.clear()

        await world.get("other")

        assert not server.requests


@pytest.mark.behaviour("K4")
async def test_what_another_reader_has_cleared_up_meanwhile_is_not_asked_again(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        await world.create("b")
        await world.get("b")
        server.faults.on(verb="patch", times=2).cut(handled=True)
        await write_in_vain(world)
        with pytest.raises(TRANSPORT_ERRORS):
            await world.change("b", data={"value": "2"})
        server.faults.on(verb="list").delay(1)
        server.requests.clear()

        async with asyncio.TaskGroup() as tasks:
            everything = tasks.create_task(world.names())
            await asyncio.sleep(0.5)  # it asks about `a`, which takes a second
            read = await world.get("b")

        assert read["data"] == {"value": "2"}
        assert everything.result() == {"a", "b"}
        assert [r.verb for r in server.requests] == ["list", "list"]


@pytest.mark.behaviour("K4")
async def test_a_doubt_is_not_kept_for_ever(server: ApiServer, place: Place) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").cut(handled=True)
        await write_in_vain(world)
        await asyncio.sleep(61)
        server.requests.clear()

        assert (await world.get("a"))["data"] == {"value": "2"}
        assert not server.requests
        assert not world.client._writes._doubts


@pytest.mark.behaviour("K4")
async def test_an_answer_that_cannot_be_read_says_no_more_than_a_lost_one(
    server: ApiServer, place: Place
) -> None:
    async with lagging(server, place) as world:
        server.faults.on(verb="patch").corrupt()
        with pytest.raises(Exception, match="cannot read"):
            await world.change("a", data={"value": "2"})

        assert (await world.get("a"))["data"] == {"value": "2"}


@pytest.mark.behaviour("K4")
async def test_many_deletions_at_once_are_listed_and_not_waited_for_one_by_one(
    server: ApiServer, place: Place
) -> None:
    for number in range(1001):
        server.create(World(place).config_map(f"a{number}"))
    async with reading(place) as world:
        await world.client.delete_all_of(CONFIG_MAP, "n")
        assert not world.client._writes._pending

        assert await world.names() == set()


@pytest.mark.behaviour("K4")
async def test_clients_with_other_defaults_see_the_writes_of_each_other(
    server: ApiServer,
    place: Place,
) -> None:
    async with lagging(server, place) as world:
        here = world.client.with_defaults(namespace="n", field_owner="me")
        await here.patch(CONFIG_MAP, "a", patch=merge_patch({"data": {"value": "2"}}))

        assert (await world.get("a"))["data"] == {"value": "2"}
        assert (await here.get(CONFIG_MAP, "a"))["data"] == {"value": "2"}


def asked(recording: RecordingTransport) -> list[str]:
    return [request.verb for request in recording.requests]


@pytest.mark.parametrize("selector", ["", "metadata.name=a"])
async def test_the_rights_to_watch_are_enough_for_reads_that_ask_the_server(
    server: ApiServer, place: Place, selector: str
) -> None:
    watched = Watched(CONFIG_MAP, ("n",), selector)
    roles = Roles.of("reader", needed([watched], []))
    recording = RecordingTransport(place.transport)
    server.faults.on(verb="watch", times=None).lag(30)

    async with reading(Place(recording, "n"), field_selector=selector) as world:
        await world.create("a")
        recording.requests.clear()
        began = now()
        read = await world.get("a")
        waited = now() - began
        server.faults.on(verb="patch").cut(handled=True)
        await write_in_vain(world)
        again = await world.get("a")
        names = await world.names()

    assert waited == pytest.approx(5, abs=0.2)
    assert (read["data"], again["data"]) == ({"value": "1"}, {"value": "2"})
    assert names == {"a"}
    asked_besides = [it for it in recording.requests if it.verb != "patch"]
    assert {it.verb for it in asked_besides} == {"list"}
    assert all(roles.allow(it) for it in asked_besides)


async def test_to_create_or_update_from_a_cache_takes_get_where_the_cache_is_late(
    server: ApiServer, place: Place
) -> None:
    recording = RecordingTransport(place.transport)

    async with lagging(server, Place(recording, "n")) as world:
        patch = merge_patch({"data": {"value": "theirs"}})
        await world.live.patch(CONFIG_MAP, "a", "n", patch=patch)
        recording.requests.clear()
        await create_or_update(
            world.client,
            world.config_map("a"),
            lambda it: {**it, "data": {**it["data"], "ours": "2"}},
        )

    assert asked(recording) == ["update", "get", "update"]
