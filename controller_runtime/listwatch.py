"""Put the questions about one kind to the API server.

    List              ─▶ request ─▶ RawPage ─▶ Page, and so on to the last of a list
    Watch, WatchList  ─▶ stream  ─▶ Opened
                                └─▶ Lines   ─▶ Changes, Bookmark …, Closed or Failed

It decides nothing: every trouble is an answer too. Large answers are read in batches,
and other tasks have their turn in between. While a page is read, the
server is at work on the next: there are never more than these two.

An object that is nested too deeply to be parsed is told to the log, once a version, and
taken as `wire` takes it: it keeps no other from being read.

Who is silent is given up: a plain watch after the time it was asked to take, one that
gets bookmarks after seventy seconds, and one that still owes the first objects after
the question's own patience.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from itertools import islice
from typing import TypeVar

import structlog

from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    ControllerRuntimeError,
    ForbiddenError,
    NotFoundError,
    StalledError,
)
from controller_runtime.meta import GroupVersionKind, Meta, NamespacedName
from controller_runtime.question import (
    Answer,
    Bookmark,
    Change,
    Changes,
    Closed,
    Failed,
    List,
    Opened,
    Page,
    Watch,
    WatchList,
    page_after,
)
from controller_runtime.transport import JSON, TRANSPORT_ERRORS, Transport
from controller_runtime.wire import (
    Lines,
    RawPage,
    Stray,
    Transform,
    read_deep_page,
    read_event,
    read_object,
    read_page,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")

BATCH = 256
"""Objects handled before the loop gets a turn: one to two milliseconds of work."""

_IDLE_MARGIN = 5.0
"""Seconds that a server may be late in closing a watch, as in kube-rs."""

_IDLE_BETWEEN_BOOKMARKS = 70.0
"""Seconds without a word after which a watch that gets bookmarks is dead: the server
sends one about every minute (`watch_cache_interval.go` of k8s.io/apiserver)."""

_STRAY_SORTS = 10
"""Sorts of strangers on one stream that are told apart."""

_DEEP_TOLD = 1000
"""Versions of objects that are nested too deeply that are remembered as told."""

_METADATA = GroupVersionKind("meta.k8s.io", "v1", "PartialObjectMetadata")
"""What a watch of metadata alone says that its objects are."""

_AS_METADATA = f"{JSON};as={_METADATA.kind};g={_METADATA.group};v={_METADATA.version}"
_AS_METADATA_LIST = _AS_METADATA.replace(_METADATA.kind, f"{_METADATA.kind}List")

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)


class ListWatch:
    """Asks one server about the objects of one kind."""

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        gvk: GroupVersionKind,
        *,
        namespace: str = "",
        selectors: Mapping[str, str],
        transform: Transform | None = None,
        metadata_only: bool = False,
    ) -> None:
        """Remember whom to ask about what.

        Args:
            transport: Carries the questions.
            discovery: Knows where the kind is served.
            gvk: The kind.
            namespace: Only objects of this one; empty for all.
            selectors: `labelSelector` and `fieldSelector`, those that are not empty.
            transform: Reduces each object that is not gone.
            metadata_only: Ask for no more of each object than its metadata.
        """
        self._transport = transport
        self._discovery = discovery
        self._gvk = gvk
        self._namespace = namespace
        self._selectors = selectors
        self._transform = transform
        self._sent_as = _METADATA if metadata_only else gvk
        self._accept = _AS_METADATA if metadata_only else JSON
        self._accept_list = _AS_METADATA_LIST if metadata_only else JSON
        self._gets_bookmarks = False
        self._is_refused = False
        self._deep = _Deep(gvk)

    async def list(self, ask: List) -> Page | Failed:
        """Ask for (a page of) all objects."""
        raw = await self._fetch(ask)
        return raw if isinstance(raw, Failed) else await self._page(raw)

    async def pages(self, ask: List) -> AsyncGenerator[Page | Failed, None]:
        """Ask for a page and for those behind it, up to the last or a failure."""
        raw = await self._fetch(ask)
        while not isinstance(raw, Failed) and raw.continue_token:
            ask = page_after(ask, len(raw.items), raw.size, raw.continue_token)
            async with asyncio.TaskGroup() as tasks:
                ahead = tasks.create_task(self._fetch(ask))
                page = await self._page(raw)
                if isinstance(page, Failed):
                    ahead.cancel()
            yield page
            if isinstance(page, Failed):
                return
            raw = ahead.result()
        yield raw if isinstance(raw, Failed) else await self._page(raw)

    async def _fetch(self, ask: List) -> RawPage | Failed:
        params = {"resourceVersion": ask.resource_version, **self._selectors}
        if ask.limit:
            params["limit"] = str(ask.limit)
        if ask.continue_token:
            params["continue"] = ask.continue_token
            del params["resourceVersion"]  # the token has it; both together are refused
        try:
            response = await self._transport.request(
                "GET",
                await self._path(),
                params=params,
                timeout=None,
                accept=self._accept_list,
            )
            return await _split_page(response.body)
        except _TROUBLE as error:
            return self._list_failed(error)

    async def _page(self, raw: RawPage) -> Page | Failed:
        try:
            objects = [
                read_object(item, self._transform, self._deep.note)
                async for batch in batches(raw.items)
                for item in batch
            ]
        except _TROUBLE as error:
            return self._list_failed(error)
        return Page(objects, raw.resource_version, raw.continue_token, raw.size)

    def _list_failed(self, error: Exception) -> Failed:
        log.warning("list failed", kind=str(self._gvk), error=_text(error))
        return self._failed(error)

    async def watch(
        self, ask: Watch | WatchList
    ) -> AsyncGenerator[Answer | Opened, None]:
        """Follow one stream to its end; closing the iterator drops it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_open = False
        try:
            async with AsyncExitStack() as stack:
                async with _patience(ask.patience):
                    chunks = await stack.enter_async_context(
                        self._transport.stream(
                            await self._path(),
                            params=self._params(ask),
                            idle_timeout=self._idle_timeout(ask),
                            accept=self._accept,
                        )
                    )
                is_open, self._is_refused = True, False
                yield Opened()
                async with aclosing(self._read(chunks, ask)) as answers:
                    async for answer in answers:
                        yield answer
            end: Answer = Closed(loop.time() - began)
        except ControllerRuntimeError as error:
            self._log_end(error)
            end = self._failed(error)
        except TRANSPORT_ERRORS as error:
            # A connection that breaks after it was good is an end like any other.
            log.info("watch broke off", kind=str(self._gvk), error=_text(error))
            end = Closed(loop.time() - began) if is_open else Failed(error)
        yield end

    def _log_end(self, error: ControllerRuntimeError) -> None:
        """Log why a watch ended; what is refused time and again, once."""
        is_known = isinstance(error, ForbiddenError) and self._is_refused
        self._is_refused = isinstance(error, ForbiddenError)
        tell = log.debug if is_known else log.info
        tell("watch ended", kind=str(self._gvk), error=_text(error))

    def _failed(self, error: Exception) -> Failed:
        # A collection is never missing: its CRD is gone, or is served elsewhere now.
        if isinstance(error, NotFoundError):
            self._discovery.forget(self._gvk)
        return Failed(error)

    async def _read(
        self, chunks: AsyncIterator[bytes], ask: Watch | WatchList
    ) -> AsyncGenerator[Changes | Bookmark, None]:
        lines, version = Lines(), ask.resource_version
        patience = ask.patience if isinstance(ask, WatchList) else None
        strays = _Strays(self._gvk)
        with closing(strays):
            while (chunk := await _next(chunks, patience)) is not None:
                for batch in _split(lines.feed(chunk)):
                    for answer in self._decode(batch, version, strays):
                        version = answer.resource_version
                        if isinstance(answer, Bookmark) and answer.ends_initial_events:
                            patience = None
                        yield answer
                    await _turn(batch)

    def _decode(
        self, batch: Iterable[bytes], version: str, strays: _Strays
    ) -> Iterator[Changes | Bookmark]:
        """Decode lines up to the first that is an error: what came before happened."""
        changes: list[Change] = []
        failure: ControllerRuntimeError | None = None
        try:
            for line in batch:
                match read_event(line, self._sent_as, self._transform, self._deep.note):
                    case Bookmark() as bookmark:
                        if changes:
                            yield Changes(changes, version)
                            changes = []
                        self._gets_bookmarks = True
                        version = bookmark.resource_version or version
                        yield bookmark._replace(resource_version=version)
                    case Change() as change:
                        changes.append(change)
                        version = change.object.meta.resource_version or version
                    case Stray(what):
                        strays.note(what)
        except ControllerRuntimeError as error:
            failure = error
        if changes:
            yield Changes(changes, version)
        if failure is not None:
            raise failure

    async def _path(self) -> str:
        resource = await self._discovery.resource(self._gvk)
        return resource.path(self._namespace if resource.namespaced else "")

    def _params(self, ask: Watch | WatchList) -> dict[str, str]:
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": ask.resource_version,
            "timeoutSeconds": str(int(ask.timeout)),
            **self._selectors,
        }
        if isinstance(ask, WatchList):
            params["sendInitialEvents"] = "true"
            params["resourceVersionMatch"] = "NotOlderThan"
        return params

    def _idle_timeout(self, ask: Watch | WatchList) -> float:
        # What ends the first objects is a bookmark: who sends it sends others.
        if self._gets_bookmarks or isinstance(ask, WatchList):
            return _IDLE_BETWEEN_BOOKMARKS
        return ask.timeout + _IDLE_MARGIN


