"""Paths into objects: JSON pointers, and steps that name an item of a list by a key.

    /metadata/annotations/example.com~1owner     RFC 6901
    /spec/groups/0/interval                      an index
    /spec/groups/[name=critical]/interval        the item whose `name` is `critical`

A path is decoded once, into its steps, and everything that decides compares steps:
text that looks alike (`/kindred` and `/kind`) is not alike. Functions here take and
return plain JSON and change nothing that they are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from controller_runtime import Json
from controllers.autopilot.errors import AutopilotError

Pointer: TypeAlias = tuple[str, ...]
"""The decoded steps of a path, from the root; empty is the whole document."""

_ESCAPE = re.compile("~[^01]|~$")
_KEYED = re.compile(r"\[([^=\[\]]+)=(.*)\]", re.DOTALL)
_INDEX = re.compile("0|[1-9][0-9]*")


class PointerError(AutopilotError):
    """Text that names no place in an object; says why, and what would."""


class Found(NamedTuple):
    """What is at a place."""

    exists: bool
    value: Any = None


NOTHING = Found(exists=False)


def parse_pointer(text: str) -> Pointer:
    """Decode a path.

    Raises:
        PointerError: It does not begin with `/`, or has a `~` that escapes nothing.
    """
    if not text.startswith("/"):
        raise PointerError(f"{text!r} is no JSON pointer: it must start with '/'")
    if _ESCAPE.search(text):
        raise PointerError(
            f"{text!r} is no JSON pointer: '~' is written '~0', and '/' in a name '~1'"
        )
    steps = text[1:].split("/")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def format_pointer(pointer: Pointer) -> str:
    """Write a path as `parse_pointer` reads it."""
    steps = (step.replace("~", "~0").replace("/", "~1") for step in pointer)
    return "".join(f"/{step}" for step in steps)


def is_prefix(shorter: Pointer, longer: Pointer) -> bool:
    """Whether one place is the other, or holds it."""
    return longer[: len(shorter)] == shorter


def overlaps(one: Pointer, others: Iterable[Pointer]) -> bool:
    """Whether a place is one of others, lies in one, or holds one."""
    return any(is_prefix(one, other) or is_prefix(other, one) for other in others)


def find(document: object, pointer: Pointer) -> Found:
    """Look up what is at a place."""
    value: Any = document
    for step in pointer:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif (place := place_in(value, step)) is not None:
            value = value[place]
        else:
            return NOTHING
    return Found(exists=True, value=value)


def place_in(items: object, step: str) -> int | None:
    """Return the index that a step means in a list, if it has such an item."""
    if not isinstance(items, Sequence) or isinstance(items, str):
        return None
    if _INDEX.fullmatch(step):
        index = int(step)
        return index if index < len(items) else None
    if (keyed := _KEYED.fullmatch(step)) is None:
        return None
    key, wanted = keyed.groups()
    for index, item in enumerate(items):
        if isinstance(item, Mapping) and key in item and _text(item[key]) == wanted:
            return index
    return None


def without(document: Json, pointer: Pointer) -> Json:
    """Return the document without what is at a place; what is not there may be."""
    if not pointer or not find(document, pointer).exists:
        return document
    changed: Json = _edited(document, pointer, NOTHING)
    return changed


def with_value(document: Json, pointer: Pointer, value: object) -> Json:
    """Return the document with another value at a place.

    Maps on the way are made; a list on the way must have the item, or end just before
    it. Otherwise there is no such place and the document stays as it is.
    """
    changed: Json = _edited(document, pointer, Found(exists=True, value=value))
    return changed


def _edited(value: Any, pointer: Pointer, new: Found) -> Any:
    if not pointer:
        return new.value
    step, *rest = pointer
    if isinstance(value, Mapping):
        return _edited_map(value, step, tuple(rest), new)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _edited_list(value, step, tuple(rest), new)
    return value


def _edited_map(
    value: Mapping[str, Any], step: str, rest: Pointer, new: Found
) -> dict[str, Any]:
    changed = dict(value)
    if rest or new.exists:
        changed[step] = _edited(value.get(step, {}), rest, new)
    else:
        changed.pop(step, None)
    return changed


def _edited_list(
    value: Sequence[Any], step: str, rest: Pointer, new: Found
) -> list[Any]:
    changed = list(value)
    place = place_in(value, step)
    if place is None:
        if new.exists and not rest and step == str(len(value)):
            changed.append(new.value)
        return changed
    if rest or new.exists:
        changed[place] = _edited(value[place], rest, new)
    else:
        del changed[place]
    return changed


def _text(value: object) -> str:
    """Write a key as a user would: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
