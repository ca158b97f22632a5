"""Lists, on any API server: what they select, which moment they show, their pages."""

from __future__ import annotations

import pytest

from conformance.kit import Api, config_map, version_of, widget
from controller_runtime.meta import Json


async def make(api: Api, *names: str) -> list[Json]:
    return [await api.create(api.widgets, widget(name)) for name in names]


def names_in(listed: Json) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def test_a_list_is_in_order_and_has_a_version(api: Api) -> None:
    last = (await make(api, "b", "a"))[-1]

    listed = await api.get(api.widgets)

    assert listed["kind"] == "WidgetList"
    assert listed["apiVersion"] == last["apiVersion"]
    assert names_in(listed) == ["a", "b"]
    assert version_of(listed) >= version_of(last)


async def test_the_items_of_a_built_in_kind_do_not_say_what_they_are(api: Api) -> None:
    await api.create(api.configmaps, config_map("web"))
    await make(api, "web")

    (built_in,) = (await api.get(api.configmaps, fieldSelector="metadata.name=web"))[
        "items"
    ]
    (custom,) = (await api.get(api.widgets))["items"]

    assert not {"kind", "apiVersion"} & built_in.keys()
    assert custom["kind"] == "Widget"


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("tier=front", ["a"]),
        ("tier==front", ["a"]),
        ("tier!=front", ["b", "c"]),
        ("tier in (front, back)", ["a", "b"]),
        ("tier notin (front)", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
        ("tier,tier!=back", ["a"]),
    ],
)
async def test_labels_select(api: Api, selector: str, found: list[str]) -> None:
    for name, labels in (("a", {"tier": "front"}), ("b", {"tier": "back"}), ("c", {})):
        await api.create(api.widgets, widget(name, metadata={"labels": labels}))

    assert names_in(await api.get(api.widgets, labelSelector=selector)) == found


async def test_name_and_namespace_select(api: Api) -> None:
    await make(api, "a", "b")
    everywhere = api.widgets.replace(f"/namespaces/{api.namespace}", "")
    here = f"metadata.namespace={api.namespace}"

    one = await api.get(api.widgets, fieldSelector="metadata.name=b")
    rest = await api.get(everywhere, fieldSelector=f"{here},metadata.name!=b")

    assert names_in(one) == ["b"]
    assert names_in(rest) == ["a"]


@pytest.mark.parametrize(
    ("parameter", "selector"),
    [
        ("labelSelector", "a b"),
        ("labelSelector", "a in b"),
        ("fieldSelector", "spec"),
        ("fieldSelector", "spec.size=1"),
    ],
)
async def test_a_selector_that_cannot_be_is_refused(
    api: Api, parameter: str, selector: str
) -> None:
    status, said = await api.call("GET", api.widgets, **{parameter: selector})

    assert (status, said["reason"]) == (400, "BadRequest")


@pytest.mark.behaviour("R2")
async def test_the_pages_of_a_list_show_one_moment(api: Api) -> None:
    await make(api, "a", "b", "c", "d")

    first = await api.get(api.widgets, limit="2")
    await make(api, "bb")
    await api.delete(f"{api.widgets}/c")
    second = await api.get(
        api.widgets, limit="2", **{"continue": first["metadata"]["continue"]}
    )

    assert names_in(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 2
    assert names_in(second) == ["c", "d"]
    assert not second["metadata"].get("continue")
    assert version_of(second) == version_of(first)


async def test_pages_of_a_selection_do_not_count_what_remains(api: Api) -> None:
    await make(api, "a", "b", "c")

    page = await api.get(api.widgets, limit="1", labelSelector="!tier")

    assert page["metadata"]["continue"]
    assert "remainingItemCount" not in page["metadata"]


async def test_any_version_is_not_paged(api: Api) -> None:
    await make(api, "a", "b", "c")
    # Now the server's cache has them, and 0 takes what it has.
    latest = await api.get(api.widgets)

    listed = await api.get(
        api.widgets, limit="1", resourceVersion="0", resourceVersionMatch="NotOlderThan"
    )

    assert names_in(latest) == names_in(listed) == ["a", "b", "c"]


async def test_an_exact_version_shows_the_past(api: Api) -> None:
    await make(api, "a", "b")
    then = (await api.get(api.widgets))["metadata"]["resourceVersion"]
    await api.delete(f"{api.widgets}/a")
    await api.patch(f"{api.widgets}/b", {"spec": {"size": 2}})
    await make(api, "c")

    exact = await api.get(
        api.widgets, resourceVersion=then, resourceVersionMatch="Exact"
    )
    newer = await api.get(
        api.widgets, resourceVersion=then, resourceVersionMatch="NotOlderThan"
    )

    assert names_in(exact) == ["a", "b"]
    assert [item["spec"]["size"] for item in exact["items"]] == [1, 1]
    assert exact["metadata"]["resourceVersion"] == then
    assert names_in(newer) == ["b", "c"]


async def test_a_version_that_cannot_be_is_refused(api: Api) -> None:
    status, said = await api.call("GET", api.widgets, resourceVersion="nonsense")
    assert (status, said["reason"]) == (400, "BadRequest")
    assert said["message"].startswith("invalid resource version")

    status, said = await api.call("GET", api.widgets, **{"continue": "nonsense"})
    assert (status, said["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    "params",
    [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        {"resourceVersionMatch": "Nonsense", "resourceVersion": "1"},
        {"sendInitialEvents": "true"},
    ],
)
async def test_options_that_do_not_go_together_are_refused(
    api: Api, params: dict[str, str]
) -> None:
    status, said = await api.call("GET", api.widgets, **params)

    assert (status, said["reason"]) == (422, "Invalid")
    assert said["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
    assert said["details"]["causes"]
