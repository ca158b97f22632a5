"""Fields that we let go of, and fields that are taken over."""

from __future__ import annotations

from typing import Any

import pytest

from controller_runtime import InvalidError, Json
from controllers.autopilot.ownership import (
    Contested,
    complaints,
    contested,
    owned,
    release,
    take,
)


def live(fields: Json, **body: Any) -> Json:
    entries = [
        {"manager": "bob", "operation": "Update", "fieldsV1": {"f:spec": {}}},
        {"manager": "us", "operation": "Apply", "fieldsV1": fields},
    ]
    return {"metadata": {"resourceVersion": "7", "managedFields": entries}, **body}


def test_releasing_takes_a_field_out_of_our_entry_alone() -> None:
    """Scenario 14, down to the patch."""
    fields: Json = {"f:data": {"f:a": {}, "f:b": {}}}

    operations = release(live(fields), manager="us", pointers=[("data", "a")])

    assert operations == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {
            "op": "add",
            "path": "/metadata/managedFields/1/fieldsV1",
            "value": {"f:data": {"f:b": {}}},
        },
    ]


def test_a_map_of_which_nothing_is_left_is_not_owned_as_a_whole() -> None:
    fields: Json = {"f:data": {"f:a": {}}, "f:spec": {"f:x": {}}}

    operations = release(live(fields), manager="us", pointers=[("data", "a")])

    assert operations is not None
    assert operations[1]["value"] == {"f:spec": {"f:x": {}}}


def test_an_item_with_a_key_is_released_by_index_and_by_key() -> None:
    rule: Json = {".": {}, "f:name": {}, "f:interval": {}}
    fields = {"f:rules": {'k:{"name":"x"}': rule, 'k:{"name":"y"}': rule}}
    obj = live(fields, rules=[{"name": "x"}, {"name": "y"}])

    for step in ("1", "[name=y]"):
        pointer = ("rules", step, "interval")
        operations = release(obj, manager="us", pointers=[pointer])
        assert operations is not None
        assert operations[1]["value"]["f:rules"] == {
            'k:{"name":"x"}': rule,
            'k:{"name":"y"}': {".": {}, "f:name": {}},
        }


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"f:spec": {"f:list": {}}}, ("spec", "list", "0")),
        ({"f:spec": {"f:selector": {}}}, ("spec", "selector", "app")),
        ({"f:spec": {"f:a": {}}}, ("spec", "b")),
        ({}, ("spec",)),
    ],
    ids=["in an atomic list", "in an atomic map", "another's", "nothing"],
)
def test_what_cannot_be_let_go_of_is_not_released(
    fields: Json, pointer: tuple[str, ...]
) -> None:
    obj = live(fields, spec={"list": ["x"], "selector": {"app": "x"}, "b": 1})

    assert release(obj, manager="us", pointers=[pointer]) is None
    assert owned(obj, manager="us", pointers=[pointer]) == ()
    assert release(obj, manager="nobody", pointers=[pointer]) is None


EDIT = "kubectl-edit"
PORT: Json = {".": {}, "f:name": {}, "f:port": {}}


def refusal(*fields: object) -> InvalidError:
    causes = [{"field": field, "reason": "FieldValueInvalid"} for field in fields]
    return InvalidError("no", status=422, details={"causes": causes})


@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ("spec.ports[1].name", ("spec", "ports")),
        ("spec.template.spec.volumes[0].x", ("spec", "template", "spec", "volumes")),
        ("spec.strategy.rollingUpdate", ("spec", "strategy", "rollingUpdate")),
        ("metadata.annotations[example.com/a]", ("metadata", "annotations")),
    ],
)
def test_a_complaint_is_about_the_list_and_not_an_item_that_is_not_there(
    field: str, pointer: tuple[str, ...]
) -> None:
    assert complaints(refusal(field)) == (pointer,)


@pytest.mark.parametrize("details", [{}, {"causes": None}, {"causes": [1, {}]}])
def test_a_refusal_that_names_no_field_complains_of_none(details: Json) -> None:
    assert complaints(InvalidError("no", status=422, details=details)) == ()
    assert complaints(refusal(None, "", "[0]")) == ()


