"""JSON schema → the structural schema that an API server accepts.

    {"$ref": …}                 what it refers to; a circle is refused
    {"anyOf": [X, null]}        X, `nullable` where null is not just absence
    {"anyOf": [int, str]}       x-kubernetes-int-or-string
    {"const": c}                {"enum": [c]}
    {"exclusiveMinimum": 0}     {"minimum": 0, "exclusiveMinimum": true}
    {"ge": "PT1M"}              a CEL rule: bounds of Duration and Quantity
    {}, {"additionalProperties": true}
                                x-kubernetes-preserve-unknown-fields
    title, examples, …          dropped

One pass from the root down, so that every refusal names its field. Keys that are not
known here are refused too: the server would do the same, without saying where.

Rules of structural schemas: Kubernetes documentation, "Specifying a structural schema",
and apiextensions-apiserver `pkg/apiserver/schema`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter

from controller_runtime.errors import SchemaError
from controller_runtime.meta import Duration, Json
from controller_runtime.schema.docstrings import one_paragraph_a_line
from controller_runtime.schema.keys import (
    DEFAULT_MARKER,
    DROPPED,
    EMBEDDED,
    EXPLICIT_DEFAULT,
    FORMATS,
    INT_OR_STRING,
    KEY_NEEDS_DEFAULT,
    LIST_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    MISPLACED_DEFAULT,
    MIXED_TUPLE,
    OPEN_ENUM,
    ORDER,
    PRESERVE,
    RECURSIVE,
    REFUSED,
    RESTRICTED_KEYS,
    RULES,
    SCALARS,
    SET_OF_OBJECTS,
    TAGGED_UNION,
    UNION,
    UNUSABLE_FORMATS,
)
from controller_runtime.schema.validation import problems

_span = TypeAdapter(timedelta).validate_python


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a schema is: its path for humans, the models it is inside of."""

    path: str
    inside: tuple[str, ...] = ()

    def field(self, name: str) -> _Place:
        return _Place(f"{self.path}.{name}".removeprefix("."), self.inside)

    def item(self, brackets: str) -> _Place:
        return _Place(self.path + brackets, self.inside)

    @property
    def in_status(self) -> bool:
        return self.path == "status" or self.path.startswith("status.")


def structural(
    document: Json, *, name: str, description_limit: int | None = None
) -> Json:
    """Return the structural schema of a JSON schema.

    Args:
        document: Of one model, as pydantic writes it.
        name: Of the model, for messages.
        description_limit: Longest description, in characters; 0 leaves them out.

    Raises:
        SchemaError: Some field has none; the text names it and what to do.
    """
    schema = _Structure(name, document.get("$defs", {}), description_limit)
    root = schema.of(document, _Place(""))
    root.pop(EMBEDDED, None)  # that is about objects inside others
    return root


