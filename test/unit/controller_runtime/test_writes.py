"""When a store shows what was written, and when nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest

from controller_runtime.meta import GroupVersionKind, Meta, NamespacedName, RawObject
from controller_runtime.question import Change
from controller_runtime.store import Store
from controller_runtime.writes import Written

KEY = NamespacedName("n", "a")


def store_at(version: str, entry: dict[str, Any] | None = None) -> Store:
    """Return a store that has come to `version`, with at most one object."""
    store = Store(GroupVersionKind("", "v1", "ConfigMap"))
    changes = []
    if entry is not None:
        meta = Meta(name=KEY.name, namespace=KEY.namespace, **entry)
        changes = [Change(RawObject(meta, b"{}"))]
    store.apply(changes, version)
    return store


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize(
    ("written", "at", "entry", "ordered", "shown"),
    [
        # a version, where versions are ordered
        (Written("10"), "9", None, True, False),
        (Written("10"), "10", None, True, True),
        (Written("10"), "11", {"uid": "u", "resource_version": "9"}, True, False),
        (Written("10"), "9", {"uid": "u", "resource_version": "10"}, True, True),
        (Written("10"), "", None, True, False),
        (Written("9"), "10", None, True, True),
        (Written("b"), "c", None, True, False),
        (Written("b"), "b", None, True, True),
        # and where they are not
        (Written("10"), "11", None, False, False),
        (Written("10"), "11", {"uid": "u", "resource_version": "10"}, False, True),
        (Written("10"), "11", {"uid": "u", "resource_version": "12"}, False, True),
        (Written("b"), "c", {"uid": "u", "resource_version": "b"}, False, True),
        (Written("b"), "c", {"uid": "u", "resource_version": "c"}, False, False),
        # an end
        (Written(gone="u"), "5", {"uid": "u", "resource_version": "5"}, True, False),
        (Written(gone="u"), "5", {"uid": "v", "resource_version": "5"}, True, True),
        (Written(gone="u"), "5", None, False, True),
        # an end that something holds up
        (
            Written("7", "u", lingers=True),
            "7",
            {"uid": "u", "resource_version": "7", "deletion_timestamp": "now"},
            True,
            True,
        ),
        (
            Written("7", "u", lingers=True),
            "6",
            {"uid": "u", "resource_version": "6"},
            True,
            False,
        ),
        # an end of what the store has not seen yet
        (Written("7", "u"), "6", None, True, False),
        (Written("7", "u"), "8", None, True, True),
    ],
)
def test_a_store_shows_a_write_or_not(
    written: Written,
    at: str,
    entry: dict[str, Any] | None,
    *,
    ordered: bool,
    shown: bool,
) -> None:
    left = written.left(store_at(at, entry), KEY, ordered=ordered)

    assert bool(left) is not shown


def test_of_two_versions_of_one_object_the_later_is_waited_for() -> None:
    assert Written("10").after(Written("9")) == Written("10")
    assert Written("9").after(Written("10")).version == "10"


def test_a_deletion_waits_for_what_was_written_before_it() -> None:
    assert Written(gone="u").after(Written("10")) == Written("10", "u")


def test_what_was_seen_once_is_not_waited_for_again() -> None:
    written = Written("10", "u")

    left = written.left(
        store_at("10", {"uid": "u", "resource_version": "10"}), KEY, ordered=False
    )

    assert left == Written(gone="u")
    assert not left.left(store_at("11"), KEY, ordered=False)


def test_a_later_object_of_the_name_ends_the_wait_for_the_end_of_the_first() -> None:
    assert Written("20").after(Written(gone="u")) == Written("20")
