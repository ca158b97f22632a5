"""Who owns which fields of an object: `managedFields`, read and rewritten.

    owned, release    fields that we let go of: they leave our entry
    contested, take   fields that somebody wrote by hand: from their entry to ours

An apply removes what its manager owns and applies no more, and nothing else. So what is
let go of first leaves our entry, as client-go's `csaupgrade` does it; then it is
nobody's, or that of who wrote it, and keeps its value. And what others wrote by hand
only goes once we own it. Until then every apply may be refused, since what it makes of
both is not valid: two ports of one name, a volume of two types. Flux knows this as
override managers (fluxcd/kustomize-controller#1722).

Only what the server complains of is taken, and of that only what is not applied: items
of lists if there are such, else single fields. Never metadata, where users speak to us.

Pure: patches are returned, not sent. Each is for one version of the object; the server
answers 409 to it when there is another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from controller_runtime import ApiError, Json
from controllers.autopilot.pointers import (
    NOTHING,
    Found,
    Pointer,
    find,
    is_prefix,
    overlaps,
    place_in,
)

_APPLY = "Apply"
_UPDATE = "Update"

_STEP = re.compile(r"[^.\[]+|\[")

_NEVER = frozenset({"apiVersion", "kind", "metadata", "status"})
"""Parts of an object in which nothing is taken."""


class Contested(NamedTuple):
    """What somebody else owns, and keeps an apply from being valid."""

    manager: str
    pointer: Pointer
    """Indices are those of the live object."""


def owned(
    live: Json, *, manager: str, pointers: Iterable[Pointer]
) -> tuple[Pointer, ...]:
    """Return the fields that `manager` has applied and can let go of."""
    number = _applied_by(live, manager)
    if number is None:
        return ()
    fields = _fields(_entries(live)[number])
    return tuple(p for p in pointers if _without(fields, live, p) != fields)


def release(
    live: Json, *, manager: str, pointers: Iterable[Pointer]
) -> list[Json] | None:
    """Return the JSON patch after which `manager` owns none of these fields.

    `None` if nothing is owned there, or nothing of it can be let go of.
    """
    number = _applied_by(live, manager)
    if number is None:
        return None
    before = _fields(_entries(live)[number])
    fields = before
    for pointer in pointers:
        fields = _without(fields, live, pointer)
    if fields == before:
        return None
    return _patch(live, f"/metadata/managedFields/{number}/fieldsV1", fields)


def complaints(error: ApiError) -> tuple[Pointer, ...]:
    """Return the fields that the server refuses an object for.

    Of `spec.ports[1].name` it is `spec.ports`: its items are those of an object that is
    not there. Empty if the server names none, as for a webhook's refusal.
    """
    causes = error.details.get("causes")
    found: dict[Pointer, None] = {}
    for cause in causes if isinstance(causes, list) else ():
        field = cause.get("field") if isinstance(cause, Mapping) else None
        if isinstance(field, str) and (steps := tuple(_until_index(field))):
            found[steps] = None
    return tuple(found)


def contested(
    live: Json,
    desired: Json,
    *,
    about: Collection[Pointer],
    managers: Collection[str],
    masked: Iterable[Pointer] = (),
) -> tuple[Contested, ...]:
    """Return what an apply cannot remove, since others own it.

    Args:
        live: The object, with its managedFields.
        desired: What is applied.
        about: Fields that the server complains of.
        managers: Whose fields may be taken: what they wrote by `Update`.
        masked: Fields that are left to others.
    """
    kept = [_located(live, pointer) for pointer in masked]
    found = tuple(
        Contested(str(entry["manager"]), pointer)
        for entry in _entries(live)
        if _is_by_hand(entry, managers, desired.get("apiVersion"))
        for pointer in _not_applied(_fields(entry), desired, live, about)
        if not overlaps(pointer, kept)
    )
    items = tuple(each for each in found if _is_item(live, each.pointer))
    return items or found


def _is_item(live: Json, pointer: Pointer) -> bool:
    return isinstance(find(live, pointer[:-1]).value, list)


def take(live: Json, found: Iterable[Contested], *, manager: str) -> list[Json]:
    """Return the JSON patch after which `manager` owns what was found, as applied.

    The next apply removes it. Who owned it owns it no more.
    """
    entries = [dict(entry) for entry in _entries(live)]
    number = _applied_by(live, manager)
    if number is None:
        number = len(entries)
        entries.append(_new_entry(live, manager))
    ours = _fields(entries[number])
    for owner, pointer in found:
        for entry in entries:
            if not _is_by_hand(entry, {owner}, live.get("apiVersion")):
                continue
            theirs = _fields(entry)
            ours = _merged(ours, _part(theirs, live, pointer))
            entry["fieldsV1"] = _without(theirs, live, pointer)
    entries[number]["fieldsV1"] = ours
    left = [entry for entry in entries if entry.get("fieldsV1")]
    return _patch(live, "/metadata/managedFields", left)


def _patch(live: Json, path: str, value: object) -> list[Json]:
    version = live["metadata"]["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": path, "value": value},  # or replace
    ]


# Entries


def _entries(live: Json) -> Sequence[Json]:
    entries: Sequence[Json] = live["metadata"].get("managedFields") or ()
    return entries


def _applied_by(live: Json, manager: str) -> int | None:
    """Find the place of what a manager has applied."""
    for number, entry in enumerate(_entries(live)):
        if (
            entry.get("manager") == manager
            and entry.get("operation") == _APPLY
            and not entry.get("subresource")
        ):
            return number
    return None


def _is_by_hand(
    entry: Mapping[str, Any], managers: Collection[str], api_version: object
) -> bool:
    # In another version fields may have other names.
    return (
        entry.get("manager") in managers
        and entry.get("operation") == _UPDATE
        and entry.get("apiVersion") == api_version
        and not entry.get("subresource")
    )


def _new_entry(live: Json, manager: str) -> Json:
    return {
        "manager": manager,
        "operation": _APPLY,
        "apiVersion": live["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }


def _fields(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry.get("fieldsV1") or {}


# Sets of fields: `fieldsV1`, structured-merge-diff's `fieldpath`


def _not_applied(
    fields: Mapping[str, Any], desired: Json, live: Json, about: Collection[Pointer]
) -> Iterator[Pointer]:
    for member, inner in fields.items():
        name = member.removeprefix("f:")
        if name not in _NEVER:
            yield from _beyond({member: inner}, Found(True, desired), live, (), about)


def _beyond(
    fields: Mapping[str, Any],
    desired: Found,
    live: object,
    above: Pointer,
    about: Collection[Pointer],
) -> Iterator[Pointer]:
    """Yield the outermost of `fields` that are complained of and not applied."""
    for member, inner in fields.items():
        step = _step(member, live)
        here = (*above, step)
        if not step or not overlaps(here, about):
            continue
        wanted = _wanted(member, desired)
        is_within = any(is_prefix(place, here) for place in about)
        if not wanted.exists and (is_within or not set(inner) - {"."}):
            yield here
        else:
            value = find(live, (step,))
            yield from _beyond(inner, wanted, value.value, here, about)


def _step(member: str, live: object) -> str:
    """Return the step that a member is in the live object; empty for none."""
    kind, _, text = member.partition(":")
    if kind == "f":
        return text if isinstance(live, Mapping) and text in live else ""
    if kind != "k" or not isinstance(live, Sequence):
        return ""
    places = (str(n) for n, item in enumerate(live) if _stands_for(member, item))
    return next(places, "")


def _wanted(member: str, desired: Found) -> Found:
    """Find a member in what is applied, where keys may be left to their defaults."""
    kind, _, text = member.partition(":")
    value = desired.value
    if kind == "f":
        is_there = isinstance(value, Mapping) and text in value
        return Found(True, value[text]) if is_there else NOTHING
    if kind != "k" or not isinstance(value, list):
        return NOTHING
    keys: Mapping[str, object] = json.loads(text)
    items = (
        item
        for item in value
        if isinstance(item, Mapping)
        and all(item.get(name, key) == key for name, key in keys.items())
    )
    return next((Found(True, item) for item in items), NOTHING)


def _without(
    fields: Mapping[str, Any], value: object, pointer: Pointer
) -> Mapping[str, Any]:
    """Return a set of fields without one field and all in it."""
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
    left = _without(inner, find(value, (step,)).value, tuple(rest))
    # An empty set would say that the field itself is owned.
    return {**kept, member: left} if left else kept


def _part(
    fields: Mapping[str, Any], value: object, pointer: Pointer
) -> Mapping[str, Any]:
    """Return a set of fields with one field and all in it, and nothing else."""
    if not pointer:
        return fields
    step, *rest = pointer
    member = _member(fields, value, step)
    if member is None:
        return {}
    below = find(value, (step,)).value
    return {member: _part(fields[member], below, tuple(rest))}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        **one,
        **{name: _merged(one.get(name, {}), inner) for name, inner in other.items()},
    }


def _member(fields: Mapping[str, Any], value: object, step: str) -> str | None:
    """Name a step as a set of fields does."""
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


# Places


def _until_index(field: str) -> Iterator[str]:
    for step in _STEP.findall(field):
        if step == "[":
            return
        yield step


def _located(live: Json, pointer: Pointer) -> Pointer:
    """Write a pointer with indices of the live object, as far as there are such."""
    steps: list[str] = []
    value: object = live
    for step in pointer:
        place = place_in(value, step)
        steps.append(step if place is None else str(place))
        value = find(value, (step,)).value
    return tuple(steps)