class _Structure:
    def __init__(self, name: str, defs: Json, description_limit: int | None) -> None:
        self._name = name
        self._defs = defs
        self._description_limit = description_limit

    def of(self, node: Json, at: _Place) -> Json:
        """Return the structural schema of one value and all that is inside of it."""
        node, at = self._inline(node, at)
        if REFUSED in node:
            raise self._error(at, node[REFUSED])
        self._simplify(node, at)
        for step in (self._composite, self._text, self._numbers, self._lists):
            step(node, at)
        self._default(node, at)
        unknown = node.keys() - set(ORDER) - DROPPED
        if unknown:
            raise self._error(at, f"a CRD has no {', '.join(sorted(unknown))}")
        return {key: node[key] for key in ORDER if key in node}

    def _error(self, at: _Place, why: str) -> SchemaError:
        return SchemaError(f"{self._name}: {at.path or 'the object'}: {why}")

    def _inline(self, node: Json, at: _Place) -> tuple[Json, _Place]:
        """Replace a reference and a union by what they come to."""
        node = dict(node)
        while True:
            if "$ref" in node:
                model = node.pop("$ref").removeprefix("#/$defs/")
                if model in at.inside:
                    raise self._error(at, RECURSIVE.format(model))
                at = _Place(at.path, (*at.inside, model))
                node = _merge(self._defs[model], node)
            elif "allOf" in node:
                for part in node.pop("allOf"):
                    node = _merge(part, node)
            elif "anyOf" in node or "oneOf" in node:
                node = self._union(node, at)
            else:
                return node, at

    def _union(self, node: Json, at: _Place) -> Json:
        branches = node.pop("anyOf", None) or node.pop("oneOf")
        some = [branch for branch in branches if branch.get("type") != "null"]
        if len(some) < len(branches):
            node.setdefault("nullable", True)
        if len(some) == 1:
            return _merge(some[0], node)
        if node.get(OPEN_ENUM):
            return _merge({"type": "string"}, self._known_values(node, some))
        if "discriminator" in node:
            raise self._error(at, TAGGED_UNION)
        parts = [self.of(branch, at) for branch in some]
        kinds = [part.get("type", INT_OR_STRING) for part in parts]
        if sorted(kinds) == ["integer", "string"]:
            both = _merge(parts[0], parts[1])
            del both["type"]
            return _merge({**both, INT_OR_STRING: True}, node)
        if sorted(kinds) == ["integer", "number"] and all(len(p) == 1 for p in parts):
            return _merge({"type": "number"}, node)
        if len(set(kinds)) == 1 and all(p.keys() <= _ENUM_KEYS for p in parts):
            values = [value for part in parts for value in part.get("enum", ())]
            if all("enum" in part for part in parts):
                return _merge({"type": kinds[0], "enum": values}, node)
        raise self._error(at, UNION.format(" and ".join(kinds)))

    def _known_values(self, node: Json, branches: list[Json]) -> Json:
        """Say in words which values an open enum knows."""
        enums = (self._defs.get(b.get("$ref", "").split("/")[-1], b) for b in branches)
        known = [(e.get("description", ""), e["enum"]) for e in enums if "enum" in e]
        for description, values in known:
            text = node.get("description", description)
            words = f"Known values: {', '.join(values)}."
            node["description"] = f"{text}\n\n{words}" if text else words
        return node

    def _simplify(self, node: Json, at: _Place) -> None:
        """Say in the server's words what JSON schema says in others, in place."""
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "enum" in node:
            self._enum(node, at)
        if node.get("nullable") is False:
            del node["nullable"]
        elif node.get("nullable") and "enum" in node:
            # The server takes no null where there is an enum, not even one with null.
            values = node.pop("enum")
            node[RULES] = [_one_of(values), *node.get(RULES, ())]
            if node["type"] == "string":
                node["maxLength"] = max(map(len, values))  # makes the rule cheap
        elif not node.get("type") and INT_OR_STRING not in node and "enum" not in node:
            node["nullable"] = True  # `Any` and `object` include null
        if node.get("type") == "null":
            raise self._error(at, "it can only be null; leave it out")
        if node.get("uniqueItems"):
            node.setdefault(LIST_TYPE, "set")
        if "description" in node or node.get("deprecated"):
            self._describe(node)

    def _enum(self, node: Json, at: _Place) -> None:
        values = [value for value in node["enum"] if value is not None]
        if len(values) < len(node["enum"]):
            node.setdefault("nullable", True)
        kinds = {_JSON_TYPES.get(type(value), "object") for value in values}
        if len(kinds) != 1:
            raise self._error(
                at,
                f"its values have several types ({', '.join(sorted(kinds))}); "
                "use values of one type",
            )
        node |= {"type": kinds.pop(), "enum": values}

    def _describe(self, node: Json) -> None:
        text = one_paragraph_a_line(node.pop("description", ""))
        if deprecated := node.pop("deprecated", None):
            reason = deprecated if isinstance(deprecated, str) else "do not use it."
            text = f"Deprecated: {reason}\n\n{text}".strip()
        if self._description_limit is not None:
            text = shortened(text, self._description_limit)
        if text:
            node["description"] = text

    def _composite(self, node: Json, at: _Place) -> None:
        """Go down into objects and mappings."""
        if "type" not in node and INT_OR_STRING not in node:
            node[PRESERVE] = True
            if node.get(EMBEDDED):
                node["type"] = "object"
        if node.get("type") != "object":
            return
        if "patternProperties" in node or "propertyNames" in node:
            raise self._error(at, RESTRICTED_KEYS)
        properties = {
            name: self.of(schema, at.field(name))
            for name, schema in node.get("properties", {}).items()
        }
        values = node.pop("additionalProperties", False)
        node.pop("properties", None)
        if properties:
            node["properties"] = properties
        elif values is True or values == {}:
            node[PRESERVE] = True
        elif isinstance(values, Mapping):
            node["additionalProperties"] = self.of(dict(values), at.item("[*]"))
        if node.get(EMBEDDED) and not properties:
            node[PRESERVE] = True

    def _text(self, node: Json, at: _Place) -> None:
        if "format" in node:
            name = "byte" if node["format"] == "base64" else node["format"]
            if name in UNUSABLE_FORMATS:
                raise self._error(at, UNUSABLE_FORMATS[name])
            node.pop("format")
            node |= {"format": name} if name in FORMATS else {}
        found = _NOT_RE2.search(node.get("pattern", ""))
        if found:
            raise self._error(
                at,
                f"the server's regular expressions (RE2) have no {found[0]}; "
                "say it with a ValidationRule",
            )

    def _numbers(self, node: Json, at: _Place) -> None:
        for bound, exclusive, tighter in _BOUNDS:
            value = node.get(exclusive)
            if isinstance(value, bool) or value is None:
                continue
            other = node.get(bound)
            node.pop(exclusive)
            if other is None or tighter(value, other) == value:
                node |= {bound: value, exclusive: True}
        rules = [
            _comparison(node, operator, node.pop(word))
            for word, operator in _OPERATORS.items()
            if word in node
        ]
        if rules:
            node[RULES] = [*rules, *node.get(RULES, ())]

    def _lists(self, node: Json, at: _Place) -> None:
        if node.get("type") != "array":
            return
        item = at.item("[]")
        prefix = node.pop("prefixItems", None)
        if prefix is not None:
            if any(part != prefix[0] for part in prefix) or not prefix:
                raise self._error(at, MIXED_TUPLE)
            node["items"] = prefix[0]
        items = self.of(node.get("items", {}), item)
        node["items"] = items
        match node.get(LIST_TYPE):
            case "set" if items.get("type") not in SCALARS and not _is_atomic(items):
                raise self._error(at, SET_OF_OBJECTS)
            case "map":
                self._list_keys(node, items, at)
            case _:
                pass

    def _list_keys(self, node: Json, items: Json, at: _Place) -> None:
        for key in node[LIST_KEYS]:
            schema = items.get("properties", {}).get(key)
            if schema is None:
                raise self._error(at, f"its items have no {key!r} to be a key")
            if key not in items.get("required", ()) and "default" not in schema:
                raise self._error(at.item("[]").field(key), KEY_NEEDS_DEFAULT)

    def _default(self, node: Json, at: _Place) -> None:
        """Drop a default that says nothing; refuse one that the server would refuse."""
        if DEFAULT_MARKER in node:
            raise self._error(at, MISPLACED_DEFAULT)
        is_wanted = node.pop(EXPLICIT_DEFAULT, False)
        if "default" not in node:
            return
        inner = node.get("properties", {}).values()
        says_nothing = node["default"] == {} and not any("default" in s for s in inner)
        if not is_wanted and (at.in_status or says_nothing):
            del node["default"]
            return
        for problem in problems(node, node["default"]):
            raise self._error(at, f"its default is not valid: {problem}")