def edited(fields: Json, *, manager: str = EDIT, **entry: Any) -> Json:
    theirs = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsV1": fields,
        **entry,
    }
    ours = {
        "manager": "us",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsV1": {"f:spec": {"f:selector": {}}},
    }
    ports = [
        {"name": "http", "port": 8080, "protocol": "TCP"},
        {"name": "own", "port": 9000, "protocol": "TCP", "nodePort": 30000},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"resourceVersion": "7", "managedFields": [theirs, ours]},
        "spec": {"ports": ports, "type": "NodePort"},
    }


def by_port(port: int, fields: Json = PORT) -> Json:
    key = f'k:{{"port":{port},"protocol":"TCP"}}'
    return {"f:spec": {"f:ports": {key: fields}}}


DESIRED: Json = {
    "apiVersion": "v1",
    "spec": {
        "ports": [{"name": "http", "port": 80}, {"name": "own", "port": 9000}],
    },
}
PORTS = [("spec", "ports")]


def found(live: Json, **more: Any) -> list[tuple[str, ...]]:
    given = {"about": PORTS, "managers": [EDIT], **more}
    return [each.pointer for each in contested(live, DESIRED, **given)]


def test_an_item_that_an_edit_put_into_a_list_of_ours_is_contested() -> None:
    assert found(edited(by_port(8080))) == [("spec", "ports", "0")]


def test_an_item_is_ours_even_if_we_leave_part_of_its_key_to_a_default() -> None:
    assert found(edited(by_port(9000))) == []


def test_a_field_of_an_item_is_contested_if_no_item_is() -> None:
    node_port = by_port(9000, {"f:nodePort": {}})
    both = {"f:spec": {"f:ports": {**node_port["f:spec"]["f:ports"]}}}
    assert found(edited(both)) == [("spec", "ports", "1", "nodePort")]

    both["f:spec"]["f:ports"] |= by_port(8080)["f:spec"]["f:ports"]
    assert found(edited(both)) == [("spec", "ports", "0")]


@pytest.mark.parametrize(
    "more",
    [
        {"managers": []},
        {"managers": ["kubectl-patch"]},
        {"about": [("spec", "type")]},
        {"about": []},
        {"masked": [("spec", "ports", "[name=http]")]},
        {"masked": [("spec",)]},
    ],
)
def test_what_is_not_complained_of_or_not_to_be_taken_is_not_contested(
    more: Json,
) -> None:
    assert found(edited(by_port(8080)), **more) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"operation": "Apply"},
        {"subresource": "status"},
        {"apiVersion": "v2"},
    ],
)
def test_only_what_was_updated_in_our_version_is_contested(entry: Json) -> None:
    assert found(edited(by_port(8080), **entry)) == []


def test_a_field_of_its_own_is_contested_and_metadata_never_is() -> None:
    fields: Json = {
        "f:metadata": {"f:annotations": {"f:a": {}}},
        "f:spec": {"f:type": {}},
    }
    live = edited(fields)
    live["metadata"]["annotations"] = {"a": "b"}

    about = [("spec", "type"), ("metadata", "annotations")]
    assert found(live, about=about) == [("spec", "type")]


def test_what_is_taken_moves_from_their_entry_to_ours() -> None:
    fields = by_port(8080)
    fields["f:spec"]["f:type"] = {}
    live = edited(fields)

    precondition, operation = take(
        live, [Contested(EDIT, ("spec", "ports", "0"))], manager="us"
    )

    assert precondition["value"] == "7"
    theirs, ours = operation["value"]
    assert theirs["fieldsV1"] == {"f:spec": {"f:type": {}}}
    assert ours["manager"] == "us"
    assert ours["fieldsV1"] == {"f:spec": {"f:selector": {}, **by_port(8080)["f:spec"]}}
    assert live == edited(fields)


def test_an_entry_of_which_nothing_is_left_goes_and_a_missing_one_is_made() -> None:
    live = edited(by_port(8080))
    del live["metadata"]["managedFields"][1]

    _, operation = take(live, [Contested(EDIT, ("spec", "ports", "0"))], manager="us")

    (ours,) = operation["value"]
    assert (ours["manager"], ours["operation"]) == ("us", "Apply")
    assert (ours["apiVersion"], ours["fieldsV1"]) == ("v1", by_port(8080))
