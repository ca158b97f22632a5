"""Strategic merge patches: like merge patches, but some lists merge item by item.

The directives are those of apimachinery `util/strategicpatch`: `$patch` replaces or
deletes, `$retainKeys` drops the other keys of an object, `$deleteFromPrimitiveList/x`
takes values out of a list, `$setElementOrder/x` sorts one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.status import internal

Keys = Mapping[str, tuple[str, ...]]
"""Name of a list → its keys, of which the first one counts here; none for a set."""

_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def merge(target: object, patch: Json, keys: Keys) -> Json:
    """Return `target` with `patch` merged in; neither is changed.

    Raises:
        StatusError: 500, an item lacks the key that its list merges by.
    """
    if patch.get("$patch") in {"replace", "delete"}:
        return copy.deepcopy(_without_directives(patch))
    result: Json = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        retained = set(patch["$retainKeys"])
        result = {name: value for name, value in result.items() if name in retained}
    for name, value in patch.items():
        if not name.startswith("$"):
            _merge_field(result, name, value, keys)
    for name, value in patch.items():
        _direct(result, name, value, keys)
    return result


def _merge_field(result: Json, name: str, value: object, keys: Keys) -> None:
    if value is None:
        result.pop(name, None)
    elif isinstance(value, dict):
        result[name] = merge(result.get(name), value, keys)
    elif isinstance(value, list) and name in keys:
        result[name] = _merge_list(result.get(name) or [], value, keys[name][:1], keys)
    else:
        result[name] = copy.deepcopy(value)


def _merge_list(
    live: list[object], patch: list[object], key: tuple[str, ...], keys: Keys
) -> list[object]:
    if not key:
        merged = live + [item for item in patch if item not in live]
        return _in_order(merged, patch, live, key)
    directives = [_directive(item) for item in patch]
    kept = [] if "replace" in directives else live
    items = {_identity(item, key): item for item in kept}
    for item, directive in zip(patch, directives, strict=True):
        if directive == "replace":
            continue
        identity = _identity(item, key)
        if directive == "delete":
            items.pop(identity, None)
        elif isinstance(item, dict):
            items[identity] = merge(items.get(identity), item, keys)
    named = [item for item in patch if _directive(item) is None]
    return _in_order(list(items.values()), named, live, key)


def _directive(item: object) -> object:
    return item.get("$patch") if isinstance(item, dict) else None


def _identity(item: object, key: tuple[str, ...]) -> object:
    """Return what tells an item from the others of its list."""
    if not key:
        return item
    if not isinstance(item, dict) or key[0] not in item:
        raise internal(f"map: {item} does not contain declared merge key: {key[0]}")
    return item[key[0]]


def _direct(result: Json, name: str, value: list[object], keys: Keys) -> None:
    if name.startswith(_DELETE_FROM):
        field = name.removeprefix(_DELETE_FROM)
        result[field] = [x for x in result.get(field, []) if x not in value]
    elif name.startswith(_ORDER) and result.get(name.removeprefix(_ORDER)):
        field = name.removeprefix(_ORDER)
        items = result[field]
        result[field] = _in_order(items, value, items, keys.get(field, ())[:1])


def _in_order(
    items: list[object], wanted: list[object], live: list[object], key: tuple[str, ...]
) -> list[object]:
    """Put the items that `wanted` names in its order, the others between them.

    The others stay in front of the first wanted item that was behind them in `live`,
    or else go to the end (`mergeSortedSlice` of strategicpatch).
    """
    by_identity = {_identity(item, key): item for item in items}
    named = [_identity(item, key) for item in wanted]
    named = [identity for identity in named if identity in by_identity]
    places = {_identity(item, key): place for place, item in enumerate(live)}
    others = [identity for identity in by_identity if identity not in named]
    merged: list[object] = []
    for identity in named:
        while others and places.get(others[0], 0) < places.get(identity, -1):
            merged.append(others.pop(0))
        merged.append(identity)
    return [by_identity[identity] for identity in (*merged, *others)]


def _without_directives(patch: Json) -> Json:
    return {name: value for name, value in patch.items() if not name.startswith("$")}
