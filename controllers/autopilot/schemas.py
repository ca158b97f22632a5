"""What a CRD says of a field, and whether an object fits (pure).

Structural schemas alone, as CRDs have them, and of their keywords those that decide
whether server-side apply can read an object at all: types, fields, enums, required. The
rest (patterns, rules) is the server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"

_NAMES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}

Schema = Mapping[str, Any]


def schema_of(crd: Mapping[str, Any], version: str = "") -> Schema | None:
    """Return the schema of a version; by default of the one that is stored."""
    for each in (crd.get("spec") or {}).get("versions") or ():
        if each.get("name") == version if version else each.get("storage"):
            return (each.get("schema") or {}).get("openAPIV3Schema") or {}
    return None


def field_of(schema: Schema | None, path: str) -> Schema | None:
    """Follow a dotted path; a list stands for its items. `None` where it ends."""
    for step in path.split("."):
        while schema is not None and "items" in schema:
            schema = schema["items"]
        schema = ((schema or {}).get("properties") or {}).get(step)
    return schema


def enum_of(schema: Schema | None, path: str) -> Sequence[Any]:
    """Return the values that a field, or each item of a list, may have; else none."""
    field = field_of(schema, path) or {}
    values: Sequence[Any] = field.get("enum") or (field.get("items") or {}).get(
        "enum", ()
    )
    return values


def object_misfits(obj: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    """Yield what a server would not take of an object; its metadata are not looked at.

    Args:
        obj: A whole object.
        schema: That of its kind and version.
    """
    common = ("apiVersion", "kind", "metadata")
    fields = {name: value for name, value in obj.items() if name not in common}
    yield from misfits(fields, schema)


def misfits(value: object, schema: Schema, path: str = "") -> Iterator[str]:
    """Yield what a server would not take, one sentence each.

    Args:
        value: JSON.
        schema: What it should be.
        path: Where it is, as in `.spec.profiles[0]`.
    """
    if value is None and schema.get("nullable"):
        return
    if schema.get(_INT_OR_STRING):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path} must be an integer or a string, not {_shown(value)}"
        return
    wanted = schema.get("type")
    if wanted and not _is(value, wanted):
        yield f"{path} must be of type {wanted}, not {_shown(value)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(str(each) for each in schema["enum"])
        yield f"{path} must be one of {known}, not {_shown(value)}"
    if isinstance(value, Mapping):
        yield from _map_misfits(value, schema, path)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from misfits(item, schema["items"], f"{path}[{index}]")


def _map_misfits(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[str]:
    for name in schema.get("required") or ():
        if name not in value:
            yield f"{path}.{name} is required"
    properties = schema.get("properties")
    others = schema.get("additionalProperties")
    for name, item in value.items():
        if properties is not None and name in properties:
            yield from misfits(item, properties[name], f"{path}.{name}")
        elif isinstance(others, Mapping):
            yield from misfits(item, others, f"{path}.{name}")
        elif properties is not None and not others and not schema.get(_PRESERVE):
            known = ", ".join(sorted(properties))
            yield f"{path}.{name} is no field; there are {known}"


def _is(value: object, wanted: str) -> bool:
    actual = _NAMES.get(type(value), "")
    return actual == wanted or (actual, wanted) == ("integer", "number")


def _shown(value: object) -> str:
    name = _NAMES.get(type(value), type(value).__name__)
    return f"the {name} {value!r}" if isinstance(value, str | int | float) else name
