"""What a client can ask of any API server: watches, and calls with other defaults.

A test gets a `place`: a transport and a namespace of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from conformance.cached import CONFIG_MAP, NAMESPACE, ConfigMap, Place, World
from controller_runtime.client import Client
from controller_runtime.errors import BadRequestError, InvalidError, NotFoundError
from controller_runtime.meta import Json, ObjectMeta
from controller_runtime.patch import merge_patch
from controller_runtime.rawwatch import WatchEvent
from controller_runtime.scheme import Scheme

E = TypeVar("E")


@pytest.fixture
def client(place: Place) -> Client:
    return Client(place.transport, scheme=Scheme())


def config_map(place: Place, name: str, **metadata: object) -> Json:
    return World(place).config_map(name, **metadata)  # type: ignore[arg-type] # metadata


async def following(events: AsyncIterator[E], count: int) -> list[E]:
    async with asyncio.timeout(10):
        return [await anext(events) for _ in range(count)]


def name_of(event: WatchEvent[Json]) -> str:
    return event.object["metadata"]["name"] if event.object is not None else ""


async def test_a_watch_from_a_version_tells_what_came_after_it(
    place: Place, client: Client
) -> None:
    await client.create(config_map(place, "before", labels={"x": "y"}))
    listed = await client.list(CONFIG_MAP, place.namespace)

    async with client.watch(
        CONFIG_MAP,
        place.namespace,
        label_selector="x=y",
        resource_version=listed.resource_version,
    ) as events:
        made = await client.create(config_map(place, "a", labels={"x": "y"}))
        await client.create(config_map(place, "other"))
        await client.patch(
            CONFIG_MAP, "a", place.namespace, patch=merge_patch({"data": {"b": "c"}})
        )
        await client.delete(CONFIG_MAP, "a", place.namespace)
        told = await following(events, 3)

    assert [event.type for event in told] == ["ADDED", "MODIFIED", "DELETED"]
    assert {name_of(event) for event in told} == {"a"}
    assert told[0].resource_version == made["metadata"]["resourceVersion"]
    assert told[0].object is not None
    assert told[0].object["kind"] == "ConfigMap"


async def test_a_watch_without_a_version_begins_with_what_is_there(
    place: Place, client: Client
) -> None:
    await client.create(config_map(place, "a", labels={"x": "y"}))

    async with client.watch(ConfigMap, place.namespace, label_selector="x") as events:
        (first,) = await following(events, 1)

    assert first.type == "ADDED"
    assert isinstance(first.object, ConfigMap)
    assert first.object.data == {"value": "1"}


async def test_a_watch_may_say_where_the_first_objects_end(
    place: Place, client: Client
) -> None:
    await client.create(config_map(place, "a", labels={"x": "y"}))

    async with client.watch(
        CONFIG_MAP, place.namespace, label_selector="x", send_initial_events=True
    ) as events:
        first, end = await following(events, 2)

    assert (first.type, first.ends_initial_events) == ("ADDED", False)
    assert (end.type, end.object, end.ends_initial_events) == ("BOOKMARK", None, True)
    assert end.resource_version


async def test_a_watch_ends_when_the_server_ends_it(
    place: Place, client: Client
) -> None:
    async with (
        asyncio.timeout(20),
        client.watch(
            CONFIG_MAP, place.namespace, label_selector="x", timeout=1
        ) as all_,
    ):
        assert [event async for event in all_] == []


async def test_a_client_of_one_namespace_need_not_be_told_it(
    place: Place, client: Client
) -> None:
    here = client.with_defaults(namespace=place.namespace)
    made = config_map(place, "a")
    del made["metadata"]["namespace"]

    await here.create(made)
    typed = await here.create(ConfigMap(metadata=ObjectMeta(name="b"), data={"x": "y"}))
    await here.patch(CONFIG_MAP, "a", patch=merge_patch({"data": {"x": "z"}}))
    await here.apply({**made, "metadata": {"name": "c"}})
    read = await here.get(CONFIG_MAP, "a")
    names = {item.metadata.name for item in (await here.list(ConfigMap)).items}
    await here.update(read)
    await here.delete(CONFIG_MAP, "b")
    await here.delete_all_of(CONFIG_MAP, field_selector="metadata.name=c")

    assert typed.metadata.namespace == place.namespace
    assert read["data"] == {"value": "1", "x": "z"}
    assert names >= {"a", "b", "c"}
    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAP, "c", place.namespace)


async def test_a_client_of_one_namespace_refuses_what_is_elsewhere(
    place: Place, client: Client
) -> None:
    here = client.with_defaults(namespace=place.namespace)

    for call in (
        here.get(CONFIG_MAP, "a", "default"),
        here.list(CONFIG_MAP, "default"),
        here.create(World(Place(place.transport, "default")).config_map("a")),
        here.delete(CONFIG_MAP, "a", "default"),
    ):
        with pytest.raises(BadRequestError, match=place.namespace):
            await call
    with pytest.raises(BadRequestError, match="Namespace"):
        await here.get(NAMESPACE, place.namespace)


async def test_raw_options_of_a_deletion_reach_the_server(
    place: Place, client: Client
) -> None:
    await client.create(config_map(place, "a"))

    with pytest.raises(InvalidError, match="propagationPolicy"):
        await client.delete(
            CONFIG_MAP, "a", place.namespace, raw={"propagationPolicy": "Nonsense"}
        )
    with pytest.raises(InvalidError, match="propagationPolicy"):
        await client.delete_all_of(
            CONFIG_MAP, place.namespace, raw={"propagationPolicy": "Nonsense"}
        )
    await client.delete(CONFIG_MAP, "a", place.namespace, raw={"dryRun": "All"})
    assert await client.get(CONFIG_MAP, "a", place.namespace)


async def test_a_client_that_only_tries_changes_nothing(
    place: Place, client: Client
) -> None:
    await client.create(config_map(place, "a"))
    dry = client.with_defaults(dry_run=True)

    tried = await dry.create(config_map(place, "b"))
    await dry.patch(
        CONFIG_MAP, "a", place.namespace, patch=merge_patch({"data": {"x": "y"}})
    )
    await dry.delete(CONFIG_MAP, "a", place.namespace)
    await dry.delete_all_of(CONFIG_MAP, place.namespace)
    insisted = dry.create(config_map(place, "c"), dry_run=False)

    assert tried["metadata"]["uid"]
    await insisted
    names = [
        item["metadata"]["name"]
        for item in (await client.list(CONFIG_MAP, place.namespace)).items
    ]
    assert "a" in names
    assert not {"b", "c"} & set(names)
    read = await client.get(CONFIG_MAP, "a", place.namespace)
    assert read["data"] == {"value": "1"}
