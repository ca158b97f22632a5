"""The store against a naive model of it, over every order of changes.

The model is a dict of objects that is gone through anew for every question. The server
that both hear of deletes and re-creates objects, so uids change under one name.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, Meta, NamespacedName, RawObject
from controller_runtime.question import Change
from controller_runtime.selectors import LabelSelector
from controller_runtime.store import Replacement, Store, index_by_body

KEYS = st.sampled_from(
    [NamespacedName(namespace, name) for namespace in "xy" for name in "abc"]
)
TEAMS = st.sets(st.sampled_from(["red", "blue", "green"]))
TIERS = st.sampled_from(["", "front", "back"])


def by_team(entry: RawObject) -> Iterable[str]:
    return filter(None, entry.meta.annotations.get("teams", "").split(","))


def by_size(entry: dict[str, object]) -> Iterable[str]:
    return [str(entry["size"])]


class StoreMachine(RuleBasedStateMachine):
    """Changes what a server has, and lets the store hear of some of it."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(GroupVersionKind("", "v1", "ConfigMap"))
        self.model: dict[NamespacedName, RawObject] = {}
        self.told: dict[NamespacedName, RawObject] = {}
        """What somebody knows who was told of every event."""
        self.version = 0
        self.synced = False
        self.woken = 0
        self.wakes = 0
        self.gathering: tuple[Replacement, dict[NamespacedName, RawObject]] | None
        self.gathering = None
        self.indexes = {"team": False, "size": False}
        self.store.on_change(self.wake)

    def wake(self) -> None:
        self.woken += 1
        assert len(self.store) == len(self.model)

    def object(
        self, key: NamespacedName, *, uid: int, teams: set[str], tier: str
    ) -> RawObject:
        self.version += 1
        meta = Meta(
            name=key.name,
            namespace=key.namespace,
            uid=str(uid),
            resource_version=str(self.version),
            labels={"tier": tier} if tier else {},
            annotations={"teams": ",".join(sorted(teams))},
        )
        return RawObject(meta, b'{"size":%d,"pad":"%s"}' % (uid, b"." * self.version))

    def hear(self, events: Iterable[Event]) -> None:
        """Check that events fit what was told before, and remember them."""
        for event in events:
            key = event.object.key
            match event:
                case Created(new, is_initial):
                    assert key not in self.told
                    assert is_initial is not self.synced
                    self.told[key] = new
                case Updated(old, new):
                    assert self.told[key] is old
                    assert old.meta.uid == new.meta.uid
                    assert old.meta.resource_version != new.meta.resource_version
                    self.told[key] = new
                case Deleted(last):
                    assert self.told.pop(key) is last
                case _:
                    raise AssertionError(event)

    @precondition(lambda self: self.synced)
    @rule(key=KEYS, uid=st.integers(0, 2), teams=TEAMS, tier=TIERS)
    def put(self, key: NamespacedName, uid: int, teams: set[str], tier: str) -> None:
        entry = self.object(key, uid=uid, teams=teams, tier=tier)
        self.model[key] = entry
        self.apply(Change(entry))

    @precondition(lambda self: self.synced)
    @rule(key=KEYS, uid=st.integers(0, 2))
    def delete(self, key: NamespacedName, uid: int) -> None:
        last = self.object(key, uid=uid, teams=set(), tier="")
        self.model.pop(key, None)
        self.apply(Change(last, gone=True))

    @precondition(lambda self: self.synced and self.model)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        before = dict(self.told)
        self.apply(Change(self.model[key]))
        assert self.told == before

    @precondition(lambda self: self.synced)
    @rule()
    def bookmark(self) -> None:
        self.version += 1
        self.apply()

    def apply(self, *changes: Change) -> None:
        self.wakes += 1
        self.hear(self.store.apply(changes, str(self.version)))

    @precondition(lambda self: self.gathering is None)
    @rule()
    def begin_list(self) -> None:
        self.gathering = self.store.replacement(), {}

    @precondition(lambda self: self.gathering is not None)
    @rule(key=KEYS, uid=st.integers(0, 2), teams=TEAMS, tier=TIERS)
    def list_some(
        self, key: NamespacedName, uid: int, teams: set[str], tier: str
    ) -> None:
        assert self.gathering is not None
        replacement, listed = self.gathering
        listed[key] = self.object(key, uid=uid, teams=teams, tier=tier)
        replacement.add([listed[key]])

    @precondition(lambda self: self.gathering is not None)
    @rule()
    def list_what_is_known(self) -> None:
        assert self.gathering is not None
        replacement, listed = self.gathering
        listed.update(self.model)
        replacement.add(self.model.values())

    @precondition(lambda self: self.gathering is not None)
    @rule()
    def end_list(self) -> None:
        assert self.gathering is not None
        replacement, self.model = self.gathering
        self.gathering = None
        self.version += 1
        self.wakes += 1
        self.hear(replacement.commit(str(self.version)))
        self.synced = True

    @precondition(lambda self: self.gathering is not None)
    @rule()
    def break_off_list(self) -> None:
        self.gathering = None

    @precondition(lambda self: not self.indexes["team"])
    @rule()
    def index_teams(self) -> None:
        self.indexes["team"] = True
        self.store.add_index("team", by_team)

    @precondition(lambda self: not self.indexes["size"])
    @rule()
    def index_sizes(self) -> None:
        self.indexes["size"] = True
        self.store.add_index("size", index_by_body(by_size))

    @invariant()
    def it_has_what_the_model_has(self) -> None:
        assert {e.key: e for e in self.store.list()} == self.model
        assert self.told == self.model
        assert self.store.bytes == sum(len(e.raw) for e in self.model.values())
        assert self.woken == self.wakes
        for key, entry in self.model.items():
            assert self.store.get(key) is entry

    @invariant()
    def it_finds_what_going_through_all_would_find(self) -> None:
        tier = LabelSelector.parse("tier!=back")
        for namespace in ("", "x"):
            there = self.model.values()
            here = [e for e in there if namespace in {"", e.key.namespace}]
            for indexed in self.questions():
                wanted = {
                    e.key
                    for e in here
                    if all(self.stands(e, name, value) for name, value in indexed)
                    and tier.matches(e.meta.labels)
                }
                found = self.store.select(namespace, labels=tier, indexed=indexed)
                assert sorted(e.key for e in found) == sorted(wanted)

    def questions(self) -> Iterable[list[tuple[str, str]]]:
        yield []
        if self.indexes["team"]:
            yield [("team", "red")]
            yield [("team", "red"), ("team", "blue")]
        if all(self.indexes.values()):
            yield [("team", "green"), ("size", "1")]

    @staticmethod
    def stands(entry: RawObject, name: str, value: str) -> bool:
        values = by_team(entry) if name == "team" else [entry.meta.uid]
        return value in set(values)


TestStore = pytest.mark.behaviour("S4", "S7", "S10", "R13")(StoreMachine.TestCase)
