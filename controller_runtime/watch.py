"""What to ask the API server next, as a step function over values: no I/O, no clock.

    state ──ask──▶ WatchList | List | Watch ──(the server is asked)──▶ answer
      ▲                                                                  │
      └─────────────── step(state, answer) ─▶ deltas, pause ◀────────────┘

`State.ask` is the next question. Whoever drives the machine puts it to the API
server and hands back what came: a `Page`, some `Changes`, a `Bookmark`, and at the
end of a stream `Closed` or `Failed`. `step` answers with what the store must do
(`Replace`, `Apply`), whether the stream that it came on goes on (`stays`), and how
long to wait before the next question is put.

    Empty ──start──▶ Streaming ──the bookmark that ends it──▶ Watching ◀─┐
      │                  │ ▲                                   │  │      │
      │     broke off or │ │ version lost, unknown trouble     │  └──────┘
      │   cannot be had  │ └───────────────────────────────────┤   clean end, silence,
      │                  ▼                                     │   server away or busy
      └─ ─ ─ ─ ─ ─ ─▶ Listing ──the last page──▶ Watching      │
                         ▲                                     │
                         └─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┘

    Empty       nothing is known: `Memory` as it is made
    Streaming   all objects come as changes on a watch (KEP-3157) and are gathered here
    Listing     all objects come in pages; the first way for servers that have them in
                memory, the last for those that cannot stream
    Watching    the store is complete up to a version and follows

Who may list and not watch is refused, or served by lists (`WatchOptions.poll`): then
Watching is asked for again and again, and every refusal but the first leads to Listing.
`listed` leads there at once, for who cannot wait.

Dashes are for servers without streams, for `WatchOptions.watch_list` off, and for the
first fill from servers that have pages in memory, for those who keep objects whole
(`WatchOptions.paged_fill`): a page of thousands of objects costs the server less than
half of what as many events do. Those pages are of the newest version,
as a stream would be, and grow with the bytes that they may have. What a server can do
is found out once and kept in `ServerTraits`, which the reflectors of one server share.

The rules are client-go's (`tools/cache/reflector.go`), each with its reason at the
line, but for two: the first fill, which client-go streams, and a stream that stays
silent before all objects have come: it is given up, where client-go waits for ever.
Resource versions are opaque: they are remembered and sent back, never compared.
Versions of single objects count only while Watching, since a stream tells all there is
in no order of versions.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from controller_runtime.errors import (
    ApiError,
    BadRequestError,
    ControllerRuntimeError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    ServerError,
    StalledError,
    TooManyRequestsError,
)
from controller_runtime.meta import RawObject
from controller_runtime.question import (
    Answer,
    Bookmark,
    Change,
    Changes,
    Closed,
    Failed,
    List,
    Page,
    Watch,
    WatchList,
    page_after,
)
from controller_runtime.servertraits import ServerTraits

PAGE_SIZE = 500
"""Objects a page, as client-go's pager asks (`tools/pager`)."""

_ANY_VERSION = "0"
"""Any version the server has at hand: served from its watch cache, without etcd."""

_NEWEST_VERSION = ""
"""The newest version, read with a quorum."""

_TOO_LARGE = "ResourceVersionTooLarge"
"""Cause of a 504 by a server that is behind the version it was asked for."""


class Replace(NamedTuple):
    """The store shall hold exactly these objects."""

    objects: Sequence[RawObject]
    resource_version: str


class Apply(NamedTuple):
    """The store shall take these changes, in this order."""

    changes: Sequence[Change]
    resource_version: str


