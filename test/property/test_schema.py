"""Whatever a model is made of, its schema is structural and takes what the model takes.

Models are drawn from a grammar: each type comes with a strategy for values of it, as
they are on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, cast

import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model

from controller_runtime import ApiModel, Duration, Json, Number, Quantity, schema
from controller_runtime.schema.keys import (
    INT_OR_STRING,
    LIST_KEYS,
    ORDER,
    PRESERVE,
)
from controller_runtime.schema.models import json_schema_of
from controller_runtime.schema.structural import structural

LETTERS = st.text("abcxyz", max_size=5)
INTS = st.integers(-(2**53), 2**53)


class Kind(NamedTuple):
    """A type, and values of it as JSON."""

    annotation: Any
    values: st.SearchStrategy[Any]
    is_scalar: bool = True


def small(low: int, high: int) -> Kind:
    annotation = Annotated[int, Field(ge=min(low, high), le=max(low, high))]
    return Kind(annotation, st.integers(min(low, high), max(low, high)))


SPANS = st.builds("{}{}".format, st.integers(0, 99), st.sampled_from(["s", "m", "h"]))
SCALARS = st.one_of(
    st.sampled_from(
        [
            Kind(str, LETTERS),
            Kind(bool, st.booleans()),
            Kind(int, INTS),
            Kind(Number, st.floats(-1e6, 1e6, width=32)),
            Kind(Duration, SPANS),
            Kind(datetime, st.just("2026-01-02T03:04:05Z")),
            Kind(Literal["a", "b"], st.sampled_from("ab")),
            Kind(Annotated[str, Field(pattern="^[a-z]*$")], LETTERS),
            Kind(Annotated[str, Field(min_length=1)], LETTERS.filter(len)),
        ]
    ),
    st.builds(small, st.integers(-9, 9), st.integers(-9, 9)),
)
LEAVES = st.one_of(
    SCALARS,
    st.sampled_from(
        [
            Kind(int | str, st.one_of(INTS, LETTERS), is_scalar=False),
            Kind(Quantity, st.sampled_from([1, "5m", "3Gi", "1e3"]), is_scalar=False),
            Kind(Decimal, st.decimals(-9, 9, places=2).map(str), is_scalar=False),
            Kind(Json, st.dictionaries(LETTERS, INTS), is_scalar=False),
        ]
    ),
)


def of(generic: Any, *arguments: Any) -> Any:
    """Return a generic type with its arguments, which mypy cannot know here."""
    return generic[arguments]


def listed(kind: Kind) -> Kind:
    values = st.lists(kind.values, max_size=3)
    return Kind(of(list, kind.annotation), values, is_scalar=False)


def mapped(kind: Kind) -> Kind:
    values = st.dictionaries(LETTERS, kind.values, max_size=3)
    return Kind(of(dict, str, kind.annotation), values, is_scalar=False)


def nullable(kind: Kind) -> Kind:
    annotation = of(Annotated, kind.annotation | None, schema.Nullable())
    return Kind(annotation, st.one_of(st.none(), kind.values), is_scalar=False)


@st.composite
def a_set(draw: st.DrawFn) -> Kind:
    kind = draw(SCALARS)
    values = st.lists(kind.values, max_size=3, unique=True)
    items = of(tuple, kind.annotation, ...)
    return Kind(of(Annotated, items, schema.ListSet()), values, is_scalar=False)


@st.composite
def a_model(draw: st.DrawFn, kinds: st.SearchStrategy[Kind]) -> Kind:
    """Draw a model whose fields are required, optional, or have a default."""
    fields: dict[str, Any] = {}
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for number, kind in enumerate(draw(st.lists(kinds, max_size=4))):
        name = f"field_{number}"
        match draw(st.sampled_from(["required", "optional", "default"])):
            case "required":
                fields[name] = (kind.annotation, ...)
                required[f"field{number}"] = kind.values
            case "optional":
                fields[name] = (kind.annotation | None, None)
                optional[f"field{number}"] = kind.values
            case _:
                default = parsed(kind, draw(kind.values))
                fields[name] = (kind.annotation, default)
                optional[f"field{number}"] = kind.values
    model = create_model("Drawn", __base__=ApiModel, __module__="drawn", **fields)
    values = st.fixed_dictionaries(required, optional=optional)
    return Kind(model, values, is_scalar=False)


def parsed(kind: Kind, value: object) -> object:
    holder: Any = create_model("Holder", value=(kind.annotation, ...))
    read: Any = holder.model_validate_json(json.dumps({"value": value}))
    return cast("object", read.value)


KINDS = st.recursive(
    st.one_of(LEAVES, a_set()),
    lambda inner: st.one_of(
        inner.map(listed), inner.map(mapped), LEAVES.map(nullable), a_model(inner)
    ),
    max_leaves=6,
)
MODELS = a_model(KINDS)


def made(model: Kind) -> Json:
    return structural(json_schema_of(model.annotation), name="Drawn")


def nodes(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


def violations(node: Json) -> Iterator[str]:
    """Yield which rules of structural schemas a node breaks."""
    kind = node.get("type")
    if set(node) - set(ORDER):
        yield f"unknown keys: {set(node) - set(ORDER)}"
    if kind is None and INT_OR_STRING not in node and PRESERVE not in node:
        yield "no type"
    if kind is not None and INT_OR_STRING in node:
        yield "a type beside int-or-string"
    if "additionalProperties" in node and "properties" in node:
        yield "properties and additionalProperties"
    if (kind == "array") != ("items" in node):
        yield "items without array, or the reverse"
    if set(node.get("required", ())) - set(node.get("properties", {})):
        yield "something is required that is not there"
    if LIST_KEYS in node and not isinstance(node["items"].get("properties"), Mapping):
        yield "keys without properties"
    if "default" in node and list(schema.problems(node, node["default"])):
        yield f"default {node['default']!r} is not valid"


@given(MODELS)
def test_a_schema_of_a_model_is_structural(model: Kind) -> None:
    broken = [(p, v) for p, node in nodes(made(model)) for v in violations(node)]

    assert broken == []


@given(MODELS)
def test_a_schema_is_json_and_the_same_every_time(model: Kind) -> None:
    first = yaml.safe_dump(made(model), sort_keys=False)

    assert yaml.safe_load(first) == made(model)
    assert yaml.safe_dump(made(model), sort_keys=False) == first


@given(st.data())
def test_what_a_model_takes_and_writes_fits_its_schema(data: st.DataObject) -> None:
    model = data.draw(MODELS)
    value = data.draw(model.values)

    read = model.annotation.model_validate_json(json.dumps(value))
    written = json.loads(read.model_dump_json(by_alias=True, exclude_unset=True))

    assert list(schema.problems(made(model), written)) == []


@given(st.data())
def test_a_field_that_is_missing_or_of_a_wrong_type_does_not_fit(
    data: st.DataObject,
) -> None:
    model = data.draw(MODELS)
    drawn = made(model)
    value = data.draw(model.values)
    required = drawn.get("required", ())

    for name in required:
        without = {key: it for key, it in value.items() if key != name}
        assert f"{name}: is required" in list(schema.problems(drawn, without))
    for name, node in drawn.get("properties", {}).items():
        if "type" in node:
            wrong = 1.5 if node["type"] != "number" else "text"
            problems = list(schema.problems(drawn, {**value, name: wrong}))
            assert any(
                problem.startswith(f"{name}: must be of") for problem in problems
            )
