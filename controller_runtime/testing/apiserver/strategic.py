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
    target: list[object], patch: list[object], key: tuple[str, ...], keys: Keys
) -> list[object]:
    if not key:
        return target + [item for item in patch if item not in target]
    replaces = any(_directive(item) == "replace" for item in patch)
    items: dict[object, object] = {}
    for item in [] if replaces else target:
        items[_key(item, key[0])] = item
    for item in patch:
        if _directive(item) == "replace":
            continue
        place = _key(item, key[0])
        if _directive(item) == "delete":
            items.pop(place, None)
        elif isinstance(item, dict):
            items[place] = merge(items.get(place), item, keys)
    return list(items.values())


def _directive(item: object) -> object:
    return item.get("$patch") if isinstance(item, dict) else None


def _key(item: object, key: str) -> object:
    if not isinstance(item, dict) or key not in item:
        raise internal(f"map: {item} does not contain declared merge key: {key}")
    return item[key]


def _direct(result: Json, name: str, value: list[object], keys: Keys) -> None:
    if name.startswith(_DELETE_FROM):
        field = name.removeprefix(_DELETE_FROM)
        result[field] = [x for x in result.get(field, []) if x not in value]
    elif name.startswith(_ORDER):
        field = name.removeprefix(_ORDER)
        key = keys.get(field, ())[:1]
        order = [_key(item, key[0]) if key else item for item in value]
        result[field] = _sorted(result.get(field, []), order, key)


def _sorted(
    items: list[object], order: list[object], key: tuple[str, ...]
) -> list[object]:
    """Put the ordered items in order; the others stay behind them."""

    def rank(item: object) -> int:
        place = _key(item, key[0]) if key else item
        return order.index(place) if place in order else len(order)

    return sorted(items, key=rank)


def _without_directives(patch: Json) -> Json:
    return {name: value for name, value in patch.items() if not name.startswith("$")}
