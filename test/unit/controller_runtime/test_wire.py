"""What the server's bytes mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.errors import ApiError, DecodeError, ExpiredError
from controller_runtime.meta import GroupVersionKind
from controller_runtime.question import Bookmark, Change
from controller_runtime.wire import (
    Lines,
    Stray,
    read_event,
    read_object,
    read_page,
    strip_managed_fields,
)

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


def line(type_: str, **metadata: object) -> bytes:
    config_map = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata}
    return json.dumps({"type": type_, "object": config_map}).encode()


@pytest.mark.behaviour("R15")
@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=8),
    st.data(),
)
def test_lines_do_not_depend_on_how_the_stream_was_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(
        [*data.draw(st.lists(st.integers(0, len(stream)), max_size=6)), len(stream)]
    )
    splitter, before = Lines(), 0
    read: list[bytes] = []

    for cut in cuts:
        read += splitter.feed(stream[before:cut])
        before = cut

    assert read == [line for line in lines if line]


@given(
    st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "NEW"]),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.lists(st.sampled_from(["type", "object", "more"]), unique=True, min_size=2),
)
def test_an_event_is_read_alike_however_it_is_written(
    type_: str, separators: tuple[str, str], order: list[str]
) -> None:
    metadata = {"name": "a", "resourceVersion": "5"}
    event = {
        "type": type_,
        "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata},
        "more": {"object": {}},
    }
    fields = [*order, *({"type", "object"} - {*order})]
    written = json.dumps({name: event[name] for name in fields}, separators=separators)
    plain = json.dumps({"type": type_, "object": event["object"]})

    read = read_event(written.encode(), CONFIG_MAP, None)
    wanted = read_event(plain.encode(), CONFIG_MAP, None)

    if isinstance(read, Change) and isinstance(wanted, Change):
        assert json.loads(read.object.raw) == event["object"]
        assert (read.object.meta, read.gone) == (wanted.object.meta, wanted.gone)
    else:
        assert read == wanted


@pytest.mark.behaviour("R15")
def test_a_line_may_be_longer_than_stream_readers_allow() -> None:
    splitter = Lines()
    megabyte = b"x" * 2**20

    for _ in range(5):
        assert list(splitter.feed(megabyte)) == []

    assert [len(read) for read in splitter.feed(b"\n")] == [5 * 2**20]


@pytest.mark.parametrize("type_", ["ADDED", "MODIFIED"])
def test_added_and_modified_carry_the_newest_version(type_: str) -> None:
    change = read_event(line(type_, name="a", resourceVersion="5"), CONFIG_MAP, None)

    assert isinstance(change, Change)
    assert not change.gone
    assert change.object.meta.resource_version == "5"
    assert json.loads(change.object.raw)["metadata"]["name"] == "a"


@pytest.mark.behaviour("S5")
def test_the_transform_reduces_what_is_stored_but_not_what_is_gone() -> None:
    def reduce(raw: bytes) -> bytes:
        return b'{"metadata":{"name":"reduced"}}'

    added = read_event(line("ADDED", name="a"), CONFIG_MAP, reduce)
    deleted = read_event(line("DELETED", name="a"), CONFIG_MAP, reduce)

    assert isinstance(added, Change)
    assert added.object.meta.name == "reduced"
    assert isinstance(deleted, Change)
    assert deleted.gone
    assert deleted.object.meta.name == "a"


@pytest.mark.behaviour("R8")
def test_a_bookmark_carries_a_version_and_no_object() -> None:
    assert read_event(line("BOOKMARK", resourceVersion="9"), CONFIG_MAP, None) == (
        Bookmark("9")
    )


def test_the_bookmark_that_ends_the_initial_events_is_recognised() -> None:
    ends = {"k8s.io/initial-events-end": "true"}

    bookmark = read_event(
        line("BOOKMARK", resourceVersion="9", annotations=ends), CONFIG_MAP, None
    )

    assert bookmark == Bookmark("9", ends_initial_events=True)


@pytest.mark.behaviour("R7")
def test_an_error_in_the_stream_is_raised_as_what_it_is() -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    event = json.dumps({"type": "ERROR", "object": status}).encode()

    with pytest.raises(ExpiredError, match="too old"):
        read_event(event, CONFIG_MAP, None)


@pytest.mark.behaviour("R7")
def test_an_error_without_a_known_reason_is_still_an_error() -> None:
    event = b'{"type":"ERROR","object":{"kind":"Status","code":418}}'

    with pytest.raises(ApiError) as caught:
        read_event(event, CONFIG_MAP, None)

    assert caught.value.status == 418


@pytest.mark.behaviour("R7")
@pytest.mark.parametrize(
    "sent",
    [
        {"kind": "Table", "apiVersion": "meta.k8s.io/v1"},
        {"kind": "ConfigMap", "apiVersion": "v2"},
        {"kind": "Secret", "apiVersion": "v1"},
    ],
)
def test_another_kind_in_the_stream_is_left_out(sent: dict[str, str]) -> None:
    event = json.dumps({"type": "ADDED", "object": sent}).encode()

    sort = f"{sent['kind']} ({sent['apiVersion']})"
    assert read_event(event, CONFIG_MAP, None) == Stray(sort)


def test_an_unknown_event_is_left_out() -> None:
    stray = Stray("event RENAMED")
    assert read_event(line("RENAMED", name="a"), CONFIG_MAP, None) == stray


@pytest.mark.parametrize("garbage", [b"", b"<html>", b'{"type":"ADDED"}', b'{"type":1'])
def test_garbage_is_a_decode_error(garbage: bytes) -> None:
    with pytest.raises(DecodeError):
        read_event(garbage, CONFIG_MAP, None)


def test_a_list_gives_its_items_version_and_token() -> None:
    body = b'{"metadata":{"resourceVersion":"3","continue":"t"},"items":[{},{}]}'

    page = read_page(body)

    assert (len(page.items), page.resource_version, page.continue_token) == (
        2,
        "3",
        "t",
    )


def test_a_list_of_null_is_empty() -> None:
    assert read_page(b'{"metadata":{"resourceVersion":"3"},"items":null}').items == []


def test_a_body_that_is_no_list_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="list"):
        read_page(b"<html>")


def test_stripping_managed_fields_leaves_the_rest_as_it_was() -> None:
    metadata = {"name": "a", "managedFields": [{"manager": "kubectl"}], "uid": "1"}
    config_map = {"metadata": metadata, "data": {"k": "v\u00fc"}}

    stripped = json.loads(strip_managed_fields(json.dumps(config_map).encode()))

    del metadata["managedFields"]
    assert stripped == config_map


def test_an_object_without_managed_fields_is_not_copied() -> None:
    raw = b'{"metadata":{"name":"a"}}'

    assert strip_managed_fields(raw) is raw


def test_an_object_without_metadata_cannot_be_stripped() -> None:
    with pytest.raises(DecodeError):
        read_object(b'{"data":{}}', strip_managed_fields)
