"""Watches and defaults of clients, on the in-process server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controller_runtime.client import Client
from controller_runtime.errors import ExpiredError, StalledError
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.cached", "conformance.clients")

from conformance.cached import CONFIG_MAP, Place  # noqa: E402 - after that
from conformance.clients import *  # noqa: E402, F403 - the tests


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def place(server: ApiServer) -> AsyncIterator[Place]:
    async with HttpTransport(server.config()) as transport:
        yield Place(transport, "n")


async def test_a_watch_that_is_left_is_closed(
    server: ApiServer, place: Place, client: Client
) -> None:
    async with client.watch(CONFIG_MAP, place.namespace):
        assert server.watch_count == 1

    await asyncio.sleep(1)
    assert server.watch_count == 0


async def test_a_watch_that_falls_silent_is_an_error(
    server: ApiServer, place: Place, client: Client
) -> None:
    server.faults.on(verb="watch").stall()
    began = asyncio.get_running_loop().time()

    with pytest.raises(StalledError):
        async with client.watch(CONFIG_MAP, place.namespace, timeout=60) as events:
            await anext(events)

    assert asyncio.get_running_loop().time() - began == pytest.approx(65, abs=1)


async def test_a_watch_from_a_version_that_is_gone_says_so(
    server: ApiServer, client: Client
) -> None:
    for name in ("m", "n"):
        server.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
    server.compact()

    with pytest.raises(ExpiredError):
        async with client.watch(CONFIG_MAP, resource_version="1") as events:
            await anext(events)
