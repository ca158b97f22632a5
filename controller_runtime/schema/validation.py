"""Check a value against a structural schema, as the server does, without CEL.

For defaults, which a server refuses together with their CRD, and for tests. Formats
are left to the server. Patterns are tried with Python's engine: a pattern in RE2 has
the same meaning there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller_runtime.meta import Json
from controller_runtime.schema.keys import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_KEYS,
    LIST_TYPE,
    PRESERVE,
)


def problems(schema: Json, value: object, path: str = "") -> Iterator[str]:
    """Yield what is wrong with a value, each as `path: sentence`.

    A field that the schema does not name is wrong, as under strict field validation.
    """
    if value is None:
        if not schema.get("nullable"):
            yield _sentence(path, "must not be null")
        return
    if PRESERVE in schema and "type" not in schema:
        return
    if not _has_type(schema, value):
        wanted = schema.get("type", "integer or string")
        yield _sentence(path, f"must be of type {wanted}, not {_type(value)}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield _sentence(path, f"must be one of {', '.join(map(str, schema['enum']))}")
    match value:
        case bool():
            pass
        case int() | float():
            yield from _number(schema, value, path)
        case str():
            yield from _string(schema, value, path)
        case Mapping():
            yield from _object(schema, value, path)
        case Sequence():
            yield from _list(schema, value, path)
        case _:
            yield _sentence(path, f"{_type(value)} is not JSON")


def _sentence(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _type(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case Sequence():
            return "array"
        case _:
            return type(value).__name__


def _has_type(schema: Json, value: object) -> bool:
    found = _type(value)
    if schema.get(INT_OR_STRING):
        return found in {"integer", "string"}
    wanted = schema.get("type")
    return wanted in {None, found} or (wanted == "number" and found == "integer")


def _number(schema: Json, value: float, path: str) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (value == low and _strict(schema, "Min"))):
        word = "more than" if _strict(schema, "Min") else "at least"
        yield _sentence(path, f"must be {word} {low}")
    if high is not None and (
        value > high or (value == high and _strict(schema, "Max"))
    ):
        word = "less than" if _strict(schema, "Max") else "at most"
        yield _sentence(path, f"must be {word} {high}")
    step = schema.get("multipleOf")
    if step is not None and value % step:
        yield _sentence(path, f"must be a multiple of {step}")


def _strict(schema: Json, end: str) -> bool:
    return bool(schema.get(f"exclusive{end}imum"))


def _string(schema: Json, value: str, path: str) -> Iterator[str]:
    yield from _size(schema, "Length", len(value), "characters", path)
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        yield _sentence(path, f"must match {pattern}")


def _size(schema: Json, what: str, size: int, unit: str, path: str) -> Iterator[str]:
    low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
    if low is not None and size < low:
        yield _sentence(path, f"must have at least {low} {unit}")
    if high is not None and size > high:
        yield _sentence(path, f"must have at most {high} {unit}")


def _object(schema: Json, value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _size(schema, "Properties", len(value), "entries", path)
    properties: Json = schema.get("properties", {})
    others = schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in value:
            yield _sentence(f"{path}.{name}".lstrip("."), "is required")
    for name, inner in value.items():
        place = f"{path}.{name}".lstrip(".")
        # A null that may not be is no field: the server drops it.
        if name in properties and (
            inner is not None or properties[name].get("nullable")
        ):
            yield from problems(properties[name], inner, place)
        elif name not in properties and isinstance(others, Mapping):
            yield from problems(dict(others), inner, place)
        elif name not in properties and not _keeps(schema):
            yield _sentence(place, "is not in the schema")


def _keeps(schema: Json) -> bool:
    return bool(schema.get(PRESERVE) or schema.get(EMBEDDED))


def _list(schema: Json, value: Sequence[Any], path: str) -> Iterator[str]:
    yield from _size(schema, "Items", len(value), "items", path)
    items: Json = schema["items"]
    for index, item in enumerate(value):
        yield from problems(items, item, f"{path}[{index}]")
    keys: Sequence[str] = schema.get(LIST_KEYS, ())
    if schema.get(LIST_TYPE) not in {"set", "map"}:
        return
    seen = set()
    for index, item in enumerate(value):
        whole = not keys or not isinstance(item, Mapping)
        identity = item if whole else [item.get(k, _default(items, k)) for k in keys]
        text = json.dumps(identity, sort_keys=True)
        if text in seen:
            yield _sentence(f"{path}[{index}]", "is there twice")
        seen.add(text)


def _default(items: Json, key: str) -> object:
    return items.get("properties", {}).get(key, {}).get("default")
