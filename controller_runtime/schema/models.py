"""A pydantic model → JSON schema, with what pydantic alone does not put there.

pydantic writes what it validates; from this come aliases, bounds, patterns, enums and
the keys of markers. Added here, for each model: descriptions from docstrings, defaults
as the model would write them, whether `null` differs from absence. What has no place
in a CRD is refused with a word on the remedy, under `REFUSED`: the field's path is
known to who reads the schema next (`structural`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from controller_runtime.errors import SchemaError
from controller_runtime.meta import ApiModel, Json, KubeObject, ObjectMeta
from controller_runtime.schema.docstrings import field_docstrings
from controller_runtime.schema.keys import (
    DEFAULT_MARKER,
    EMBEDDED,
    EXPLICIT_DEFAULT,
    INT_OR_STRING,
    PRESERVE,
    REFUSED,
)
from controller_runtime.schema.markers import Default, NoDefault, markers_of

ABSENT = object()
"""No default: nothing is put where the field is absent."""

DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"

# What pods' templates may say; the generator of Go (controller-gen,
# generateEmbeddedObjectMeta) has the same five.
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA: Mapping[str, object] = {
    "name": {"type": "string"},
    "namespace": {"type": "string"},
    "labels": _STRINGS,
    "annotations": _STRINGS,
    "finalizers": {"type": "array", "items": {"type": "string"}},
}


def json_schema_of(model: type[BaseModel]) -> Json:
    """Return the JSON schema of a model, with references to its `$defs`."""
    return model.model_json_schema(schema_generator=_Generator, mode="validation")


class _Generator(GenerateJsonSchema):
    def sort(self, value: Json, parent_key: str | None = None) -> Json:
        return value

    def default_schema(self, schema: Any) -> Json:
        return self.generate_inner(schema["schema"])

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Json:
        return _refused(f"JSON has no such type ({error_info})", "use another type")

    def timedelta_schema(self, schema: Any) -> Json:
        return _refused(
            "a timedelta is written as ISO 8601, which no Kubernetes user writes",
            "use controller_runtime.Duration",
        )

    def decimal_schema(self, schema: Any) -> Json:
        if {"ge", "gt", "le", "lt", "multiple_of"} & schema.keys():
            return _refused(
                "the server cannot compare a Decimal",
                "use controller_runtime.Quantity, whose bounds become CEL rules",
            )
        return {INT_OR_STRING: True, "pattern": DECIMAL}

    def dataclass_schema(self, schema: Any) -> Json:
        return _refused("it is a dataclass", "make it an ApiModel")

    def typed_dict_schema(self, schema: Any) -> Json:
        return _refused("it is a TypedDict", "make it an ApiModel")

    def named_tuple_schema(self, schema: Any) -> Json:
        return _refused("it is a NamedTuple", "make it an ApiModel")

    def enum_schema(self, schema: Any) -> Json:
        found = super().enum_schema(schema)
        if not schema["cls"].__dict__.get("__doc__"):
            found.pop("description", None)  # that of `Enum` itself
        return found

    def model_schema(self, schema: Any) -> Json:
        model: type[BaseModel] = schema["cls"]
        if issubclass(model, ObjectMeta):
            return {"type": "object", "properties": dict(_METADATA)}
        found = super().model_schema(schema)
        found.pop("title", None)
        if "properties" in found:
            _extra(model, found)
            _fields(model, found["properties"])
        if issubclass(model, KubeObject):
            found["properties"].pop("metadata", None)
            found[EMBEDDED] = True
        for marker in markers_of(model):
            marker.mark(found)
        return found


def _refused(why: str, remedy: str) -> Json:
    return {REFUSED: f"{why}; {remedy}"}


def _extra(model: type[BaseModel], schema: Json) -> None:
    """Say what becomes of fields that the model does not name.

    An `ApiModel` keeps them to hand them back, whatever the CRD says: there only
    `marked(PreserveUnknownFields())` is meant for the server.
    """
    extra = schema.pop("additionalProperties", False)
    if isinstance(extra, dict) and not schema["properties"]:
        schema["additionalProperties"] = extra
    elif isinstance(extra, dict):
        schema |= _refused(
            "it has both fields and a type for all others",
            "move the others into a mapping of their own",
        )
    elif extra and not issubclass(model, ApiModel):
        schema[PRESERVE] = True


def _fields(model: type[BaseModel], properties: Json) -> None:
    docstrings = field_docstrings(model)
    if model.model_computed_fields:
        name = next(iter(model.model_computed_fields))
        raise SchemaError(
            f"{model.__name__}.{name}: a computed field would be written to the "
            "server; make it a property"
        )
    for name, info in model.model_fields.items():
        schema = properties[_wire_name(model, name, info)]
        if name in docstrings:
            schema.setdefault("description", docstrings[name])
        if isinstance(info.deprecated, str):
            schema["deprecated"] = info.deprecated
        default = _default(model, name, info)
        if default is not ABSENT:
            schema["default"] = default
        if any(isinstance(it, Default | NoDefault) for it in info.metadata):
            schema.pop(DEFAULT_MARKER, None)
            schema[EXPLICIT_DEFAULT] = True
        if info.default is None and not info.is_required():
            schema.setdefault("nullable", False)


def _wire_name(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    read = info.validation_alias or info.alias or name
    written = info.serialization_alias or info.alias or name
    if not isinstance(read, str) or read != written:
        raise SchemaError(
            f"{model.__name__}.{name} is read and written under different names; "
            "give it one alias"
        )
    return read


def _default(model: type[BaseModel], name: str, info: FieldInfo) -> object:
    """Return a field's default as JSON, or `ABSENT`.

    Empty and absent are the same here as in Go, so empty defaults are not written down.
    Factories are not asked, for they may answer differently next time, except models.
    """
    value = info.default
    if isinstance(info.default_factory, type) and issubclass(
        info.default_factory, BaseModel
    ):
        value = info.default_factory()
    for marker in info.metadata:
        match marker:
            case Default(value=explicit):
                return _as_json(model, name, explicit)
            case NoDefault():
                return ABSENT
            case _:
                pass
    if info.is_required() or info.default_factory not in (None, type(value)):
        return ABSENT
    if value is None or (
        isinstance(value, Sized) and not isinstance(value, Enum) and not len(value)
    ):
        return ABSENT
    return _as_json(model, name, value)


def _as_json(model: type[BaseModel], name: str, value: object) -> object:
    """Write a value as the field would be: only what is set of it."""
    wire = _wire_name(model, name, model.model_fields[name])
    try:
        holder = model.model_construct({name}, **{wire: value})
        written = holder.model_dump(
            mode="json", by_alias=True, exclude_unset=True, warnings="error"
        )[wire]
    except ValueError as error:
        raise SchemaError(
            f"{model.__name__}.{name}: the default {value!r} cannot be written as "
            f"JSON of the field's type: {error}"
        ) from None
    return sorted(written) if isinstance(value, set | frozenset) else written
