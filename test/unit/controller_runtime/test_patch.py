"""Patches say exactly what shall change."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.meta import ApiModel, GroupVersionKind, KubeObject, ObjectMeta
from controller_runtime.patch import (
    Patch,
    apply_patch,
    json_patch,
    merge_patch,
    merge_patch_from,
    strategic_merge_patch,
)


class Spec(ApiModel):
    size: int = 1
    color: str | None = None


class Widget(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Widget")

    spec: Spec = Spec()


def test_each_patch_names_its_language() -> None:
    changes = {"spec": {"size": None}}
    operations = [{"op": "remove", "path": "/spec/size"}]

    assert merge_patch(changes) == Patch(
        "application/merge-patch+json", b'{"spec":{"size":null}}'
    )
    assert strategic_merge_patch(changes) == Patch(
        "application/strategic-merge-patch+json", b'{"spec":{"size":null}}'
    )
    assert json_patch(operations) == Patch(
        "application/json-patch+json", b'[{"op":"remove","path":"/spec/size"}]'
    )


@pytest.mark.parametrize(
    "desired",
    [
        Widget(metadata=ObjectMeta(name="a"), spec=Spec(size=2)),
        {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": "a"},
            "spec": {"size": 2},
        },
    ],
)
def test_an_apply_patch_has_the_fields_that_are_set(desired: Any) -> None:
    assert apply_patch(desired) == Patch(
        "application/apply-patch+yaml",
        b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},'
        b'"spec":{"size":2}}',
    )


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {}, {"a": None}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, {}),
    ],
)
def test_a_merge_patch_has_the_differences(old: Any, new: Any, changes: Any) -> None:
    expected = json.dumps(changes, separators=(",", ":")).encode()

    assert merge_patch_from(old, new).body == expected


def test_a_merge_patch_between_models_has_the_differences() -> None:
    old = Widget(metadata=ObjectMeta(name="a"), spec=Spec(size=1, color="red"))
    new = old.model_copy(update={"spec": Spec(size=2)})

    patch = merge_patch_from(old, new)

    assert json.loads(patch.body) == {"spec": {"size": 2, "color": None}}


documents = st.recursive(
    st.integers() | st.text() | st.lists(st.integers()),
    lambda values: st.dictionaries(st.text(max_size=3), values, max_size=3),
).filter(lambda value: isinstance(value, dict))


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch: the pseudo-code of RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(documents, documents)
def test_a_merge_patch_leads_from_one_document_to_the_other(old: Any, new: Any) -> None:
    patch = json.loads(merge_patch_from(old, new).body)

    assert merged(old, patch) == new


@pytest.mark.behaviour("K11")
def test_an_optimistic_lock_sends_the_version_that_was_read() -> None:
    old = {"metadata": {"name": "a", "resourceVersion": "7"}, "a": 1}
    new = {"metadata": {"name": "a", "labels": {"x": "y"}}, "a": 1}

    patch = merge_patch_from(old, new, optimistic_lock=True)

    assert json.loads(patch.body) == {
        "metadata": {"labels": {"x": "y"}, "resourceVersion": "7"}
    }


@pytest.mark.behaviour("K11")
@pytest.mark.parametrize("old", [{}, {"metadata": {"resourceVersion": ""}}, Widget()])
def test_an_optimistic_lock_needs_a_version(old: Any) -> None:
    with pytest.raises(ValueError, match="resourceVersion"):
        merge_patch_from(old, {"a": 1}, optimistic_lock=True)


@pytest.mark.behaviour("K11")
def test_nothing_that_changed_is_still_a_patch() -> None:
    assert merge_patch_from({"a": 1}, {"a": 1}).body == b"{}"
