"""Which patch is in force."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller_runtime import Json
from controllers.autopilot.annotations import AnnotationKeys, Wishes
from controllers.autopilot.overrides import (
    MAX_OPERATIONS,
    SENSITIVE_KINDS,
    OverrideError,
    Patched,
    PatchRules,
    patched,
    read_patch,
)

KEYS = AnnotationKeys("example.com")
LABEL = "example.com/managed-by"
RULES = PatchRules(keys=KEYS, managed_by_label=LABEL)


def baseline(kind: str = "ConfigMap", **fields: Any) -> Json:
    metadata = {"name": "a", "namespace": "shop", "labels": {LABEL: "us"}}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"replicas": 1, "hosts": ["x", "y"]},
        **fields,
    }


def op(name: str, path: str, **members: object) -> dict[str, object]:
    return {"op": name, "path": path, **members}


def made(*operations: object, last_good: str = "", kind: str = "ConfigMap") -> Patched:
    wishes = Wishes(patch=json.dumps(operations), last_good=last_good)
    return patched(baseline(kind), wishes, RULES)


def test_without_an_annotation_the_baseline_stands() -> None:
    result = patched(baseline(), Wishes(last_good="[]"), RULES)

    assert result == Patched(object=baseline())


@pytest.mark.parametrize(
    ("operation", "spec"),
    [
        (
            op("replace", "/spec/replicas", value=3),
            {"replicas": 3, "hosts": ["x", "y"]},
        ),
        (op("remove", "/spec/replicas"), {"hosts": ["x", "y"]}),
        (op("add", "/spec/hosts/-", value="z"), {"replicas": 1, "hosts": [*"xyz"]}),
        (
            op("copy", "/spec/more", **{"from": "/spec/hosts/0"}),
            {"replicas": 1, "hosts": ["x", "y"], "more": "x"},
        ),
        (
            op("move", "/spec/more", **{"from": "/spec/replicas"}),
            {"hosts": ["x", "y"], "more": 1},
        ),
        (
            op("test", "/spec/replicas", value=1),
            {"replicas": 1, "hosts": ["x", "y"]},
        ),
    ],
    ids=lambda it: str(it.get("op", "")),
)
def test_every_operation_of_the_standard_works(
    operation: dict[str, object], spec: Json
) -> None:
    result = made(operation)

    assert result.problem == ""
    assert result.operations == 1
    assert result.object == baseline(spec=spec)


@pytest.mark.parametrize(
    "operation",
    [
        op("remove", "/spec/missing"),
        op("replace", "/spec/missing", value=1),
        op("test", "/spec/replicas", value=2),
        op("test", "/spec/missing", value=2),
        op("add", "/spec/hosts/7", value="z"),
        op("add", "/spec/replicas/x", value="z"),
        op("copy", "/spec/x", **{"from": "/spec/missing"}),
        op("add", "/spec/x"),
        op("move", "/spec/x"),
        op("turn", "/spec/x"),
        op("remove", "spec"),
        op("remove", ""),
        op("remove", "/spec/~2"),
        {"op": "remove"},
        {"op": "remove", "path": 7},
        "remove",
        {},
    ],
    ids=str,
)
def test_a_patch_that_does_not_work_leaves_the_baseline(operation: object) -> None:
    result = made(op("replace", "/spec/replicas", value=9), operation)

    assert result.object == baseline()
    assert result.problem
    assert result.in_force == ""


@pytest.mark.parametrize("text", ["[{", "{}", "null", '"x"', "[" * 100_000, "[NaN]"])
def test_what_is_no_patch_is_told(text: str) -> None:
    result = patched(baseline(), Wishes(patch=text), RULES)

    assert result.object == baseline()
    assert "the patch is not" in result.problem


@pytest.mark.parametrize(
    "path",
    [
        "/metadata/name",
        "/metadata/name/x",
        "/metadata/namespace",
        "/metadata/managedFields",
        "/metadata/finalizers/0",
        "/metadata/ownerReferences",
        "/metadata",
        "/metadata/labels",
        "/metadata/labels/example.com~1managed-by",
        "/apiVersion",
        "/kind",
        "/status/conditions",
        "/status",
    ],
)
@pytest.mark.parametrize("member", ["path", "from"])
def test_what_identifies_an_object_is_forbidden(path: str, member: str) -> None:
    """Scenarios 9 and 10: in it, it, and what holds it; also as the origin."""
    members = {"path": "/spec/x", "from": "/spec/replicas", member: path}

    result = made({"op": "move", **members})

    assert "forbidden" in result.problem
    assert path in result.problem
    assert result.object == baseline()


@pytest.mark.parametrize(
    "path", ["/kindred", "/statusUpdate", "/metadata/names-custom", "/apiVersions"]
)
def test_what_only_looks_alike_is_allowed(path: str) -> None:
    """Scenario 10."""
    result = made(op("add", path, value="x"))

    assert result.problem == ""


def test_first_annotations_and_labels_can_be_added() -> None:
    result = made(
        op("add", "/metadata/annotations/a", value="1"),
        op("add", "/metadata/labels/b", value="2"),
    )

    assert result.object["metadata"]["annotations"] == {"a": "1"}
    assert result.object["metadata"]["labels"] == {LABEL: "us", "b": "2"}


def test_a_patch_that_adds_none_leaves_no_empty_annotations() -> None:
    result = made(op("replace", "/spec/replicas", value=2))

    assert result.object["metadata"] == baseline()["metadata"]


@pytest.mark.parametrize(
    "key", ["mode", "reconcile-paused", "patch", "patch-last-good", "ignore-fields"]
)
def test_a_patch_writes_no_annotation_that_steers_us(key: str) -> None:
    path = f"/metadata/annotations/example.com~1{key}"

    assert "forbidden" in made(op("add", path, value="x")).problem
    whole = op("add", "/metadata/annotations", value={f"example.com/{key}": "x"})
    assert "forbidden" in made(whole).problem


@pytest.mark.parametrize("kind", sorted(SENSITIVE_KINDS))
def test_sensitive_kinds_take_no_patch(kind: str) -> None:
    """Scenario 8."""
    result = made(op("replace", "/spec/replicas", value=2), kind=kind)

    assert "sensitive" in result.problem
    assert kind in result.problem
    assert result.object == baseline(kind)


def test_the_last_good_patch_stands_in_for_a_bad_one() -> None:
    good = json.dumps([op("replace", "/spec/replicas", value=5)])

    result = made(op("remove", "/spec/missing"), last_good=good)

    assert result.object["spec"]["replicas"] == 5
    assert (result.in_force, result.is_held) == (good, True)
    assert "/spec/missing" in result.problem


def test_a_last_good_patch_that_somebody_spoilt_is_not_used() -> None:
    spoilt = json.dumps([op("replace", "/kind", value="Secret")])

    result = made(op("remove", "/spec/missing"), last_good=spoilt)

    assert result.object == baseline()
    assert "/spec/missing" in result.problem


def test_a_patch_that_the_server_refused_is_not_tried_again() -> None:
    text = json.dumps([op("replace", "/spec/replicas", value=5)])

    result = patched(baseline(), Wishes(patch=text), RULES, refused={text: "too many"})

    assert result == Patched(object=baseline(), problem="too many")


def test_copies_of_copies_end_before_they_fill_the_memory() -> None:
    big = op("add", "/spec/0", value="x" * 1000)
    copies = [op("copy", f"/spec/{n + 1}", **{"from": "/spec"}) for n in range(100)]

    assert "bytes" in made(big, *copies).problem


def test_what_a_patch_may_copy_is_limited_and_not_just_what_it_leaves() -> None:
    """Copies over copies: the object stays small, and the loop would stand still."""
    big = op("add", "/spec/0", value=["x"] * 20_000)
    copies = [op("copy", "/spec/1", **{"from": "/spec/0"}) for _ in range(200)]

    assert "bytes" in made(big, *copies).problem


def test_applying_a_patch_changes_neither_patch_nor_baseline() -> None:
    operations = [
        op("add", "/spec/new", value={"a": 1}),
        op("add", "/spec/new/b", value=2),
        op("add", "/spec/hosts/-", value="z"),
    ]

    first = made(*operations)
    second = made(*operations)

    assert first == second
    assert first.object["spec"]["new"] == {"a": 1, "b": 2}


def test_a_patch_nests_no_deeper_than_objects_may() -> None:
    value: Any = 1
    for _ in range(101):
        value = [value]

    assert "deeper" in made(op("add", "/spec/deep", value=value)).problem


def test_a_patch_has_only_so_many_operations() -> None:
    operations = [op("test", "/spec/replicas", value=1)] * (MAX_OPERATIONS + 1)

    with pytest.raises(OverrideError, match=str(MAX_OPERATIONS)):
        read_patch(json.dumps(operations), RULES)
