"""Workloads that more sources concern than a record has room for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.room import RECORD_MAX, entry_size, is_full, room_for_more

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
NAMED = "configmap.reloader.stakater.com/reload"
OTHERS = {"example.com/notes": "x" * (240 << 10)}
"""Annotations that leave room for some 25 names of 250 characters."""


class World:
    """An API server with 40 ConfigMaps of long names."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(
        self, gvk: GroupVersionKind, name: str, annotations: Json, **fields: object
    ) -> None:
        metadata = {"name": name, "namespace": "shop", "annotations": annotations}
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def deployment(self, name: str, annotations: Json) -> None:
        labels = {"app": name}
        pod = {"containers": [{"name": "app", "image": "x"}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        await self.create(Deployment.gvk, name, annotations, spec=spec)

    async def change(self, name: str) -> None:
        patch = merge_patch({"data": {"k": "new"}})
        await self.client.patch(ConfigMap.gvk, name, "shop", patch=patch)

    async def record(self, name: str) -> dict[str, str]:
        found = await self.client.get(Deployment.gvk, name, "shop")
        record: dict[str, str] = json.loads(found["metadata"]["annotations"][RECORD])
        return record

    async def about(self, reason: str) -> list[str]:
        """Name the workloads that Events with a reason are about."""
        events = (await self.client.list(EVENT, "shop")).items
        return [e["regarding"]["name"] for e in events if e["reason"] == reason]

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[None]:
        given = ReloadOptions()
        async with managing(self.server.config(), given):
            await asyncio.sleep(5)
            yield


def source(number: int) -> str:
    return f"{number:03}-{'n' * 246}"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        for number in range(40):
            await world.create(ConfigMap.gvk, source(number), {}, data={"k": "old"})
        yield world


async def test_what_has_no_room_is_left_out_and_told_and_the_rest_reloads(
    world: World,
) -> None:
    await world.deployment("full", {NAMED: ".*"} | OTHERS)
    await world.deployment("other", {NAMED: source(39)})

    async with world.manager():
        record = await world.record("full")
        world.server.requests.clear()
        await world.change(source(0))
        await world.change(source(39))
        await asyncio.sleep(900)
        patches = world.server.requests.of("patch", "deployments")

    assert 20 < len(record) < 30
    assert list(record) == [f"cm/{source(number)}" for number in range(len(record))]
    assert sorted(await world.about("Reloaded")) == ["full", "other"]
    assert await world.about("RecordFull") == ["full"]
    assert await world.about("ReloadFail") == []
    assert len(patches) == 2


async def test_what_had_no_room_is_taken_in_when_there_is_some(world: World) -> None:
    await world.deployment("full", {NAMED: ".*"} | OTHERS)

    async with world.manager():
        less: Json = {"metadata": {"annotations": dict.fromkeys(OTHERS)}}
        await world.client.patch(
            Deployment.gvk, "full", "shop", patch=merge_patch(less)
        )
        await asyncio.sleep(5)

    assert len(await world.record("full")) == 40


def test_a_record_never_takes_all_that_annotations_may_be() -> None:
    assert room_for_more({}, "") == RECORD_MAX
    assert room_for_more({"a": "x" * 100}, "x" * 100) == RECORD_MAX - 100
    assert room_for_more({"a": "é" * (100 << 10)}, "") == (48 << 10) - 1


def test_the_longest_entry_fits_while_a_record_is_not_full() -> None:
    longest = entry_size(f"secret/{'n' * 63}/{'n' * 253}", f"k123456s123456:{'0' * 20}")

    assert not is_full(384)
    assert is_full(longest - 1)
