"""Objects to JSON and back, with every field that nobody named."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from controller_runtime.errors import DecodeError
from controller_runtime.meta import (
    ApiModel,
    GroupVersionKind,
    Json,
    KubeObject,
    ObjectMeta,
)
from controller_runtime.scheme import Scheme, read_list

WIDGET = GroupVersionKind("example.com", "v1", "Widget")


class WidgetSpec(ApiModel):
    size: int = 1
    max_surge: str | None = None


class Widget(KubeObject):
    gvk: ClassVar = WIDGET

    spec: WidgetSpec = WidgetSpec()


class OtherWidget(KubeObject):
    gvk: ClassVar = WIDGET


WIRE = (
    b'{"metadata":{"name":"a","namespace":"ns","selfLink":"/x"},"spec":{"size":2,'
    b'"maxSurge":"1","color":"red"},"kind":"Widget","apiVersion":"example.com/v1",'
    b'"status":{"ready":true}}'
)


class TestDecode:
    def test_a_model_reads_its_fields_and_keeps_the_others(self) -> None:
        widget = Scheme().decode(Widget, WIRE)

        assert isinstance(widget, Widget)
        assert widget.spec.max_surge == "1"
        assert widget.spec.model_extra == {"color": "red"}
        assert (widget.model_extra or {})["status"] == {"ready": True}

    def test_a_mapping_is_read_like_bytes(self) -> None:
        scheme = Scheme()

        assert scheme.decode(Widget, json.loads(WIRE)) == scheme.decode(Widget, WIRE)
        assert scheme.decode(WIDGET, json.loads(WIRE)) == scheme.decode(WIDGET, WIRE)

    @pytest.mark.behaviour("K3")
    def test_a_dict_says_which_kind_it_is_even_if_a_list_did_not(self) -> None:
        item = Scheme().decode(WIDGET, b'{"metadata":{"name":"a"}}')

        assert item == {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": "a"},
        }

    def test_an_object_that_does_not_fit_is_named_without_its_values(self) -> None:
        wire = b'{"metadata":{"name":"a","namespace":"ns"},"spec":{"size":"s3cret"}}'

        with pytest.raises(DecodeError) as caught:
            Scheme().decode(Widget, wire)

        assert str(caught.value) == (
            "cannot read Widget (example.com/v1) ns/a: spec.size: int_parsing"
        )
        assert caught.value.__cause__ is None

    def test_a_mapping_that_does_not_fit_is_named_too(self) -> None:
        wire = {"metadata": {"name": "a"}, "spec": {"maxSurge": ["s3cret"]}}

        with pytest.raises(DecodeError) as caught:
            Scheme().decode(Widget, wire)

        assert str(caught.value) == (
            "cannot read Widget (example.com/v1) a: spec.maxSurge: string_type"
        )

    @pytest.mark.parametrize("kind", [WIDGET, Widget])
    @pytest.mark.parametrize("wire", [b"[]", b"s3cret", b""])
    def test_what_is_no_object_is_an_error(
        self, kind: GroupVersionKind | type[Widget], wire: bytes
    ) -> None:
        with pytest.raises(DecodeError, match="cannot read Widget") as caught:
            Scheme().decode(kind, wire)

        assert "s3cret" not in str(caught.value)


class TestEncode:
    def test_the_kind_comes_first_and_then_what_is_set(self) -> None:
        widget = Widget(metadata=ObjectMeta(name="a"), spec=WidgetSpec(max_surge="1"))

        assert Scheme().encode(widget) == (
            b'{"apiVersion":"example.com/v1","kind":"Widget",'
            b'"metadata":{"name":"a"},"spec":{"maxSurge":"1"}}'
        )

    def test_nothing_that_is_set_is_just_the_kind(self) -> None:
        assert Scheme().encode(Widget()) == (
            b'{"apiVersion":"example.com/v1","kind":"Widget"}'
        )

    def test_a_value_that_is_set_to_its_default_is_sent(self) -> None:
        widget = Widget(spec=WidgetSpec(size=1, max_surge=None))

        assert json.loads(Scheme().encode(widget))["spec"] == {
            "size": 1,
            "maxSurge": None,
        }

    def test_an_object_that_was_read_goes_back_whole(self) -> None:
        scheme = Scheme()

        assert json.loads(scheme.encode(scheme.decode(Widget, WIRE))) == json.loads(
            WIRE
        )

    def test_a_dict_begins_with_its_kind(self) -> None:
        obj: Json = {"metadata": {"name": "a"}, "kind": "Widget", "apiVersion": "v1"}

        assert Scheme().encode(obj) == (
            b'{"apiVersion":"v1","kind":"Widget","metadata":{"name":"a"}}'
        )

    def test_a_dict_without_a_kind_is_an_error(self) -> None:
        with pytest.raises(DecodeError, match="needs an apiVersion and a kind"):
            Scheme().encode({"metadata": {"name": "a"}})


class TestModels:
    def test_a_kind_has_the_model_that_was_registered_for_it(self) -> None:
        scheme = Scheme(Widget)
        scheme.register(Widget)

        assert scheme.model_for(WIDGET) is Widget
        assert scheme.model_for(WIDGET._replace(version="v2")) is None

    def test_a_kind_has_one_model(self) -> None:
        with pytest.raises(ValueError, match=r"Widget .* has a model already: Widget"):
            Scheme(Widget, OtherWidget)

    def test_an_object_tells_its_kind(self) -> None:
        scheme = Scheme()

        assert scheme.gvk_of(Widget()) == WIDGET
        assert scheme.gvk_of({"apiVersion": "v1", "kind": "Pod"}) == ("", "v1", "Pod")


class TestList:
    def test_a_list_is_read_without_its_items(self) -> None:
        body = (
            b'{"kind":"WidgetList","metadata":{"resourceVersion":"7","continue":"more",'
            b'"remainingItemCount":3},"items":[{"a":1},{"b":2}]}'
        )

        items, *rest = read_list(WIDGET, body)

        assert [bytes(item) for item in items] == [b'{"a":1}', b'{"b":2}']
        assert rest == ["7", "more", 3]

    def test_a_list_of_nothing_may_be_null(self) -> None:
        assert read_list(WIDGET, b'{"metadata":{},"items":null}').items == []

    def test_what_is_no_list_is_an_error(self) -> None:
        with pytest.raises(DecodeError, match="cannot read a list of Widget"):
            read_list(WIDGET, b"<html>")
