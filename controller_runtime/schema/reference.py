"""A CRD → a page for its users: each field with its type, default and bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from controller_runtime.meta import DURATION_PATTERN, QUANTITY_PATTERN, Json
from controller_runtime.schema.keys import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_KEYS,
    LIST_TYPE,
    PRESERVE,
    RULES,
)

BAR = "\\|"
"""A bar that does not end a cell."""

_BOUNDS: Mapping[str, str] = {
    "minLength": "length at least {}",
    "maxLength": "length at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
    "multipleOf": "multiple of {}",
    "pattern": "matches `{}`",
    "format": "format {}",
}


_KNOWN_TYPES: Mapping[str, str] = {
    DURATION_PATTERN: "duration, such as 1h30m",
    QUANTITY_PATTERN: "quantity, such as 500m or 64Mi",
}
"""Patterns of our own types, which a name says better."""


def reference_of(crd: Json) -> str:
    """Return the reference documentation of a CRD, in Markdown."""
    names, spec = crd["spec"]["names"], crd["spec"]
    stored = next(v for v in spec["versions"] if v["storage"])
    lines = [f"# {names['kind']}", ""]
    if text := stored["schema"]["openAPIV3Schema"].get("description"):
        lines += [text, ""]
    lines += [*_head(spec, stored), ""]
    for version in spec["versions"]:
        lines += [*_version(spec, version), ""]
    return "\n".join(lines).rstrip() + "\n"


def _head(spec: Json, stored: Json) -> Iterator[str]:
    names = spec["names"]
    rows = {
        "Group": f"`{spec['group']}`",
        "Versions": ", ".join(
            f"`{version['name']}`{' (stored)' * (version is stored)}"
            for version in spec["versions"]
        ),
        "Scope": spec["scope"],
        "Names": ", ".join(
            f"`{name}`" for name in (names["plural"], *names.get("shortNames", ()))
        ),
        "Categories": ", ".join(f"`{name}`" for name in names.get("categories", ())),
    }
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {row} | {text} |" for row, text in rows.items() if text)


def _version(spec: Json, version: Json) -> Iterator[str]:
    schema = version["schema"]["openAPIV3Schema"]
    yield f"## {spec['group']}/{version['name']}"
    yield ""
    if version.get("deprecated"):
        warning = version.get("deprecationWarning", "another version takes its place.")
        yield f"**Deprecated:** {warning}"
        yield ""
    if not version["served"]:
        yield "Not served."
        yield ""
    for part, inner in schema.get("properties", {}).items():
        yield f"### {part}"
        yield ""
        if text := inner.get("description"):
            yield text
            yield ""
        yield "| field | type | default | rules | what it is |"
        yield "|---|---|---|---|---|"
        yield from _rows(inner, part)
        yield ""
    yield from _rules(schema)
    yield from _columns(version)
    yield from _subresources(version)


def _rows(schema: Json, path: str) -> Iterator[str]:
    if "properties" not in schema and "items" not in schema:
        yield _row(schema, path, is_required=False)
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        place = f"{path}.{name}"
        yield _row(inner, place, is_required=name in required)
        yield from _inside(inner, place)
    if "properties" not in schema and "items" in schema:
        yield _row(schema, path, is_required=False)
        yield from _inside(schema, path)


def _inside(schema: Json, place: str) -> Iterator[str]:
    """Yield the rows of what has fields, or has items or values with fields."""
    while "items" in schema or "additionalProperties" in schema:
        place += "[]" if "items" in schema else ".*"
        schema = schema.get("items") or schema["additionalProperties"]
    if "properties" in schema:
        yield from _rows(schema, place)


def _row(schema: Json, path: str, *, is_required: bool) -> str:
    default = f"`{_json(schema['default'])}`" if "default" in schema else ""
    cells = (
        f"`{path}`",
        f"{_type(schema)}{', **required**' * is_required}",
        default,
        "; ".join(_constraints(schema)),
        " ".join(schema.get("description", "").split()),
    )
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def _type(schema: Json) -> str:
    null = " or null" * bool(schema.get("nullable"))
    if schema.get("pattern") in _KNOWN_TYPES:
        return f"{_KNOWN_TYPES[schema['pattern']]}{null}"
    if schema.get(INT_OR_STRING):
        return f"integer or string{null}"
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}{null}"
        case "object" if "additionalProperties" in schema:
            return f"map of {_type(schema['additionalProperties'])}{null}"
        case None:
            return "anything"
        case kind:
            return f"{kind}{null}"


def _constraints(schema: Json) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    for bound, exclusive, strict, loose in (
        ("minimum", "exclusiveMinimum", "more than", "at least"),
        ("maximum", "exclusiveMaximum", "less than", "at most"),
    ):
        if bound in schema:
            yield f"{strict if schema.get(exclusive) else loose} {schema[bound]}"
    if schema.get("pattern") not in _KNOWN_TYPES:
        yield from (
            text.format(schema[k]) for k, text in _BOUNDS.items() if k in schema
        )
    match schema.get(LIST_TYPE):
        case "set":
            yield "no item twice"
        case "map":
            keys = ", ".join(f"`{key}`" for key in schema[LIST_KEYS])
            yield f"one item for each {keys}"
        case _:
            pass
    if schema.get(EMBEDDED):
        yield "a whole object"
    elif schema.get(PRESERVE):
        yield "any fields"
    yield from (_rule(rule) for rule in schema.get(RULES, ()))


def _rules(schema: Json) -> Iterator[str]:
    if RULES in schema:
        yield "### Rules of the whole object"
        yield ""
        yield from (f"- {_rule(rule)}" for rule in schema[RULES])
        yield ""


def _rule(rule: Mapping[str, str]) -> str:
    return rule.get("message") or f"`{' '.join(rule['rule'].split())}`"


def _columns(version: Json) -> Iterator[str]:
    columns = version.get("additionalPrinterColumns", ())
    if columns:
        yield "### kubectl get"
        yield ""
        yield "| column | from | |"
        yield "|---|---|---|"
    for column in columns:
        path = column["jsonPath"].replace("|", BAR)
        wide = "with `-o wide`" if column.get("priority") else ""
        yield f"| {column['name']} | `{path}` | {wide} |"
    if columns:
        yield ""


def _subresources(version: Json) -> Iterator[str]:
    fields = [each["jsonPath"] for each in version.get("selectableFields", ())]
    if fields:
        yield f"Field selectors: {', '.join(f'`{f[1:]}`' for f in fields)}."
        yield ""
    if "scale" in version.get("subresources", {}):
        path = version["subresources"]["scale"]["specReplicasPath"]
        yield f"`kubectl scale` sets `{path[1:]}`."
        yield ""


def _json(value: object) -> str:
    """Return a default as one would write it in YAML."""
    if isinstance(value, str) and value:
        return value
    return json.dumps(value, ensure_ascii=False)
