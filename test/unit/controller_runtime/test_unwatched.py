"""Kinds that may be listed and not watched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Unpack

import pytest
from structlog.testing import capture_logs

from controller_runtime.cache import Cache, CacheOptions
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import ForbiddenError
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.informer import Informer
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.metrics import Metrics
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import (
    HttpTransport,
    ListenOptions,
    RequestOptions,
    Response,
    Transport,
)
from controller_runtime.watch import WatchOptions

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")

WAYS = [
    pytest.param(WatchOptions(poll=30.0), id="paged"),
    pytest.param(WatchOptions(poll=30.0, paged_fill=False), id="streamed"),
    pytest.param(
        WatchOptions(poll=30.0, paged_fill=False, watch_list=False), id="listed"
    ),
]


class Guarded:
    """A transport to a server that allows lists, and watches when it is told so."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.is_allowed = False
        self.may_list = True
        self.lists: list[float] = []
        """When it was listed, on the loop's clock."""

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        if path.endswith("/configmaps"):
            if not self.may_list:
                raise ForbiddenError("configmaps: cannot list", status=403)
            self.lists.append(asyncio.get_running_loop().time())
        return await self._transport.request(method, path, **options)

    def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        if not self.is_allowed:
            raise ForbiddenError("configmaps: cannot watch", status=403)
        return self._transport.stream(path, **options)


class World:
    """A server, and a cache of its ConfigMaps."""

    def __init__(
        self, server: ApiServer, transport: Transport, watch: WatchOptions
    ) -> None:
        self.server = server
        self.client = Client(transport, scheme=Scheme())
        self.guard = Guarded(transport)
        self.cache = Cache(
            self.guard,
            Discovery(self.guard),
            options=CacheOptions(default=ReflectorOptions(watch=watch)),
            randomness=random.Random(1),  # noqa: S311 - jitter
        )
        self.informer: Informer = self.cache.declare(CONFIG_MAP)
        self.told: list[tuple[type[Event], str]] = []
        self.informer.subscribe(
            lambda events: self.told.extend(
                (type(event), event.object.meta.name) for event in events
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.cache.run())
            await asyncio.sleep(0)  # it begins
            await self.cache.synced()
            yield
            task.cancel()

    def names(self) -> set[str]:
        return {entry.meta.name for entry in self.informer.list()}


@asynccontextmanager
async def opened(watch: WatchOptions) -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.create(named("a"))
        yield World(server, transport, watch)


def named(name: str) -> Json:
    metadata = {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.mark.parametrize("watch", WAYS)
async def test_it_is_listed_now_and_then_and_told_as_if_it_were_watched(
    watch: WatchOptions,
) -> None:
    async with opened(watch) as world, world.running():
        assert world.names() == {"a"}
        world.told.clear()
        world.server.create(named("b"))
        await world.client.delete(CONFIG_MAP, "a", "n")
        await asyncio.sleep(29)
        before = list(world.told)
        await asyncio.sleep(5)
        after = list(world.told)

    assert before == []
    assert sorted(after, key=str) == sorted([(Created, "b"), (Deleted, "a")], key=str)
    assert Updated not in {kind for kind, _ in after}


@pytest.mark.parametrize("watch", WAYS)
async def test_it_is_listed_at_once_when_somebody_asks(watch: WatchOptions) -> None:
    async with opened(watch) as world, world.running():
        await asyncio.sleep(1)
        world.server.create(named("b"))
        world.informer.refresh()
        await asyncio.sleep(0.3)

        assert world.names() == {"a", "b"}


async def test_however_many_ask_there_are_two_lists_a_second() -> None:
    async with opened(WatchOptions(poll=30.0)) as world, world.running():
        await asyncio.sleep(1)
        world.guard.lists.clear()
        for number in range(400):
            world.server.create(named(f"c{number}"))
            world.informer.refresh()
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)

        assert len(world.names()) == 401
    assert 7 <= len(world.guard.lists) <= 10


async def test_it_is_watched_as_soon_as_that_is_allowed_and_not_listed_again() -> None:
    async with opened(WatchOptions(poll=30.0)) as world, world.running():
        await asyncio.sleep(100)
        was_unwatched = world.informer.is_unwatched
        world.guard.is_allowed = True
        await asyncio.sleep(35)
        world.guard.lists.clear()
        world.server.create(named("b"))
        await asyncio.sleep(0.1)
        at_once = world.names()
        world.informer.refresh()
        await asyncio.sleep(600)

        assert not world.informer.is_unwatched
    assert was_unwatched
    assert at_once == {"a", "b"}
    assert world.guard.lists == []


async def test_there_is_one_warning_and_a_metric() -> None:
    metrics = Metrics()
    with capture_logs() as logs:
        async with opened(WatchOptions(poll=30.0)) as world, world.running():
            metrics.stores(world.cache.report)
            await asyncio.sleep(300)
            before = metrics.exposition().decode()
            world.guard.is_allowed = True
            await asyncio.sleep(35)
            after = metrics.exposition().decode()

    found = [log for log in logs if log["log_level"] == "warning"]
    assert [log["event"] for log in found] == [
        "kind may not be watched: it is listed now and then"
    ]
    sample = 'cache_unwatched{kind="ConfigMap",view="default"}'
    assert f"{sample} 1.0" in before
    assert f"{sample} 0.0" in after


async def test_the_right_to_watch_may_be_taken_away_later() -> None:
    options = WatchOptions(poll=30.0, watch_timeout=10.0)
    async with opened(options) as world:
        world.guard.is_allowed = True
        async with world.running():
            world.guard.is_allowed = False
            await asyncio.sleep(21)
            world.server.create(named("b"))
            world.informer.refresh()
            await asyncio.sleep(1)

            assert world.informer.is_unwatched
            assert world.names() == {"a", "b"}


async def test_who_may_neither_list_nor_watch_is_told_so() -> None:
    options = WatchOptions(poll=30.0, paged_fill=False)
    with capture_logs() as logs:
        async with opened(options) as world:
            world.guard.may_list = False
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(world.cache.run())
                await asyncio.sleep(1)
                task.cancel()

    assert isinstance(world.informer.failure, ForbiddenError)
    assert "cannot list" in str(world.informer.failure)
    assert not [log for log in logs if "now and then" in log["event"]]
