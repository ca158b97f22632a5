"""JSON that is nested deeper than parsers go, read without parsing it.

A parser calls itself for each level, in C as well: msgspec and the standard library
give up at the interpreter's limit, about 1,000 levels, with `RecursionError`, and do so
for fields that they skip or keep as bytes. The API server takes 10,000 levels (Go's
`encoding/json`), wherever a schema leaves a field free. One such object must not keep
others from being read, so what cannot be parsed is cut apart here by its brackets:

    parse ──RecursionError──▶ shallow ──▶ parse      fields near the surface
                         └──▶ members, elements      each by itself, as the bytes it was

This costs 40 milliseconds a megabyte, and nothing where there was no such error. What
is cut out is not checked to be JSON: who reads it will find out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

T = TypeVar("T")

LEVELS = 100
"""Levels that are left of what is too deep: what any parser reads (pydantic: 200)."""

UNREADABLE: tuple[type[Exception], ...] = (msgspec.MsgspecError, RecursionError)
"""What msgspec may raise when it reads something."""

# Strings, what has no brackets, and what is empty; then one bracket.
_BRACKET = re.compile(
    rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+"|\{\}|\[\])*+([{}\[\]])', re.DOTALL
)


def why(error: Exception) -> str:
    """Say why something could not be read, for one of `UNREADABLE`."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply to be parsed; make it flatter"
    return str(error)


def surface(decode: Callable[[bytes], T], data: bytes) -> T:
    """Decode `data`, without its depths if it is too deep.

    Args:
        decode: Takes what is there, and needs nothing that is deeper than `LEVELS`.
        data: JSON.

    Raises:
        msgspec.MsgspecError: It is not what `decode` expects.
    """
    try:
        return decode(data)
    except RecursionError:
        return decode(shallow(data))


def shallow(data: bytes | msgspec.Raw, *, levels: int = LEVELS) -> bytes:
    """Return JSON with null for what is nested deeper than `levels`.

    Raises:
        msgspec.DecodeError: Its brackets do not match.
    """
    text = bytes(data)
    pieces: list[bytes] = []
    end = 0
    for start, stop in _below(text, levels):
        pieces += [text[end:start], b"null"]
        end = stop
    return b"".join([*pieces, text[end:]])


def depth(data: bytes) -> int:
    """Count the levels of brackets.

    Raises:
        msgspec.DecodeError: They do not match.
    """
    return max((level for _, level in _brackets(data)), default=0)


def members(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of an object, each as the bytes it was.

    Raises:
        msgspec.MsgspecError: It is no JSON object.
    """
    text, inner = _hollow(data)
    found = _members.decode(text)
    return {name: _filled(value, inner) for name, value in found.items()}


def elements(data: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """Return the elements of an array, each as the bytes it was.

    Raises:
        msgspec.MsgspecError: It is no JSON array.
    """
    text, inner = _hollow(data)
    return [_filled(value, inner) for value in _elements.decode(text)]


def items(data: bytes) -> list[msgspec.Raw]:
    """Return the `items` of a list of the API server, each as the bytes it was.

    Raises:
        msgspec.MsgspecError: It is no JSON object, or what it has there is no array.
    """
    found = members(data).get("items", _NULL)
    return [] if found == _NULL else elements(found)  # nil slices of Go are null


_NULL = msgspec.Raw(b"null")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def _hollow(data: bytes | msgspec.Raw) -> tuple[bytes, list[bytes]]:
    """Take out what is nested: `{"a":{…},"b":1}` → `{"a":[0],"b":1}` and `{…}`."""
    text = bytes(data)
    pieces: list[bytes] = []
    inner: list[bytes] = []
    end = 0
    for start, stop in _below(text, 1):
        pieces += [text[end:start], b"[%d]" % len(inner)]
        inner.append(text[start:stop])
        end = stop
    return b"".join([*pieces, text[end:]]), inner


def _filled(value: msgspec.Raw, inner: list[bytes]) -> msgspec.Raw:
    # Nothing is nested in it any more: an array that is not empty is one of ours.
    text = bytes(value)
    if text[:1] != b"[" or text == b"[]":
        return value
    return msgspec.Raw(inner[int(text[1:-1])])


def _below(text: bytes, levels: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each array or object that is just below `levels`."""
    start, before = 0, 0
    for end, level in _brackets(text):
        if before == levels < level:
            start = end - 1
        elif level == levels < before:
            yield start, end
        before = level


def _brackets(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the place behind each bracket, and how many are open there."""
    match, end, level = _BRACKET.match, 0, 0
    while (found := match(text, end)) is not None:
        end = found.end()
        level += 1 if text[end - 1] in b"{[" else -1
        if level < 0:
            break
        yield end, level
    if level:
        raise msgspec.DecodeError("JSON is malformed: its brackets do not match")
