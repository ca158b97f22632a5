"""List, then watch, as a step function over plain values: no I/O, no clock.

    state ──ask──▶ List | Watch ──(reflector asks the API server)──▶ answer
      ▲                                                                │
      └───────────── step(state, answer) ─▶ deltas, pause ◀────────────┘

`State.ask` is the next question. Whoever drives the machine puts it to the API
server and hands back what came: a `Page`, a batch of `Change`s, `Closed` or `Failed`.
`step` answers with what the store must do (`Replace`, `Apply`) and how long to
wait before the next question. The rules are client-go's
(`tools/cache/reflector.go`), each with its reason at the line.

Resource versions are opaque here: they are remembered and sent back, never compared.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from controller_runtime.errors import (
    ApiError,
    ControllerRuntimeError,
    ExpiredError,
    StalledError,
    TooManyRequestsError,
)
from controller_runtime.meta import RawObject

PAGE_SIZE = 500
"""Objects a page, as client-go's pager asks (`tools/pager`)."""

_ANY_VERSION = "0"
"""Any version the server has at hand: served from its watch cache, without etcd."""

_NEWEST_VERSION = ""
"""The newest version, read with a quorum."""

_TOO_LARGE = "ResourceVersionTooLarge"
"""Cause of a 504 by a server that is behind the version it was asked for."""


class List(NamedTuple):
    """Ask for (a page of) all objects."""

    resource_version: str
    limit: int
    """0 asks for everything in one answer."""
    continue_token: str = ""


class Watch(NamedTuple):
    """Ask for the changes after a version."""

    resource_version: str
    timeout: float
    """Seconds after which the server is asked to close the stream."""


Ask: TypeAlias = List | Watch


class Page(NamedTuple):
    """The server listed objects; `continue_token` is set when there are more."""

    objects: Sequence[RawObject]
    resource_version: str
    continue_token: str = ""


class Change(NamedTuple):
    """The newest version of an object, or its last one when it is `gone`."""

    object: RawObject
    gone: bool = False


class Changes(NamedTuple):
    """What a watch told in one go; without changes it is a bookmark."""

    changes: Sequence[Change]
    resource_version: str
    """The version that the stream has reached."""


class Closed(NamedTuple):
    """The server ended the watch in good order, `lived` seconds after it began."""

    lived: float


class Failed(NamedTuple):
    """The question was refused or the answer broke off."""

    error: Exception


Answer: TypeAlias = Page | Changes | Closed | Failed


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


@dataclass(frozen=True, slots=True)
class Listing:
    """Asks for all objects, page by page."""

    ask: List
    objects: list[RawObject] = field(default_factory=list)
    """What the pages so far held; grows in place, since nobody else has it."""


@dataclass(frozen=True, slots=True)
class Watching:
    """Asks for what changed since the list."""

    ask: Watch
    spoke: bool = False
    """Something came on this stream."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What outlives a list and a watch."""

    last_version: str = ""
    """The newest version seen; empty before the first list."""

    pages: bool = False
    """The server answered version 0 in pages: it has no watch cache, so a list
    without a limit would hit etcd with all objects at once."""

    failures: int = 0
    failed_at: float = float("-inf")


class Step(NamedTuple):
    """What an answer leads to."""

    state: Listing | Watching
    memory: Memory
    deltas: tuple[Delta, ...] = ()
    pause: float = 0.0
    """Seconds to wait before the state's question is put."""


def start() -> Step:
    """Return the first question: everything, from wherever the server has it."""
    return Step(Listing(List(_ANY_VERSION, PAGE_SIZE)), Memory())


class Stepper:
    """The rules, with the options and the randomness they need."""

    def __init__(self, options: WatchOptions, randomness: random.Random) -> None:
        self._options = options
        self._random = randomness

    def step(self, before: Step, answer: Answer, *, now: float) -> Step:
        """Decide what follows an answer that came at `now` (loop time, in seconds)."""
        state, memory = before.state, before.memory
        match state, answer:
            case Listing(), Page():
                return self._page(state, memory, answer)
            case Watching(), Changes():
                return _changes(state, memory, answer)
            case Watching(), Closed(lived):
                if not state.spoke and lived < self._options.shortest_watch:
                    return self._list_again(memory, now)
                return Step(self._watch(memory.last_version), memory)
            case Listing(), Failed(error):
                return self._list_failed(state, memory, error, now)
            case Watching(), Failed(error):
                return self._watch_failed(state, memory, error, now)
            case _:
                raise TypeError(f"{type(answer).__name__} does not answer {state.ask}")

    def _page(self, state: Listing, memory: Memory, page: Page) -> Step:
        state.objects.extend(page.objects)
        if page.continue_token:
            ask = List("", PAGE_SIZE, page.continue_token)
            if state.ask.resource_version == _ANY_VERSION:
                memory = replace(memory, pages=True)
            return Step(Listing(ask, state.objects), memory)
        memory = replace(memory, last_version=page.resource_version)
        full = Replace(state.objects, page.resource_version)
        return Step(self._watch(page.resource_version), memory, (full,))

    def _watch(self, version: str) -> Watching:
        timeout = self._options.watch_timeout * (1 + self._random.random())
        return Watching(Watch(version, timeout))

    def _list_failed(
        self, state: Listing, memory: Memory, error: Exception, now: float
    ) -> Step:
        if state.ask.continue_token and isinstance(error, ExpiredError):
            # The pages so far are of a version that etcd has compacted away.
            return Step(Listing(List(_NEWEST_VERSION, 0)), memory)
        if _is_version_lost(error) and state.ask.resource_version:
            return Step(Listing(List(_NEWEST_VERSION, PAGE_SIZE)), memory)
        return self._list_again(memory, now)

    def _watch_failed(
        self, state: Watching, memory: Memory, error: Exception, now: float
    ) -> Step:
        if _is_version_lost(error):
            return Step(Listing(List(_NEWEST_VERSION, PAGE_SIZE)), memory)
        if isinstance(error, StalledError):
            # The connection died without a word; the version is as good as ever.
            return Step(self._watch(memory.last_version), memory)
        if isinstance(error, TooManyRequestsError) or _is_transport(error):
            # A server that restarts or sheds load must not be hit with lists too.
            memory, pause = self._failure(memory, now)
            return Step(self._watch(memory.last_version), memory, (), pause)
        return self._list_again(memory, now)

    def _list_again(self, memory: Memory, now: float) -> Step:
        memory, pause = self._failure(memory, now)
        version = memory.last_version or _ANY_VERSION
        # A limit makes the server bypass its watch cache for versions above 0.
        limit = PAGE_SIZE if memory.pages or version == _ANY_VERSION else 0
        return Step(Listing(List(version, limit)), memory, (), pause)

    def _failure(self, memory: Memory, now: float) -> tuple[Memory, float]:
        options = self._options
        rested = now - memory.failed_at >= options.backoff_reset
        failures = 0 if rested else memory.failures
        pause = min(options.backoff * 2.0 ** min(failures, 16), options.backoff_ceiling)
        memory = replace(memory, failures=failures + 1, failed_at=now)
        return memory, pause * (1 + self._random.random())


def _changes(state: Watching, memory: Memory, answer: Changes) -> Step:
    apply = Apply(answer.changes, answer.resource_version)
    memory = replace(memory, last_version=answer.resource_version)
    return Step(replace(state, spoke=True), memory, (apply,))


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