def shortened(text: str, limit: int) -> str:
    """Cut a text at the end of a sentence, or of a word, within `limit` characters."""
    if len(text) <= limit:
        return text
    cut = text[:limit]
    for end in (". ", ".\n", "\n"):
        head, found, _ = cut.rpartition(end)
        if found:
            return head + end.strip()
    return cut.rpartition(" ")[0]


def _merge(inner: Json, outer: Json) -> Json:
    """Put what stands beside a reference over what it refers to; rules add up."""
    rules = [*inner.get(RULES, ()), *outer.get(RULES, ())]
    return {**inner, **outer, **({RULES: rules} if rules else {})}


def _is_atomic(items: Json) -> bool:
    return "atomic" in (items.get(LIST_TYPE), items.get(MAP_TYPE))


def _one_of(values: list[object]) -> Json:
    """Return the CEL rule that says what an enum says; rules are not asked of null."""
    return {
        "rule": f"self in {json.dumps(values)}",
        "message": f"must be one of {', '.join(map(str, values))}",
    }


def _comparison(node: Json, operator: str, bound: object) -> Json:
    """Return a CEL rule for a bound of a Duration or a Quantity."""
    words = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}
    if INT_OR_STRING in node:
        text = str(bound)
        rule = f"quantity(string(self)).compareTo(quantity('{text}')) {operator} 0"
    else:
        text = str(Duration.of(_span(bound)))
        rule = f"duration(self) {operator} duration('{text}')"
    return {"rule": rule, "message": f"must be {words[operator]} {text}"}


_OPERATORS: Mapping[str, str] = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_BOUNDS: tuple[tuple[str, str, Callable[..., float]], ...] = (
    ("minimum", "exclusiveMinimum", max),
    ("maximum", "exclusiveMaximum", min),
)
_ENUM_KEYS = frozenset({"type", "enum", "description"})
_JSON_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}
_NOT_RE2 = re.compile(r"\(\?<?[=!]|\(\?P=|(?<!\\)\\[1-9]|\(\?>|\(\?#|\(\?\(")
