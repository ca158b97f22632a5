"""What `/debug` shows of a manager at work, and what it never shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from controller_runtime.builder import controller
from controller_runtime.debug import await_stack, key_text
from controller_runtime.errors import TerminalError
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import GroupVersionKind
from controller_runtime.reconcile import Request
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

SECRET = GroupVersionKind("", "v1", "Secret")


class World:
    """A manager with one controller, which does what the name of a Secret says."""

    def __init__(self, transport: HttpTransport) -> None:
        options = ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            debug_bind_address="127.0.0.1:0",
            watchdog=None,
            graceful_shutdown_timeout=timedelta(0),
        )
        self.manager = Manager(transport, options=options)
        controller(self.manager, SECRET, self.reconcile, name="secrets")

    async def reconcile(self, request: Request) -> None:
        match request.name:
            case "slow":
                await self.waits_for_something()
            case "bad":
                raise TerminalError("the answer is no")
            case "flaky":
                raise OSError("the line is down")
            case "bug":
                int("aHVudGVyMg==")
            case _:
                pass

    async def waits_for_something(self) -> None:
        await asyncio.sleep(10**6)

    async def create(self, *names: str) -> None:
        for name in names:
            head = {"apiVersion": "v1", "kind": "Secret"}
            metadata = {"namespace": "shop", "name": name}
            data = {"password": "aHVudGVyMg=="}
            await self.manager.client.create(
                {**head, "metadata": metadata, "data": data}
            )
        await asyncio.sleep(1)

    async def get(self, path: str, *, status: int = 200) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.manager.debug_url}{path}") as response,
        ):
            text = await response.text()
            assert response.status == status, text
            assert response.content_type == "application/json"
        assert "aHVudGVyMg" not in text
        return json.loads(text)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.manager.start())
            await asyncio.sleep(1)
            yield
            task.cancel()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(transport)
        async with world.running():
            yield world


async def test_the_index_names_every_page(world: World) -> None:
    pages = await world.get("")

    assert set(pages) == {
        "/debug/controllers",
        "/debug/queues",
        "/debug/caches",
        "/debug/tasks",
        "/debug/keys/secrets/KEY",
    }
    for page in set(pages) - {"/debug/keys/secrets/KEY"}:
        await world.get(page.removeprefix("/debug"))


async def test_controllers_are_summed_up(world: World) -> None:
    await world.create("slow", "next", "bad")

    (it,) = await world.get("/controllers")

    assert it == {
        "name": "secrets",
        "kind": "Secret (v1)",
        "workers": 1,
        "waits_for": [],
        "active": 1,
        "ready": 2,
        "waiting": 0,
        "failing": 0,
    }


async def test_queues_show_the_next_keys_and_why_they_are_there(world: World) -> None:
    await world.create("slow", "a", "b", "c")

    (queue,) = await world.get("/queues?limit=2")

    assert queue["counts"] == {"active": 1, "ready": 3, "waiting": 0}
    assert [key["key"] for key in queue["active"]] == ["shop/slow"]
    assert [key["key"] for key in queue["ready"]] == ["shop/a", "shop/b"]
    assert queue["ready"][0]["causes"] == ["Secret shop/a created"]


async def test_a_key_that_failed_says_when_it_is_tried_again(world: World) -> None:
    await world.create("flaky")

    key = await world.get("/keys/secrets/shop/flaky")

    (place,) = key["places"]
    assert place["place"] == "waiting"
    assert 0 < place["eta_seconds"] < 2
    assert place["failures"] > 3
    assert key["error"] == "OSError: the line is down"


async def test_a_key_that_is_worked_on_says_what_it_waits_in(world: World) -> None:
    await world.create("slow")

    key = await world.get("/keys/secrets/shop/slow")

    assert [place["place"] for place in key["places"]] == ["active"]
    functions = [line.split()[0] for line in key["stack"]]
    assert functions[-3:] == [
        "World.reconcile",
        "World.waits_for_something",
        "sleep",
    ]


async def test_a_key_that_was_given_up_keeps_its_error(world: World) -> None:
    await world.create("bad")

    key = await world.get("/keys/secrets/shop/bad")

    assert key["places"] == []
    assert key["error"] == "TerminalError: the answer is no"


async def test_the_text_of_a_bug_is_left_to_the_log(world: World) -> None:
    await world.create("bug")

    key = await world.get("/keys/secrets/shop/bug")

    assert key["error"] == "ValueError"


@pytest.mark.parametrize(
    "path", ["/keys/secrets/shop/done", "/keys/other/shop/a", "/keys/secrets", "/what"]
)
async def test_what_nothing_is_known_of_is_not_found(world: World, path: str) -> None:
    await world.create("done")

    await world.get(path, status=404)


async def test_caches_show_how_much_of_a_kind_there_is(world: World) -> None:
    await world.create("a", "b")

    (cache,) = await world.get("/caches")

    assert (cache["kind"], cache["synced"], cache["objects"]) == (
        "Secret",
        True,
        2,
    )
    assert cache["bytes"] > 200
    (reflector,) = world.manager.cache
    assert cache["resource_version"] == reflector.store.resource_version


async def test_tasks_show_by_name_what_they_wait_in(world: World) -> None:
    await world.create("slow")

    tasks = {task["name"]: task["stack"] for task in await world.get("/tasks")}

    assert "WorkQueue.get" not in str(tasks["secrets/0"])
    assert "World.waits_for_something" in str(tasks["secrets/0"])
    assert "Reflector.run" in str(tasks["reflector Secret (v1)"])


async def test_a_stack_follows_generators_too() -> None:
    class Inner:
        def __await__(self) -> Generator[Any, Any, Any]:
            return (yield from asyncio.sleep(1).__await__())

    async def outer() -> None:
        await Inner()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(outer())
        await asyncio.sleep(0)
        stack = await_stack(task)

    assert "outer" in stack[0]
    assert "Inner.__await__" in stack[1]


async def test_a_task_that_is_done_waits_in_nothing() -> None:
    async def nothing() -> None:
        pass

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(nothing())

    assert len(await_stack(task)) <= 1


def test_keys_are_written_as_paths() -> None:
    assert key_text(Request("shop", "web")) == "shop/web"
    assert key_text(Request("", "node")) == "node"
    assert key_text(("Deployment", "shop", "web")) == "Deployment/shop/web"
    assert key_text("plain") == "plain"
