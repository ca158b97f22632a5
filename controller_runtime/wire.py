"""Lists and watch streams as the API server sends them: bytes in, objects out.

Nothing here parses an object. The envelope is decoded around it, its metadata is
decoded once into `Meta`, and the rest stays the bytes that came.

The server frames a watch stream as one JSON value a line, of any length: a line
may exceed the limits that stream readers usually have, so `Lines` joins raw chunks.

An object that is nested too deeply for a parser (`nesting`) is taken like any other:
its metadata is read, its bytes are kept. What a transform cannot read of it is null to
that. Whoever parses it later is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from controller_runtime.errors import ApiError, DecodeError, error_for
from controller_runtime.meta import (
    GroupVersionKind,
    Meta,
    RawObject,
    decode_meta,
    read_meta,
)
from controller_runtime.nesting import items, members, shallow, surface
from controller_runtime.question import Bookmark, Change

Transform: TypeAlias = Callable[[bytes], bytes]
"""Reduces an object before it is stored; must keep `metadata` name, namespace,
uid and resourceVersion. It is not called for objects that are gone. Where it raises
`RecursionError`, it gets the object once more, with null below `nesting.LEVELS`."""

Deep: TypeAlias = Callable[[Meta], None]
"""Told of each object that is nested too deeply to be parsed."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark behind the objects that there were."""


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None  # nil slices of Go arrive as null


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Typed(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    metadata: Meta = msgspec.field(default_factory=Meta)


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 500
    details: dict[str, object] | None = None


_list_decoder = msgspec.json.Decoder(_List)
_event_decoder = msgspec.json.Decoder(_WatchEvent)
_typed_decoder = msgspec.json.Decoder(_Typed)
_status_decoder = msgspec.json.Decoder(_Status)


class Stray(NamedTuple):
    """What does not belong in a stream: another kind, or an event nobody knows."""

    what: str


class RawPage(NamedTuple):
    """A list whose items nobody has looked at yet."""

    items: list[msgspec.Raw]
    """Views of the whole answer's buffer: each keeps all of it alive."""
    resource_version: str
    continue_token: str
    size: int
    """Bytes of the whole answer."""


def read_page(body: bytes) -> RawPage:
    """Decode the envelope of a list.

    Raises:
        DecodeError: The body is not a list.
        RecursionError: One of its items is nested too deeply: `read_deep_page`.
    """
    try:
        page = _list_decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read a list: {error}") from error
    return _page(page, len(body))


def read_deep_page(body: bytes) -> RawPage:
    """Do so whatever the items are, in 40 ms a megabyte: work for a thread.

    Raises:
        DecodeError: The body is not a list.
    """
    try:
        page = _list_decoder.decode(shallow(body))
        page.items = items(body)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read a list: {error}") from error
    return _page(page, len(body))


def _page(page: _List, size: int) -> RawPage:
    metadata = page.metadata
    return RawPage(
        page.items or [], metadata.resource_version, metadata.continue_, size
    )


def _unheard(_: Meta) -> None:
    pass


def read_object(
    raw: bytes | msgspec.Raw, transform: Transform | None, deep: Deep = _unheard
) -> RawObject:
    """Detach an object from the answer that it came in.

    Raises:
        DecodeError: It has no readable metadata.
    """
    data = bytes(raw)
    try:
        whole = data if transform is None else transform(data)
        return RawObject(decode_meta(whole), whole)
    except RecursionError:
        object_ = _read_deep_object(data, transform)
    deep(object_.meta)
    return object_


def _read_deep_object(data: bytes, transform: Transform | None) -> RawObject:
    whole = data if transform is None else surface(transform, data)
    return RawObject(read_meta(whole), whole)


def read_event(
    line: bytes,
    gvk: GroupVersionKind,
    transform: Transform | None,
    deep: Deep = _unheard,
) -> Change | Bookmark | Stray:
    """Decode one line of a watch.

    Raises:
        ApiError: The server reports an error in the stream, such as a version that
            is too old.
        DecodeError: The line is not a watch event.
    """
    is_deep = False
    try:
        try:
            type_, data, head = _read_head(line)
        except RecursionError:
            is_deep = True
            type_, data, head = _head_of(_read_deep_event(line))
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read a watch event of {gvk}: {error}") from error
    if head.kind != gvk.kind or head.api_version != gvk.api_version:
        return Stray(f"{head.kind or 'no kind'} ({head.api_version})")
    if type_ == "BOOKMARK":
        ends = head.metadata.annotations.get(INITIAL_EVENTS_END) == "true"
        return Bookmark(head.metadata.resource_version, ends)
    if is_deep:
        deep(head.metadata)
    return _read_change(type_, data, head.metadata, transform)


def _read_head(line: bytes) -> tuple[str, bytes, _Typed]:
    """Return an event's type, its object, and the object's kind and metadata.

    kube-apiserver begins an event with its type, and ends it with the object: then the
    object need not be read to be found.
    """
    start = line.find(b"{", 1, _LONGEST_HEAD)
    type_ = _HEADS.get(line[:start])
    if type_ is None:
        return _read_any_head(line)
    data = line[start:-1]
    try:
        return type_, data, _typed_decoder.decode(data)
    except msgspec.MsgspecError:
        return _read_any_head(line)  # there was more behind the object


def _read_any_head(line: bytes) -> tuple[str, bytes, _Typed]:
    return _head_of(_event_decoder.decode(line))


def _head_of(event: _WatchEvent) -> tuple[str, bytes, _Typed]:
    data = bytes(event.object)
    if event.type == "ERROR":
        raise _stream_error(data)
    return event.type, data, surface(_typed_decoder.decode, data)


def _read_deep_event(line: bytes) -> _WatchEvent:
    """Split an event around what is nested too deeply."""
    event = members(line)
    type_ = msgspec.json.decode(event.get("type", b'""'), type=str)
    return _WatchEvent(type_, event.get("object", msgspec.Raw(b"null")))


_HEADS = {
    b'{"type":"%s","object":' % type_.encode(): type_
    for type_ in ("ADDED", "MODIFIED", "DELETED")
}
_LONGEST_HEAD = 1 + max(map(len, _HEADS))


def read_raw_event(line: bytes) -> tuple[str, bytes]:
    """Decode the envelope of one line of a watch: its type, and what it is about.

    Raises:
        ApiError: The server reports an error in the stream.
        DecodeError: The line is not a watch event.
    """
    try:
        try:
            event = _event_decoder.decode(line)
        except RecursionError:
            event = _read_deep_event(line)
        data = bytes(event.object)
        if event.type == "ERROR":
            raise _stream_error(data)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read a watch event: {error}") from error
    return event.type, data


def _read_change(
    type_: str, data: bytes, meta: Meta, transform: Transform | None
) -> Change | Stray:
    if type_ == "DELETED":
        return Change(RawObject(meta, data), gone=True)
    if type_ not in {"ADDED", "MODIFIED"}:
        return Stray(f"event {type_}")
    if transform is None:
        return Change(RawObject(meta, data))
    return Change(read_object(data, transform))


def _stream_error(data: bytes) -> ApiError:
    status = surface(_status_decoder.decode, data)
    return error_for(status.code, status.reason)(
        status.message,
        status=status.code,
        reason=status.reason,
        details=status.details,
    )


class Lines:
    """Splits a stream of chunks into lines, without a limit on their length."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that `chunk` completes, without their ends, not empty."""
        head, newline, tail = chunk.partition(b"\n")
        self._rest.append(head)
        if not newline:
            return
        first = b"".join(self._rest)
        *complete, rest = tail.split(b"\n")
        self._rest = [rest]
        if first:
            yield first
        yield from filter(None, complete)


def strip_managed_fields(raw: bytes) -> bytes:
    """Drop `metadata.managedFields`, about a third of a pod, without a full parse.

    A `Transform`. The server keeps what it manages: an object that was stripped may
    still be written back whole.
    """
    try:
        whole = _members_of(raw)
        metadata = _members_of(whole["metadata"])
        if metadata.pop("managedFields", None) is None:
            return raw
        whole["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
        return msgspec.json.encode(whole)
    except (msgspec.MsgspecError, KeyError) as error:
        raise DecodeError(f"cannot read an object: {error}") from error


def _members_of(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _decode_members(raw)
    except RecursionError:
        return members(raw)


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
