"""Kinds, names and metadata: the vocabulary every other module shares.

An object crosses the framework in one of three forms:

    RawObject   its JSON as bytes beside a small typed `Meta`: what the cache holds,
                and all that predicates, handlers and selectors look at
    KubeObject  a pydantic model that reads the fields it names and keeps the rest
    dict        plain JSON, for kinds without a model

A kind is named by a model class or by a `GroupVersionKind`; `kind_of` turns either
into the latter.

`Duration` and `Quantity` are numbers that remember how they were written: an object
that is read and written back has the text it had, so nothing changes in the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeAlias

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    PlainValidator,
)
from pydantic.alias_generators import to_camel

from controller_runtime.errors import DecodeError
from controller_runtime.nesting import UNREADABLE, surface, why


class GroupVersionKind(NamedTuple):
    """The type of a Kubernetes object, such as `apps/v1, Deployment`."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` field: `v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.kind} ({self.api_version})"

    @classmethod
    def parse(cls, api_version: str, kind: str) -> GroupVersionKind:
        """Read the `apiVersion` and `kind` of an object."""
        group, _, version = api_version.rpartition("/")
        return cls(group, version, kind)


class NamespacedName(NamedTuple):
    """Where an object lives. `namespace` is empty for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class OwnerReference(
    msgspec.Struct, frozen=True, gc=False, rename="camel", kw_only=True
):
    """Who owns an object (`metav1.OwnerReference`)."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


_NO_STRINGS: Mapping[str, str] = {}


class Meta(msgspec.Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """The part of `metadata` that the framework reads, decoded once per version.

    Frozen, and invisible to the garbage collector: never put it in a cycle. The
    mappings are shared with every reader and must not be changed.
    """

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    """RFC 3339, seconds, UTC."""
    deletion_timestamp: str = ""
    """Set while finalizers hold up a deletion; empty otherwise."""
    labels: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_STRINGS)
    annotations: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_STRINGS)
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def key(self) -> NamespacedName:
        """The object's place, as a request names it."""
        return NamespacedName(self.namespace, self.name)


class RawObject(msgspec.Struct, frozen=True, gc=False):
    """One version of an object as the cache holds it: typed metadata, bytes of JSON.

    Equal resource versions of one uid mean equal content; comparing `raw` does not
    answer that, since servers may order keys differently.
    """

    meta: Meta
    raw: bytes

    @property
    def key(self) -> NamespacedName:
        return self.meta.key

    def parse(self) -> Json:
        """Read all of it; the caller owns what is returned.

        Raises:
            DecodeError: It is no JSON object, or nested too deeply; the text names it.
        """
        try:
            return _body_decoder.decode(self.raw)
        except UNREADABLE as error:
            raise DecodeError(f"cannot read {self.key}: {why(error)}") from error


class _Envelope(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


_envelope_decoder = msgspec.json.Decoder(_Envelope)
_body_decoder = msgspec.json.Decoder(dict[str, Any])


def read_meta(raw: bytes | msgspec.Raw) -> Meta:
    """Decode the metadata of an object and nothing else, however deep that is.

    Raises:
        DecodeError: The bytes are not a JSON object with such metadata.
    """
    return surface(decode_meta, bytes(raw))


def decode_meta(raw: bytes | msgspec.Raw) -> Meta:
    """Decode the metadata of an object that is not nested too deeply.

    Raises:
        DecodeError: The bytes are not a JSON object with such metadata.
        RecursionError: `read_meta` can read it.
    """
    try:
        return _envelope_decoder.decode(raw).metadata
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read the metadata of an object: {error}") from error


DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_MICROSECONDS: Mapping[str, Decimal] = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}


