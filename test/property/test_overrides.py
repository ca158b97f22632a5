"""Whatever users write into annotations, objects stay who they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller_runtime import Json
from controllers.autopilot.annotations import AnnotationKeys, Wishes
from controllers.autopilot.masks import copied, moved, out_of, read_masks
from controllers.autopilot.overrides import PatchRules, patched
from controllers.autopilot.pointers import find, format_pointer, parse_pointer, without

LABEL = "x/managed-by"
RULES = PatchRules(keys=AnnotationKeys("x"), managed_by_label=LABEL)
BASELINE: Json = {
    "apiVersion": "v1",
    "kind": "Thing",
    "metadata": {"name": "a", "labels": {LABEL: "us"}},
    "spec": {"a": 1, "l": ["x", {"name": "y", "v": 1}]},
}

STEPS = st.sampled_from(
    [
        *("metadata", "labels", "annotations", "name", "kind", "status", "spec"),
        *("a", "l", "v", "0", "1", "-", "~0", "[name=y]"),
        *("x~1managed-by", "x~1mode"),
    ]
)
PATHS = st.lists(STEPS, max_size=4).map(lambda steps: "".join(f"/{s}" for s in steps))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "labels", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": PATHS,
        "from": PATHS,
        "value": VALUES,
    }
)


@given(st.lists(OPERATIONS, min_size=1, max_size=5))
def test_no_patch_changes_who_an_object_is(operations: list[dict[str, Any]]) -> None:
    before = json.dumps(BASELINE)

    result = patched(BASELINE, Wishes(patch=json.dumps(operations)), RULES).object

    assert json.dumps(BASELINE) == before
    assert {k: result[k] for k in ("apiVersion", "kind")} == {
        "apiVersion": "v1",
        "kind": "Thing",
    }
    assert result["metadata"]["name"] == "a"
    assert result["metadata"]["labels"][LABEL] == "us"
    assert "x/mode" not in result["metadata"].get("annotations", {})
    assert "status" not in result


@given(st.text(max_size=60))
def test_any_text_is_a_patch_or_told_to_be_none(text: str) -> None:
    wishes = Wishes(patch=text.strip())

    made = patched(BASELINE, wishes, RULES)

    assert made.problem or made.in_force or not wishes.patch


@given(st.lists(PATHS, max_size=4).map(",".join))
def test_masked_fields_are_nowhere_in_what_is_applied(text: str) -> None:
    pointers = read_masks(text, protected=RULES.protected).pointers
    free = [p for p in pointers if "1" not in p and "0" not in p]

    applied = out_of(BASELINE, free)

    assert not any(find(applied, pointer).exists for pointer in free)
    assert moved(BASELINE, copied(applied, BASELINE, free), free) == ()


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_pointers_are_written_as_they_are_read(steps: list[str]) -> None:
    assert parse_pointer(format_pointer(tuple(steps))) == tuple(steps)


@given(st.lists(st.sampled_from(["spec", "a", "l", "0", "1", "v"]), max_size=4))
def test_taking_away_what_is_not_there_changes_nothing(steps: list[str]) -> None:
    pointer = tuple(steps)
    if not find(BASELINE, pointer).exists:
        assert without(BASELINE, pointer) == BASELINE
