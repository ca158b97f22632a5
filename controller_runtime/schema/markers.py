"""What a type annotation cannot say: markers for fields, items and whole types.

    targets: Annotated[tuple[Target, ...], ListMap("kind", "name")] = ()

    @marked(exactly_one_of("url", "secretRef"))
    class Alert(ApiModel): …

A marker in `Annotated` is about the value that it stands beside: a field, an item of a
list, a value of a mapping. `marked` puts the same markers on every use of a type.
Names in CEL rules and in list keys are those on the wire (`secretRef`).

Meaning of the keys: Kubernetes documentation, "Extend the API with CRDs", and
`apiextensions/v1.JSONSchemaProps`. kubebuilder's words for them: docs/from-go.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, Field, GetJsonSchemaHandler

from controller_runtime.meta import Json
from controller_runtime.schema.keys import (
    DEFAULT_MARKER,
    EMBEDDED,
    LIST_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    OPEN_ENUM,
    PRESERVE,
    RULES,
)

Reason: TypeAlias = Literal[
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueRequired",
    "FieldValueDuplicate",
]
"""What a refusal of the server is filed under."""

MARKERS = "__schema_markers__"
"""Attribute of a class that `marked` has marked: inherited markers, then its own."""


class Marker(Protocol):
    """Something that adds to the schema of what it stands beside."""

    def mark(self, schema: Json) -> None:
        """Add keys to a schema, in place."""


class _Marker:
    __slots__ = ()

    def mark(self, schema: Json) -> None:
        raise NotImplementedError

    def __get_pydantic_json_schema__(
        self, core: Any, handler: GetJsonSchemaHandler
    ) -> Json:
        schema = handler(core)
        self.mark(schema)
        return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class _RuleOptions:
    message: str = ""
    """What a user reads; by default the server says `failed rule: …`. One line."""

    message_expression: str = ""
    """CEL that makes the message; `message` is used where it fails."""

    reason: Reason | None = None
    """By default `FieldValueInvalid`."""

    field_path: str = ""
    """Which field is to blame, such as `.spec.url`, relative to where the rule is."""

    optional_old_self: bool = False
    """Also ask on creation: `oldSelf` is then an optional, `oldSelf.hasValue()`."""


@dataclass(frozen=True, slots=True)
class ValidationRule(_RuleOptions, _Marker):
    """A CEL rule that the server checks; `self` is the value it stands beside.

    A rule that names `oldSelf` is about updates. Several are checked in their order.

    Raises:
        ValueError: The message has several lines, or the rule has and no message.
    """

    rule: str

    def __post_init__(self) -> None:
        if "\n" in self.message or ("\n" in self.rule and not self.message):
            raise ValueError(
                f"the CEL rule {self.rule!r} needs a message of one line: the server "
                "takes no other, and a rule of several lines not without one"
            )

    def mark(self, schema: Json) -> None:
        optional = {
            "message": self.message,
            "messageExpression": self.message_expression,
            "reason": self.reason,
            "fieldPath": self.field_path,
            "optionalOldSelf": self.optional_old_self,
        }
        rule = {"rule": self.rule, **{k: v for k, v in optional.items() if v}}
        schema[RULES] = [*schema.get(RULES, ()), rule]


@dataclass(frozen=True, slots=True)
class ListAtomic(_Marker):
    """A list that one applier owns as a whole."""

    def mark(self, schema: Json) -> None:
        schema[LIST_TYPE] = "atomic"


@dataclass(frozen=True, slots=True)
class ListSet(_Marker):
    """A list of scalars, each at most once; appliers own items."""

    def mark(self, schema: Json) -> None:
        schema[LIST_TYPE] = "set"


class ListMap(_Marker):
    """A list of objects that are told apart by some of their fields.

    Each key is required in the items or has a default (`Default("")` will do).
    """

    __slots__ = ("keys",)

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        """Names on the wire, such as `type` or `containerPort`."""

    def mark(self, schema: Json) -> None:
        schema[LIST_TYPE] = "map"
        schema[LIST_KEYS] = list(self.keys)


@dataclass(frozen=True, slots=True)
class MapAtomic(_Marker):
    """An object or mapping that one applier owns as a whole."""

    def mark(self, schema: Json) -> None:
        schema[MAP_TYPE] = "atomic"


@dataclass(frozen=True, slots=True)
class PreserveUnknownFields(_Marker):
    """An object whose fields the server keeps although no schema names them."""

    def mark(self, schema: Json) -> None:
        schema[PRESERVE] = True


@dataclass(frozen=True, slots=True)
class EmbeddedResource(_Marker):
    """A whole object inside: the server wants its apiVersion, kind and metadata."""

    def mark(self, schema: Json) -> None:
        schema[EMBEDDED] = True


@dataclass(frozen=True, slots=True)
class Nullable(_Marker):
    """`null` on the wire means something else than no field at all.

    Without it `X | None = None` is a field that may be absent, and the server takes a
    `null` for just that. Fields without a default and with another one need no marker:
    there `None` can only mean `null`.
    """

    def mark(self, schema: Json) -> None:
        schema["nullable"] = True


@dataclass(frozen=True, slots=True)
class Format(_Marker):
    """How a string or number is written, such as `int32` or `cidr`."""

    name: str

    def mark(self, schema: Json) -> None:
        schema["format"] = self.name


@dataclass(frozen=True, slots=True)
class Default(_Marker):
    """What the server puts where a field is absent, if that is not the Python default.

    `Default("")` also writes down what would be left out: an empty default, and one in
    a status.
    """

    value: object

    def mark(self, schema: Json) -> None:
        schema[DEFAULT_MARKER] = True


@dataclass(frozen=True, slots=True)
class NoDefault(_Marker):
    """The Python default is ours alone: the server leaves the field absent."""

    def mark(self, schema: Json) -> None:
        schema[DEFAULT_MARKER] = True


@dataclass(frozen=True, slots=True)
class OpenEnum(_Marker):
    """Of a union of an enum and `str`: the enum's values are known, others may come."""

    def mark(self, schema: Json) -> None:
        schema[OPEN_ENUM] = True


E = TypeVar("E")

Open: TypeAlias = Annotated[E | str, Field(union_mode="left_to_right"), OpenEnum()]
"""`Open[Phase]`: an enum for a status. Values that it does not know are read as `str`.

The server takes any string, so an older version can run beside a newer one.
"""

M = TypeVar("M", bound=BaseModel)


def marked(*markers: Marker) -> Callable[[type[M]], type[M]]:
    """Put markers on a model, and on those that inherit from it."""

    def mark(model: type[M]) -> type[M]:
        setattr(model, MARKERS, (*markers_of(model), *markers))
        return model

    return mark


def markers_of(model: type[Any]) -> tuple[Marker, ...]:
    """Return the markers of a model."""
    return getattr(model, MARKERS, ())