class Duration(timedelta):
    """A time span written as in Go, such as `15m` or `1h30m` (`metav1.Duration`).

    Not negative. A `timedelta` in every respect, rounded to its microseconds; what is
    written back is the text as it came. What is computed from it is a `timedelta`.

    Raises:
        ValueError: The text is no such duration.
    """

    __slots__ = ("_text",)

    _text: str

    def __new__(cls, text: str) -> Self:
        if not re.fullmatch(DURATION_PATTERN, text):
            raise ValueError(f"{text!r} is no duration such as 90s, 15m or 1h30m")
        parts = _DURATION_PART.findall(text)
        total = sum(Decimal(number) * _MICROSECONDS[unit] for number, unit in parts)
        try:
            self = super().__new__(cls, microseconds=round(total))
        except OverflowError:
            raise ValueError(f"{text!r} is longer than a duration can be") from None
        self._text = text
        return self

    @classmethod
    def of(cls, span: timedelta) -> Self:
        """Write a `timedelta` in its shortest form: 90 minutes are `1h30m`."""
        if isinstance(span, cls):
            return span
        if span < timedelta():
            raise ValueError(f"a duration cannot be negative, as {span} is")
        microseconds = span // timedelta(microseconds=1)
        minutes, rest = divmod(microseconds, 60_000_000)
        hours, minutes = divmod(minutes, 60)
        seconds, fraction = divmod(rest, 1_000_000)
        text = f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)
        if fraction:
            text += f"{seconds}.{fraction:06}".rstrip("0") + "s"
        elif seconds or not text:
            text += f"{seconds}s"
        return cls(text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Duration({self._text!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._text,)

    @classmethod
    def _read(cls, value: object) -> Self:
        match value:
            case timedelta():
                return cls.of(value)
            case str():
                return cls(value)
            case _:
                raise ValueError("a duration is a string such as 90s, 15m or 1h30m")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> Any:
        written = PlainSerializer(str, return_type=Any, when_used="json")
        return handler.generate_schema(
            Annotated[Any, PlainValidator(cls._read), written]
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> Json:
        return {"type": "string", "pattern": DURATION_PATTERN}


QUANTITY_PATTERN = (
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
)
QUANTITY_LENGTH = 64
"""Longest text of one: without an end, rules about it are too dear for the server."""
_QUANTITY_SUFFIX: Mapping[str, Decimal] = {
    **{f"{unit}i": Decimal(1024) ** (n + 1) for n, unit in enumerate("KMGTPE")},
    **{unit: Decimal(1000) ** (n + 1) for n, unit in enumerate("kMGTPE")},
    **{unit: Decimal(1000) ** -(n + 1) for n, unit in enumerate("mun")},
}


class Quantity(Decimal):
    """An amount as Kubernetes writes it, `500m` or `64Mi` (`resource.Quantity`).

    A `Decimal` in every respect, so `500m` equals 0.5; what is written back is the text
    or integer as it came. What is computed from it is a `Decimal`.

    Raises:
        ValueError: The text is no such amount.
    """

    __slots__ = ("_wire",)

    _wire: int | str

    def __new__(cls, wire: int | str) -> Self:
        text = str(wire)
        if len(text) > QUANTITY_LENGTH or not re.fullmatch(QUANTITY_PATTERN, text):
            raise ValueError(f"{wire!r} is no quantity such as 500m, 64Mi or 2")
        number = text.rstrip("KMGTPEinumk")
        factor = _QUANTITY_SUFFIX.get(text[len(number) :], Decimal(1))
        self = super().__new__(cls, Decimal(number) * factor)
        self._wire = wire
        return self

    @property
    def wire(self) -> int | str:
        """The amount as it came."""
        return self._wire

    def __str__(self) -> str:
        return str(self._wire)

    def __repr__(self) -> str:
        return f"Quantity({self._wire!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any]]:
        return type(self), (self._wire,)

    @classmethod
    def _read(cls, value: object) -> Self:
        match value:
            case cls():
                return value
            case bool():
                raise ValueError("a quantity is an integer or a string such as 500m")
            case int() | str():
                return cls(value)
            case _:
                raise ValueError("a quantity is an integer or a string such as 500m")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> Any:
        written = PlainSerializer(lambda it: it.wire, return_type=Any, when_used="json")
        return handler.generate_schema(
            Annotated[Any, PlainValidator(cls._read), written]
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> Json:
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": QUANTITY_LENGTH,
            "pattern": QUANTITY_PATTERN,
        }


def _as_the_server_writes_it(number: float) -> float:
    return int(number) if number.is_integer() else number


Number: TypeAlias = Annotated[
    float,
    PlainSerializer(_as_the_server_writes_it, return_type=Any, when_used="json"),
]
"""A `float` that is written without `.0`, as the server stores it.

For the server 1 and 1.0 are different values: with a plain `float`, to write an object
back as it was read changes it, and its generation.
"""


class ApiModel(BaseModel):
    """A part of an object as the API server has it: camelCase, unknown fields kept."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="allow",
        frozen=True,
        populate_by_name=True,
    )


class ObjectMeta(ApiModel):
    """`metadata` of an object; `None` and empty both mean that the field is absent."""

    name: str = ""
    namespace: str = ""
    generate_name: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()


_PARTIAL = "_is_partial"


class KubeObject(ApiModel):
    """A whole object; a subclass names its kind.

    class Widget(KubeObject):
        gvk: ClassVar = GroupVersionKind("example.com", "v1", "Widget")
        spec: WidgetSpec
    """

    gvk: ClassVar[GroupVersionKind]

    plural: ClassVar[str] = ""
    """Its name in paths and roles, such as `widgets`; empty for the usual one."""

    namespaced: ClassVar[bool] = True
    """Its objects are in namespaces. Kubernetes' own kinds need not say so."""

    metadata: ObjectMeta = ObjectMeta()

    @property
    def is_partial(self) -> bool:
        """It was read where less is kept of it than the server has."""
        return _PARTIAL in (self.__pydantic_private__ or ())

    def mark_partial(self) -> Self:
        """Say so of this object and of its copies, and return it."""
        # To declare a private attribute would cost every object a microsecond or two.
        private = {**(self.__pydantic_private__ or {}), _PARTIAL: True}
        object.__setattr__(self, "__pydantic_private__", private)
        return self

    @property
    def key(self) -> NamespacedName:
        """The object's place, as a request names it."""
        return NamespacedName(self.metadata.namespace, self.metadata.name)


Json: TypeAlias = dict[str, Any]
"""An object without a model. The caller owns it."""


class PartialJson(dict[str, Any]):
    """An object without a model, of which the server has more than is here."""


def is_partial(obj: KubeObject | Mapping[str, object]) -> bool:
    """Tell whether to write `obj` back whole would take something away."""
    if isinstance(obj, KubeObject):
        return obj.is_partial
    return isinstance(obj, PartialJson)


Kind: TypeAlias = GroupVersionKind | type[KubeObject]
"""What an API call accepts for the kind: a model, or the kind's name for plain JSON."""


def kind_of(kind: Kind) -> GroupVersionKind:
    """Return the `GroupVersionKind` of a model class, or what was given."""
    return kind if isinstance(kind, GroupVersionKind) else kind.gvk
