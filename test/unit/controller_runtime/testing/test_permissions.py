"""What is recorded of the requests of a manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from controller_runtime import (
    Client,
    ForbiddenError,
    GroupVersionKind,
    HttpTransport,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.permissions import RecordingTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


class World(NamedTuple):
    server: ApiServer
    recording: RecordingTransport
    client: Client


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        recording = RecordingTransport(transport)
        yield World(server, recording, Client(recording, scheme=Scheme()))


def asked(world: World) -> list[str]:
    return list(map(str, world.recording.requests))


async def test_requests_are_recorded_as_a_role_would_name_them(world: World) -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    await world.client.create({**head, "metadata": {"name": "a", "namespace": "n"}})
    await world.client.patch(CONFIG_MAP, "a", "n", patch=merge_patch({"data": {}}))
    async with world.recording.stream(
        "/api/v1/configmaps", params={"watch": "1"}, idle_timeout=1
    ):
        pass

    assert asked(world) == [
        "create configmaps in n",
        "patch configmaps a in n",
        "watch configmaps",
    ]
    assert world.recording.forbidden == []


async def test_an_apply_that_makes_its_object_takes_the_permission_to_create(
    world: World,
) -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    obj = {**head, "metadata": {"name": "a", "namespace": "n"}}

    await world.client.apply(obj, field_owner="test")
    await world.client.apply(obj, field_owner="test")

    assert asked(world) == [
        "patch configmaps a in n",
        "create configmaps a in n",
        "patch configmaps a in n",
    ]


async def test_what_everybody_may_ask_is_not_recorded(world: World) -> None:
    await world.client.list(CONFIG_MAP)

    paths = [request.path for request in world.server.requests]
    assert paths == ["/api", "/api/v1/configmaps"]
    assert asked(world) == ["list configmaps"]


async def test_what_is_refused_is_recorded_twice(world: World) -> None:
    world.server.faults.on(verb="list").answer(403, reason="Forbidden")

    with pytest.raises(ForbiddenError):
        await world.client.list(CONFIG_MAP)

    assert list(map(str, world.recording.forbidden)) == asked(world)
    assert asked(world) == ["list configmaps"]


async def test_a_watch_that_is_refused_is_recorded_too(world: World) -> None:
    world.server.faults.on(verb="watch").answer(403, reason="Forbidden")

    with pytest.raises(ForbiddenError):
        async with world.recording.stream(
            "/api/v1/configmaps", params={"watch": "1"}, idle_timeout=1
        ):
            pass

    assert list(map(str, world.recording.forbidden)) == ["watch configmaps"]
