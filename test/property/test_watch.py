"""The rules of a watch against every history of a server, and every trouble.

The server is a model: a log of changes, versions from one up, a point before which it
has forgotten. The machine drives `Stepper` and `Store` as a reflector does, without
I/O: it puts `state.ask` to the model and hands back what comes, or what goes wrong.

Whatever happened, in the end the store is the server, no object ever went back to an
older version, and a clean end of a watch led to no new question for everything.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from controller_runtime.errors import (
    ApiError,
    BadRequestError,
    DecodeError,
    ExpiredError,
    InvalidError,
    ServerError,
    StalledError,
    TooManyRequestsError,
)
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, Meta, NamespacedName, RawObject
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
)
from controller_runtime.servertraits import ServerTraits
from controller_runtime.store import Store
from controller_runtime.watch import (
    Apply,
    Step,
    Stepper,
    Watching,
    WatchOptions,
)

NAMES = st.sampled_from("abcd")
SMALL_PAGE = 2
TOO_LARGE = ServerError(
    "too large",
    status=504,
    details={"causes": [{"reason": "ResourceVersionTooLarge"}]},
)
EXPIRED = ExpiredError("too old", status=410, reason="Expired")
TROUBLE: list[Exception] = [
    EXPIRED,
    TOO_LARGE,
    ConnectionRefusedError(),
    TimeoutError(),
    DecodeError("garbage"),
    StalledError("silence"),
    InvalidError("no", status=422),
    BadRequestError("no", status=400),
    TooManyRequestsError("busy", status=429),
    ServerError("oops", status=500, reason="InternalError"),
    ApiError("teapot", status=418),
]


class Server:
    """A log of changes to one kind."""

    def __init__(self) -> None:
        self.log: list[Change] = []
        self.forgotten = 0
        self.uids = 0

    @property
    def version(self) -> int:
        return len(self.log) + 1

    def at(self, version: int) -> dict[str, RawObject]:
        state: dict[str, RawObject] = {}
        for object_, gone in self.log[: version - 1]:
            if gone:
                state.pop(object_.meta.name, None)
            else:
                state[object_.meta.name] = object_
        return state

    def put(self, name: str) -> None:
        known = self.at(self.version).get(name)
        self.uids += known is None
        uid = known.meta.uid if known is not None else str(self.uids)
        self._add(Change(self._object(name, uid)))

    def delete(self, name: str) -> None:
        known = self.at(self.version).get(name)
        if known is not None:
            self._add(Change(self._object(name, known.meta.uid), gone=True))

    def since(self, version: int) -> list[Change]:
        return self.log[version - 1 :]

    def _object(self, name: str, uid: str) -> RawObject:
        version = str(self.version + 1)
        return RawObject(Meta(name=name, uid=uid, resource_version=version), b"{}")

    def _add(self, change: Change) -> None:
        self.log.append(change)


class Stream:
    """What a watch has told: from `told` on there is more."""

    def __init__(self, told: int, initial: Sequence[RawObject] | None) -> None:
        self.told = told
        self.initial = None if initial is None else list(initial)
        """What is left of the first objects; None once their end was told."""


class Machine(RuleBasedStateMachine):
    """A reflector without a network."""

    @initialize(
        seed=st.integers(0, 99),
        pages=st.booleans(),
        streams=st.booleans(),
        plain=st.booleans(),
        names=st.lists(NAMES, max_size=6),
    )
    def begin(
        self, *, seed: int, pages: bool, streams: bool, plain: bool, names: list[str]
    ) -> None:
        self.plain = plain  # the server takes every watch for an ordinary one
        self.server = Server()
        for name in names:
            self.server.put(name)
        self.dice = random.Random(seed)  # noqa: S311 - a test's dice
        options = WatchOptions(watch_list=streams, internal_error_retry=10)
        traits = ServerTraits(serves_pages=pages)
        self.stepper = Stepper(options, self.dice, traits)
        self.store = Store(GroupVersionKind("", "v1", "ConfigMap"))
        self.versions: dict[NamespacedName, tuple[str, int]] = {}
        self.reached = 0
        self.now = 0.0
        self.stream: Stream | None = None
        self.pages: list[RawObject] | None = None
        self.after(self.stepper.start())

    @rule(name=NAMES)
    def someone_writes(self, name: str) -> None:
        self.server.put(name)

    @rule(name=NAMES)
    def someone_deletes(self, name: str) -> None:
        self.server.delete(name)

    @rule(left=st.integers(0, 5))
    def the_server_forgets(self, left: int) -> None:
        self.server.forgotten = max(self.server.forgotten, self.server.version - left)

    @rule(count=st.integers(1, 4))
    def the_server_answers(self, count: int) -> None:
        self.answer(count)

    @rule(error=st.sampled_from(TROUBLE))
    def it_fails(self, error: Exception) -> None:
        self.hand_over(Failed(error))

    @precondition(lambda self: self.stream is not None)
    @rule(lived=st.sampled_from([0.1, 30.0, 900.0]))
    def the_stream_ends(self, lived: float) -> None:
        spoke = isinstance(self.step.state, Watching) and self.step.state.spoke
        follows = isinstance(self.step.state, Watching) and (spoke or lived >= 1)

        self.hand_over(Closed(lived))

        if follows:
            assert isinstance(self.step.state, Watching)
            assert self.step.state.ask.resource_version == str(self.reached)

    @precondition(lambda self: self.stream is not None)
    @rule()
    def a_bookmark_comes(self) -> None:
        stream = self.stream
        assert stream is not None
        if stream.initial is None and not self.server.since(stream.told):
            self.hand_over(Bookmark(str(stream.told)))

    @rule(seconds=st.sampled_from([1.0, 70.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_store_is_what_the_server_was(self) -> None:
        if self.store.resource_version:
            was = self.server.at(int(self.store.resource_version))
            assert {o.meta.name: o for o in self.store.list()} == was

    @invariant()
    def nothing_older_than_the_store_is_asked_for(self) -> None:
        ask = self.step.state.ask
        if self.stream is None and not getattr(ask, "continue_token", ""):
            versions = {"", str(self.reached)}
            assert ask.resource_version in versions

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        for _ in range(200):
            if self.is_up_to_date():
                break
            self.answer(3)
        assert self.is_up_to_date()
        assert {o.meta.name: o for o in self.store.list()} == self.server.at(
            self.server.version
        )
        assert len(self.versions) == len(self.store)

    def is_up_to_date(self) -> bool:
        return isinstance(self.step.state, Watching) and (
            self.reached == self.server.version
        )

    def answer(self, count: int) -> None:
        """Answer the question as a healthy server does."""
        match self.step.state.ask:
            case List() as ask:
                self.hand_over(self.listed(ask))
            case Watch() | WatchList() as ask:
                self.hand_over(self.told(ask, count))

    def listed(self, ask: List) -> Answer:
        if ask.continue_token:
            version, _, start = ask.continue_token.partition("/")
            if int(version) < self.server.forgotten:
                return Failed(EXPIRED)
        else:
            oldest = int(ask.resource_version or self.server.version) or 1
            version, start = str(self.dice.randint(oldest, self.server.version)), "0"
        objects = list(self.server.at(int(version)).values())[int(start) :]
        if ask.limit and len(objects) > SMALL_PAGE:
            rest = f"{version}/{int(start) + SMALL_PAGE}"
            return Page(objects[:SMALL_PAGE], version, rest)
        return Page(objects, version)

    def told(self, ask: Watch | WatchList, count: int) -> Answer:
        if self.stream is None:
            known = int(ask.resource_version or 0)
            if isinstance(ask, Watch) and known < self.server.forgotten:
                return Failed(EXPIRED)
            self.stream = self.opened(ask)
        stream = self.stream
        if stream.initial:
            batch, stream.initial = stream.initial[:count], stream.initial[count:]
            return Changes([Change(o) for o in batch], batch[-1].meta.resource_version)
        changes = self.server.since(stream.told)[:count]
        if changes:
            stream.told = int(changes[-1].object.meta.resource_version)
            return Changes(changes, str(stream.told))
        ends, stream.initial = stream.initial is not None, None
        return Bookmark(str(stream.told), ends and not self.plain)

    def opened(self, ask: Watch | WatchList) -> Stream:
        if isinstance(ask, Watch) or (self.plain and ask.resource_version):
            return Stream(int(ask.resource_version), None)
        # A watch cache shows an older state first, not in order of versions.
        version = self.dice.randint(
            max(1, int(ask.resource_version or self.server.version)),
            self.server.version,
        )
        objects = list(self.server.at(version).values())
        self.dice.shuffle(objects)
        return Stream(version, objects)

    def hand_over(self, answer: Answer) -> None:
        self.after(self.stepper.step(self.step, answer, now=self.now))

    def after(self, step: Step) -> None:
        self.step = step
        for delta in step.deltas:
            if isinstance(delta, Apply):
                self.note(self.store.apply(delta.changes, delta.resource_version))
            else:
                replacement = self.store.replacement()
                replacement.add(delta.objects)
                self.note(replacement.commit(delta.resource_version))
            assert int(delta.resource_version) >= self.reached
            self.reached = int(delta.resource_version)
        if not step.stays:
            self.stream = None
        assert step.pause >= 0

    def note(self, events: Iterable[Event]) -> None:
        """Check each event against what the ones before it said."""
        for event in events:
            meta = event.object.meta
            known = self.versions.get(meta.key)
            if isinstance(event, Deleted):
                assert known is not None
                del self.versions[meta.key]
                continue
            assert isinstance(event, Created | Updated)
            assert isinstance(event, Updated) == (known is not None)
            version = int(meta.resource_version)
            assert known is None or known[0] != meta.uid or known[1] < version
            self.versions[meta.key] = (meta.uid, version)


TestWatch = pytest.mark.behaviour("R1", "R5", "R8", "R9", "R10", "R13")(
    Machine.TestCase
)
TestWatch.settings = settings(stateful_step_count=40)