Delta: TypeAlias = Replace | Apply


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How to list, watch and wait. The defaults are client-go's."""

    backoff: float = 0.8
    """First pause after a failure, in seconds."""

    backoff_ceiling: float = 30.0
    """Longest pause before jitter, in seconds."""

    backoff_reset: float = 120.0
    """Seconds without a failure after which the pauses start small again."""

    watch_timeout: float = 300.0
    """The server is asked to close a watch after one to two times this, in seconds:
    spread out, so that the watches of many clients do not come back together."""

    shortest_watch: float = 1.0
    """A watch that says nothing and ends sooner than this, in seconds, counts as a
    failure: a proxy that accepts and closes would otherwise be asked in a loop."""

    paged_fill: bool | None = None
    """The first time, take all objects in pages of the newest version, where the server
    has them in memory: to stream them costs it twice as much. Pages are as large as
    they may be, and two of them are held at a time. By default who keeps of an object
    what came of it is filled so, and who keeps less of it by a stream, in which there
    is one object at a time, however large those are that are left out."""

    watch_list: bool = True
    """Take all objects as a stream where the server can: neither side then holds them
    all in one answer. client-go's default since 1.35."""

    patience: float = 30.0
    """Seconds without a word after which such a stream, while not all objects have
    come, is given up for a list. A server sends what it has without a pause. As long
    may the watch take that follows pages until the server has opened it."""

    poll: float | None = None
    """Seconds between two lists of what may be listed and not watched, more by up to a
    tenth; each comes after another try to watch. `None` takes that for a refusal."""

    internal_error_retry: float = 0.0
    """Seconds for which a watch that ends with an internal error of the server is taken
    up again before all is read anew (client-go `MaxInternalErrorRetryDuration`)."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """Asks for all objects as a stream."""

    ask: WatchList
    objects: dict[str, RawObject] = field(default_factory=dict)
    """`namespace/name` → what came so far; grows in place, since nobody else has it.
    Strings, unlike tuples, are no work for the garbage collector."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Asks for all objects, page by page."""

    ask: List
    objects: list[RawObject] = field(default_factory=list)
    """What the pages so far held; grows in place, since nobody else has it."""
    version: str = ""
    """Of the first page. The API server says the same on every page; of one that reads
    each page when it is asked for, only this is followed by all that was missed."""


@dataclass(frozen=True, slots=True)
class Watching:
    """Asks for what changed since the store was complete."""

    ask: Watch
    spoke: bool = False
    """Something came on this stream."""


State: TypeAlias = Streaming | Listing | Watching


class Spell(NamedTuple):
    """A time of trouble, in loop time."""

    began: float = float("-inf")
    last: float = float("-inf")

    def go_on(self, now: float) -> Spell:
        """Prolong it, or begin another after a minute of calm."""
        return Spell(self.began if now - self.last < _CALM else now, now)


_CALM = 60.0
"""Seconds between two internal errors that have nothing to do with each other."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What outlives a question."""

    last_version: str = ""
    """The version that the store is complete up to; empty before it is."""

    pages: bool = False
    """The server answered version 0 in pages: it has no watch cache, so a list
    without a limit would hit etcd with all objects at once."""

    doubts: bool = False
    """The server did not stream as it should. When it lists, it cannot stream; when it
    does not either, it has another trouble."""

    refused: bool = False
    """It said that it would not stream."""

    unwatched: bool = False
    """It listed, and would not let us watch."""

    losses: int = 0
    """Times in a row that a watch lost its version before it told anything."""

    failures: int = 0
    failed_at: float = float("-inf")
    internal: Spell = field(default_factory=Spell)
    """Of internal errors that ended watches."""


class Step(NamedTuple):
    """What an answer leads to."""

    state: State
    memory: Memory
    deltas: tuple[Delta, ...] = ()
    pause: float = 0.0
    """Seconds to wait before the state's question is put."""
    stays: bool = False
    """The stream that the answer came on answers the state's question as well."""


