"""What the store tells of what it is told, and what its readers see."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from controller_runtime.errors import (
    AlreadyStartedError,
    NotIndexedError,
)
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.meta import GroupVersionKind, Meta, NamespacedName, RawObject
from controller_runtime.question import Change
from controller_runtime.selectors import LabelSelector
from controller_runtime.store import Store, index_by_body

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


def entry(
    name: str, version: int = 1, *, uid: str = "u", team: str = "", namespace: str = "n"
) -> RawObject:
    meta = Meta(
        name=name,
        namespace=namespace,
        uid=uid,
        resource_version=str(version),
        labels={"team": team} if team else {},
    )
    return RawObject(meta, f"{name}@{version}".encode())


def replace(store: Store, *entries: RawObject, version: str = "100") -> list[Event]:
    replacement = store.replacement()
    replacement.add(entries)
    return list(replacement.commit(version))


def apply(store: Store, *changes: Change, version: str = "200") -> list[Event]:
    return list(store.apply(changes, version))


def by_team(entry: RawObject) -> Iterable[str]:
    team = entry.meta.labels.get("team")
    return [team] if team else []


def names(entries: Iterable[RawObject]) -> set[str]:
    return {e.meta.name for e in entries}


@pytest.fixture
def store() -> Store:
    return Store(CONFIG_MAP)


def test_the_first_list_creates_every_object_as_initial(store: Store) -> None:
    a, b = entry("a"), entry("b")
    assert store.resource_version == ""

    assert replace(store, a, b) == [
        Created(a, is_initial=True),
        Created(b, is_initial=True),
    ]
    assert store.get(NamespacedName("n", "a")) is a
    assert store.resource_version == "100"


@pytest.mark.behaviour("R13")
def test_what_a_later_list_lacks_was_deleted_while_nobody_watched(store: Store) -> None:
    a, b = entry("a"), entry("b")
    replace(store, a, b)

    assert replace(store, b) == [Deleted(a, state_unknown=True)]
    assert store.get(a.key) is None


def test_a_later_list_tells_of_what_is_new_and_what_changed(store: Store) -> None:
    old, same = entry("a", 1), entry("b", 1)
    replace(store, old, same)
    new, fresh = entry("a", 2), entry("c")

    events = replace(store, new, entry("b", 1), fresh)

    assert events == [Updated(old, new), Created(fresh)]


def test_an_interrupted_replacement_changes_nothing(store: Store) -> None:
    a = entry("a")
    replace(store, a)

    store.replacement().add([entry("b")])

    assert names(store.list()) == {"a"}
    assert store.resource_version == "100"


@pytest.mark.behaviour("S7")
def test_a_change_to_an_unknown_object_creates_it(store: Store) -> None:
    a = entry("a", 5)

    assert apply(store, Change(a)) == [Created(a)]


@pytest.mark.behaviour("S7")
def test_an_update_carries_the_version_that_the_store_had(store: Store) -> None:
    old, new = entry("a", 1), entry("a", 2)
    replace(store, old)

    assert apply(store, Change(new)) == [Updated(old, new)]


def test_the_same_version_again_is_no_event(store: Store) -> None:
    replace(store, entry("a", 1))

    assert apply(store, Change(entry("a", 1))) == []


@pytest.mark.behaviour("S4")
def test_a_new_uid_under_an_old_name_is_a_deletion_and_a_creation(store: Store) -> None:
    old, new = entry("a", 1, uid="1"), entry("a", 1, uid="2")
    replace(store, old)

    assert apply(store, Change(new)) == [Deleted(old, state_unknown=True), Created(new)]
    assert store.get(new.key) is new


@pytest.mark.behaviour("S5")
def test_a_deletion_carries_the_last_version_that_was_stored(store: Store) -> None:
    stored = entry("a", 1)
    replace(store, stored)

    assert apply(store, Change(entry("a", 2), gone=True)) == [Deleted(stored)]
    assert len(store) == 0


def test_the_deletion_of_an_unknown_object_is_no_event(store: Store) -> None:
    assert apply(store, Change(entry("a"), gone=True)) == []


@pytest.mark.behaviour("S1")
def test_changes_of_one_batch_keep_their_order(store: Store) -> None:
    first, second = entry("a", 1), entry("a", 2)
    other = entry("b")

    events = apply(
        store, Change(first), Change(other), Change(second), Change(second, gone=True)
    )

    assert events == [
        Created(first),
        Created(other),
        Updated(first, second),
        Deleted(second),
    ]


@pytest.mark.behaviour("S11")
def test_a_bookmark_moves_the_version_and_nothing_else(store: Store) -> None:
    replace(store, entry("a"))

    assert apply(store, version="300") == []
    assert store.resource_version == "300"


def test_a_list_can_be_of_one_namespace(store: Store) -> None:
    replace(store, entry("a", namespace="x"), entry("b", namespace="y"))

    assert names(store.list("x")) == {"a"}
    assert names(store.list()) == {"a", "b"}


def test_what_a_reader_goes_through_does_not_change_under_it(store: Store) -> None:
    replace(store, entry("a"), entry("b"))
    reading = store.list()

    apply(store, Change(entry("a"), gone=True))

    assert names(reading) == {"a", "b"}


@pytest.mark.behaviour("S10")
@pytest.mark.parametrize("early", [True, False])
def test_an_index_covers_what_is_here_and_what_comes(*, early: bool) -> None:
    store = Store(CONFIG_MAP)
    if early:
        store.add_index("team", by_team)
    replace(store, entry("a", team="red"), entry("b", team="blue"))
    if not early:
        store.add_index("team", by_team)

    apply(store, Change(entry("c", team="red")))

    assert names(store.by_index("team", "red")) == {"a", "c"}
    assert names(store.by_index("team", "green")) == set()


@pytest.mark.behaviour("S10")
def test_an_index_follows_updates_and_deletions(store: Store) -> None:
    store.add_index("team", by_team)
    replace(store, *(entry(name, 1, team="red") for name in "abcd"))

    apply(
        store,
        Change(entry("a", 2, team="blue")),
        Change(entry("b"), gone=True),
        Change(entry("c", 2)),
    )

    assert names(store.by_index("team", "red")) == {"d"}
    assert names(store.by_index("team", "blue")) == {"a"}


@pytest.mark.behaviour("S10")
def test_an_index_function_may_name_a_value_twice(store: Store) -> None:
    store.add_index("team", lambda entry: [*by_team(entry), *by_team(entry)])
    replace(store, entry("a", team="red"), entry("b", team="red"))
    assert names(store.by_index("team", "red")) == {"a", "b"}

    apply(store, Change(entry("a"), gone=True))

    assert names(store.by_index("team", "red")) == {"b"}


@pytest.mark.behaviour("S10")
def test_a_replacement_forgets_what_the_index_had(store: Store) -> None:
    store.add_index("team", by_team)
    replace(store, entry("a", team="red"))

    replace(store, entry("b", team="red"))

    assert names(store.by_index("team", "red")) == {"b"}


def test_an_index_added_while_a_replacement_is_gathered_is_complete(
    store: Store,
) -> None:
    replacement = store.replacement()
    replacement.add([entry("a", team="red")])
    store.add_index("team", by_team)

    replacement.commit("1")

    assert names(store.by_index("team", "red")) == {"a"}


def test_a_read_without_an_index_names_the_index_that_is_missing(store: Store) -> None:
    with pytest.raises(NotIndexedError, match=r"ConfigMap.* 'team'"):
        store.by_index("team", "red")


def test_an_index_is_added_once(store: Store) -> None:
    store.add_index("team", by_team)

    with pytest.raises(AlreadyStartedError, match="team"):
        store.add_index("team", by_team)


@pytest.mark.behaviour("K5")
def test_a_selection_is_what_matches_in_every_respect(store: Store) -> None:
    store.add_index("team", by_team)
    store.add_index("name", lambda entry: [entry.meta.name])
    replace(
        store,
        entry("a", team="red", namespace="x"),
        entry("b", team="red", namespace="x"),
        entry("c", team="red", namespace="y"),
    )
    red = LabelSelector.parse("team=red")

    assert names(store.select("x", labels=red)) == {"a", "b"}
    assert names(store.select("x", indexed=[("team", "red")])) == {"a", "b"}
    both = [("team", "red"), ("name", "b")]
    assert names(store.select(indexed=both)) == {"b"}
    assert names(store.select("y", indexed=both)) == set()
    assert names(store.select(labels=LabelSelector.parse("!team"))) == set()
    with pytest.raises(NotIndexedError, match="age"):
        store.select(indexed=[("team", "red"), ("age", "1")])


def test_an_index_may_look_into_the_body(store: Store) -> None:
    store.add_index("kind", index_by_body(lambda body: [str(body["kind"])]))
    replace(store, RawObject(Meta(name="a"), b'{"kind":"x"}'))

    assert names(store.by_index("kind", "x")) == {"a"}


def test_an_index_of_bodies_leaves_out_and_names_what_it_cannot_read(
    store: Store,
) -> None:
    store.add_index("kind", index_by_body(lambda body: [str(body["kind"])]))

    with capture_logs() as logs:
        replace(store, RawObject(Meta(name="b"), b'{"kind":"x"}'), entry("a"))

    assert names(store.by_index("kind", "x")) == {"b"}
    assert [(it["event"], it["object"]) for it in logs] == [
        ("object not indexed", "n/a")
    ]


def test_a_store_knows_its_size(store: Store) -> None:
    replace(store, entry("a", 1), entry("b", 1))
    assert store.bytes == len("a@1b@1")

    apply(store, Change(entry("a", 1000)), Change(entry("b"), gone=True))

    assert store.bytes == len("a@1000")


@pytest.mark.behaviour("S11")
def test_a_listener_is_called_when_a_change_is_whole_until_it_leaves(
    store: Store,
) -> None:
    seen: list[tuple[str, int]] = []
    leave = store.on_change(lambda: seen.append((store.resource_version, len(store))))

    replace(store, entry("a"), version="1")
    apply(store, Change(entry("b")), version="2")
    apply(store, version="3")
    leave()
    leave()
    apply(store, version="4")

    assert seen == [("1", 1), ("2", 2), ("3", 2)]


def test_a_scratch_store_has_the_indexes_and_none_of_the_objects(store: Store) -> None:
    store.add_index("team", by_team)
    replace(store, entry("a", team="red"))

    scratch = store.scratch()
    replace(scratch, entry("b", team="red"))

    assert scratch.gvk == store.gvk
    assert names(scratch.by_index("team", "red")) == {"b"}
    assert names(store.by_index("team", "red")) == {"a"}