class _Strays:
    """What came on one stream and does not belong there: each sort is logged once."""

    def __init__(self, gvk: GroupVersionKind) -> None:
        self._gvk = gvk
        self._seen: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Log the first of a sort, and ignore all; a server may send no end of it."""
        sort = what if what in self._seen or len(self._seen) < _STRAY_SORTS else "more"
        if sort not in self._seen:
            log.warning("watch sent a stranger", wanted=str(self._gvk), got=sort)
        self._seen[sort] += 1

    def close(self) -> None:
        """Log how many there were, when the stream has ended."""
        for sort, count in self._seen.items():
            kind = str(self._gvk)
            log.info("strangers ignored", wanted=kind, got=sort, count=count)


class _Deep:
    """Which objects are nested too deeply to be parsed: each version is logged once."""

    def __init__(self, gvk: GroupVersionKind) -> None:
        self._gvk = gvk
        self._told: dict[tuple[NamespacedName, str], None] = {}

    def note(self, meta: Meta) -> None:
        """Log an object that was not told lately."""
        version = meta.key, meta.resource_version
        if version in self._told:
            return
        if len(self._told) >= _DEEP_TOLD:
            del self._told[next(iter(self._told))]
        self._told[version] = None
        log.warning(
            "object is nested too deeply to be parsed",
            kind=str(self._gvk),
            object=str(meta.key),
            resource_version=meta.resource_version,
        )


async def _split_page(body: bytes) -> RawPage:
    try:
        return read_page(body)
    except RecursionError:
        return await asyncio.to_thread(read_deep_page, body)


async def batches(items: Iterable[T]) -> AsyncIterator[Sequence[T]]:
    """Yield `items` in batches and give the loop a turn after each full one."""
    for batch in _split(items):
        yield batch
        await _turn(batch)


def _split(items: Iterable[T]) -> Iterator[Sequence[T]]:
    iterator = iter(items)
    while batch := tuple(islice(iterator, BATCH)):
        yield batch


async def _turn(batch: Sequence[object]) -> None:
    if len(batch) == BATCH:
        await asyncio.sleep(0)


async def _next(chunks: AsyncIterator[bytes], patience: float | None) -> bytes | None:
    if patience is None:
        return await anext(chunks, None)
    async with _patience(patience):
        return await anext(chunks, None)


@asynccontextmanager
async def _patience(seconds: float | None) -> AsyncIterator[None]:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise  # of the transport's own
        raise StalledError(f"nothing came for {seconds:g} s") from error


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
