"""Lists and streams over HTTP: what a reflector makes of servers of every sort."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from controller_runtime.discovery import Discovery
from controller_runtime.errors import ForbiddenError
from controller_runtime.event import Created, Event
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.listwatch import ListWatch
from controller_runtime.meta import GroupVersionKind
from controller_runtime.question import Changes, Closed, Opened, Watch
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.servertraits import ServerTraits
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response, Transport
from controller_runtime.watch import WatchOptions

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
NOTHING: Mapping[str, str] = {}

LISTED = WatchOptions(paged_fill=False, watch_list=False)
STREAMED = WatchOptions(paged_fill=False)


class Ignorant:
    """A transport to a server that has never heard of some parameters of a watch."""

    def __init__(self, transport: Transport, *unknown: str) -> None:
        self._transport = transport
        self._unknown = unknown

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] = NOTHING,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = 30.0,
    ) -> Response:
        return await self._transport.request(
            method,
            path,
            params=params,
            body=body,
            content_type=content_type,
            accept=accept,
            timeout=timeout,
        )

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = "application/json",
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        known = {k: v for k, v in params.items() if k not in self._unknown}
        return self._transport.stream(
            path, params=known, idle_timeout=idle_timeout, accept=accept
        )


class World:
    """A server, and reflectors that share what they find out about it."""

    def __init__(self, server: ApiServer, transport: Transport) -> None:
        self.server = server
        self.traits = ServerTraits()
        self.transport = self._transport = transport
        self._discovery = Discovery(transport)

    def reflector(
        self, gvk: GroupVersionKind = CONFIG_MAP, watch: WatchOptions | None = None
    ) -> Reflector:
        return Reflector(
            self._transport,
            self._discovery,
            gvk,
            options=ReflectorOptions(watch=watch or STREAMED),
            randomness=random.Random(1),  # noqa: S311 - jitter
            server=self.traits,
        )

    def create(self, *names: str) -> None:
        for name in names:
            metadata = {"name": name, "namespace": "n"}
            head = {"apiVersion": "v1", "kind": "ConfigMap"}
            self.server.create({**head, "metadata": metadata})

    def asked(self, verb: str, resource: str = "configmaps") -> int:
        return len(self.server.requests.of(verb, resource))


class Log:
    """A subscriber that remembers."""

    def __init__(self, reflector: Reflector) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        reflector.subscribe(self)

    def __call__(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        self._changed.set()

    async def reach(self, count: int) -> list[str]:
        async with asyncio.timeout(3600):
            while len(self.events) < count:
                self._changed.clear()
                await self._changed.wait()
        return [event.object.meta.name for event in self.events]


@asynccontextmanager
async def running(*reflectors: Reflector) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(it.run()) for it in reflectors]
        yield
        for task in started:
            task.cancel()


@asynccontextmanager
async def served(*unknown: str, watch_list: bool = True) -> AsyncIterator[World]:
    async with (
        ApiServer(watch_list=watch_list) as server,
        HttpTransport(server.config()) as transport,
    ):
        yield World(server, Ignorant(transport, *unknown))


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.behaviour("R9")
async def test_one_stream_tells_all_there_is_and_all_that_happens() -> None:
    async with served() as world:
        world.create(*(f"c{n}" for n in range(1300)))
        reflector = world.reflector()
        log = Log(reflector)

        async with running(reflector):
            await reflector.synced()
            known = len(reflector.store)
            world.create("later")
            names = await log.reach(1301)

        assert known == 1300
        assert names[-1] == "later"
        initial = [e.is_initial for e in log.events if isinstance(e, Created)]
        assert initial == [True] * 1300 + [False]
        assert (world.asked("watch"), world.asked("list")) == (1, 0)


@pytest.mark.behaviour("R9")
async def test_the_question_names_what_it_wants() -> None:
    async with served() as world:
        reflector = world.reflector()

        async with running(reflector):
            await reflector.synced()

        (asked,) = world.server.requests.of("watch", "configmaps")
        assert 300 <= int(asked.params["timeoutSeconds"]) < 600
        assert dict(asked.params) | {"timeoutSeconds": ""} == {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": "",
            "resourceVersionMatch": "NotOlderThan",
            "sendInitialEvents": "true",
            "timeoutSeconds": "",
        }


@pytest.mark.behaviour("R9")
async def test_nothing_is_in_the_store_before_all_is() -> None:
    async with served() as world:
        world.create("a", "b", "c")
        world.server.faults.on(verb="watch").stall(after=2)
        reflector = world.reflector()

        async with running(reflector):
            await asyncio.sleep(29)
            before = len(reflector.store)
            await reflector.synced()

        assert (before, len(reflector.store)) == (0, 3)


@pytest.mark.behaviour("R9")
@pytest.mark.behaviour("R10")
async def test_a_server_that_refuses_to_stream_is_asked_once_about_each_kind() -> None:
    async with served(watch_list=False) as world:
        world.create("a")
        first, second = world.reflector(), world.reflector(SECRET)
        again = world.reflector()

        async with running(first):
            began = now()
            await first.synced()
            assert now() - began < 1
            async with running(second), running(again):
                await second.synced()
                await again.synced()
                world.create("b")
                await Log(first).reach(2)

        for resource in ("configmaps", "secrets"):
            watches = world.server.requests.of("watch", resource)
            assert sum("sendInitialEvents" in it.params for it in watches) == 1
        assert (world.asked("list"), world.asked("list", "secrets")) == (2, 1)


@pytest.mark.behaviour("R10")
async def test_a_server_that_ignores_the_question_costs_half_a_minute_once() -> None:
    unknown = ("sendInitialEvents", "resourceVersionMatch")
    async with served(*unknown, watch_list=False) as world:
        world.create("a")
        first, second = world.reflector(), world.reflector(SECRET)

        async with running(first):
            began = now()
            await first.synced()
            assert 30 <= now() - began < 31
            assert len(first.store) == 1
            async with running(second):
                began = now()
                await second.synced()
                assert now() - began < 1

        assert not world.traits.streams


@pytest.mark.behaviour("R10")
async def test_a_plain_watch_that_is_never_silent_is_known_by_its_bookmark() -> None:
    unknown = ("sendInitialEvents", "resourceVersionMatch")
    async with served(*unknown, watch_list=False) as world:
        reflector = world.reflector()

        async with running(reflector):
            began = now()
            for n in range(10):
                world.create(f"c{n}")
                await asyncio.sleep(10)
            await reflector.synced()

        assert now() - began < 101
        assert len(reflector.store) == 10


@pytest.mark.behaviour("R10")
async def test_a_stream_that_never_opens_is_given_up_after_half_a_minute() -> None:
    async with served() as world:
        world.create("a")
        world.server.faults.on(verb="watch").hang()
        reflector = world.reflector()

        async with running(reflector):
            began = now()
            await reflector.synced()

        assert 30 <= now() - began < 31


@pytest.mark.behaviour("R10")
async def test_the_patience_can_be_set() -> None:
    async with served() as world:
        world.server.faults.on(verb="watch").hang()
        reflector = world.reflector(watch=replace(STREAMED, patience=5))

        async with running(reflector):
            began = now()
            await reflector.synced()

        assert 5 <= now() - began < 6


@pytest.mark.behaviour("R10")
@pytest.mark.behaviour("R11")
async def test_after_the_bookmark_silence_of_a_minute_is_no_reason_to_worry() -> None:
    async with served() as world:
        reflector = world.reflector()

        async with running(reflector):
            await reflector.synced()
            await asyncio.sleep(290)
            asked = world.asked("watch")

        assert asked == 1


@pytest.mark.behaviour("R11")
async def test_a_stream_that_owes_a_bookmark_is_dropped_and_taken_up_again() -> None:
    async with served() as world:
        reflector = world.reflector()
        log = Log(reflector)
        world.server.faults.on(verb="watch").stall(after=1)

        async with running(reflector):
            await reflector.synced()
            began = now()
            world.create("a")
            await log.reach(1)

        assert 70 <= now() - began < 71
        assert (world.asked("watch"), world.asked("list")) == (2, 0)


@pytest.mark.behaviour("R11")
async def test_a_watch_that_never_spoke_is_dropped_when_it_should_have_ended() -> None:
    async with served() as world:
        reflector = world.reflector(watch=LISTED)
        log = Log(reflector)
        world.server.faults.on(verb="watch").hang()

        async with running(reflector):
            await reflector.synced()
            began = now()
            world.create("a")
            await log.reach(1)

        assert 305 <= now() - began <= 606
        assert world.asked("list") == 1


@pytest.mark.behaviour("R12")
async def test_a_stream_that_is_forbidden_is_told_at_once_and_not_asked_again() -> None:
    async with served() as world:
        world.server.faults.on(verb="watch", times=None).answer(403)
        reflector = world.reflector()

        began = now()
        with pytest.raises(ForbiddenError, match="configmaps"):
            await reflector.run()

        assert now() - began < 1
        assert world.asked("watch") == 1


@pytest.mark.behaviour("R12")
async def test_what_is_forbidden_later_is_tried_again() -> None:
    async with served() as world:
        reflector = world.reflector()
        log = Log(reflector)

        async with running(reflector):
            await reflector.synced()
            world.server.faults.on(verb="watch", times=3).answer(403)
            world.server.disconnect_watches()
            world.create("a")
            await log.reach(1)

        assert len(reflector.store) == 1


@pytest.mark.behaviour("R7")
async def test_strangers_in_a_stream_are_logged_once_a_sort_and_counted() -> None:
    def line(type_: str, kind: str, **metadata: object) -> str:
        object_ = {"kind": kind, "apiVersion": "v1", "metadata": metadata}
        return json.dumps({"type": type_, "object": object_}) + "\n"

    lines = [line("ADDED", "Secret", name=f"s{n}") for n in range(50)]
    lines += [line("RENAMED", "ConfigMap", name="a") for _ in range(3)]
    lines += [line("ADDED", f"Kind{n}") for n in range(20)]
    lines += [line("ADDED", "ConfigMap", name="a", namespace="n", resourceVersion="9")]

    async def strange(_call: Call, _proceed: Proceed) -> Response:
        return Response(200, {}, "".join(lines).encode())

    async with served() as world:
        transport = InterceptedTransport(world.transport, {"watch": strange})
        list_watch = ListWatch(
            transport, Discovery(world.transport), CONFIG_MAP, selectors={}
        )
        with capture_logs() as logs:
            answers = [it async for it in list_watch.watch(Watch("1", 300))]

    opened, changes, end = answers
    assert isinstance(opened, Opened)
    assert isinstance(changes, Changes)
    assert [change.object.meta.name for change in changes.changes] == ["a"]
    assert isinstance(end, Closed)
    warned = [entry["got"] for entry in logs if entry["log_level"] == "warning"]
    assert warned[:2] == ["Secret (v1)", "event RENAMED"]
    assert len(warned) == 11
    counted = {e["got"]: e["count"] for e in logs if e["event"] == "strangers ignored"}
    assert counted["Secret (v1)"] == 50
    assert counted["event RENAMED"] == 3
    assert counted["more"] == 12
