"""Writes on connections that break, at every moment at which that makes a difference.

A test gets a `way` to an API server, which it may break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import pytest

from conformance.cached import CONFIG_MAP, Place, reading
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import NotFoundError
from controller_runtime.lease import LeaseLock, claim
from controller_runtime.meta import Json
from controller_runtime.patch import merge_patch
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver.faults import Faults, Requests
from controller_runtime.transport import TRANSPORT_ERRORS, Transport


class Breakable(Protocol):
    """What a client is connected to."""

    faults: Faults
    requests: Requests

    def disconnect(self) -> None: ...


class Way(NamedTuple):
    transport: Transport
    namespace: str
    server: Breakable


class Stage:
    """An object, and a Lease, which were made through the connection to be broken."""

    def __init__(self, way: Way) -> None:
        self.server = way.server
        self.client = Client(
            way.transport, scheme=Scheme(), discovery=Discovery(way.transport)
        )
        self.namespace = way.namespace
        self.lease = LeaseLock(
            way.transport, namespace=way.namespace, name="it", labels={}, timeout=30
        )
        self.seen: Json = {}

    async def set(self) -> None:
        self.seen = await self.client.create(self.config_map("1"))
        await self.lease.read()
        await self.renew("nobody")
        self.server.requests.clear()

    def config_map(self, value: str) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": self.namespace},
            "data": {"value": value},
        }

    async def renew(self, holder: str) -> None:
        now = datetime(2030, 1, 1, tzinfo=UTC)
        await self.lease.write(claim(None, holder, 15, now))

    async def read(self) -> str:
        """Return what the writes of below change: of the object, or of the Lease."""
        try:
            found = await self.client.get(CONFIG_MAP, "a", self.namespace)
        except NotFoundError:
            return "2"
        record = await self.lease.read()
        is_held = record is not None and record.holder_identity == "us"
        return "2" if is_held else str(found["data"]["value"])


async def update(stage: Stage) -> None:
    await stage.client.update({**stage.seen, "data": {"value": "2"}})


async def patch(stage: Stage) -> None:
    changes = merge_patch({"data": {"value": "2"}})
    await stage.client.patch(CONFIG_MAP, "a", stage.namespace, patch=changes)


async def apply(stage: Stage) -> None:
    await stage.client.apply(stage.config_map("2"), force=True)


async def delete(stage: Stage) -> None:
    await stage.client.delete(CONFIG_MAP, "a", stage.namespace)


async def renew(stage: Stage) -> None:
    await stage.renew("us")


Write = Callable[[Stage], Awaitable[None]]

WRITES = [
    pytest.param("update", update, id="update"),
    pytest.param("patch", patch, id="patch"),
    pytest.param("patch", apply, id="apply"),
    pytest.param("delete", delete, id="delete"),
    pytest.param("update", renew, id="renewal of a Lease"),
]


@asynccontextmanager
async def staged(way: Way) -> AsyncIterator[Stage]:
    stage = Stage(way)
    await stage.set()
    yield stage


@pytest.mark.parametrize(("verb", "write"), WRITES)
async def test_a_write_goes_out_although_the_server_has_ended_idle_connections(
    way: Way, verb: str, write: Write
) -> None:
    async with staged(way) as stage:
        way.server.disconnect()
        await asyncio.sleep(0)  # it is done, and the client has not looked since

        await write(stage)

        assert await stage.read() == "2"
        assert len(way.server.requests.of(verb)) == 1


@pytest.mark.parametrize(("verb", "write"), WRITES)
async def test_a_write_that_may_have_been_done_is_not_sent_again(
    way: Way, verb: str, write: Write
) -> None:
    async with staged(way) as stage:
        way.server.faults.on(verb=verb).cut(handled=True)

        with pytest.raises(TRANSPORT_ERRORS):
            await write(stage)

        assert len(way.server.requests.of(verb)) == 1
        assert await stage.read() == "2"


@pytest.mark.parametrize(("verb", "write"), WRITES)
async def test_a_write_that_was_lost_on_the_way_can_be_made_again(
    way: Way, verb: str, write: Write
) -> None:
    async with staged(way) as stage:
        way.server.faults.on(verb=verb).cut()

        with pytest.raises(TRANSPORT_ERRORS):
            await write(stage)
        assert await stage.read() == "1"
        await write(stage)

        assert len(way.server.requests.of(verb)) == 2
        assert await stage.read() == "2"


async def test_a_read_whose_connection_breaks_is_made_once_more(way: Way) -> None:
    async with staged(way) as stage:
        way.server.faults.on(verb="get", resource="configmaps").cut()

        assert await stage.client.get(CONFIG_MAP, "a", way.namespace) == stage.seen

        assert len(way.server.requests.of("get", "configmaps")) == 2


@pytest.mark.behaviour("K4")
async def test_what_a_broken_update_left_open_the_next_read_clears_up(way: Way) -> None:
    async with reading(Place(way.transport, way.namespace)) as world:
        seen = await world.create("a")
        await world.names()
        way.server.faults.on(verb="update").cut(handled=True)
        with pytest.raises(TRANSPORT_ERRORS):
            await world.client.update({**seen, "data": {"value": "2"}})

        assert (await world.get("a"))["data"] == {"value": "2"}


@pytest.mark.behaviour("K4")
async def test_what_a_broken_deletion_left_open_the_next_read_clears_up(
    way: Way,
) -> None:
    async with reading(Place(way.transport, way.namespace)) as world:
        await world.create("a")
        await world.names()
        way.server.faults.on(verb="delete").cut(handled=True)
        with pytest.raises(TRANSPORT_ERRORS):
            await world.client.delete(CONFIG_MAP, "a", world.namespace)

        with pytest.raises(NotFoundError):
            await world.get("a")