class Stepper:
    """The rules, with the options, the randomness and the server's traits."""

    def __init__(
        self,
        options: WatchOptions,
        randomness: random.Random,
        server: ServerTraits | None = None,
        kind: Hashable = None,
    ) -> None:
        self._options = options
        self._random = randomness
        self._server = server or ServerTraits()
        self._kind = kind

    def start(self) -> Step:
        """Return the first question: everything."""
        memory = Memory()
        return Step(self._everything(memory), memory)

    def listed(self, before: Step) -> Step:
        """Return the question for all objects, to be put now: at best in memory."""
        return Step(Listing(_list(before.memory)), before.memory)

    def step(self, before: Step, answer: Answer, *, now: float) -> Step:
        """Decide what follows an answer that came at `now` (loop time, in seconds)."""
        state, memory = before.state, before.memory
        match state, answer:
            case Watching() | Streaming(), Failed(ForbiddenError()) if self._polls:
                return self._unwatched(state, memory)
            case Watching(), Changes():
                return _changed(state, memory, answer)
            case Watching(), Bookmark(version):
                return _changed(state, memory, Changes((), version))
            case Watching(), Closed(lived):
                if not state.spoke and lived < self._options.shortest_watch:
                    return self._again(memory, now)
                memory = replace(memory, unwatched=False)
                return Step(self._watch(memory.last_version), memory)
            case Watching(), Failed(error):
                return self._watch_failed(memory, error, now)
            case Streaming(), Changes():
                _gather(state.objects, answer.changes)
                return Step(state, memory, stays=True)
            case Streaming(), Bookmark(version, True):
                self._server.has_streamed()
                return _streamed(state, memory, version)
            case Streaming(), Bookmark():
                # Servers that stream send no other before: this is a plain watch.
                return self._doubt(memory)
            case Streaming(), Closed(lived):
                if lived >= int(state.ask.timeout):
                    return self._doubt(memory)
                return self._list_after_pause(memory, now)
            case Streaming(), Failed(error):
                return self._stream_failed(state, memory, error, now)
            case Listing(), Page():
                return self._page(state, memory, answer)
            case Listing(), Failed(error):
                return self._list_failed(state, memory, error, now)
            case _:
                raise TypeError(f"{type(answer).__name__} does not answer {state.ask}")

    def _everything(self, memory: Memory) -> Streaming | Listing:
        if not memory.last_version and self._fills_by_pages():
            return Listing(List(_NEWEST_VERSION, PAGE_SIZE, grows=True))
        if not (self._options.watch_list and self._server.streams_of(self._kind)):
            return Listing(_list(memory))
        patience = self._options.patience
        return Streaming(WatchList(memory.last_version, self._timeout(), patience))

    def _fills_by_pages(self) -> bool:
        return self._options.paged_fill is not False and self._server.serves_pages

    def _newest(self) -> Streaming | Listing:
        """Ask for everything when the version that we know is of no use."""
        everything = self._everything(Memory())
        if everything.ask.resource_version == _ANY_VERSION:
            return Listing(List(_NEWEST_VERSION, PAGE_SIZE))
        return everything

    def _watch(self, version: str) -> Watching:
        return Watching(Watch(version, self._timeout()))

    def _timeout(self) -> float:
        return self._options.watch_timeout * (1 + self._random.random())

    def _page(self, state: Listing, memory: Memory, page: Page) -> Step:
        state.objects.extend(page.objects)
        version = state.version or page.resource_version
        if page.continue_token:
            if state.ask.resource_version == _ANY_VERSION:
                memory = replace(memory, pages=True)
            ask = page_after(
                state.ask, len(page.objects), page.size, page.continue_token
            )
            return Step(Listing(ask, state.objects, version), memory, stays=True)
        if memory.doubts:
            self._server.cannot_stream(self._kind, refused=memory.refused)
        watch = self._watch(version)
        pause = self._until_poll() if memory.unwatched else 0.0
        if not (memory.last_version or pause) and self._fills_by_pages():
            # Who may list and not watch shall hear of it before the store is full.
            patience = self._options.patience
            watch = Watching(watch.ask._replace(patience=patience))
        memory = replace(memory, last_version=version, doubts=False)
        return Step(watch, memory, (Replace(state.objects, version),), pause)

    @property
    def _polls(self) -> bool:
        return self._options.poll is not None

    def _until_poll(self) -> float:
        return (self._options.poll or 0.0) * (1 + self._random.random() / 10)

    def _unwatched(self, state: Watching | Streaming, memory: Memory) -> Step:
        """List where a watch is forbidden, or rest where that was done just now."""
        is_first = isinstance(state, Watching) and not memory.unwatched
        memory = replace(memory, unwatched=True)
        if not is_first:
            return Step(Listing(_list(memory)), memory)
        watch = self._watch(memory.last_version)
        return Step(watch, memory, (), self._until_poll())

    def _list_failed(
        self, state: Listing, memory: Memory, error: Exception, now: float
    ) -> Step:
        if state.ask.continue_token and isinstance(error, ExpiredError):
            # The pages so far are of a version that etcd has compacted away.
            return Step(Listing(List(_NEWEST_VERSION, 0)), memory)
        if _is_version_lost(error) and state.ask.resource_version:
            return Step(Listing(List(_NEWEST_VERSION, PAGE_SIZE)), memory)
        return self._again(replace(memory, doubts=False), now)

    def _stream_failed(
        self, state: Streaming, memory: Memory, error: Exception, now: float
    ) -> Step:
        if _is_version_lost(error) and state.ask.resource_version:
            return Step(self._newest(), memory)
        if isinstance(error, _NO_STREAM):
            refused = not isinstance(error, StalledError)
            return self._doubt(replace(memory, refused=refused))
        if isinstance(error, TooManyRequestsError) or _is_transport(error):
            return self._again(memory, now, error)
        return self._list_after_pause(memory, now)

    def _watch_failed(self, memory: Memory, error: Exception, now: float) -> Step:
        if _is_version_lost(error):
            # A server that loses what it has just told must not be asked in a loop.
            memory, pause = self._loss(memory)
            return Step(self._newest(), memory, (), pause)
        if isinstance(error, StalledError):
            # The connection died without a word; the version is as good as ever.
            return Step(self._watch(memory.last_version), memory)
        if isinstance(error, TooManyRequestsError) or _is_transport(error):
            # A server that restarts or sheds load must not be hit with lists too.
            memory, pause = self._failure(memory, now, error)
            return Step(self._watch(memory.last_version), memory, (), pause)
        if isinstance(error, ServerError) and error.status == 500:
            memory = replace(memory, internal=memory.internal.go_on(now))
            if now - memory.internal.began < self._options.internal_error_retry:
                memory, pause = self._failure(memory, now, error)
                return Step(self._watch(memory.last_version), memory, (), pause)
        return self._again(memory, now, error)

    def _doubt(self, memory: Memory) -> Step:
        """List at once; when that works, the server cannot stream."""
        return Step(Listing(_list(memory)), replace(memory, doubts=True))

    def _again(
        self, memory: Memory, now: float, error: Exception | None = None
    ) -> Step:
        memory, pause = self._failure(memory, now, error)
        return Step(self._everything(memory), memory, (), pause)

    def _list_after_pause(self, memory: Memory, now: float) -> Step:
        # Progress counts for more than the better way (client-go does the same).
        memory, pause = self._failure(memory, now)
        return Step(Listing(_list(memory)), memory, (), pause)

    def _failure(
        self, memory: Memory, now: float, error: Exception | None = None
    ) -> tuple[Memory, float]:
        rested = now - memory.failed_at >= self._options.backoff_reset
        failures = 0 if rested else memory.failures
        pause = self._backoff(failures)
        memory = replace(memory, failures=failures + 1, failed_at=now)
        return memory, max(pause, _asked_pause(error))

    def _loss(self, memory: Memory) -> tuple[Memory, float]:
        pause = self._backoff(memory.losses - 1) if memory.losses else 0.0
        return replace(memory, losses=memory.losses + 1), pause

    def _backoff(self, failures: int) -> float:
        options = self._options
        pause = min(options.backoff * 2.0 ** min(failures, 16), options.backoff_ceiling)
        return pause * (1 + self._random.random())


