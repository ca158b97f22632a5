"""Watches, on any API server: where they start, what they tell, how they end."""

from __future__ import annotations

import pytest

from conformance.kit import Api, version_of, widget
from controller_runtime.errors import ApiError
from controller_runtime.meta import Json

END = "k8s.io/initial-events-end"


async def version_now(api: Api) -> str:
    listed = await api.get(api.widgets)
    return str(listed["metadata"]["resourceVersion"])


async def label(api: Api, name: str, tier: str | None) -> Json:
    return await api.patch(
        f"{api.widgets}/{name}", {"metadata": {"labels": {"tier": tier}}}
    )


@pytest.mark.behaviour("R8")
async def test_a_watch_tells_what_happened_after_its_version(api: Api) -> None:
    await api.create(api.widgets, widget("before"))
    start = await version_now(api)
    await api.create(api.widgets, widget("web"))

    async with api.watch(api.widgets, resourceVersion=start) as events:
        assert await events.names(1) == [("ADDED", "web")]
        await api.patch(f"{api.widgets}/web", {"spec": {"size": 2}})
        kind, object_ = await events.next()
        assert (kind, object_["spec"]) == ("MODIFIED", {"size": 2})
        assert (object_["kind"], object_["apiVersion"][-2:]) == ("Widget", "v1")
        await api.delete(f"{api.widgets}/web")
        kind, gone = await events.next()

    assert kind == "DELETED"
    assert gone["spec"] == {"size": 2}
    assert version_of(gone) > version_of(object_)


async def test_what_changes_nothing_is_not_told(api: Api) -> None:
    await api.create(api.widgets, widget("web"))
    start = await version_now(api)

    async with api.watch(api.widgets, resourceVersion=start) as events:
        await api.patch(f"{api.widgets}/web", {"spec": {"size": 1}})
        await api.create(api.widgets, widget("witness"))

        assert await events.names(1) == [("ADDED", "witness")]


async def test_a_watch_from_nowhere_begins_with_all_there_is(api: Api) -> None:
    await api.create(api.widgets, widget("a"))
    await api.create(api.widgets, widget("b"))

    async with api.watch(api.widgets) as events:
        assert await events.names(2) == [("ADDED", "a"), ("ADDED", "b")]
        await api.create(api.widgets, widget("c"))
        assert await events.names(1) == [("ADDED", "c")]


@pytest.mark.behaviour("R9")
async def test_a_watch_list_says_when_all_was_told(api: Api) -> None:
    last = await api.create(api.widgets, widget("a"))

    async with api.watch(
        api.widgets,
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    ) as events:
        assert await events.names(1) == [("ADDED", "a")]
        kind, bookmark = await events.next()
        await api.delete(f"{api.widgets}/a")
        assert await events.names(1) == [("DELETED", "a")]

    assert kind == "BOOKMARK"
    assert bookmark["kind"] == "Widget"
    assert bookmark["metadata"]["annotations"] == {END: "true"}
    assert version_of(bookmark) >= version_of(last)


async def test_a_watch_of_a_selection_tells_who_enters_and_leaves_it(api: Api) -> None:
    await api.create(api.widgets, widget("web"))
    start = await version_now(api)

    async with api.watch(
        api.widgets, resourceVersion=start, labelSelector="tier=front"
    ) as events:
        await label(api, "web", "back")
        await label(api, "web", "front")
        entered = await events.next()
        await api.patch(f"{api.widgets}/web", {"spec": {"size": 2}})
        inside = await events.next()
        moved = await label(api, "web", "back")
        left = await events.next()

    assert [kind for kind, _ in (entered, inside, left)] == [
        "ADDED",
        "MODIFIED",
        "DELETED",
    ]
    assert left[1]["metadata"]["labels"] == {"tier": "front"}
    assert version_of(left[1]) == version_of(moved)


async def test_a_watch_can_be_of_one_object(api: Api) -> None:
    start = await version_now(api)

    async with api.watch(
        api.widgets, resourceVersion=start, fieldSelector="metadata.name=b"
    ) as events:
        for name in ("a", "b"):
            await api.create(api.widgets, widget(name))

        assert await events.names(1) == [("ADDED", "b")]


@pytest.mark.behaviour("R5")
async def test_a_watch_ends_after_its_time(api: Api) -> None:
    start = await version_now(api)

    async with api.watch(
        api.widgets, resourceVersion=start, timeoutSeconds="1"
    ) as events:
        assert await events.rest() == []


@pytest.mark.behaviour("R7")
async def test_a_watch_from_the_future_is_an_error_in_the_stream(api: Api) -> None:
    async with api.watch(
        api.widgets,
        resourceVersion="99999999999",
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    ) as events:
        kind, status = await events.next()

    assert kind == "ERROR"
    assert (status["code"], status["reason"]) == (504, "Timeout")
    causes = status["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["ResourceVersionTooLarge"]


@pytest.mark.parametrize(
    "params",
    [
        {"sendInitialEvents": "true"},
        {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
    ],
)
async def test_options_that_do_not_go_together_are_refused_before_the_stream(
    api: Api, params: dict[str, str]
) -> None:
    with pytest.raises(ApiError) as caught:
        async with api.watch(api.widgets, **params):
            pass

    assert (caught.value.status, caught.value.reason) == (422, "Invalid")
