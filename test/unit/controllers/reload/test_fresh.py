"""Workloads that come with marks of their own, and whose pods have read what is new."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    RawObject,
    Scheme,
    apply_patch,
    json_patch,
    merge_patch,
)
from controller_runtime.meta import read_meta
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import LoopClock
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.sources import Source, SourceKind, read_source, reducer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
STALE = {RECORD: json.dumps({"cm/c": "0" * 20})}


def owner(time: str, **fields: object) -> Json:
    return {"manager": "m", "operation": "Update", "time": time, "fieldsV1": fields}


def reduced(*owners: Json) -> Source:
    metadata = {"name": "c", "namespace": "shop", "managedFields": owners}
    raw = reducer(SourceKind.CONFIG_MAP, ())(
        json.dumps({"metadata": metadata, "data": {"k": "v"}}).encode()
    )
    assert b"managed" not in raw
    return read_source(SourceKind.CONFIG_MAP, RawObject(read_meta(raw), raw))


@pytest.mark.parametrize(
    ("owners", "written"),
    [
        pytest.param([], "", id="nobody knows"),
        pytest.param(
            [
                owner("2026-01-01T00:00:00Z", **{"f:data": {"f:k": {}}}),
                owner("2026-01-02T00:00:00Z", **{"f:binaryData": {"f:l": {}}}),
                owner("2026-01-03T00:00:00Z", **{"f:metadata": {"f:labels": {}}}),
            ],
            "2026-01-02T00:00:00Z",
            id="the last owner of content",
        ),
    ],
)
def test_of_the_owners_the_last_time_of_content_is_kept(
    owners: list[Json], written: str
) -> None:
    assert reduced(*owners).written == written


class World:
    """A ConfigMap `c` whose content is owned, and Deployments that use it."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def change(self, value: str) -> None:
        metadata = {"name": "c", "namespace": "shop"}
        head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        patch = apply_patch({**head, "data": {"k": value, "more": "x"}})
        await self.client.patch(
            ConfigMap.gvk, "c", "shop", patch=patch, field_owner="test"
        )

    async def deployment(self) -> None:
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "x", "envFrom": [source]}
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        auto = {"reloader.stakater.com/auto": "true"}
        metadata = {"name": "web", "namespace": "shop", "annotations": auto | STALE}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}
        await self.client.create({**head, "spec": spec})

    async def record(self) -> str:
        read = await self.client.get(Deployment.gvk, "web", "shop")
        text: str = read["metadata"]["annotations"][RECORD]
        return text

    async def reloads(self) -> int:
        events = (await self.client.list(EVENT, "shop")).items
        return sum(event["reason"] == "Reloaded" for event in events)

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[None]:
        given = ReloadOptions()
        async with managing(self.server.config(), given):
            await asyncio.sleep(5)
            yield


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep tracebacks from being drawn, which takes a second each."""
    with capture_logs():
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer(clock=LoopClock(NOW)) as server,
        HttpTransport(server.config()) as transport,
    ):
        yield World(server, Client(transport, scheme=Scheme()))


async def test_a_new_workload_with_a_record_of_elsewhere_does_not_reload(
    world: World,
) -> None:
    await world.change("old")
    async with world.manager():
        await asyncio.sleep(30)
        await world.deployment()
        await asyncio.sleep(5)
        assert await world.record() != STALE[RECORD]
        assert await world.reloads() == 0
        await world.change("new")
        await asyncio.sleep(5)

    assert await world.reloads() == 1


@pytest.mark.parametrize("seconds", [0, 4])
async def test_it_does_if_the_source_was_written_just_before(
    world: World, seconds: int
) -> None:
    await world.change("old")
    async with world.manager():
        await asyncio.sleep(30)
        await world.change("new")
        await asyncio.sleep(seconds)
        await world.deployment()
        await asyncio.sleep(5)

    assert await world.reloads() == 1


async def test_it_does_if_it_came_while_nobody_looked(world: World) -> None:
    await world.change("old")
    await asyncio.sleep(30)
    await world.deployment()

    async with world.manager():
        pass

    assert await world.reloads() == 1


async def test_it_does_if_content_was_taken_away_since_which_no_owner_tells(
    world: World,
) -> None:
    await world.change("old")
    async with world.manager():
        await asyncio.sleep(30)
        paused = world.server.faults.on(verb="patch", resource="deployments", times=4)
        paused.answer(503, reason="ServiceUnavailable")
        await world.deployment()
        await asyncio.sleep(1)
        gone = json_patch([{"op": "remove", "path": "/data/more"}])
        await world.client.patch(ConfigMap.gvk, "c", "shop", patch=gone)
        await asyncio.sleep(60)

    assert await world.reloads() == 1


async def test_a_change_of_the_owners_alone_is_no_news(world: World) -> None:
    await world.change("old")
    async with world.manager():
        await asyncio.sleep(30)
        await world.deployment()
        await asyncio.sleep(5)
        patch = merge_patch({"metadata": {"labels": {"a": "b"}}})
        await world.client.patch(
            ConfigMap.gvk, "c", "shop", patch=patch, field_owner="test"
        )
        await asyncio.sleep(5)

    assert await world.reloads() == 0
