"""Whether to apply something again would change anything.

    desired ─┬─ every field equal to the live object's? ────┐
             ├─ every field owned by us, as applied? ───────┼─▶ nothing to do
             └─ nothing else owned by us, to be removed? ───┘

The answer is in the live object itself: `metadata.managedFields` says what a manager
has applied (`fieldsV1`, structured-merge-diff's `fieldpath`). No schema is needed: the
server has written down there which lists have keys and which are one value.

`False` says "ask the server", and is the answer to every doubt: managedFields that were
stripped, another version, values that the server writes in another way (a quantity of
`1000m`), keys that it fills in. Then an apply is sent and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

_NOT_OWNED = frozenset({"name", "namespace"})
"""What identifies an object is in no one's fields."""


def is_applied(
    desired: Mapping[str, Any], live: Mapping[str, Any], *, manager: str
) -> bool:
    """Tell whether `manager` has applied just this, and nobody has changed it since.

    Args:
        desired: What would be applied.
        live: The object as the server has it.
        manager: The field manager that would apply it.
    """
    owned = _owned(live, desired.get("apiVersion"), manager)
    if owned is None:
        return False
    metadata = desired.get("metadata") or {}
    opinions = {k: v for k, v in metadata.items() if k not in _NOT_OWNED}
    wanted = {k: v for k, v in desired.items() if k not in {"apiVersion", "kind"}}
    wanted["metadata"] = opinions
    if not opinions:
        del wanted["metadata"]
    try:
        return _is_same_map(owned, wanted, live)
    except RecursionError:  # nested too deeply: a doubt like others
        return False


def _owned(
    live: Mapping[str, Any], api_version: object, manager: str
) -> Mapping[str, Any] | None:
    """Return the fields that `manager` has applied, in this version and no other."""
    entries = [
        entry
        for entry in (live.get("metadata") or {}).get("managedFields") or ()
        if entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
    ]
    if len(entries) != 1 or entries[0].get("apiVersion") != api_version:
        return None
    found = entries[0].get("fieldsV1")
    return found if isinstance(found, Mapping) else None


def _is_same(owned: Mapping[str, Any], wanted: object, live: object) -> bool:
    members = {name: fields for name, fields in owned.items() if name != "."}
    if isinstance(wanted, Mapping) and members:
        return _is_same_map(members, wanted, live)
    if isinstance(wanted, list) and members:
        return _is_same_list(members, wanted, live)
    return not members and _text(wanted) == _text(live)


def _is_same_map(
    members: Mapping[str, Any], wanted: Mapping[str, Any], live: object
) -> bool:
    if not isinstance(live, Mapping) or set(members) != {f"f:{k}" for k in wanted}:
        return False
    return all(
        name in live and _is_same(members[f"f:{name}"], value, live[name])
        for name, value in wanted.items()
    )


def _is_same_list(
    members: Mapping[str, Any], wanted: Sequence[Any], live: object
) -> bool:
    """Compare a list whose items have keys, or are values that occur once."""
    if not isinstance(live, list) or len(members) != len(wanted):
        return False
    places = []
    for item in wanted:
        member = _member_of(item, members)
        place = None if member is None else _place(member, live)
        if member is None or place is None:
            return False
        if member.startswith("k:") and not _is_same(members[member], item, live[place]):
            return False
        places.append(place)
    return places == sorted(set(places))


def _member_of(item: object, members: Iterable[str]) -> str | None:
    return next((member for member in members if _stands_for(member, item)), None)


def _place(member: str, live: Sequence[object]) -> int | None:
    found = (n for n, item in enumerate(live) if _stands_for(member, item))
    return next(found, None)


def _stands_for(member: str, item: object) -> bool:
    """Whether an item is the one of which `fieldsV1` says `k:{…}` or `v:…`."""
    kind, _, text = member.partition(":")
    if kind == "k":
        keys: Mapping[str, object] = json.loads(text)
        return isinstance(item, Mapping) and all(
            name in item and _text(item[name]) == _text(key)
            for name, key in keys.items()
        )
    return kind == "v" and _text(json.loads(text)) == _text(item)


def _text(value: object) -> bytes:
    """Return a value such that only equal ones look the same; to Python, 1 is True."""
    return msgspec.json.encode(value, order="sorted")
