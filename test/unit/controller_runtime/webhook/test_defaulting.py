"""What a defaulter changes reaches the API server, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import jsonpatch
import pytest
from pydantic import ConfigDict, Field

from controller_runtime.errors import BadRequestError, InvalidError
from controller_runtime.meta import ApiModel, GroupVersionKind, Json, KubeObject
from controller_runtime.webhook import AdmissionRequest, DeniedError, defaulting
from controller_runtime.webhook.defaulting import overlay

WIDGET = GroupVersionKind("example.com", "v1", "Widget")


class Part(ApiModel):
    """Knows less than is sent."""

    model_config = ConfigDict(extra="ignore")

    name: str
    size: int = 1


class Spec(ApiModel):
    size: int | None = Field(default=None, ge=0)
    weight: float = 0
    parts: tuple[Part, ...] = ()


class Widget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = WIDGET
    spec: Spec = Spec()


def request(obj: Json | None, operation: str = "CREATE") -> AdmissionRequest:
    return AdmissionRequest(
        uid="u", operation=operation, kind=WIDGET, name="w", object=obj
    )


def widget(**spec: Any) -> Json:
    head = {"apiVersion": "example.com/v1", "kind": "Widget"}
    return {**head, "metadata": {"name": "w"}, "spec": spec}


async def set_size(obj: Widget, _: AdmissionRequest) -> Widget | None:
    if obj.spec.size is not None:
        return None
    return obj.model_copy(update={"spec": obj.spec.model_copy(update={"size": 3})})


class Sizes:
    """The same as a class."""

    async def default(self, obj: Widget, request: AdmissionRequest, /) -> Widget | None:
        return await set_size(obj, request)


@pytest.mark.behaviour("W3")
@pytest.mark.parametrize("defaulter", [set_size, Sizes()])
async def test_the_patch_is_what_the_defaulter_changed(defaulter: Any) -> None:
    answer = await defaulting(Widget, defaulter)(request(widget(colour="red")))

    assert answer.allowed
    assert answer.patch == ({"op": "add", "path": "/spec/size", "value": 3},)


@pytest.mark.behaviour("W3")
async def test_without_a_change_there_is_no_patch() -> None:
    answer = await defaulting(Widget, set_size)(request(widget(size=1)))

    assert (answer.allowed, answer.patch) == (True, ())


@pytest.mark.behaviour("W3")
async def test_fields_that_the_model_does_not_know_survive() -> None:
    async def grow(obj: Widget, _: AdmissionRequest) -> Widget:
        parts = tuple(
            part.model_copy(update={"size": part.size + 1}) for part in obj.spec.parts
        )
        return obj.model_copy(
            update={"spec": obj.spec.model_copy(update={"parts": parts})}
        )

    sent = widget(parts=[{"name": "a", "secret": 1}, {"name": "b", "x": {"y": 2}}])
    answer = await defaulting(Widget, grow)(request(sent))

    assert jsonpatch.apply_patch(sent, answer.patch)["spec"]["parts"] == [
        {"name": "a", "secret": 1, "size": 2},
        {"name": "b", "x": {"y": 2}, "size": 2},
    ]


@pytest.mark.behaviour("W3")
async def test_a_value_that_the_model_spells_in_another_way_is_left_alone() -> None:
    answer = await defaulting(Widget, set_size)(request(widget(weight="1", size=None)))

    assert answer.patch == ({"op": "replace", "path": "/spec/size", "value": 3},)


@pytest.mark.behaviour("W3")
async def test_nothing_is_defaulted_on_delete() -> None:
    async def fail(obj: Widget, _: AdmissionRequest) -> None:
        raise AssertionError(obj)

    answer = await defaulting(Widget, fail)(request(None, "DELETE"))

    assert (answer.allowed, answer.patch) == (True, ())


async def test_plain_json_may_be_changed_in_place_or_returned() -> None:
    async def in_place(obj: Json, _: AdmissionRequest) -> None:
        obj["spec"]["size"] = 3
        del obj["spec"]["colour"]

    async def anew(obj: Json, _: AdmissionRequest) -> Json:
        return {**obj, "spec": {"size": 3}}

    sent = request(widget(colour="red"))
    for defaulter in (in_place, anew):
        answer = await defaulting(WIDGET, defaulter)(sent)

        assert jsonpatch.apply_patch(sent.object, answer.patch) == widget(size=3)
    assert sent.object == widget(colour="red")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(widget(), "PATCH"), "unknown operation 'PATCH'"),
        (request(None), "comes without object"),
        (
            request({"apiVersion": "apps/v1", "kind": "Deployment"}),
            "was sent a Deployment",
        ),
    ],
)
async def test_a_request_that_is_for_another_is_a_bad_one(
    asked: AdmissionRequest, words: str
) -> None:
    with pytest.raises(BadRequestError, match=words) as caught:
        await defaulting(Widget, set_size)(asked)

    assert caught.value.status == 400


async def test_what_the_model_refuses_is_invalid_by_field_and_without_the_value() -> (
    None
):
    sent = request(widget(size=-7, parts=[{"name": "a"}, {"size": "hunter2"}]))

    with pytest.raises(InvalidError) as caught:
        await defaulting(Widget, set_size)(sent)

    assert 'Widget.example.com "w" is invalid' in str(caught.value)
    causes: Any = caught.value.details["causes"]
    assert [cause["field"] for cause in causes] == [
        "spec.size",
        "spec.parts[1].name",
        "spec.parts[1].size",
    ]
    assert "hunter2" not in str(caught.value)


async def test_a_defaulter_may_refuse() -> None:
    async def refuse(_: Widget, __: AdmissionRequest) -> None:
        raise DeniedError("no widgets today")

    with pytest.raises(DeniedError, match="no widgets today"):
        await defaulting(Widget, refuse)(request(widget()))


async def test_a_defaulter_that_returns_another_kind_has_a_bug() -> None:
    async def swap(obj: Json, _: AdmissionRequest) -> Json:
        return {**obj, "kind": "Gadget"}

    with pytest.raises(TypeError, match="returned a Gadget"):
        await defaulting(WIDGET, swap)(request(widget()))


@pytest.mark.parametrize(
    ("sent", "before", "after", "wanted"),
    [
        ({"a": 1, "x": 0}, {"a": 1}, {"a": 2}, {"a": 2, "x": 0}),
        ({"a": 1, "x": 0}, {"a": 1}, {}, {"x": 0}),
        ({"a": "1"}, {"a": 1}, {"a": 1, "b": 2}, {"a": "1", "b": 2}),
        ([{"a": 1, "x": 0}], [{"a": 1}], [{"a": 1}, 2], [{"a": 1, "x": 0}, 2]),
        ([{"a": 1, "x": 0}, 5], [{"a": 1}, 5], [5], [5]),
        ([{"a": 1, "x": 0}], [{"a": 1}], [{"a": 2}], [{"a": 2, "x": 0}]),
        ({"a": 1}, {"a": 1}, {"a": True}, {"a": True}),
    ],
)
def test_an_overlay_changes_what_was_changed(
    sent: Any, before: Any, after: Any, wanted: Any
) -> None:
    assert repr(overlay(sent, before, after)) == repr(wanted)


async def test_the_request_tells_who_asks() -> None:
    seen = []

    async def look(_: Widget, asked: AdmissionRequest) -> None:
        seen.append(asked.dry_run)

    asked = replace(request(widget()), dry_run=True)
    await defaulting(Widget, look)(asked)

    assert seen == [True]
