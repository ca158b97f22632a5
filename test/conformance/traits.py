"""Every trait of a CRD, once: its model, its schema, what fits and what does not.

    model ──structural──▶ schema                  unit: equal to the one written here
    good ──▶ model ──▶ JSON                       unit and real server: the same again
    bad  ──▶ 422, and a sentence that says why    real server

A trait is a model, and stands in the CRD of the integration test as a field of the spec
that is named after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AnyUrl, Base64Bytes, BaseModel, Field, create_model

from controller_runtime import (
    ApiModel,
    Duration,
    GroupVersionKind,
    Json,
    KubeObject,
    Number,
    ObjectMeta,
    Quantity,
    schema,
)
from controller_runtime.meta import (
    DURATION_PATTERN,
    QUANTITY_LENGTH,
    QUANTITY_PATTERN,
)
from controller_runtime.schema.models import DECIMAL

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    model: type[BaseModel]
    schema: Json
    good: tuple[Json, ...]
    """Values as a user writes them; they come back as they are."""

    bad: Mapping[str, Json] = field(default_factory=dict)
    """What the server says → a value that it says that of."""

    filled: Json = field(default_factory=dict)
    """What the server adds to `good` where it says nothing else."""

    @property
    def name(self) -> str:
        name = self.model.__name__
        return name[0].lower() + name[1:]


TRAITS: list[Trait] = []


def trait(
    model: type[BaseModel],
    *,
    properties: Json | None = None,
    good: tuple[Json, ...],
    bad: Mapping[str, Json] | None = None,
    filled: Json | None = None,
    **more: Any,
) -> None:
    """Add a trait; `properties` and `more` are its schema, underscores for dashes."""
    keys = {key.replace("_", "-"): value for key, value in more.items()}
    golden = {"type": "object", **keys}
    if properties is not None:
        golden["properties"] = properties
    TRAITS.append(
        Trait(model=model, schema=golden, good=good, bad=bad or {}, filled=filled or {})
    )


class Bounds(ApiModel):
    whole: Annotated[int, Field(ge=1, lt=10, multiple_of=2)] | None = None
    share: Annotated[Number, Field(gt=0, le=1)] | None = None
    text: Annotated[str, Field(min_length=2, max_length=3, pattern="^[a-z]+$")] = "ab"
    items: Annotated[list[bool], Field(min_length=1, max_length=2)] | None = None
    entries: Annotated[dict[str, str], Field(max_length=1)] | None = None


trait(
    Bounds,
    properties={
        "whole": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10,
            "exclusiveMaximum": True,
            "multipleOf": 2,
        },
        "share": {
            "type": "number",
            "minimum": 0,
            "exclusiveMinimum": True,
            "maximum": 1,
        },
        "text": {
            "type": "string",
            "default": "ab",
            "minLength": 2,
            "maxLength": 3,
            "pattern": "^[a-z]+$",
        },
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "items": {"type": "boolean"},
        },
        "entries": {
            "type": "object",
            "maxProperties": 1,
            "additionalProperties": {"type": "string"},
        },
    },
    good=({"whole": 8, "share": 1.0, "text": "abc", "items": [True]},),
    bad={
        "whole in body should be less than 10": {"whole": 10},
        "whole in body should be a multiple of 2": {"whole": 3},
        "share in body should be greater than 0": {"share": 0},
        "text in body should match '^[a-z]+$'": {"text": "AB"},
        "items in body should have at least 1 items": {"items": []},
        "entries: Too many: 2: must have at most 1 item": {
            "entries": {"a": "", "b": ""}
        },
    },
    filled={"text": "ab"},
)


class Choice(ApiModel):
    name: Literal["one", "two"] = "one"
    number: Literal[1, 2] | None = None


trait(
    Choice,
    properties={
        "name": {"type": "string", "default": "one", "enum": ["one", "two"]},
        "number": {"type": "integer", "enum": [1, 2]},
    },
    good=({"name": "two", "number": 1},),
    bad={
        'name: Unsupported value: "three": supported values: "one", "two"': {
            "name": "three"
        },
        "number: Unsupported value: 3": {"number": 3},
    },
    filled={"name": "one"},
)


class Phase(StrEnum):
    """Where it stands."""

    PENDING = "Pending"
    READY = "Ready"


class Enums(ApiModel):
    closed: Phase = Phase.PENDING
    open: schema.Open[Phase] | None = None


trait(
    Enums,
    properties={
        "closed": {
            "description": "Where it stands.",
            "type": "string",
            "default": "Pending",
            "enum": ["Pending", "Ready"],
        },
        "open": {
            "description": "Where it stands.\n\nKnown values: Pending, Ready.",
            "type": "string",
        },
    },
    good=({"closed": "Ready", "open": "Ready"}, {"closed": "Ready", "open": "Later"}),
    bad={'closed: Unsupported value: "Later"': {"closed": "Later"}},
    filled={"closed": "Pending"},
)


class Constant(ApiModel):
    api: Literal["v1"] = "v1"


trait(
    Constant,
    properties={"api": {"type": "string", "default": "v1", "enum": ["v1"]}},
    good=({"api": "v1"},),
    bad={'api: Unsupported value: "v2": supported values: "v1"': {"api": "v2"}},
    filled={"api": "v1"},
)


class Null(ApiModel):
    absent: int | None = None
    marked: Annotated[int | None, schema.Nullable()] = None
    other: int | None = 5
    choice: Literal["a", "bc"] | None = "a"
    items: list[int | None] = Field(default_factory=list)


trait(
    Null,
    properties={
        "absent": {"type": "integer"},
        "marked": {"type": "integer", "nullable": True},
        "other": {"type": "integer", "nullable": True, "default": 5},
        "choice": {
            "type": "string",
            "nullable": True,
            "default": "a",
            "maxLength": 2,
            "x-kubernetes-validations": [
                {"rule": 'self in ["a", "bc"]', "message": "must be one of a, bc"}
            ],
        },
        "items": {"type": "array", "items": {"type": "integer", "nullable": True}},
    },
    good=(
        {"marked": None, "other": None, "choice": None, "items": [None, 1]},
        {"absent": 1, "marked": 1, "other": 1, "choice": "bc"},
    ),
    bad={'choice: Invalid value: "x": must be one of a, bc': {"choice": "x"}},
    filled={"other": 5, "choice": "a"},
)


class IntOrString(ApiModel):
    free: int | str = 1
    bounded: (
        Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern="^[0-9]+%$")]
    ) = "25%"


trait(
    IntOrString,
    properties={
        "free": {"x-kubernetes-int-or-string": True, "default": 1},
        "bounded": {
            "x-kubernetes-int-or-string": True,
            "default": "25%",
            "minimum": 1,
            "pattern": "^[0-9]+%$",
        },
    },
    good=({"free": "a", "bounded": 3}, {"free": 3, "bounded": "10%"}),
    bad={
        "bounded in body should match '^[0-9]+%$'": {"bounded": "10"},
        "bounded in body should be greater than or equal to 1": {"bounded": 0},
        "spec.intOrString.free in body must be of type integer,string": {"free": 0.5},
    },
    filled={"free": 1, "bounded": "25%"},
)


class Durations(ApiModel):
    interval: Annotated[
        Duration, Field(ge=timedelta(minutes=1), le=timedelta(hours=24))
    ] = Duration("15m")
    timeout: Duration | None = None


trait(
    Durations,
    properties={
        "interval": {
            "type": "string",
            "default": "15m",
            "pattern": DURATION_PATTERN,
            "x-kubernetes-validations": [
                {
                    "rule": "duration(self) >= duration('1m')",
                    "message": "must be at least 1m",
                },
                {
                    "rule": "duration(self) <= duration('24h')",
                    "message": "must be at most 24h",
                },
            ],
        },
        "timeout": {"type": "string", "pattern": DURATION_PATTERN},
    },
    good=({"interval": "90m", "timeout": "1.5s"},),
    bad={
        'interval: Invalid value: "25h": must be at most 24h': {"interval": "25h"},
        "timeout in body should match '^([0-9]+": {"timeout": "5 minutes"},
    },
    filled={"interval": "15m"},
)


class Amounts(ApiModel):
    memory: Annotated[Quantity, Field(ge=Quantity("64Mi"))] = Quantity("1Gi")
    cpu: Quantity | None = None
    price: Decimal | None = None


trait(
    Amounts,
    properties={
        "memory": {
            "x-kubernetes-int-or-string": True,
            "default": "1Gi",
            "maxLength": QUANTITY_LENGTH,
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-validations": [
                {
                    "rule": "quantity(string(self)).compareTo(quantity('64Mi')) >= 0",
                    "message": "must be at least 64Mi",
                }
            ],
        },
        "cpu": {
            "x-kubernetes-int-or-string": True,
            "maxLength": QUANTITY_LENGTH,
            "pattern": QUANTITY_PATTERN,
        },
        "price": {"x-kubernetes-int-or-string": True, "pattern": DECIMAL},
    },
    good=({"memory": 100000000, "cpu": "500m", "price": "0.10"},),
    bad={
        'memory: Invalid value: "1k": must be at least 64Mi': {"memory": "1k"},
        "cpu in body should match": {"cpu": "lots"},
        "price in body should match": {"price": "1 $"},
    },
    filled={"memory": "1Gi"},
)


class Formats(ApiModel):
    when: datetime | None = None
    day: date | None = None
    raw: Base64Bytes | None = None
    link: AnyUrl | None = None
    port: Annotated[int, schema.Format("int32")] | None = None


trait(
    Formats,
    properties={
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "raw": {"type": "string", "format": "byte"},
        "link": {"type": "string", "format": "uri", "minLength": 1},
        "port": {"type": "integer", "format": "int32"},
    },
    good=(
        {
            "when": "2026-01-02T03:04:05Z",
            "day": "2026-01-02",
            "raw": "+/8=",
            "link": "https://example.com/",
            "port": 80,
        },
    ),
    bad={
        'when in body must be of type date-time: "yesterday"': {"when": "yesterday"},
        "day in body must be of type date": {"day": "2026-02-30"},
        "raw in body must be of type byte": {"raw": "-_"},
        "link in body must be of type uri": {"link": "nowhere"},
        "must be of type integer with format int32 in spec.formats.port": {
            "port": 1 << 31
        },
    },
)


class Target(ApiModel):
    """What to act on."""

    kind: str
    name: Annotated[str, schema.Default("")] = ""
    note: str | None = None


TARGET = {
    "description": "What to act on.",
    "type": "object",
    "required": ["kind"],
    "properties": {
        "kind": {"type": "string"},
        "name": {"type": "string", "default": ""},
        "note": {"type": "string"},
    },
}


class Lists(ApiModel):
    atomic: Annotated[list[str], schema.ListAtomic()] = Field(default_factory=list)
    tags: Annotated[tuple[str, ...], schema.ListSet()] = ()
    unordered: frozenset[int] = frozenset()
    targets: Annotated[tuple[Target, ...], schema.ListMap("kind", "name")] = ()
    pair: tuple[int, int] | None = None


trait(
    Lists,
    properties={
        "atomic": {
            "type": "array",
            "items": {"type": "string"},
            "x-kubernetes-list-type": "atomic",
        },
        "tags": {
            "type": "array",
            "items": {"type": "string"},
            "x-kubernetes-list-type": "set",
        },
        "unordered": {
            "type": "array",
            "items": {"type": "integer"},
            "x-kubernetes-list-type": "set",
        },
        "targets": {
            "type": "array",
            "items": TARGET,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["kind", "name"],
        },
        "pair": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "integer"},
        },
    },
    good=(
        {
            "atomic": ["a", "a"],
            "tags": ["b", "a"],
            "unordered": [1],
            "targets": [{"kind": "A", "name": "b"}, {"kind": "A", "name": "c"}],
            "pair": [1, 2],
        },
    ),
    bad={
        'tags[1]: Duplicate value: "a"': {"tags": ["a", "a"]},
        'targets[1]: Duplicate value: {"kind":"A","name":""}': {
            "targets": [{"kind": "A"}, {"kind": "A"}]
        },
        "targets[0].kind: Required value": {"targets": [{"name": "a"}]},
        "pair in body should have at least 2 items": {"pair": [1]},
    },
)


class Inner(ApiModel):
    size: int = 3
    name: str | None = None


INNER = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "default": 3},
        "name": {"type": "string"},
    },
}


class Defaults(ApiModel):
    inner: Inner = Inner()
    larger: Inner = Inner(size=4)
    maybe: Inner | None = None
    many: dict[str, Inner] = Field(default_factory=dict)
    empty: str = ""
    marked: Annotated[list[str], schema.Default([])] = Field(default_factory=list)
    ours: Annotated[int, schema.NoDefault()] = 7
    off: bool = False


trait(
    Defaults,
    properties={
        "inner": {**INNER, "default": {}},
        "larger": {**INNER, "default": {"size": 4}},
        "maybe": INNER,
        "many": {"type": "object", "additionalProperties": INNER},
        "empty": {"type": "string"},
        "marked": {"type": "array", "default": [], "items": {"type": "string"}},
        "ours": {"type": "integer"},
        "off": {"type": "boolean", "default": False},
    },
    good=({}, {"maybe": {"size": 9}, "many": {"a": {"size": 1, "name": "x"}}}),
    bad={'inner.size: Invalid value: "string"': {"inner": {"size": "large"}}},
    filled={"inner": {"size": 3}, "larger": {"size": 4}, "marked": [], "off": False},
)


class Loose(BaseModel, extra="allow"):
    known: int = 1


@schema.marked(schema.PreserveUnknownFields())
class Kept(ApiModel):
    known: int = 1


class Free(ApiModel):
    anything: Any = None
    values: Json = Field(default_factory=dict)
    loose: Loose | None = None
    kept: Kept | None = None
    labels: Annotated[Mapping[str, str], schema.MapAtomic()] = Field(
        default_factory=dict
    )


KNOWN = {
    "type": "object",
    "properties": {"known": {"type": "integer", "default": 1}},
    **PRESERVE,
}
trait(
    Free,
    properties={
        "anything": PRESERVE,
        "values": {"type": "object", **PRESERVE},
        "loose": KNOWN,
        "kept": KNOWN,
        "labels": {**STRINGS, "x-kubernetes-map-type": "atomic"},
    },
    good=(
        {
            "anything": [1, {"a": "b"}],
            "values": {"a": {"b": [1, None]}},
            "loose": {"known": 2, "other": True},
            "kept": {"known": 2, "other": True},
            "labels": {"a": "b"},
        },
    ),
    bad={'loose.known: Invalid value: "string"': {"loose": {"known": "x"}}},
)


class Pod(KubeObject):
    gvk: ClassVar = GroupVersionKind("", "v1", "Pod")

    spec: Json


class Template(ApiModel):
    metadata: ObjectMeta = ObjectMeta()


class Embedded(ApiModel):
    plain: Annotated[Json, schema.EmbeddedResource()] | None = None
    pod: Pod | None = None
    template: Template | None = None


trait(
    Embedded,
    properties={
        "plain": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            **PRESERVE,
        },
        "pod": {
            "type": "object",
            "required": ["spec"],
            "properties": {"spec": {"type": "object", **PRESERVE}},
            "x-kubernetes-embedded-resource": True,
        },
        "template": {
            "type": "object",
            "properties": {
                "metadata": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "namespace": {"type": "string"},
                        "labels": STRINGS,
                        "annotations": STRINGS,
                        "finalizers": {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
        },
    },
    good=(
        {
            "plain": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "a"},
                "data": {"a": "b"},
            },
            "template": {"metadata": {"name": "a", "labels": {"b": "c"}}},
        },
        {
            "pod": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                "spec": {"nodeName": "b"},
            },
        },
    ),
    bad={
        "plain.kind: Required value": {"plain": {"apiVersion": "v1"}},
        "pod.spec: Required value": {"pod": {"apiVersion": "v1", "kind": "Pod"}},
    },
)


@schema.marked(
    schema.ValidationRule(
        "self.low <= self.high",
        message_expression="self.high < 0 ? 'high is negative' : 'low is above high'",
        reason="FieldValueForbidden",
        field_path=".low",
    )
)
class Rules(ApiModel):
    low: int
    high: int
    step: Annotated[
        int,
        schema.ValidationRule("self != 0", message="cannot stand still"),
        schema.ValidationRule(
            "!oldSelf.hasValue() || self >= oldSelf.value()",
            message="may only grow",
            optional_old_self=True,
        ),
    ] = 1


trait(
    Rules,
    required=["low", "high"],
    properties={
        "low": {"type": "integer"},
        "high": {"type": "integer"},
        "step": {
            "type": "integer",
            "default": 1,
            "x-kubernetes-validations": [
                {"rule": "self != 0", "message": "cannot stand still"},
                {
                    "rule": "!oldSelf.hasValue() || self >= oldSelf.value()",
                    "message": "may only grow",
                    "optionalOldSelf": True,
                },
            ],
        },
    },
    x_kubernetes_validations=[
        {
            "rule": "self.low <= self.high",
            "messageExpression": (
                "self.high < 0 ? 'high is negative' : 'low is above high'"
            ),
            "reason": "FieldValueForbidden",
            "fieldPath": ".low",
        }
    ],
    good=({"low": 1, "high": 2},),
    bad={
        "spec.rules.low: Forbidden: low is above high": {"low": 3, "high": 1},
        "spec.rules.step: Invalid value: 0: cannot stand still": {
            "low": 1,
            "high": 2,
            "step": 0,
        },
        "spec.rules.high: Required value": {"low": 1},
    },
    filled={"step": 1},
)


@schema.marked(
    schema.exactly_one_of("url", "secretRef"),
    schema.at_most_one_of("tag", "namespace"),
    schema.at_least_one_of("url", "tag"),
)
class Members(ApiModel):
    url: str | None = None
    secret_ref: Target | None = None
    tag: str | None = None
    namespace: str | None = None


trait(
    Members,
    properties={
        "url": {"type": "string"},
        "secretRef": TARGET,
        "tag": {"type": "string"},
        "namespace": {"type": "string"},
    },
    x_kubernetes_validations=[
        {
            "rule": "(has(self.url) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) == 1",
            "message": "exactly one of url, secretRef must be set",
        },
        {
            "rule": (
                "(has(self.tag) ? 1 : 0) + (has(self.__namespace__) ? 1 : 0) <= 1"
            ),
            "message": "at most one of tag, namespace may be set",
        },
        {
            "rule": "(has(self.url) ? 1 : 0) + (has(self.tag) ? 1 : 0) >= 1",
            "message": "at least one of url, tag must be set",
        },
    ],
    good=({"url": "a", "namespace": "b"},),
    bad={
        "exactly one of url, secretRef must be set": {"tag": "a"},
        "at most one of tag, namespace may be set": {
            "url": "a",
            "tag": "b",
            "namespace": "c",
        },
        "at least one of url, tag must be set": {"secretRef": {"kind": "A"}},
    },
)


@schema.marked(
    schema.discriminated_by("type", {"http": "http", "tcp": "tcp"}),
    schema.immutable("type"),
)
class Union(ApiModel):
    type: Literal["http", "tcp", "none"] | None = None
    http: str | None = None
    tcp: int | None = None


trait(
    Union,
    properties={
        "type": {"type": "string", "enum": ["http", "tcp", "none"]},
        "http": {"type": "string"},
        "tcp": {"type": "integer"},
    },
    x_kubernetes_validations=[
        {
            "rule": "(has(self.type) && self.type == 'http') == has(self.http)",
            "message": "http must be set if type is http, and only then",
        },
        {
            "rule": "(has(self.type) && self.type == 'tcp') == has(self.tcp)",
            "message": "tcp must be set if type is tcp, and only then",
        },
        {
            "rule": (
                "has(self.type) == has(oldSelf.type) && "
                "(!has(self.type) || self.type == oldSelf.type)"
            ),
            "message": "type cannot be changed; create a new object instead",
        },
    ],
    good=({"type": "http", "http": "x"}, {"type": "none"}),
    bad={
        "http must be set if type is http, and only then": {"type": "http"},
        "tcp must be set if type is tcp, and only then": {"tcp": 1},
    },
)


class Unbounded(ApiModel):
    """Rules where the server expects very many of them, and counts their cost."""

    members: dict[str, Members] = Field(default_factory=dict)
    durations: list[Durations] = Field(default_factory=list)


def schema_of(name: str) -> Json:
    return next(each.schema for each in TRAITS if each.name == name)


trait(
    Unbounded,
    description="Rules where the server expects very many of them, and counts their "
    "cost.",
    properties={
        "members": {"type": "object", "additionalProperties": schema_of("members")},
        "durations": {"type": "array", "items": schema_of("durations")},
    },
    good=({"members": {"a": {"url": "b"}}, "durations": [{"interval": "5m"}]},),
    bad={
        "spec.unbounded.members[a]: Invalid value": {"members": {"a": {"tag": "b"}}},
        'durations[0].interval: Invalid value: "1s": must be at least 1m': {
            "durations": [{"interval": "1s"}]
        },
    },
)


class Names(ApiModel):
    two_words: int | None = None
    """Wrapped over
    two lines.

    - a list
    - of two
    """

    plain_http: Annotated[bool, Field(alias="plainHTTP", description="Over HTTP.")] = (
        False
    )
    old: Annotated[str | None, Field(deprecated="use twoWords")] = None


trait(
    Names,
    properties={
        "twoWords": {
            "description": "Wrapped over two lines.\n\n- a list\n- of two",
            "type": "integer",
        },
        "plainHTTP": {
            "description": "Over HTTP.",
            "type": "boolean",
            "default": False,
        },
        "old": {"description": "Deprecated: use twoWords", "type": "string"},
    },
    good=({"twoWords": 1, "plainHTTP": True},),
    bad={'plainHTTP: Invalid value: "string"': {"plainHTTP": "yes"}},
    filled={"plainHTTP": False},
)

FIELDS: dict[str, Any] = {each.name: (each.model | None, None) for each in TRAITS}
SPEC: Any = create_model("TraitsSpec", __base__=ApiModel, **FIELDS)


class Traits(KubeObject):
    """An object with every trait."""

    gvk: ClassVar = GroupVersionKind("traits.example.com", "v1", "Traits")
    plural: ClassVar = "traits"
    crd: ClassVar = schema.CrdOptions()

    spec: SPEC