_NO_STREAM = (BadRequestError, InvalidError, StalledError)
"""How a server fails that does not know or does not allow `sendInitialEvents`."""


def _list(memory: Memory) -> List:
    version = memory.last_version or _ANY_VERSION
    # A limit makes the server bypass its watch cache for versions above 0.
    limit = PAGE_SIZE if memory.pages or version == _ANY_VERSION else 0
    return List(version, limit)


def _gather(objects: dict[str, RawObject], changes: Sequence[Change]) -> None:
    """Keep the newest of each object: some may change while they are streamed."""
    for object_, gone in changes:
        meta = object_.meta
        key = f"{meta.namespace}/{meta.name}"
        if gone:
            objects.pop(key, None)
        else:
            objects[key] = object_


def _streamed(state: Streaming, memory: Memory, version: str) -> Step:
    full = Replace(tuple(state.objects.values()), version)
    watching = Watching(Watch(version, state.ask.timeout), spoke=True)
    memory = replace(memory, last_version=version, doubts=False, unwatched=False)
    return Step(watching, memory, (full,), stays=True)


def _changed(state: Watching, memory: Memory, answer: Changes) -> Step:
    apply = Apply(answer.changes, answer.resource_version)
    memory = replace(
        memory, last_version=answer.resource_version, losses=0, unwatched=False
    )
    return Step(replace(state, spoke=True), memory, (apply,), stays=True)


def _asked_pause(error: Exception | None) -> float:
    """Return the seconds for which the server asked to be left alone."""
    if isinstance(error, ApiError) and error.retry_after is not None:
        return error.retry_after.total_seconds()
    return 0.0


def _is_transport(error: Exception) -> bool:
    """Tell whether no answer came at all: refused, reset, TLS, timeout."""
    return not isinstance(error, ControllerRuntimeError)


def _is_version_lost(error: Exception) -> bool:
    """Tell whether only a list of the newest version can help."""
    if isinstance(error, ExpiredError):
        return True
    if not isinstance(error, ApiError):
        return False
    # `storage.NewTooLargeResourceVersionError` of k8s.io/apiserver: a 504 Timeout.
    causes = error.details.get("causes")
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == _TOO_LARGE
        for cause in causes
    )
