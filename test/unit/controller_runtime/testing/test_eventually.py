"""Waiting for an object: what ends the wait, and what a failure says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from controller_runtime.client import Client
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import GroupVersionKind, Json, KubeObject
from controller_runtime.patch import merge_patch
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.eventually import (
    eventually,
    eventually_gone,
    eventually_list,
    has,
)
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


class ConfigMap(KubeObject):
    gvk: ClassVar = CONFIG_MAP
    data: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme(ConfigMap))


def config_map(name: str = "web", **data: str) -> Json:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def is_done(object_: Json) -> bool:
    return bool(object_.get("data", {}).get("done") == "yes")


async def after(seconds: float, client: Client, **data: str) -> None:
    await asyncio.sleep(seconds)
    await client.patch(CONFIG_MAP, "web", "shop", patch=merge_patch({"data": data}))


async def test_an_object_that_is_as_it_should_be_is_returned_at_once(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(done="yes"))

    found = await eventually(client, CONFIG_MAP, "web", "shop", is_done)

    assert found["data"] == {"done": "yes"}
    assert server.requests.of("watch") == []


async def test_an_object_is_waited_for_until_it_changes(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(done="no"))
    server.create(config_map("other", done="yes"))
    loop = asyncio.get_running_loop()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(after(1, client, done="almost"))
        tasks.create_task(after(5, client, done="yes"))
        found = await eventually(client, CONFIG_MAP, "web", "shop", is_done)

    assert found["metadata"]["name"] == "web"
    assert loop.time() == pytest.approx(5)
    assert len(server.requests.of("list")) == len(server.requests.of("watch")) == 1


async def test_an_object_that_is_not_there_yet_is_waited_for(
    server: ApiServer, client: Client
) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(
            eventually(client, ConfigMap, "web", "shop", lambda found: found.data)
        )
        await asyncio.sleep(3)
        server.create(config_map(done="yes"))

    assert waiting.result().data == {"done": "yes"}


async def test_a_watch_that_ends_is_started_again(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(done="no"))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(eventually(client, CONFIG_MAP, "web", "shop", is_done))
        await asyncio.sleep(1)
        server.disconnect_watches()
        tasks.create_task(after(5, client, done="yes"))

    assert len(server.requests.of("watch")) == 2


async def test_no_watch_is_left_open(server: ApiServer, client: Client) -> None:
    server.create(config_map(done="no"))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(after(1, client, done="yes"))
        await eventually(client, CONFIG_MAP, "web", "shop", is_done)

    async with asyncio.timeout(1):
        while server.watch_count:  # noqa: ASYNC110 - the server is told by its socket
            await asyncio.sleep(0.01)


async def test_a_failure_says_which_object_what_was_expected_and_what_was_seen(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(done="no"))
    loop = asyncio.get_running_loop()

    with pytest.raises(AssertionError) as caught:
        await eventually(client, CONFIG_MAP, "web", "shop", is_done, timeout=7)

    text = str(caught.value)
    assert "ConfigMap (v1) shop/web: not within 7 s: is_done" in text
    assert '"done": "no"' in text
    assert "managedFields" not in text
    assert loop.time() == pytest.approx(7)


async def test_a_failure_shows_the_source_of_a_lambda(client: Client) -> None:
    with pytest.raises(AssertionError) as caught:
        await eventually(
            client,
            CONFIG_MAP,
            "web",
            "shop",
            lambda found: found["data"]["colour"] == "blue",
            timeout=1,
        )

    text = str(caught.value)
    assert 'found["data"]["colour"] == "blue"' in text
    assert "last seen: nothing" in text


async def test_a_failure_does_not_show_what_is_in_a_secret(
    server: ApiServer, client: Client
) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "aHVudGVyMg=="}
    metadata = {"name": "login", "namespace": "shop", "annotations": applied}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    server.create({**secret, "data": {"password": "aHVudGVyMg=="}})

    gvk = GroupVersionKind("", "v1", "Secret")
    with pytest.raises(AssertionError) as caught:
        await eventually(client, gvk, "login", "shop", is_done, timeout=1)

    assert "aHVudGVyMg==" not in str(caught.value)
    assert "login" in str(caught.value)


async def test_an_object_that_goes_is_waited_for(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(eventually_gone(client, CONFIG_MAP, "web", "shop"))
        await asyncio.sleep(4)
        await client.delete(CONFIG_MAP, "web", "shop")

    await eventually_gone(client, CONFIG_MAP, "web", "shop")


async def test_an_object_that_stays_is_a_failure(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(colour="blue"))

    with pytest.raises(AssertionError, match="still there after 2 s") as caught:
        await eventually_gone(client, CONFIG_MAP, "web", "shop", timeout=2)

    assert "blue" in str(caught.value)


async def test_it_asks_the_server_even_through_a_client_that_reads_a_cache(
    server: ApiServer, client: Client
) -> None:
    options = ManagerOptions(metrics_bind_address="0", health_probe_bind_address="0")
    manager = Manager(client.transport, options=options)
    server.create(config_map(done="yes"))

    found = await eventually(manager.client, CONFIG_MAP, "web", "shop", is_done)

    assert found["metadata"]["name"] == "web"


async def test_a_collection_is_waited_for(server: ApiServer, client: Client) -> None:
    server.create(config_map("a"))

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(
            eventually_list(client, ConfigMap, "shop", lambda found: len(found) == 3)
        )
        await asyncio.sleep(2)
        server.create(config_map("c"))
        server.create(config_map("b"))
        server.create(config_map("d"))
        await client.delete(CONFIG_MAP, "d", "shop")
        await client.delete(CONFIG_MAP, "a", "shop")

    names = [each.metadata.name for each in waiting.result()]
    assert names == sorted(names)
    assert len(server.requests.of("list")) == len(server.requests.of("watch")) == 1


async def test_a_collection_may_become_empty(server: ApiServer, client: Client) -> None:
    server.create(config_map("a"))

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(
            eventually_list(client, CONFIG_MAP, "", lambda found: not found)
        )
        await asyncio.sleep(2)
        await client.delete(CONFIG_MAP, "a", "shop")

    assert waiting.result() == []


async def test_only_what_the_selector_matches_is_in_the_collection(
    server: ApiServer, client: Client
) -> None:
    labelled = config_map("a")
    labelled["metadata"]["labels"] = {"app": "web"}
    server.create(labelled)
    server.create(config_map("b"))

    found = await eventually_list(
        client, CONFIG_MAP, "shop", lambda found: found, label_selector="app=web"
    )

    assert [each["metadata"]["name"] for each in found] == ["a"]


async def test_a_failure_shows_the_collection_that_was_seen(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map("a", colour="blue"))

    with pytest.raises(AssertionError) as caught:
        await eventually_list(
            client, CONFIG_MAP, "shop", lambda found: len(found) == 2, timeout=3
        )

    text = str(caught.value)
    assert "ConfigMap (v1) in shop: not within 3 s" in text
    assert "last seen 1:" in text
    assert '"colour": "blue"' in text


async def test_an_object_has_what_it_should_whatever_else_it_has(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(done="yes", other="x"))

    await eventually(client, CONFIG_MAP, "web", "shop", has({"data": {"done": "yes"}}))


async def test_a_failure_lists_the_fields_that_differ(
    server: ApiServer, client: Client
) -> None:
    server.create(config_map(done="no"))
    wanted = has({"data": {"done": "yes", "more": "y"}, "kind": "ConfigMap"})

    with pytest.raises(AssertionError) as caught:
        await eventually(client, CONFIG_MAP, "web", "shop", wanted, timeout=1)

    text = str(caught.value)
    assert '.data.done: want "yes", got "no"' in text
    assert '.data.more: want "y", got null' in text
    assert ".kind" not in text
