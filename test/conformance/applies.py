"""Server-side apply, on any API server: who owns what, who is in whose way."""

from __future__ import annotations

import pytest

from conformance.kit import APPLY, Api, config_map, deployment, version_of, widget
from controller_runtime.meta import Json


def owners(object_: Json) -> list[tuple[str, str]]:
    managed = object_["metadata"].get("managedFields", [])
    return [(entry["manager"], entry["operation"]) for entry in managed]


async def test_an_apply_creates_what_is_not_there(api: Api) -> None:
    path = f"{api.configmaps}/web"

    answer = await api.call(
        "PATCH", path, config_map("web"), content_type=APPLY, fieldManager="one"
    )

    assert answer.status == 201
    assert answer.body["data"] == {"colour": "blue"}
    assert answer.body["metadata"]["uid"]
    (entry,) = answer.body["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("one", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:colour": {}}}


async def test_the_same_apply_again_changes_nothing(api: Api) -> None:
    path = f"{api.widgets}/web"
    first = await api.apply(path, widget("web"), "one")

    again = await api.apply(path, widget("web"), "one")

    assert again == first


async def test_an_apply_of_another_value_moves_the_time_of_its_owner(api: Api) -> None:
    path = f"{api.configmaps}/web"

    times = set()
    for value in range(5_000):  # the time is in seconds: a few hundred do
        data = {"colour": str(value)}
        applied = await api.apply(path, config_map("web", data=data), "one")
        times.add(applied["metadata"]["managedFields"][0]["time"])
        if len(times) > 1:
            break

    assert len(times) == 2


async def test_what_is_no_longer_applied_is_removed(api: Api) -> None:
    path = f"{api.configmaps}/web"
    both = config_map("web", data={"a": "1", "b": "2"})
    await api.apply(path, both, "one")
    await api.apply(path, config_map("web", data={"c": "3"}), "two")

    applied = await api.apply(path, config_map("web", data={"a": "1"}), "one")

    assert applied["data"] == {"a": "1", "c": "3"}


async def test_another_value_for_anothers_field_is_a_conflict(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.apply(path, config_map("web"), "one")
    red = config_map("web", data={"colour": "red"})

    status, said = await api.call(
        "PATCH", path, red, content_type=APPLY, fieldManager="two"
    )
    assert (status, said["reason"]) == (409, "Conflict")
    text = 'Apply failed with 1 conflict: conflict with "one": .data.colour'
    assert said["message"] == text
    assert said["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "one"',
            "field": ".data.colour",
        }
    ]

    taken = await api.apply(path, red, "two", force="true")
    assert taken["data"] == {"colour": "red"}
    assert owners(taken) == [("two", "Apply")]


