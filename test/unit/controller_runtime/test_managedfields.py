"""What counts as applied, where the servers of the other tests do not go."""

from __future__ import annotations

import pytest

from controller_runtime.managedfields import is_applied
from controller_runtime.meta import Json


def live(fields: Json, **content: object) -> Json:
    entry = {
        "manager": "us",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return {"metadata": {"name": "web", "managedFields": [entry]}, **content}


def desired(**content: object) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Widget",
        "metadata": {"name": "web"},
        **content,
    }


@pytest.mark.parametrize(
    ("fields", "have", "want", "same"),
    [
        ({}, {}, {}, True),
        ({"f:a": {}}, {"a": 1}, {"a": 1}, True),
        ({"f:a": {}}, {"a": 1}, {"a": True}, False),
        ({"f:a": {}}, {"a": 1}, {"a": "1"}, False),
        ({"f:a": {}}, {"a": 1}, {}, False),
        ({}, {"a": 1}, {"a": 1}, False),
        ({"f:a": {}}, {}, {"a": 1}, False),
        # one value, whatever is in it
        ({"f:a": {}}, {"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, True),
        ({"f:a": {}}, {"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, False),
        ({"f:a": {}}, {"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"f:a": {".": {}}}, {"a": {}}, {"a": {}}, True),
        # maps
        ({"f:a": {"f:x": {}}}, {"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, True),
        ({"f:a": {"f:x": {}}}, {"a": {"x": 1}}, {"a": 5}, False),
        ({"f:a": {"f:x": {}}}, {"a": 5}, {"a": {"x": 1}}, False),
        # sets
        ({"f:a": {'v:"x"': {}}}, {"a": ["z", "x"]}, {"a": ["x"]}, True),
        ({"f:a": {'v:"x"': {}, 'v:"y"': {}}}, {"a": ["x", "y"]}, {"a": ["x"]}, False),
        (
            {"f:a": {'v:"x"': {}, 'v:"y"': {}}},
            {"a": ["x", "z", "y"]},
            {"a": ["y", "x"]},
            False,
        ),
        ({"f:a": {'v:"x"': {}}}, {"a": "x"}, {"a": ["x"]}, False),
        ({"f:a": {'v:"x"': {}}}, {"a": ["z"]}, {"a": ["x"]}, False),
        # lists with keys
        (
            {"f:a": {'k:{"n":"x"}': {".": {}, "f:n": {}, "f:v": {}}}},
            {"a": [{"n": "z"}, {"n": "x", "v": 1, "theirs": 2}]},
            {"a": [{"n": "x", "v": 1}]},
            True,
        ),
        (
            {"f:a": {'k:{"n":"x"}': {".": {}, "f:n": {}, "f:v": {}}}},
            {"a": [{"n": "x", "v": 2}]},
            {"a": [{"n": "x", "v": 1}]},
            False,
        ),
        (
            {"f:a": {'k:{"n":"x","p":"TCP"}': {".": {}, "f:n": {}}}},
            {"a": [{"n": "x", "p": "TCP"}]},
            {"a": [{"n": "x"}]},
            False,
        ),
        # what no server writes of an apply
        ({"f:a": {"i:0": {}}}, {"a": [1]}, {"a": [1]}, False),
    ],
)
def test_what_is_ours_and_equal_is_applied(
    fields: Json, have: Json, want: Json, *, same: bool
) -> None:
    it = live(fields, **have)

    assert is_applied(desired(**want), it, manager="us") is same


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("manager", "them"),
        ("operation", "Update"),
        ("apiVersion", "v2"),
        ("subresource", "status"),
        ("fieldsV1", None),
    ],
)
def test_fields_of_another_kind_prove_nothing(name: str, value: object) -> None:
    it = live({"f:a": {}}, a=1)
    it["metadata"]["managedFields"][0][name] = value

    assert not is_applied(desired(a=1), it, manager="us")


def test_fields_in_two_versions_prove_nothing() -> None:
    it = live({"f:a": {}}, a=1)
    entries = it["metadata"]["managedFields"]
    entries.append({**entries[0], "apiVersion": "v2"})

    assert not is_applied(desired(a=1), it, manager="us")
