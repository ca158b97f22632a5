"""Which method of a validator is asked, about what, and what its answer means."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import Field

from controller_runtime.errors import BadRequestError, InvalidError
from controller_runtime.meta import ApiModel, GroupVersionKind, Json, KubeObject
from controller_runtime.webhook import (
    AdmissionRequest,
    DeniedError,
    Warnings,
    validating,
)

WIDGET = GroupVersionKind("example.com", "v1", "Widget")


class Spec(ApiModel):
    size: int = 1


class Strict(ApiModel):
    size: int = Field(ge=10)


class Widget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = WIDGET
    spec: Spec = Spec()


class Notes:
    """A validator that notes what it is asked, and warns."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def validate_create(
        self, obj: Widget, request: AdmissionRequest, /
    ) -> Warnings:
        self.asked.append(("create", obj.spec.size))
        return ["created"]

    async def validate_update(
        self, old: Widget, new: Widget, request: AdmissionRequest, /
    ) -> Warnings:
        self.asked.append(("update", old.spec.size, new.spec.size))
        if new.spec.size < old.spec.size:
            raise DeniedError("widgets do not shrink")
        return None

    async def validate_delete(
        self, obj: Widget, request: AdmissionRequest, /
    ) -> Warnings:
        self.asked.append(("delete", obj.spec.size))
        return ()


def widget(size: object) -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"size": size}}


def request(operation: str, new: object = None, old: object = None) -> AdmissionRequest:
    return AdmissionRequest(
        uid="u",
        operation=operation,
        kind=WIDGET,
        name="w",
        object=None if new is None else widget(new),
        old_object=None if old is None else widget(old),
    )


@pytest.mark.behaviour("W4")
async def test_each_operation_has_its_method_and_delete_gets_the_old_object() -> None:
    notes = Notes()
    validate = validating(Widget, notes)

    created = await validate(request("CREATE", 1))
    updated = await validate(request("UPDATE", 2, 1))
    deleted = await validate(request("DELETE", None, 2))

    assert notes.asked == [("create", 1), ("update", 1, 2), ("delete", 2)]
    assert (created.allowed, created.warnings) == (True, ("created",))
    assert (updated.allowed, updated.warnings) == (True, ())
    assert (deleted.allowed, deleted.warnings) == (True, ())


@pytest.mark.behaviour("W4")
async def test_connect_is_allowed_and_nobody_asked() -> None:
    notes = Notes()

    assert (await validating(Widget, notes)(request("CONNECT", 1))).allowed
    assert notes.asked == []


@pytest.mark.behaviour("W4")
async def test_a_no_is_an_error() -> None:
    with pytest.raises(DeniedError, match="do not shrink"):
        await validating(Widget, Notes())(request("UPDATE", 1, 2))


async def test_one_function_may_decide_about_all_operations() -> None:
    asked = []

    async def look(
        new: Widget | None, old: Widget | None, request: AdmissionRequest
    ) -> Warnings:
        asked.append((request.operation, new and new.spec.size, old and old.spec.size))
        return None

    validate = validating(Widget, look)
    for one in (
        request("CREATE", 1),
        request("UPDATE", 2, 1),
        request("DELETE", None, 2),
    ):
        assert (await validate(one)).allowed

    assert asked == [("CREATE", 1, None), ("UPDATE", 2, 1), ("DELETE", None, 2)]


async def test_plain_json_is_validated_as_it_was_sent() -> None:
    async def look(new: Json | None, old: Json | None, _: AdmissionRequest) -> Warnings:
        assert (new, old) == (widget("x"), None)
        return "a single one"

    answer = await validating(WIDGET, look)(request("CREATE", "x"))

    assert answer.warnings == ("a single one",)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request("EXPLODE", 1, 1), "unknown operation"),
        (request("DELETE"), "without oldObject"),
        (request("UPDATE", 1), "without oldObject"),
    ],
)
async def test_a_request_that_lacks_something_is_a_bad_one(
    asked: AdmissionRequest, words: str
) -> None:
    with pytest.raises(BadRequestError, match=words):
        await validating(Widget, Notes())(asked)


@pytest.mark.behaviour("W4")
async def test_a_model_that_refuses_is_a_refusal_with_its_fields() -> None:
    async def strictly(new: Json | None, *_: Any) -> Warnings:
        Strict.model_validate((new or {})["spec"])
        return None

    with pytest.raises(InvalidError) as caught:
        await validating(WIDGET, strictly)(request("CREATE", 5))

    assert caught.value.status == 422
    assert caught.value.details["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "message": "Input should be greater than or equal to 10",
            "field": "size",
        }
    ]


async def test_a_stored_object_that_cannot_be_read_is_named_as_such() -> None:
    with pytest.raises(InvalidError, match=r"oldObject\.spec\.size"):
        await validating(Widget, Notes())(request("DELETE", None, "huge"))
