"""Lists in pages: the server works on one while the last is read."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import pytest

from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    DecodeError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
)
from controller_runtime.event import Created, Event
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.listwatch import ListWatch
from controller_runtime.meta import GroupVersionKind
from controller_runtime.question import PAGE_BYTES, Failed, List, Page
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response, Transport
from controller_runtime.watch import WatchOptions
from controller_runtime.wire import INITIAL_EVENTS_END, Transform, strip_managed_fields

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
NOTHING: Mapping[str, str] = {}
FIRST = List("", 500, grows=True)


class Book:
    """A transport to a server that has a list in pages, and nothing else."""

    def __init__(self, *pages: list[str] | Exception, kubernetes: str = "36") -> None:
        self._pages: tuple[list[str] | Exception, ...] = pages
        self._kubernetes = kubernetes
        self.asked: list[dict[str, str]] = []
        self.watched: list[dict[str, str]] = []
        self.refusals: list[Exception] = []
        """What the next watches are answered with."""
        self.news: asyncio.Queue[bytes] = asyncio.Queue()
        """What open watches tell."""
        self.opens = asyncio.Event()
        """Clear: no watch is answered."""
        self.opens.set()
        self.closed = asyncio.Event()
        """Clear: every page but the first is kept back."""
        self.closed.set()

    def turn_to(self, *pages: list[str]) -> None:
        """Have another list from now on."""
        self._pages = pages

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
        if path == "/version":
            return answer({"major": "1", "minor": self._kubernetes})
        if path == "/api/v1":
            known = {"name": "configmaps", "kind": "ConfigMap", "namespaced": True}
            return answer({"resources": [known]})
        if path != "/api/v1/configmaps":
            raise NotFoundError("no", status=404)
        self.asked.append(dict(params))
        if "continue" in params:
            await self.closed.wait()
        return self._page(int(params.get("continue", "0")))

    @asynccontextmanager
    async def _stream(
        self, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self.watched.append(dict(params))
        if self.refusals:
            raise self.refusals.pop(0)
        await self.opens.wait()

        async def news() -> AsyncIterator[bytes]:
            while True:
                yield await self.news.get()

        yield news()

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = "application/json",
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._stream(params)

    def _page(self, number: int) -> Response:
        page = self._pages[number]
        if isinstance(page, Exception):
            raise page
        metadata = {"resourceVersion": "10"}
        if number + 1 < len(self._pages):
            metadata["continue"] = str(number + 1)
        items = [{"metadata": {"name": name}} for name in page]
        return answer({"metadata": metadata, "items": items})

    def lists(self, transform: Transform | None = None, **selectors: str) -> ListWatch:
        return ListWatch(
            self, Discovery(self), CONFIG_MAP, selectors=selectors, transform=transform
        )


def answer(document: object) -> Response:
    return Response(200, {}, json.dumps(document).encode())


def names(page: Page | Failed) -> list[str]:
    assert isinstance(page, Page)
    return [entry.meta.name for entry in page.objects]


async def read(lists: ListWatch) -> list[Page | Failed]:
    async with aclosing(lists.pages(FIRST)) as pages:
        return [page async for page in pages]


async def test_all_pages_come_in_order() -> None:
    found = await read(Book(["a", "b"], ["c"], ["d"]).lists())

    assert [names(page) for page in found] == [["a", "b"], ["c"], ["d"]]
    assert isinstance(found[-1], Page)
    assert found[-1].resource_version == "10"
    assert found[-1].continue_token == ""


async def test_each_page_is_asked_for_with_the_selectors_and_where_the_last_ended() -> (
    None
):
    book = Book(["a"], ["b"])

    (first, _) = await read(book.lists(labelSelector="team=red"))

    assert isinstance(first, Page)
    assert first.size < PAGE_BYTES // 2000
    assert book.asked == [
        {"resourceVersion": "", "limit": "500", "labelSelector": "team=red"},
        {"continue": "1", "limit": "2000", "labelSelector": "team=red"},
    ]


async def test_the_next_page_is_asked_for_before_the_last_is_read() -> None:
    many = [f"object-{n}" for n in range(600)]
    asked: list[int] = []

    def look(raw: bytes) -> bytes:
        asked.append(len(book.asked))
        return raw

    book = Book(many, ["last"])
    await read(book.lists(look))

    assert asked[0] == 1
    assert asked[599] == 2


async def test_no_more_than_one_page_is_fetched_ahead() -> None:
    book = Book(["a"], ["b"], ["c"], ["d"])

    async with aclosing(book.lists().pages(FIRST)) as pages:
        first = await anext(pages)
        for _ in range(10):
            await asyncio.sleep(0)

        assert names(first) == ["a"]
        assert len(book.asked) == 2


async def test_a_list_of_one_page_is_one_question() -> None:
    book = Book(["a"])

    (page,) = await read(book.lists())

    assert names(page) == ["a"]
    assert len(book.asked) == 1


@pytest.mark.behaviour("R2")
async def test_a_page_that_has_expired_ends_the_list_with_what_came_before() -> None:
    expired = ExpiredError("too old", status=410, reason="Expired")

    found = await read(Book(["a"], expired, ["c"]).lists())

    assert names(found[0]) == ["a"]
    assert found[1:] == [Failed(expired)]


async def test_a_first_page_that_fails_is_all_there_is() -> None:
    broken = ConnectionResetError()

    assert await read(Book(broken, ["b"]).lists()) == [Failed(broken)]


async def test_a_page_that_cannot_be_read_ends_the_list_whatever_the_next_does() -> (
    None
):
    def refuse(raw: bytes) -> bytes:
        raise DecodeError("unreadable")

    book = Book(["a"] * 300, ["b"])
    book.closed.clear()

    async with asyncio.timeout(5):
        (failed,) = await read(book.lists(refuse))

    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DecodeError)


async def test_a_list_that_is_cancelled_leaves_no_question_behind() -> None:
    book = Book(["a"], ["b"])
    book.closed.clear()
    others = asyncio.all_tasks()

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read(book.lists()))
        await asyncio.sleep(1)
        assert len(book.asked) == 2
        reading.cancel()

    assert asyncio.all_tasks() == others


def reflecting(
    transport: Transport, options: ReflectorOptions | None = None
) -> Reflector:
    return Reflector(
        transport,
        Discovery(transport),
        CONFIG_MAP,
        options=options or ReflectorOptions(),
        randomness=random.Random(1),  # noqa: S311 - jitter
    )


@asynccontextmanager
async def running(reflector: Reflector) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reflector.run())
        yield
        task.cancel()


@pytest.mark.behaviour("R1")
async def test_nothing_is_in_the_store_before_the_last_page_is() -> None:
    book = Book(["a"], ["b"])
    book.closed.clear()

    reflector = reflecting(book)

    async with running(reflector):
        await asyncio.sleep(60)
        assert len(reflector.store) == 0
        book.closed.set()
        await reflector.synced()
        await asyncio.sleep(1)

    assert {entry.meta.name for entry in reflector.store.list()} == {"a", "b"}
    assert [watch["resourceVersion"] for watch in book.watched] == ["10"]


@pytest.mark.behaviour("R12")
async def test_who_may_list_but_not_watch_is_told_before_there_is_a_store() -> None:
    book = Book(["a"])
    book.refusals = [ForbiddenError("no watch", status=403)]
    reflector = reflecting(book)

    with pytest.raises(ForbiddenError, match="no watch"):
        await reflector.run()

    assert reflector.failure is not None
    assert not reflector.is_synced
    assert len(reflector.store) == 0


async def test_a_first_list_is_held_back_until_its_watch_is_open() -> None:
    book = Book(["a"], ["b"])
    book.opens.clear()
    reflector = reflecting(book)

    async with running(reflector):
        await asyncio.sleep(29)
        early = len(reflector.store)
        book.opens.set()
        await asyncio.sleep(0.5)

    assert early == 0
    assert len(reflector.store) == 2


async def test_what_an_open_watch_tells_is_in_the_store_at_once() -> None:
    book = Book(["a"])
    reflector = reflecting(book)
    told: list[str] = []
    reflector.subscribe(lambda events: told.extend(e.object.meta.name for e in events))

    async with running(reflector):
        await reflector.synced()
        for name in ("b", "c"):
            change = {"type": "ADDED", "object": named(name, resourceVersion="11")}
            await book.news.put(json.dumps(change).encode() + b"\n")
            await asyncio.sleep(1)

    assert told == ["a", "b", "c"]


@pytest.mark.behaviour("R11")
async def test_a_watch_that_was_opened_may_be_silent_for_longer_than_it_took() -> None:
    book = Book(["a"])

    async with running(reflecting(book)):
        await asyncio.sleep(200)

    assert len(book.watched) == 1


@pytest.mark.behaviour("R10")
async def test_a_watch_that_never_opens_holds_a_first_list_back_for_half_a_minute() -> (
    None
):
    book = Book(["a"], ["b"])
    book.opens.clear()
    reflector = reflecting(book)

    async with running(reflector):
        began = asyncio.get_running_loop().time()
        await reflector.synced()
        waited = asyncio.get_running_loop().time() - began
        await asyncio.sleep(200)

    assert 30 <= waited < 31
    assert len(reflector.store) == 2
    assert len(book.asked) == 2
    assert len(book.watched) == 2


@pytest.mark.behaviour("R6")
async def test_a_list_that_is_held_back_is_not_asked_for_again_by_an_outage() -> None:
    book = Book(["a"], ["b"])
    book.refusals = [ConnectionRefusedError(), ConnectionRefusedError()]
    reflector = reflecting(book)

    async with running(reflector):
        await reflector.synced()
        await asyncio.sleep(60)

    assert len(reflector.store) == 2
    assert len(book.asked) == 2
    assert [watch["resourceVersion"] for watch in book.watched] == ["10"] * 3


async def test_a_refusal_that_was_cured_leaves_nothing_of_the_list_before() -> None:
    book = Book(["old"])
    book.refusals = [ForbiddenError("no watch", status=403)]
    reflector = reflecting(book)
    told: list[str] = []
    reflector.subscribe(lambda events: told.extend(e.object.meta.name for e in events))
    with pytest.raises(ForbiddenError):
        await reflector.run()

    book.turn_to(["new"])
    reflector.reset()
    async with running(reflector):
        await reflector.synced()

    assert told == ["new"]


@pytest.mark.behaviour("R9")
@pytest.mark.parametrize(
    ("kubernetes", "lists"),
    [
        pytest.param("33", 0, id="1.33"),
        pytest.param("34", 1, id="1.34"),
        pytest.param("36+", 1, id="1.36+"),
        pytest.param("new", 0, id="1.new"),
    ],
)
async def test_servers_with_pages_in_memory_are_asked_for_them_and_others_stream(
    kubernetes: str, lists: int
) -> None:
    book = Book(["a"], kubernetes=kubernetes)

    async with running(reflecting(book)):
        await asyncio.sleep(1)

    assert len(book.asked) == lists
    assert ("sendInitialEvents" in book.watched[0]) == (not lists)


def names_only(raw: bytes) -> bytes:
    name = json.loads(raw)["metadata"]["name"]
    return json.dumps({"metadata": {"name": name}}).encode()


@pytest.mark.parametrize(
    ("options", "lists"),
    [
        pytest.param(ReflectorOptions(), 1, id="whole"),
        pytest.param(
            ReflectorOptions(transform=strip_managed_fields), 1, id="nearly whole"
        ),
        pytest.param(
            ReflectorOptions(transform=names_only, is_partial=False), 1, id="not less"
        ),
        pytest.param(ReflectorOptions(metadata_only=True), 1, id="less is sent"),
        pytest.param(ReflectorOptions(transform=names_only), 0, id="less"),
        pytest.param(
            ReflectorOptions(transform=names_only, watch=WatchOptions(paged_fill=True)),
            1,
            id="less, in pages",
        ),
        pytest.param(
            ReflectorOptions(watch=WatchOptions(paged_fill=False)), 0, id="streamed"
        ),
    ],
)
async def test_who_keeps_less_than_what_comes_streams_unless_told_otherwise(
    options: ReflectorOptions, lists: int
) -> None:
    book = Book(["a"])

    async with running(reflecting(book, options)):
        await asyncio.sleep(1)

    assert len(book.asked) == lists
    assert ("sendInitialEvents" in book.watched[0]) == (not lists)


async def test_what_is_left_out_of_a_stream_is_held_one_object_at_a_time() -> None:
    book, count, size = Book(), 100, 200_000
    book.news = asyncio.Queue(maxsize=1)
    reflector = reflecting(book, ReflectorOptions(transform=names_only))

    async def tell() -> None:
        for number in range(count):
            object_ = named(f"o-{number}", resourceVersion="10") | {"data": "x" * size}
            await book.news.put(line("ADDED", object_))
        await book.news.put(line("BOOKMARK", end_of_initial_events("10")))

    tracemalloc.start()
    try:
        async with running(reflector):
            await tell()
            await reflector.synced()
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(reflector.store) == count
    assert peak < count * size / 4


async def test_a_server_that_was_away_at_first_is_asked_for_pages_when_it_is_back() -> (
    None
):
    book = Book(["a"])
    loop = asyncio.get_running_loop()

    async def away(call: Call, proceed: Proceed) -> Response:
        if loop.time() < 60:
            raise ConnectionResetError
        return await proceed()

    reflector = reflecting(InterceptedTransport(book, {"*": away}))
    async with running(reflector):
        async with asyncio.timeout(300):
            await reflector.synced()

    assert len(book.asked) == 1
    assert "sendInitialEvents" not in book.watched[0]


@pytest.mark.behaviour("R14")
async def test_what_changes_between_pages_comes_after_them() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as direct:
        for number in range(600):
            server.create(named(f"object-{number:03}", namespace="n"))
        pages: list[str] = []

        async def change(call: Call, proceed: Proceed) -> Response:
            pages.append(call.params.get("continue", ""))
            if pages[-1]:
                server.create(named("new", namespace="n"))
            return await proceed()

        transport = InterceptedTransport(direct, {"list": change})
        reflector = reflecting(transport)
        told: list[Event] = []
        complete = asyncio.Event()

        def listen(events: Sequence[Event]) -> None:
            told.extend(events)
            if len(told) > 600:
                complete.set()

        reflector.subscribe(listen)
        async with running(reflector), asyncio.timeout(3600):
            await complete.wait()

    assert len(pages) == 2
    assert [event.object.meta.name for event in told[600:]] == ["new"]
    assert all(isinstance(event, Created) for event in told)
    assert [event.is_initial for event in told[599:]] == [True, False]  # type: ignore[union-attr]  # all are


def named(name: str, **metadata: str) -> dict[str, object]:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    return {**head, "metadata": {"name": name, **metadata}}


def end_of_initial_events(version: str) -> dict[str, object]:
    annotations = {INITIAL_EVENTS_END: "true"}
    metadata = {"resourceVersion": version, "annotations": annotations}
    return named("") | {"metadata": metadata}


def line(type_: str, object_: Mapping[str, object]) -> bytes:
    return json.dumps({"type": type_, "object": object_}).encode() + b"\n"
