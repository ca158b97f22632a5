"""The words of structural schemas, and what to say where there is none.

Order and set of the keys: `apiextensions/v1.JSONSchemaProps`, less what the server
forbids in a structural schema.
"""

from __future__ import annotations

from collections.abc import Mapping

INT_OR_STRING = "x-kubernetes-int-or-string"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"
RULES = "x-kubernetes-validations"

ORDER = (
    "description",
    "type",
    INT_OR_STRING,
    "format",
    "nullable",
    "default",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
    LIST_TYPE,
    LIST_KEYS,
    MAP_TYPE,
    EMBEDDED,
    PRESERVE,
    RULES,
)
"""Every key of our structural schemas, in the order in which they are written."""

DROPPED = frozenset(
    {
        "$comment",
        "$defs",
        "contentEncoding",
        "contentMediaType",
        "deprecated",
        "discriminator",
        "examples",
        "propertyNames",
        "readOnly",
        "title",
        "uniqueItems",
        "writeOnly",
        "x-open-enum",
    }
)

FORMATS = frozenset(
    {
        "bsonobjectid",
        "byte",
        "cidr",
        "creditcard",
        "date",
        "date-time",
        "datetime",
        "double",
        "duration",
        "email",
        "float",
        "hexcolor",
        "hostname",
        "int32",
        "int64",
        "ipv4",
        "ipv6",
        "isbn",
        "isbn10",
        "isbn13",
        "mac",
        "password",
        "rgbcolor",
        "ssn",
        "uri",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
    }
)
"""Formats that the server checks (kube-openapi `pkg/validation/strfmt`)."""

UNUSABLE_FORMATS: Mapping[str, str] = {
    "binary": "bytes would be written as text; use pydantic.Base64Bytes",
    "base64url": "the server reads the other alphabet of base64; use Base64Bytes",
}

SCALARS = frozenset({"string", "integer", "number", "boolean"})

REFUSED = "x-refused"
"""Key of a JSON schema that no CRD can have: why, and what to do."""

OPEN_ENUM = "x-open-enum"
"""Key of a JSON schema: of this union the enum is known and any string taken."""

DEFAULT_MARKER = "x-default-marker"
"""Key of a JSON schema: `Default` or `NoDefault` stands there."""

EXPLICIT_DEFAULT = "x-explicit-default"
"""Key of a JSON schema: its default was asked for by `Default`."""

UNION = (
    "a union of {}: a field of a CRD has one type. Use one, or int | str, or a model "
    "with an optional field for each and marked(exactly_one_of(…))"
)
TAGGED_UNION = (
    "a discriminated union: a field of a CRD has one shape. Use a model with the "
    "discriminator, an optional field for each block and marked(discriminated_by(…))"
)
RESTRICTED_KEYS = (
    "keys of a mapping cannot be restricted by a schema; use plain str and "
    "ValidationRule(\"self.all(key, key.matches('…'))\")"
)
MIXED_TUPLE = "items of several types; use a model with a field for each"
SET_OF_OBJECTS = (
    "items of a set are scalars; use ListMap with the fields that tell them apart, or "
    "mark the items with MapAtomic or ListAtomic"
)
KEY_NEEDS_DEFAULT = (
    "a key of a list map is required or has a default; `Annotated[…, Default('')]` "
    "gives it one"
)
RECURSIVE = (
    "{} is inside of itself, and the schema of a CRD has an end; write the inner one "
    "as `Annotated[Json, PreserveUnknownFields()]`"
)
MISPLACED_DEFAULT = (
    "Default and NoDefault are about a field as a whole: write "
    "`Annotated[X | None, Default(…)]`, not `Annotated[X, Default(…)] | None`"
)
