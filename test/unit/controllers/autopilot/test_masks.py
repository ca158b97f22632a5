"""Fields that are left to others."""

from __future__ import annotations

import pytest

from controller_runtime import Json
from controllers.autopilot.masks import (
    copied,
    moved,
    out_of,
    read_masks,
)
from controllers.autopilot.pointers import parse_pointer

PROTECTED = (("kind",), ("metadata", "name"))


def test_pointers_are_read_from_a_list_with_commas_or_an_array() -> None:
    assert read_masks(" /a , /b~1c/~0d ,", protected=()).pointers == (
        ("a",),
        ("b/c", "~d"),
    )
    assert read_masks('["/a,b"]', protected=()).pointers == (("a,b",),)


@pytest.mark.parametrize("text", ["a/b", "/a~2", "/a~", "/kind", "/metadata", "/"])
def test_a_pointer_that_cannot_be_used_is_told_and_the_others_hold(text: str) -> None:
    """Scenario 17."""
    masks = read_masks(f"{text},/spec/a", protected=(*PROTECTED, ("",)))

    assert masks.pointers == (("spec", "a"),)
    assert text in masks.problems[0]


def test_more_fields_than_anybody_writes_down_are_not_followed() -> None:
    masks = read_masks(",".join(f"/spec/{n}" for n in range(9999)), protected=())

    assert len(masks.pointers) == 256
    assert "9999 pointers are too many" in masks.problems[0]


def test_an_array_that_is_none_is_told() -> None:
    assert read_masks('["/a"', protected=()).problems
    assert read_masks("[1]", protected=()).problems


def test_masked_fields_are_left_out_of_what_is_applied() -> None:
    desired = {"spec": {"a": 1, "b": [{"name": "x", "v": 1}, {"name": "y", "v": 1}]}}
    texts = ["/spec/a", "/spec/b/[name=y]/v", "/spec/missing/x"]

    left = out_of(desired, map(parse_pointer, texts))

    assert left == {"spec": {"b": [{"name": "x", "v": 1}, {"name": "y"}]}}
    assert desired["spec"]["a"] == 1


def test_items_of_a_list_are_left_out_last_first() -> None:
    desired = {"l": list(range(12))}

    left = out_of(desired, [("l", str(n)) for n in (2, 10, 0)])

    assert left == {"l": [1, 3, 4, 5, 6, 7, 8, 9, 11]}


def test_copied_fields_have_the_live_value_or_are_gone() -> None:
    desired = {"spec": {"l": ["a", "b", "c"], "x": 1}}
    now: Json = {"spec": {"l": ["mine", "b"]}}

    made = copied(desired, now, [("spec", "l", "0"), ("spec", "l", "2"), ("spec", "x")])

    assert made == {"spec": {"l": ["mine", "b"]}}


def test_a_field_that_an_apply_would_change_has_moved() -> None:
    now = {"spec": {"a": 1, "b": 1}}

    assert moved(now, {"spec": {"a": 1}}, [("spec", "a"), ("spec", "b")]) == (
        ("spec", "b"),
    )
