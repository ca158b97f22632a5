"""Versions of a kind, one made of another through a hub."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import pytest

from controller_runtime.errors import ConfigError
from controller_runtime.meta import ApiModel, GroupVersionKind, Json, KubeObject
from controller_runtime.webhook import (
    ConversionError,
    Conversions,
    ConversionWebhook,
    Hub,
    Spoke,
)

GROUP = "example.com"
ALPHA = GroupVersionKind(GROUP, "v1alpha1", "Widget")


class SpecV1(ApiModel):
    size: str = ""
    """As `2x3`."""


class WidgetV1(KubeObject):
    gvk: ClassVar[GroupVersionKind] = GroupVersionKind(GROUP, "v1", "Widget")
    spec: SpecV1 = SpecV1()


class SpecV2(ApiModel):
    width: int = 0
    height: int = 0


class WidgetV2(KubeObject):
    gvk: ClassVar[GroupVersionKind] = GroupVersionKind(GROUP, "v2", "Widget")
    spec: SpecV2 = SpecV2()


def v1_to_v2(old: WidgetV1) -> WidgetV2:
    width, height = map(int, old.spec.size.split("x"))
    return WidgetV2(metadata=old.metadata, spec=SpecV2(width=width, height=height))


def v2_to_v1(new: WidgetV2) -> WidgetV1:
    return WidgetV1(spec=SpecV1(size=f"{new.spec.width}x{new.spec.height}"))


def alpha_to_v2(old: Json) -> WidgetV2:
    return WidgetV2(spec=SpecV2(width=old["w"], height=old["h"]))


def v2_to_alpha(new: WidgetV2) -> Json:
    return {"w": new.spec.width, "h": new.spec.height}


HUB = Hub(
    WidgetV2,
    Spoke(WidgetV1, v1_to_v2, v2_to_v1),
    Spoke(ALPHA, alpha_to_v2, v2_to_alpha),
)

PLAIN = Hub(
    GroupVersionKind(GROUP, "v2", "Widget"),
    Spoke(GroupVersionKind(GROUP, "v1", "Widget"), lambda old: old, lambda new: new),
)

METADATA = {
    "name": "w",
    "namespace": "shop",
    "uid": "u-1",
    "labels": {"a": "b"},
    "managedFields": [{"manager": "kubectl"}],
}


def widget(version: str, **fields: Any) -> Json:
    head = {"apiVersion": f"{GROUP}/{version}", "kind": "Widget"}
    return {**head, "metadata": METADATA, **fields}


V1 = widget("v1", spec={"size": "2x3"})
V2 = widget("v2", spec={"width": 2, "height": 3})
V1ALPHA1 = widget("v1alpha1", w=2, h=3)


class Panics:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: BaseException) -> None:
        self.count += 1


def review(version: str, *objects: Json, **fields: Any) -> bytes:
    request = {
        "uid": "r-1",
        "desiredAPIVersion": f"{GROUP}/{version}",
        "objects": objects,
    }
    return json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "ConversionReview",
            "request": request,
            **fields,
        }
    ).encode()


async def answer(
    body: bytes | None,
    hub: Hub[Any] = HUB,
    *,
    content_type: str = "application/json",
    panics: Panics | None = None,
) -> Json:
    conversions = Conversions()
    conversions.add(hub)
    webhook = ConversionWebhook("/convert", conversions, on_panic=panics or Panics())
    found: Json = json.loads((await webhook.answer(content_type, body)).body)
    assert found["apiVersion"] == "apiextensions.k8s.io/v1"
    assert found["kind"] == "ConversionReview"
    response: Json = found["response"]
    return response


@pytest.mark.behaviour("W8")
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (V1, V2),
        (V2, V1),
        (V1, V1ALPHA1),
        (V1ALPHA1, V1),
        (V1ALPHA1, V2),
        (V2, V1ALPHA1),
    ],
)
async def test_every_version_becomes_every_other(given: Json, wanted: Json) -> None:
    version = wanted["apiVersion"].rpartition("/")[2]

    assert await answer(review(version, given)) == {
        "uid": "r-1",
        "result": {"status": "Success"},
        "convertedObjects": [wanted],
    }


@pytest.mark.behaviour("W8")
async def test_objects_come_back_in_the_order_of_the_request() -> None:
    given = [widget("v1", spec={"size": f"{n}x1"}) for n in range(120)]

    converted = (await answer(review("v2", *given)))["convertedObjects"]

    assert [each["spec"]["width"] for each in converted] == list(range(120))
    assert {each["apiVersion"] for each in converted} == {f"{GROUP}/v2"}


@pytest.mark.behaviour("W8")
async def test_a_list_is_converted_item_by_item() -> None:
    given = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "WidgetList",
        "metadata": {"resourceVersion": "7"},
        "items": [V1, V1ALPHA1],
    }

    (converted,) = (await answer(review("v2", given)))["convertedObjects"]

    assert converted == {**given, "apiVersion": f"{GROUP}/v2", "items": [V2, V2]}


@pytest.mark.behaviour("W8")
@pytest.mark.parametrize("field", ["name", "namespace", "uid", "finalizers"])
async def test_metadata_that_must_stay_makes_a_change_a_failure(field: str) -> None:
    def spoil(old: WidgetV1) -> WidgetV2:
        changed = {field: ("other",) if field == "finalizers" else "other"}
        return WidgetV2(metadata=old.metadata.model_copy(update=changed))

    hub = Hub(WidgetV2, Spoke(WidgetV1, spoil, v2_to_v1))
    refused = await answer(review("v2", V1), hub)

    assert refused["result"]["status"] == "Failure"
    assert f"metadata.{field}" in refused["result"]["message"]
    assert "Widget shop/w" in refused["result"]["message"]
    assert refused["convertedObjects"] == []
    assert refused["uid"] == "r-1"


@pytest.mark.behaviour("W8")
async def test_labels_and_annotations_may_change() -> None:
    def relabel(old: WidgetV1) -> WidgetV2:
        update = {"labels": {"c": "d"}, "annotations": {"was": "v1"}}
        return WidgetV2(metadata=old.metadata.model_copy(update=update))

    hub = Hub(WidgetV2, Spoke(WidgetV1, relabel, v2_to_v1))
    (converted,) = (await answer(review("v2", V1), hub))["convertedObjects"]

    assert converted["metadata"] == {
        **METADATA,
        "labels": {"c": "d"},
        "annotations": {"was": "v1"},
    }


@pytest.mark.behaviour("W8")
@pytest.mark.parametrize(
    ("version", "given", "words"),
    [
        ("v2", V2, "it is example.com/v2 already"),
        ("v3", V1, "no conversion knows Widget (example.com/v3)"),
        ("v2", widget("v0"), "no conversion knows Widget (example.com/v0)"),
        ("v2", {"kind": "Widget"}, "needs an apiVersion"),
        ("v2", {**V1, "kind": "Gadget"}, "no conversion from Gadget"),
        ("v2", widget("v1", spec=5), "cannot read Widget"),
    ],
)
async def test_what_cannot_be_converted_fails_with_a_message(
    version: str, given: Json, words: str
) -> None:
    panics = Panics()
    refused = await answer(review(version, V1ALPHA1, given), panics=panics)

    assert refused["result"]["status"] == "Failure"
    assert words in refused["result"]["message"]
    assert panics.count == 0


@pytest.mark.behaviour("W8")
async def test_another_group_is_no_version_of_the_kind() -> None:
    body = review("v2", V1).replace(b'"example.com/v2"', b'"example.org/v2"')

    assert "no conversion" in (await answer(body))["result"]["message"]


@pytest.mark.behaviour("W5", "W8")
async def test_a_bug_in_a_conversion_is_counted_and_keeps_the_values_to_itself() -> (
    None
):
    panics = Panics()
    given = widget("v1", spec={"size": "hunter2"})
    refused = await answer(review("v2", given), panics=panics)

    assert refused["result"]["status"] == "Failure"
    assert "ValueError" in refused["result"]["message"]
    assert "hunter2" not in refused["result"]["message"]
    assert panics.count == 1


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (None, "application/json", "too large"),
        (b"", "application/json", "cannot read"),
        (b"{}", "application/json", "cannot read"),
        (review("v2", kind="AdmissionReview"), "application/json", "its kind is"),
        (review("v2", apiVersion="v9"), "application/json", "its apiVersion is v9"),
        (review("v2"), "text/plain", "text/plain"),
    ],
)
async def test_what_is_no_review_fails_in_a_review(
    body: bytes | None, content_type: str, words: str
) -> None:
    refused = await answer(body, content_type=content_type)

    assert refused["result"]["status"] == "Failure"
    assert words in refused["result"]["message"]


@pytest.mark.parametrize("levels", [300, 900, 1000, 5000, 9900])
@pytest.mark.parametrize("hub", [HUB, PLAIN], ids=["models", "plain"])
async def test_what_is_nested_too_deeply_fails_with_a_message_and_no_panic(
    levels: int, hub: Hub[Any]
) -> None:
    panics = Panics()
    nested = b'{"a":' * levels + b"1" + b"}" * levels
    body = review("v2", widget("v1", spec={"size": "2x3", "more": "here"}))

    converted = await answer(body.replace(b'"here"', nested), hub, panics=panics)

    assert converted["uid"] == "r-1"
    assert panics.count == 0
    if converted["result"]["status"] == "Failure":
        assert "nested too deeply" in converted["result"]["message"]
    else:
        assert levels < 1000


async def test_nothing_to_convert_is_no_failure() -> None:
    assert (await answer(review("v2")))["result"] == {"status": "Success"}


async def test_long_lists_leave_the_event_loop_time_for_others() -> None:
    others = 0

    async def count() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count())
        await answer(review("v2", *[V1] * 500))
        counting.cancel()

    assert others >= 10


def test_a_hub_knows_its_versions_and_misses_others() -> None:
    assert HUB.versions == {"v1", "v2", "v1alpha1"}
    HUB.check(["v1", "v2"])
    with pytest.raises(ConfigError, match="no conversion for v3, v4"):
        HUB.check(["v1", "v4", "v3"])


def test_a_version_twice_is_a_mistake() -> None:
    spoke = Spoke(WidgetV1, v1_to_v2, v2_to_v1)
    with pytest.raises(ConfigError, match="twice"):
        Hub(WidgetV2, spoke, spoke)


def test_another_kind_is_no_version() -> None:
    gadget = GroupVersionKind(GROUP, "v1", "Gadget")
    with pytest.raises(ConfigError, match=r"Gadget .* is no version of Widget"):
        Hub(WidgetV2, Spoke(gadget, alpha_to_v2, v2_to_alpha))


def test_a_kind_has_one_hub() -> None:
    conversions = Conversions()
    conversions.add(HUB)
    with pytest.raises(ConfigError, match="has a hub already"):
        conversions.add(HUB)


def test_the_object_that_is_converted_stays_as_it_is() -> None:
    given = json.loads(json.dumps(V1))
    HUB.convert(given, "v2")

    assert given == V1
    with pytest.raises(ConversionError):
        HUB.convert(V1, "v1")