async def test_several_conflicts_are_listed(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.apply(path, config_map("web", data={"a": "1", "b": "1"}), "one")

    _, said = await api.call(
        "PATCH",
        path,
        config_map("web", data={"a": "2", "b": "2"}),
        content_type=APPLY,
        fieldManager="two",
    )

    assert said["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'
    )


async def test_the_same_value_is_owned_together(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.apply(path, config_map("web"), "one")

    shared = await api.apply(path, config_map("web"), "two")
    assert sorted(owners(shared)) == [("one", "Apply"), ("two", "Apply")]

    left = await api.apply(path, config_map("web", data={}), "one")
    assert left["data"] == {"colour": "blue"}
    gone = await api.apply(path, config_map("web", data={}), "two")
    assert not gone.get("data")


async def test_a_plain_write_takes_the_field_from_its_owner(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.apply(path, config_map("web"), "one")

    patched = await api.patch(path, {"data": {"colour": "red"}}, fieldManager="by-hand")
    assert owners(patched) == [("by-hand", "Update")]

    status, said = await api.call(
        "PATCH", path, config_map("web"), content_type=APPLY, fieldManager="one"
    )
    assert status == 409
    assert 'conflict with "by-hand" using v1' in said["message"]


async def test_what_was_there_before_has_an_owner_too(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.create(api.configmaps, {"metadata": {"name": "web"}})
    unowned = await api.patch(path, {"data": {"colour": "red"}})
    assert owners(unowned) == []

    status, said = await api.call(
        "PATCH", path, config_map("web"), content_type=APPLY, fieldManager="one"
    )

    assert status == 409
    assert 'conflict with "before-first-apply" using v1' in said["message"]


async def test_the_items_of_a_list_are_owned_one_by_one(api: Api) -> None:
    deployments = api.path("deployments", "apps/v1")
    path = f"{deployments}/web"
    await api.apply(path, deployment("web"), "one")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    variable = {"name": "C", "value": "3"}
    containers = [{"name": "main", "env": [variable]}]
    mine = {**body, "spec": {"template": {"spec": {"containers": containers}}}}

    added = await api.apply(path, mine, "two")
    (container,) = added["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["A", "B", "C"]

    status, said = await api.call(
        "PATCH",
        path,
        {
            **body,
            "spec": {
                "template": {
                    "spec": {"containers": [{"name": "main", "image": "other"}]}
                }
            },
        },
        content_type=APPLY,
        fieldManager="two",
    )
    assert status == 409
    field = '.spec.template.spec.containers[name="main"].image'
    assert said["details"]["causes"][0]["field"] == field

    removed = await api.apply(path, body, "two")
    (container,) = removed["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["A", "B"]
    assert container["image"] == "registry.example/main:1"


async def test_a_status_is_applied_apart(api: Api) -> None:
    path = f"{api.widgets}/web"
    await api.apply(path, widget("web"), "one")

    applied = await api.apply(
        f"{path}/status", widget("web", status={"ready": True}), "one"
    )

    assert applied["status"] == {"ready": True}
    assert applied["spec"] == {"size": 1}
    entries = applied["metadata"]["managedFields"]
    assert [entry.get("subresource", "") for entry in entries] == ["", "status"]


@pytest.mark.behaviour("K11")
async def test_an_apply_of_a_stale_version_is_a_conflict(api: Api) -> None:
    path = f"{api.configmaps}/web"
    made = await api.apply(path, config_map("web"), "one")
    stale = {"resourceVersion": str(version_of(made) - 1)}

    status, said = await api.call(
        "PATCH",
        path,
        config_map("web", metadata=stale, data={"colour": "red"}),
        content_type=APPLY,
        fieldManager="one",
    )

    assert (status, said["reason"]) == (409, "Conflict")


async def test_a_dry_run_tells_what_would_be(api: Api) -> None:
    path = f"{api.configmaps}/web"
    before = await api.apply(path, config_map("web"), "one")
    red = config_map("web", data={"colour": "red"})

    would_be = await api.apply(path, red, "one", dryRun="All")

    assert would_be["data"] == {"colour": "red"}
    assert await api.get(path) == before


async def test_an_apply_needs_to_say_by_whom_and_what(api: Api) -> None:
    path = f"{api.configmaps}/web"
    managed = config_map("web", metadata={"managedFields": [{"manager": "x"}]})

    status, said = await api.call("PATCH", path, config_map("web"), content_type=APPLY)
    assert (status, said["reason"]) == (422, "Invalid")
    assert "fieldManager: Required value: is required for apply" in said["message"]

    status, said = await api.call(
        "PATCH", path, managed, content_type=APPLY, fieldManager="one"
    )
    assert (status, said["reason"]) == (400, "BadRequest")
    assert said["message"] == "metadata.managedFields must be nil"

    status, said = await api.call(
        "PATCH", path, {"data": {}}, content_type=APPLY, fieldManager="one"
    )
    assert (status, said["reason"]) == (400, "BadRequest")

    await api.create(api.configmaps, config_map("web"))
    status, said = await api.call(
        "PATCH",
        path,
        {},
        content_type="application/merge-patch+json",
        fieldManager="one",
        force="true",
    )
    assert (status, said["reason"]) == (422, "Invalid")
    assert "force: Forbidden" in said["message"]
