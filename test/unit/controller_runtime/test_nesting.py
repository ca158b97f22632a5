"""Objects that are nested more deeply than a parser goes are taken like any other."""

from __future__ import annotations

import json
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.errors import DecodeError, NotFoundError
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    KubeObject,
    Meta,
    NamespacedName,
    RawObject,
    read_meta,
)
from controller_runtime.nesting import depth, elements, items, members, shallow, surface
from controller_runtime.question import Change
from controller_runtime.scheme import Scheme, read_list
from controller_runtime.store import Store, index_by_body
from controller_runtime.wire import (
    read_deep_page,
    read_event,
    read_object,
    read_page,
    read_raw_event,
    strip_managed_fields,
)

WIDGET = GroupVersionKind("example.com", "v1", "Widget")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)
LEVELS = pytest.mark.parametrize("levels", [1000, 5000, 9900])


class Widget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = WIDGET


def nested(levels: int) -> bytes:
    """Return objects and arrays in turn, with brackets in texts to stumble over."""
    half = levels // 2
    return b'{"a]":[' * half + b'"}\\"{"' + b"]}" * half


def widget(name: str, spec: bytes = b"{}", fields: bytes = b"{}") -> bytes:
    return (
        b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"%s",'
        b'"namespace":"shop","resourceVersion":"7","managedFields":[{"fieldsV1":%s}]},'
        b'"spec":%s}' % (name.encode(), fields, spec)
    )


def deep(levels: int, name: str = "deep") -> bytes:
    return widget(name, nested(levels), nested(levels))


def page(*objects: bytes) -> bytes:
    return (
        b'{"kind":"WidgetList","metadata":{"resourceVersion":"9","continue":"next"},'
        b'"items":[%s]}' % b",".join(objects)
    )


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_the_members_of_an_object_are_the_bytes_that_they_were(value: Json) -> None:
    found = members(compact(value))

    assert {k: bytes(raw) for k, raw in found.items()} == {
        k: compact(v) for k, v in value.items()
    }


@given(st.lists(JSON, max_size=4))
def test_the_elements_of_an_array_are_the_bytes_that_they_were(
    value: list[object],
) -> None:
    assert [bytes(raw) for raw in elements(compact(value))] == list(map(compact, value))


@given(JSON, st.integers(1, 4))
def test_what_is_below_a_level_becomes_null_and_nothing_else(
    value: object, levels: int
) -> None:
    def cut(inner: object, left: int) -> object:
        if not isinstance(inner, list | dict) or not inner:
            return inner
        if not left:
            return None
        if isinstance(inner, list):
            return [cut(item, left - 1) for item in inner]
        return {k: cut(item, left - 1) for k, item in inner.items()}

    left = json.loads(shallow(json.dumps(value).encode(), levels=levels))

    assert left == cut(value, levels)


@LEVELS
def test_levels_are_counted(levels: int) -> None:
    assert depth(nested(levels)) == levels
    assert depth(b"1") == 0
    assert depth(shallow(nested(levels), levels=50)) == 50


@pytest.mark.parametrize("text", [b'{"a":[', b"[1", b'{"a":"'])
def test_brackets_that_do_not_match_are_no_json(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        surface(msgspec.json.decode, shallow(text))


def test_a_list_without_items_has_none() -> None:
    assert items(b'{"metadata":{}}') == items(b'{"items":null}') == []


@LEVELS
def test_a_deep_object_keeps_no_other_of_its_page_from_being_read(levels: int) -> None:
    objects = [widget("a"), deep(levels), widget("b")]

    with pytest.raises(RecursionError):
        read_page(page(*objects))
    found = read_deep_page(page(*objects))

    assert [bytes(item) for item in found.items] == objects
    assert found[1:] == ("9", "next", len(page(*objects)))
    assert list(map(bytes, read_list(WIDGET, page(*objects)).items)) == objects
    assert read_list(WIDGET, page(*objects)).continue_ == "next"


@LEVELS
def test_the_metadata_of_a_deep_object_is_read_and_its_bytes_are_kept(
    levels: int,
) -> None:
    told: list[Meta] = []

    entry = read_object(deep(levels), None, told.append)

    assert entry.key == NamespacedName("shop", "deep")
    assert entry.raw == deep(levels)
    assert told == [entry.meta] == [read_meta(deep(levels))]


def test_of_an_object_that_can_be_parsed_nobody_is_told() -> None:
    told: list[Meta] = []

    read_object(widget("a", nested(500)), strip_managed_fields, told.append)
    read_event(b'{"type":"ADDED","object":%s}' % widget("a"), WIDGET, None, told.append)

    assert told == []


@LEVELS
def test_a_deep_object_loses_its_managed_fields_and_nothing_else(levels: int) -> None:
    entry = read_object(deep(levels), strip_managed_fields)

    found = members(entry.raw)
    assert set(members(found["metadata"])) == {"name", "namespace", "resourceVersion"}
    assert bytes(found["spec"]) == nested(levels)


@LEVELS
def test_a_transform_gets_of_a_deep_object_what_can_be_parsed(levels: int) -> None:
    def keep_kind_and_metadata(raw: bytes) -> bytes:
        parsed = msgspec.json.decode(raw)
        return msgspec.json.encode({k: parsed[k] for k in ("kind", "metadata")})

    entry = read_object(deep(levels), keep_kind_and_metadata)

    assert entry.parse()["kind"] == "Widget"
    assert entry.meta.resource_version == "7"


@LEVELS
@pytest.mark.parametrize(
    "event",
    [
        pytest.param(b'{"type":"%s","object":%s}', id="as kube-apiserver writes it"),
        pytest.param(b'{ "type": "%s", "object": %s }', id="in another way"),
    ],
)
def test_a_deep_object_in_a_watch_is_a_change_like_others(
    levels: int, event: bytes
) -> None:
    told: list[Meta] = []
    line = event % (b"MODIFIED", deep(levels))

    change = read_event(line, WIDGET, strip_managed_fields, told.append)

    assert isinstance(change, Change)
    assert change.object.key == NamespacedName("shop", "deep")
    assert {meta.name for meta in told} == {"deep"}
    assert read_raw_event(line) == ("MODIFIED", deep(levels))


def test_a_status_in_a_stream_may_be_as_deep_as_it_likes() -> None:
    status = b'{"code":404,"reason":"NotFound","details":%s}' % nested(5000)

    for read in (read_raw_event, lambda line: read_event(line, WIDGET, None)):
        with pytest.raises(NotFoundError):
            read(b'{"type":"ERROR","object":%s}' % status)


@LEVELS
@pytest.mark.parametrize("kind", [WIDGET, Widget])
def test_to_parse_a_deep_object_is_a_decode_error_that_names_it(
    levels: int, kind: GroupVersionKind | type[Widget]
) -> None:
    remedy = r"Widget .* shop/deep: it is nested too deeply .* make it flatter"
    with pytest.raises(DecodeError, match=remedy):
        Scheme(Widget).decode(kind, deep(levels))
    with pytest.raises(DecodeError, match="shop/deep: it is nested too deeply"):
        RawObject(read_meta(deep(levels)), deep(levels)).parse()


def test_a_deep_object_stands_in_no_index_of_bodies_and_stops_no_store() -> None:
    store = Store(WIDGET)
    store.add_index("kind", index_by_body(lambda body: [str(body["kind"])]))
    replacement = store.replacement()

    replacement.add([read_object(raw, None) for raw in (widget("a"), deep(5000))])
    list(replacement.commit("9"))

    assert {entry.meta.name for entry in store.by_index("kind", "Widget")} == {"a"}
    assert len(store) == 2
