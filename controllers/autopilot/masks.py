"""Fields that users keep for themselves: what is left out, let go of, or copied.

    pointers ──out_of──▶ desired without them ──dry run──▶ live values stay? ─yes─▶ done
        │                                                          │no: atomic
        └─`ownership.release`──▶ ours no more                      └─▶ copied from live

To leave a field out of what is applied is not enough: the server removes what a
manager applied before and applies no more. Inside what the server treats as one value
(an atomic list or map) no part can be let go of: its value is copied from the object,
and we stay an owner of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from controller_runtime import Json
from controllers.autopilot.pointers import (
    Pointer,
    PointerError,
    find,
    format_pointer,
    overlaps,
    parse_pointer,
    with_value,
    without,
)

MAX_POINTERS = 256
"""Fields that are left to others. An annotation has room for thousands."""


class Masks(NamedTuple):
    """The fields of an `ignore-fields` annotation."""

    pointers: tuple[Pointer, ...] = ()
    problems: tuple[str, ...] = ()
    """What is no field that could be left to others, and why."""


def read_masks(text: str, *, protected: Iterable[Pointer]) -> Masks:
    """Read pointers with commas between them, or a JSON array of pointers.

    What cannot be used is told, and the others hold.
    """
    try:
        words = _words(text)
    except msgspec.DecodeError as error:
        return Masks(problems=(f"not a JSON array of pointers: {error}",))
    forbidden = tuple(protected)
    pointers: dict[Pointer, None] = {}
    problems: list[str] = []
    if len(words) > MAX_POINTERS:
        problems.append(f"{len(words)} pointers are too many: {MAX_POINTERS} count")
    for word in words[:MAX_POINTERS]:
        try:
            pointer = parse_pointer(word)
        except PointerError as error:
            problems.append(str(error))
            continue
        if overlaps(pointer, forbidden):
            problems.append(f"{word} is forbidden: it identifies the object")
        else:
            pointers[pointer] = None
    return Masks(tuple(pointers), tuple(problems))


def out_of(desired: Json, pointers: Iterable[Pointer]) -> Json:
    """Return what is applied without these fields."""
    for pointer in _last_first(pointers):
        desired = without(desired, pointer)
    return desired


def copied(desired: Json, live: Json, pointers: Iterable[Pointer]) -> Json:
    """Return what is applied with the live values of these fields."""
    for pointer in _last_first(pointers):
        found = find(live, pointer)
        if found.exists:
            desired = with_value(desired, pointer, found.value)
        else:
            desired = without(desired, pointer)
    return desired


def moved(live: Json, result: Json, pointers: Iterable[Pointer]) -> tuple[Pointer, ...]:
    """Return the fields that an apply would change all the same."""
    return tuple(p for p in pointers if find(live, p) != find(result, p))


def describe(pointers: Iterable[Pointer]) -> str:
    """Name fields for people."""
    return ", ".join(map(format_pointer, pointers))


def _words(text: str) -> Sequence[str]:
    if text.startswith("["):
        return msgspec.json.decode(text, type=list[str])
    return [word for word in map(str.strip, text.split(",")) if word]


def _last_first(pointers: Iterable[Pointer]) -> list[Pointer]:
    """Sort so that no removal moves the items that later ones mean."""
    return sorted(pointers, key=lambda pointer: [_rank(s) for s in pointer])[::-1]


def _rank(step: str) -> tuple[int, str]:
    return (int(step), "") if step.isdecimal() else (0, step)
