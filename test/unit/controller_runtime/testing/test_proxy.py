"""The proxy in front of the in-process API server: what it lets through and spoils."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controller_runtime.errors import (
    ApiError,
    ConflictError,
    DecodeError,
    ExpiredError,
    ForbiddenError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
)
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.proxy import TestingProxy
from controller_runtime.transport import TRANSPORT_ERRORS, HttpTransport
from controller_runtime.wire import Lines, read_page

PATH = "/api/v1/namespaces/n/configmaps"
CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


class World:
    def __init__(
        self, server: ApiServer, proxy: TestingProxy, transport: HttpTransport
    ) -> None:
        self.server = server
        self.proxy = proxy
        self.transport = transport

    async def names(self) -> int:
        response = await self.transport.request("GET", PATH)
        return len(read_page(response.body).items)

    def create(self, name: str) -> Json:
        metadata = {"name": name, "namespace": "n"}
        return self.server.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        )

    async def lines(self, idle: float = 10, seconds: int = 5) -> list[bytes]:
        lines, read = Lines(), list[bytes]()
        params = {"watch": "true", "timeoutSeconds": str(seconds)}
        async with self.transport.stream(
            PATH, params=params, idle_timeout=idle
        ) as chunks:
            async for chunk in chunks:
                read += lines.feed(chunk)
        return read


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer(tokens=["t"]) as server,
        TestingProxy(server.config(token="t")) as proxy,
        HttpTransport(proxy.config()) as transport,
    ):
        yield World(server, proxy, transport)


async def test_requests_pass_with_the_credentials_of_the_proxy(world: World) -> None:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}'

    await world.transport.request("POST", PATH, body=body)

    assert world.proxy.config().credentials is None
    assert await world.names() == 1
    assert [(r.verb, r.resource, r.namespace) for r in world.proxy.requests] == [
        ("create", "configmaps", "n"),
        ("list", "configmaps", "n"),
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (409, ConflictError),
        (410, ExpiredError),
        (500, ServerError),
        (504, ServerError),
    ],
)
async def test_a_refusal_is_the_proxys_own(
    world: World, status: int, error: type[ApiError]
) -> None:
    world.proxy.faults.on(verb="list").answer(status)

    with pytest.raises(error):
        await world.names()

    assert len(world.server.requests) == 0
    assert await world.names() == 0


async def test_a_wait_that_is_asked_for_is_in_the_header(world: World) -> None:
    world.proxy.faults.on(verb="watch").answer(429, retry_after=7)

    with pytest.raises(TooManyRequestsError) as caught:
        await world.lines()

    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 7


async def test_a_call_can_be_cut_before_and_after_it_is_done(world: World) -> None:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}'
    before = world.proxy.faults.on(verb="create", times=2).cut()
    after = world.proxy.faults.on(verb="create").cut(handled=True)

    for _ in range(2):
        with pytest.raises(TRANSPORT_ERRORS):
            await world.transport.request("POST", PATH, body=body)
    assert await world.names() == 0

    with pytest.raises(TRANSPORT_ERRORS):
        await world.transport.request("POST", PATH, body=body)

    assert await world.names() == 1
    assert (before.struck, before.served) == (2, 0)
    assert (after.struck, after.served) == (1, 1)


async def test_a_watch_can_be_cut_in_the_middle_of_a_line(world: World) -> None:
    for name in "abc":
        world.create(name)
    world.proxy.faults.on(verb="watch").cut(after=2)

    with pytest.raises(TRANSPORT_ERRORS):
        await world.lines()

    assert len(await world.lines()) == 3


async def test_a_watch_can_fall_silent(world: World) -> None:
    world.create("a")
    world.proxy.faults.on(verb="watch").stall(after=1)
    began = asyncio.get_running_loop().time()

    with pytest.raises(Exception, match="nothing came for 10 s"):
        await world.lines()

    assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=0.1)


async def test_answers_and_watches_can_be_made_garbage(world: World) -> None:
    world.create("a")
    world.proxy.faults.on(verb="list").corrupt()
    world.proxy.faults.on(verb="watch").corrupt(after=1)

    with pytest.raises(DecodeError):
        await world.names()
    first, garbage = await world.lines()

    assert first.startswith(b'{"type":"ADDED"')
    assert b"\x00" in garbage


async def test_requests_and_events_can_come_late(world: World) -> None:
    world.create("a")
    world.proxy.faults.on(verb="list").delay(20)
    world.proxy.faults.on(verb="watch").lag(3)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.names()
    assert loop.time() - began == pytest.approx(20, abs=0.1)

    async with world.transport.stream(
        PATH, params={"watch": "true"}, idle_timeout=10
    ) as chunks:
        began = loop.time()
        await anext(chunks)

    assert loop.time() - began == pytest.approx(3, abs=0.1)


async def test_the_way_can_be_taken_away_and_given_back(world: World) -> None:
    await world.proxy.stop()
    with pytest.raises(OSError, match="onnect"):
        await world.names()

    await world.proxy.start()

    assert await world.names() == 0


async def test_what_is_held_up_goes_on_when_it_may(world: World) -> None:
    world.proxy.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(15, world.proxy.resume)

    assert await world.names() == 0

    assert loop.time() - began == pytest.approx(15, abs=0.1)
