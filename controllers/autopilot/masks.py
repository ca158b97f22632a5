"""Fields that users keep for themselves: what is left out, let go of, or copied.

    pointers ──out_of──▶ desired without them ──dry run──▶ live values stay? ─yes─▶ done
        │                                                          │no: atomic
        └─release──▶ our entry in managedFields without them       └─▶ copied from live

To leave a field out of what is applied is not enough: the server removes what a
manager applied before and applies no more. So the field is taken out of our entry in
`managedFields` first, as client-go's `csaupgrade` does; then it is nobody's, or that
of who wrote it, and keeps its value. Inside what the server treats as one value (an
atomic list or map) no part can be let go of: its value is copied from the object, and
we stay an owner of the whole.

Pure: the patch that releases is returned, not sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from controller_runtime import Json
from controllers.autopilot.pointers import (
    NOTHING,
    Pointer,
    PointerError,
    find,
    format_pointer,
    overlaps,
    parse_pointer,
    place_in,
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


def owned(
    live: Json, *, manager: str, pointers: Iterable[Pointer]
) -> tuple[Pointer, ...]:
    """Return the fields that `manager` owns and can let go of."""
    entry = _entry(live, manager)
    if entry is None:
        return ()
    _, fields = entry
    return tuple(p for p in pointers if _without_field(fields, live, p) != fields)


def release(
    live: Json, *, manager: str, pointers: Iterable[Pointer]
) -> list[Json] | None:
    """Return the JSON patch after which `manager` owns none of these fields.

    It is refused by the server if the object has changed meanwhile. `None` if nothing
    is owned there, or nothing of it can be let go of.
    """
    entry = _entry(live, manager)
    if entry is None:
        return None
    number, before = entry
    fields = before
    for pointer in pointers:
        fields = _without_field(fields, live, pointer)
    if fields == before:
        return None
    version = live["metadata"]["resourceVersion"]
    return [
        _operation("test", "/metadata/resourceVersion", version),
        _operation("replace", f"/metadata/managedFields/{number}/fieldsV1", fields),
    ]


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


def _entry(live: Json, manager: str) -> tuple[int, Mapping[str, Any]] | None:
    """Find what a manager has applied: the place of its entry, and its fields."""
    entries = live["metadata"].get("managedFields") or ()
    for number, entry in enumerate(entries):
        if (
            entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and not entry.get("subresource")
        ):
            return number, entry.get("fieldsV1") or {}
    return None


def _operation(op: str, path: str, value: object) -> Json:
    return {"op": op, "path": path, "value": value}


def _without_field(
    fields: Mapping[str, Any], value: object, pointer: Pointer
) -> Mapping[str, Any]:
    """Return a set of fields (`fieldsV1`) without one field and all in it."""
    step, *rest = pointer
    member = _member(fields, value, step)
    if member is None:
        return fields
    kept = {name: inner for name, inner in fields.items() if name != member}
    if not rest:
        return kept
    inner = fields[member]
    if not set(inner) - {"."}:
        return fields  # owned as one value: no part of it can be let go of
    below = find(value, (step,))
    left = _without_field(inner, below.value if below.exists else None, tuple(rest))
    # An empty set would say that the field itself is owned.
    return {**kept, member: left} if left else kept


def _member(fields: Mapping[str, Any], value: object, step: str) -> str | None:
    """Name a step as `fieldsV1` does (structured-merge-diff's `fieldpath`)."""
    place = place_in(value, step)
    if place is None:
        return f"f:{step}" if f"f:{step}" in fields else None
    item = value[place] if isinstance(value, Sequence) else NOTHING
    return next((name for name in fields if _stands_for(name, item)), None)


def _stands_for(member: str, item: object) -> bool:
    kind, _, text = member.partition(":")
    if kind == "k":
        keys: Mapping[str, object] = json.loads(text)
        return isinstance(item, Mapping) and all(
            name in item and item[name] == key for name, key in keys.items()
        )
    return kind == "v" and bool(json.loads(text) == item)
