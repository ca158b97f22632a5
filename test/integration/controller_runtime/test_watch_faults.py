"""Watches, caches and clients of a real API server when the way there is bad.

What proves that nothing was missed is the end: a live list, the store, and what the
events amount to are the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from controller_runtime.cache import Cache, CacheOptions
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ControllerRuntimeError,
    ForbiddenError,
)
from controller_runtime.event import Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.scheme import Scheme
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.envtest.access import load_ports
from controller_runtime.testing.envtest.programs import Places
from controller_runtime.testing.proxy import TestingProxy
from controller_runtime.transport import TRANSPORT_ERRORS, HttpTransport
from controller_runtime.watch import WatchOptions

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
HASTY = WatchOptions(backoff=0.05, backoff_ceiling=0.4, patience=3)
STREAMED = replace(HASTY, paged_fill=False)
LISTED = replace(HASTY, paged_fill=False, watch_list=False)
PATIENT = 60.0

Versions = dict[NamespacedName, str]


class Seen:
    """What the events amount to."""

    def __init__(self) -> None:
        self.versions: Versions = {}
        self.wrong: list[str] = []
        self.changed = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            self._take(event)
        self.changed.set()

    def _take(self, event: Event) -> None:
        meta = event.object.meta
        known = self.versions.get(meta.key)
        if isinstance(event, Deleted):
            del self.versions[meta.key]
            return
        if isinstance(event, Updated) != (known is not None):
            self.wrong.append(f"{type(event).__name__} {meta.key}, known: {known}")
        if known is not None and int(known) >= int(meta.resource_version):
            self.wrong.append(f"{meta.key} went from {known} to {meta}")
        self.versions[meta.key] = meta.resource_version


class World:
    """A cache behind the proxy, and a client that goes straight to the server."""

    def __init__(
        self,
        proxy: TestingProxy,
        transport: HttpTransport,
        direct: HttpTransport,
        namespace: str,
        watch: WatchOptions,
    ) -> None:
        self.proxy = proxy
        self.namespace = namespace
        self.client = client(transport)
        self.direct = client(direct)
        options = ReflectorOptions(namespace=namespace, watch=watch)
        self.cache = Cache(
            transport, Discovery(transport), options=CacheOptions(default=options)
        )
        self.reflector = self.cache.declare(CONFIG_MAP)
        self.seen = Seen()
        self.reflector.subscribe(self.seen)

    def config_map(self, name: str, value: str = "1") -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
            "data": {"value": value},
        }

    async def put(self, name: str, value: str = "1") -> Json:
        return await self.direct.apply(self.config_map(name, value), force=True)

    async def churn(self, count: int, *, seed: int = 1, pause: float = 0) -> None:
        """Write at random, whatever becomes of it."""
        dice = random.Random(seed)  # noqa: S311 - a test's dice
        for n in range(count):
            name = f"c{dice.randrange(20)}"
            with suppress(ControllerRuntimeError, *TRANSPORT_ERRORS):
                if dice.random() < 0.3:
                    await self.direct.delete(CONFIG_MAP, name, self.namespace)
                else:
                    await self.put(name, str(n))
            await asyncio.sleep(pause)

    async def tells(self) -> None:
        """Wait until the watch tells something, or has been quiet for a while."""
        self.seen.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.seen.changed.wait()

    async def live(self) -> Versions:
        listed = await self.direct.list(CONFIG_MAP, self.namespace)
        metas = (item["metadata"] for item in listed.items)
        return {
            NamespacedName(it["namespace"], it["name"]): it["resourceVersion"]
            for it in metas
        }

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENT):
            while not condition():
                self.seen.changed.clear()
                await self.seen.changed.wait()

    async def settled(self) -> None:
        """Wait until the store has what is written last, then compare everything."""
        last = await self.put("the-last", "one")
        metadata = last["metadata"]
        key = NamespacedName(self.namespace, "the-last")
        version = metadata["resourceVersion"]
        await self.until(lambda: self.seen.versions.get(key) == version)
        assert self.seen.wrong == []
        live = await self.live()
        assert self.seen.versions == live
        stored = {o.key: o.meta.resource_version for o in self.reflector.store.list()}
        assert stored == live

    def asked_for_everything(self) -> int:
        watches = self.proxy.requests.of("watch", "configmaps")
        streams = [it for it in watches if "sendInitialEvents" in it.params]
        return len(streams) + len(self.proxy.requests.of("list", "configmaps"))


def client(transport: HttpTransport) -> Client:
    return Client(transport, scheme=Scheme(), discovery=Discovery(transport))


@asynccontextmanager
async def running(
    config: RestConfig, namespace: str, watch: WatchOptions = HASTY
) -> AsyncIterator[World]:
    async with (
        TestingProxy(config) as proxy,
        HttpTransport(proxy.config()) as transport,
        HttpTransport(config) as direct,
        asyncio.TaskGroup() as tasks,
    ):
        world = World(proxy, transport, direct, namespace, watch)
        task = tasks.create_task(world.cache.run())
        yield world
        task.cancel()


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    """Lend a control plane that may be broken."""
    async with ControlPlane(ControlPlaneOptions(start_timeout=60)) as plane:
        yield plane


async def config_of(plane: ControlPlane, folder: Path) -> RestConfig:
    path = await plane.write_kubeconfig(folder / "kubeconfig")
    return await asyncio.to_thread(load, kubeconfig=path, environ={}, home=folder)


@pytest.mark.behaviour("R9")
async def test_one_stream_tells_all_there_is_and_all_that_happens(
    config: RestConfig, namespace: str
) -> None:
    async with running(config, namespace, STREAMED) as world:
        await world.reflector.synced()
        await world.churn(60)
        await world.settled()

        assert len(world.proxy.requests.of("watch", "configmaps")) == 1
        assert world.proxy.requests.of("list", "configmaps") == []


@pytest.mark.behaviour("R5")
@pytest.mark.behaviour("R6")
async def test_broken_connections_cost_neither_an_event_nor_a_list(
    config: RestConfig, namespace: str
) -> None:
    async with running(config, namespace, STREAMED) as world:
        await world.reflector.synced()
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(world.churn(150))
            while not writing.done():
                await asyncio.sleep(0.1)
                # A watch that is broken before it told anything is a failed one.
                await world.tells()
                world.proxy.disconnect()
            await world.proxy.stop()
            await world.churn(30, seed=2)
            await world.proxy.start()
        await world.settled()

        assert len(world.proxy.requests.of("watch", "configmaps")) > 2
        assert world.asked_for_everything() == 1


@pytest.mark.behaviour("R6")
@pytest.mark.behaviour("R7")
@pytest.mark.behaviour("R12")
@pytest.mark.parametrize(
    "watch",
    [
        pytest.param(HASTY, id="paged"),
        pytest.param(STREAMED, id="streamed"),
        pytest.param(LISTED, id="listed"),
    ],
)
async def test_whatever_happens_on_the_way_nothing_is_missed_at_the_end(
    config: RestConfig, namespace: str, watch: WatchOptions
) -> None:
    async with running(config, namespace, watch) as world:
        await world.reflector.synced()
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(world.churn(300))
            await sabotage(world.proxy, until=writing.done)
        world.proxy.faults.clear()
        world.proxy.disconnect()
        await world.settled()


async def sabotage(proxy: TestingProxy, *, until: Callable[[], bool]) -> None:
    dice = random.Random(3)  # noqa: S311 - a test's dice
    while not until():
        for verb in ("watch", "list"):
            target = proxy.faults.on(verb=verb, resource="configmaps")
            match dice.randrange(6):
                case 0:
                    target.answer(dice.choice([401, 403, 409, 410, 500, 504]))
                case 1:
                    target.answer(429, retry_after=1)
                case 2:
                    target.cut(after=dice.randrange(4))
                case 3:
                    target.corrupt(after=dice.randrange(4))
                case 4:
                    target.delay(0.1)
                case _:
                    proxy.pause()
        await asyncio.sleep(0.1)
        proxy.resume()
        proxy.disconnect()


@pytest.mark.behaviour("R10")
async def test_a_stream_that_falls_silent_at_first_is_given_up_for_a_list(
    config: RestConfig, namespace: str
) -> None:
    async with running(config, namespace, STREAMED) as world:
        world.proxy.faults.on(verb="watch").stall(after=0)

        await world.reflector.synced()
        await world.settled()

        assert len(world.proxy.requests.of("list", "configmaps")) == 1


@pytest.mark.behaviour("R12")
@pytest.mark.parametrize(
    "watch",
    [
        pytest.param(HASTY, id="paged"),
        pytest.param(STREAMED, id="streamed"),
    ],
)
async def test_who_may_not_watch_is_told_at_once(
    config: RestConfig, namespace: str, watch: WatchOptions
) -> None:
    async with running(config, namespace, watch) as world:
        world.proxy.faults.on(verb="watch", times=None).answer(403)

        with pytest.raises(ForbiddenError):
            await world.reflector.synced()


async def test_a_client_waits_as_told_and_says_what_it_cannot_know(
    config: RestConfig, namespace: str
) -> None:
    async with running(config, namespace) as world:
        began = asyncio.get_running_loop().time()
        world.proxy.faults.on(verb="create").answer(429, retry_after=1)
        await world.client.create(world.config_map("a"))
        assert asyncio.get_running_loop().time() - began >= 1

        world.proxy.faults.on(verb="create").cut(handled=True)
        with pytest.raises(TRANSPORT_ERRORS):
            await world.client.create(world.config_map("b"))
        with pytest.raises(AlreadyExistsError):
            await world.client.create(world.config_map("b"))

        world.proxy.faults.on(verb="update").answer(409)
        found = await world.client.get(CONFIG_MAP, "a", namespace)
        with pytest.raises(ConflictError):
            await world.client.update(found)
        await world.client.update(found)

        world.proxy.faults.on(verb="get").answer(504)
        with pytest.raises(ApiError):
            await world.client.get(CONFIG_MAP, "a", namespace)


@pytest.mark.behaviour("R6")
async def test_a_server_that_is_killed_under_load_costs_no_event(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with running(await config_of(plane, tmp_path), "default") as world:
        await world.reflector.synced()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(world.churn(300, pause=0.02))
            for _ in range(2):
                await asyncio.sleep(1)
                await plane.kill_apiserver()
                await plane.start_apiserver()

        await world.settled()


@pytest.mark.behaviour("R1")
@pytest.mark.behaviour("R13")
async def test_a_version_that_is_compacted_leads_to_a_stream_of_the_newest(
    plane: ControlPlane, tmp_path: Path
) -> None:
    config = await config_of(plane, tmp_path)
    async with running(config, "default", STREAMED) as world:
        await world.put("lost")
        await world.reflector.synced()
        await world.until(lambda: len(world.seen.versions) >= 1)
        await world.proxy.stop()
        await world.churn(60)
        await world.direct.delete(CONFIG_MAP, "lost", "default")
        last = await world.put("new")
        await compact(plane, int(last["metadata"]["resourceVersion"]))
        # Its watch cache would still know: a fresh one does not.
        await plane.restart_apiserver()
        asked = world.asked_for_everything()
        await world.proxy.start()

        await world.settled()

        assert NamespacedName("default", "lost") not in world.seen.versions
        (again,) = [
            it
            for it in world.proxy.requests.of("watch", "configmaps")
            if "sendInitialEvents" in it.params
        ][asked:]
        assert again.params["resourceVersion"] == ""


async def compact(plane: ControlPlane, revision: int) -> None:
    ports = await asyncio.to_thread(load_ports, Places(folder=plane.folder))
    assert ports is not None
    url = f"http://127.0.0.1:{ports.etcd}/v3/kv/compaction"
    body = json.dumps({"revision": str(revision), "physical": True})
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as it:
        assert it.status == 200, await it.text()


@pytest.mark.behaviour("R6")
async def test_a_store_that_stands_still_for_seconds_costs_no_event(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with running(await config_of(plane, tmp_path), "default") as world:
        await world.reflector.synced()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(world.churn(150, pause=0.02))
            await asyncio.sleep(1)
            etcd = plane.processes["etcd"]
            etcd.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(5)
                world.proxy.disconnect()
                await asyncio.sleep(3)
            finally:
                etcd.signal(signal.SIGCONT)

        await world.settled()
