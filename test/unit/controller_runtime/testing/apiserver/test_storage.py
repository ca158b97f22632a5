"""Revisions and history: what was there when, and what has happened since."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.storage import (
    Change,
    CompactedError,
    Key,
    Storage,
)

A, B = Key("things", "ns", "a"), Key("things", "ns", "b")


def thing(**fields: object) -> Json:
    return {"metadata": {}, **fields}


def version(object_: Json) -> int:
    return int(object_["metadata"]["resourceVersion"])


def test_every_write_takes_the_next_revision() -> None:
    storage = Storage()

    made = storage.put(A, thing(size=1))
    changed = storage.put(A, thing(size=2))
    gone = storage.delete(A)

    assert [version(each) for each in (made, changed, gone)] == [2, 3, 4]
    assert gone["size"] == 2
    assert storage.get(A) is None


def test_objects_are_in_order_and_of_one_collection_and_namespace() -> None:
    storage = Storage()
    for key in (B, A, Key("things", "other", "a"), Key("widgets", "ns", "a")):
        storage.put(key, thing())

    assert [key for key, _ in storage.items("things", "ns")] == [A, B]
    assert len(storage.items("things")) == 3


def test_listeners_are_told_inline_until_they_stop() -> None:
    storage, told = Storage(), list[Change]()
    stop = storage.subscribe(told.append)

    storage.put(A, thing())
    storage.delete(A)
    stop()
    storage.put(A, thing())

    assert [(change.old is None, change.new is None) for change in told] == [
        (True, False),
        (False, True),
    ]


def test_forgotten_history_cannot_be_asked_for() -> None:
    storage = Storage()
    for size in range(4):
        storage.put(A, thing(size=size))
    storage.compact(3)

    assert [change.revision for change in storage.since(3)] == [4, 5]
    assert storage.items_at(3, "things")[0][1]["size"] == 1
    with pytest.raises(CompactedError):
        storage.since(2)
    with pytest.raises(CompactedError):
        storage.items_at(2, "things")


def test_what_is_forgotten_stays_so() -> None:
    storage = Storage()
    storage.put(A, thing())
    storage.compact()
    storage.compact(1)

    assert storage.compacted == 2


writes = st.lists(st.tuples(st.sampled_from([A, B]), st.booleans()), max_size=20)


@given(writes)
def test_every_revision_can_be_shown_as_it_was(writes: list[tuple[Key, bool]]) -> None:
    storage = Storage()
    snapshots = {storage.revision: storage.items("things")}
    for key, is_put in writes:
        if is_put:
            storage.put(key, thing())
        elif storage.get(key) is not None:
            storage.delete(key)
        snapshots[storage.revision] = storage.items("things")

    for revision, snapshot in snapshots.items():
        assert storage.items_at(revision, "things") == snapshot


@given(writes)
def test_history_from_any_revision_leads_to_now(writes: list[tuple[Key, bool]]) -> None:
    storage = Storage()
    states: dict[int, dict[Key, Json]] = {1: {}}
    for key, is_put in writes:
        if is_put:
            storage.put(key, thing())
        elif storage.get(key) is not None:
            storage.delete(key)
        states[storage.revision] = dict(storage.items("things"))

    for revision, state in states.items():
        for change in storage.since(revision):
            assert state.get(change.key) == change.old
            if change.new is None:
                del state[change.key]
            else:
                state[change.key] = change.new
        assert state == dict(storage.items("things"))
