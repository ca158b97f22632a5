"""What a CRD says beside its schema, and what no CRD can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field, create_model
from typing_extensions import TypedDict

from controller_runtime import (
    ApiModel,
    Condition,
    Duration,
    GroupVersionKind,
    Json,
    KubeObject,
    SchemaError,
    schema,
)
from controller_runtime.schema.models import json_schema_of
from controller_runtime.schema.structural import structural


def made(model: type[BaseModel], **options: Any) -> Json:
    return structural(json_schema_of(model), name="Thing", **options)


def gvk(version: str) -> GroupVersionKind:
    return GroupVersionKind("example.com", version, "Policy")


class Spec(ApiModel):
    """What is wanted. And more of it."""

    color: str = "red"
    size: int | None = None
    names: list[str] = Field(default_factory=list)
    free: Json = Field(default_factory=dict)


class Status(ApiModel):
    ready: bool = False
    spec: Spec = Spec(color="blue")
    conditions: Annotated[tuple[Condition, ...], schema.ListMap("type")] = ()


class Policy(KubeObject):
    """A policy."""

    gvk: ClassVar = gvk("v1")
    crd: ClassVar = schema.CrdOptions()

    spec: Spec = Spec()
    status: Status = Status()


class Node(ApiModel):
    children: list[Node] = Field(default_factory=list)


class Pair(NamedTuple):
    a: int
    b: str


class Typed(TypedDict):
    a: int


@dataclass
class Data:
    a: int


class Cat(ApiModel):
    kind: Literal["cat"]


class Dog(ApiModel):
    kind: Literal["dog"]


class Item(ApiModel):
    name: str
    optional: str | None = None


class TypedExtra(ApiModel):
    __pydantic_extra__: dict[str, int]

    a: int = 1


class Restricted(ApiModel):
    model_config = ConfigDict(regex_engine="python-re")

    value: Annotated[str, Field(pattern="^(?!kube-)")]


REFUSED: Mapping[str, tuple[Any, str]] = {
    "a union": (int | bool, "a union of integer and boolean: .*exactly_one_of"),
    "a union of models": (Cat | Item, "a union of object and object"),
    "a discriminated union": (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        "a discriminated union: .*discriminated_by",
    ),
    "recursion": (Node, r"Node is inside of itself.*Annotated\[Json"),
    "a timedelta": (timedelta, "ISO 8601.* use controller_runtime.Duration"),
    "bytes": (bytes, "use pydantic.Base64Bytes"),
    "bounds of a Decimal": (
        Annotated[Decimal, Field(ge=1)],
        "use controller_runtime.Quantity",
    ),
    "a tuple of several types": (tuple[int, str], "use a model with a field for each"),
    "a named tuple": (Pair, "make it an ApiModel"),
    "a TypedDict": (Typed, "make it an ApiModel"),
    "a dataclass": (Data, "make it an ApiModel"),
    "a set of objects": (
        Annotated[list[Item], schema.ListSet()],
        "use ListMap with the fields",
    ),
    "a key that may be absent": (
        Annotated[list[Item], schema.ListMap("optional")],
        r"Thing: value\[\]\.optional: a key of a list map is required or has a default",
    ),
    "a key that is not there": (
        Annotated[list[Item], schema.ListMap("nome")],
        "have no 'nome'",
    ),
    "restricted keys": (
        dict[Annotated[str, Field(pattern="^a")], int],
        "keys of a mapping cannot be restricted",
    ),
    "values of several types": (Literal["a", 1], "several types"),
    "nothing but null": (None, "it can only be null"),
    "fields and a type for others": (TypedExtra, "a mapping of their own"),
    "a type that JSON lacks": (type, "JSON has no such type"),
    "a default beside null": (
        Annotated[str, schema.Default("")] | None,
        "Default and NoDefault are about a field as a whole",
    ),
    "a default of an item": (
        list[Annotated[str, schema.NoDefault()]],
        "Default and NoDefault are about a field as a whole",
    ),
    "a key that CRDs lack": (
        Annotated[int, Field(json_schema_extra={"not": {"type": "string"}})],
        "a CRD has no not",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_crd_can_say_is_refused_with_field_and_remedy(what: str) -> None:
    annotation, words = REFUSED[what]
    model = create_model("Thing", __base__=ApiModel, value=(annotation, ...))

    with pytest.raises(SchemaError, match=words) as refusal:
        made(model)

    assert str(refusal.value).startswith("Thing: value")


def test_a_field_deep_inside_is_named_by_its_path() -> None:
    inner = create_model("Inner", __base__=ApiModel, bad_one=(int | bool, ...))
    model = create_model(
        "Thing",
        __base__=ApiModel,
        some=(dict[str, inner], ...),
    )

    with pytest.raises(SchemaError, match=r"Thing: some\[\*\]\.badOne: a union"):
        made(model)


def test_a_pattern_that_the_server_cannot_read_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"RE2\) have no \(\?!"):
        made(Restricted)


@pytest.mark.parametrize(
    ("annotation", "default", "words"),
    [
        (Annotated[int, Field(ge=1)], 0, "value: its default is not valid: must be at"),
        (Annotated[str, Field(pattern="^a")], "b", "must match"),
        (int, "text", "Thing.value: the default 'text' cannot be written"),
    ],
)
def test_a_default_that_does_not_fit_is_refused(
    annotation: Any, default: object, words: str
) -> None:
    model = create_model("Thing", __base__=ApiModel, value=(annotation, default))

    with pytest.raises(SchemaError, match=words):
        made(model)


def test_a_field_that_is_written_under_another_name_is_refused() -> None:
    field = Field(validation_alias="a", serialization_alias="b")
    model = create_model("Thing", __base__=ApiModel, value=(int, field))

    with pytest.raises(SchemaError, match=r"Thing\.value is read and written"):
        made(model)


def test_a_computed_field_is_refused() -> None:
    class Computed(ApiModel):
        @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
        @property
        def twice(self) -> int:
            return 2

    with pytest.raises(SchemaError, match=r"Computed\.twice: a computed field"):
        made(Computed)


def test_a_rule_of_several_lines_needs_a_message() -> None:
    with pytest.raises(ValueError, match="needs a message of one line"):
        schema.ValidationRule("self.a &&\nself.b")


def test_a_status_has_the_defaults_that_are_asked_for_by_name() -> None:
    class Row(ApiModel):
        name: Annotated[str, schema.Default("")] = ""
        count: int = 1

    class RowStatus(ApiModel):
        rows: Annotated[tuple[Row, ...], schema.ListMap("name")] = ()

    class Rowed(Policy):
        status: RowStatus = RowStatus()  # type: ignore[assignment] # another kind's

    crd = schema.crd_for(Rowed)

    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert root["status"]["properties"]["rows"]["items"]["properties"] == {
        "name": {"type": "string", "default": ""},
        "count": {"type": "integer"},
    }


def test_a_status_has_no_defaults() -> None:
    status = schema.crd_for(Policy)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert "default" not in str(status["properties"]["status"])
    assert status["properties"]["spec"]["default"] == {}


def test_markers_of_a_class_come_after_those_of_its_base() -> None:
    @schema.marked(schema.ValidationRule("1"))
    class Base(ApiModel):
        a: int = 1

    @schema.marked(schema.ValidationRule("2"))
    class Derived(Base):
        pass

    def rules(model: type[BaseModel]) -> list[str]:
        return [it["rule"] for it in made(model)["x-kubernetes-validations"]]

    assert rules(Base) == ["1"]
    assert rules(Derived) == ["1", "2"]


def test_descriptions_end_at_a_sentence_within_their_limit() -> None:
    assert made(Spec, description_limit=20)["description"] == "What is wanted."
    assert made(Spec, description_limit=10)["description"] == "What is"
    assert "description" not in made(Spec, description_limit=0)


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("Website", "websites"), ("Policy", "policies"), ("Class", "classes")],
)
def test_a_plural_is_guessed_as_kubernetes_does(kind: str, plural: str) -> None:
    class Named(Policy):
        gvk: ClassVar = GroupVersionKind("example.com", "v1", kind)

    assert schema.crd_for(Named)["metadata"]["name"] == f"{plural}.example.com"


class TestOptions:
    def test_a_crd_says_what_its_options_say(self) -> None:
        class Full(KubeObject):
            gvk: ClassVar = gvk("v1")
            plural: ClassVar = "policys"
            namespaced: ClassVar = False
            crd: ClassVar = schema.CrdOptions(
                singular="rule",
                list_kind="Policies",
                short_names=("pol",),
                categories=("all",),
                annotations={"a": "b"},
                conversion=schema.WebhookConversion(service="s", namespace="n"),
                deprecated=True,
                served=False,
            )

            spec: Spec

        crd = schema.crd_for(Full)

        version = crd["spec"]["versions"][0]
        del version["schema"]
        assert crd == {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "policys.example.com", "annotations": {"a": "b"}},
            "spec": {
                "group": "example.com",
                "scope": "Cluster",
                "names": {
                    "kind": "Policy",
                    "listKind": "Policies",
                    "plural": "policys",
                    "singular": "rule",
                    "shortNames": ["pol"],
                    "categories": ["all"],
                },
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {
                        "conversionReviewVersions": ["v1"],
                        "clientConfig": {
                            "service": {
                                "name": "s",
                                "namespace": "n",
                                "path": "/convert",
                                "port": 443,
                            }
                        },
                    },
                },
                "versions": [
                    {
                        "name": "v1",
                        "served": False,
                        "storage": True,
                        "deprecated": True,
                    }
                ],
            },
        }

    def test_a_column_takes_type_from_the_schema(self) -> None:
        condition = '.status.conditions[?(@.type=="Ready")]'
        columns = {
            ".spec.color": "string",
            ".spec.size": "integer",
            ".status.ready": "boolean",
            f"{condition}.status": "string",
            f"{condition}.lastTransitionTime": "string",
            ".spec.names[*]": "string",
        }

        version = version_with(
            printer_columns=tuple(schema.PrinterColumn(p, p) for p in columns)
        )

        found = version["additionalPrinterColumns"]
        assert {it["jsonPath"]: it["type"] for it in found} == columns

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"printer_columns": (schema.PrinterColumn("A", ".spec.colour"),)}, "no"),
            ({"printer_columns": (schema.PrinterColumn("A", ".spec"),)}, "is object"),
            ({"printer_columns": (schema.PrinterColumn("A", "spec"),)}, "JSON path"),
            ({"scale": schema.Scale()}, r"there is no \.spec\.replicas"),
            ({"selectable_fields": (".spec.names",)}, "must be a string, an integer"),
        ],
    )
    def test_a_path_that_leads_nowhere_is_refused(
        self, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(SchemaError, match=words):
            version_with(**options)

    def test_what_no_schema_describes_may_be_a_column(self) -> None:
        column = schema.PrinterColumn("A", ".spec.free.a.b", type="string", priority=1)

        assert version_with(printer_columns=(column, schema.AGE))[
            "additionalPrinterColumns"
        ] == [
            {
                "name": "A",
                "type": "string",
                "jsonPath": ".spec.free.a.b",
                "priority": 1,
            },
            {
                "name": "Age",
                "type": "date",
                "jsonPath": ".metadata.creationTimestamp",
            },
        ]


def version_with(**options: Any) -> Any:
    class Chosen(Policy):
        crd: ClassVar = schema.CrdOptions(**options)

    return schema.crd_for(Chosen)["spec"]["versions"][0]


class TestVersions:
    def test_versions_of_a_kind_make_one_crd(self) -> None:
        class Old(Policy):
            gvk: ClassVar = gvk("v1beta1")
            crd: ClassVar = schema.CrdOptions(
                storage=False, deprecation_warning="use v1"
            )

        [crd] = schema.crds_for([Old, Policy])

        old, new = crd["spec"]["versions"]
        assert (old["name"], old["storage"], old["deprecated"]) == (
            "v1beta1",
            False,
            True,
        )
        assert old["deprecationWarning"] == "use v1"
        assert (new["name"], new["storage"]) == ("v1", True)

    def test_exactly_one_is_stored(self) -> None:
        class Other(Policy):
            gvk: ClassVar = gvk("v2")

        with pytest.raises(SchemaError, match="exactly one version is stored"):
            schema.crd_for(Policy, Other)

    def test_one_that_is_not_stored_does_not_name_the_kind(self) -> None:
        class Other(Policy):
            gvk: ClassVar = gvk("v2")
            crd: ClassVar = schema.CrdOptions(storage=False, singular="other")

        with pytest.raises(SchemaError, match="Other: singular is about the kind"):
            schema.crd_for(Policy, Other)

    def test_plural_and_scope_are_the_same_in_all_versions(self) -> None:
        class Other(Policy):
            gvk: ClassVar = gvk("v2")
            namespaced: ClassVar = False
            crd: ClassVar = schema.CrdOptions(storage=False)

        with pytest.raises(SchemaError, match="plural and scope are the same"):
            schema.crd_for(Policy, Other)

    def test_two_models_of_one_version_are_refused(self) -> None:
        class Other(Policy):
            crd: ClassVar = schema.CrdOptions(storage=False)

        with pytest.raises(SchemaError, match="a version has two models"):
            schema.crd_for(Policy, Other)

    def test_a_model_that_is_not_ours_is_refused(self) -> None:
        class Foreign(KubeObject):
            gvk: ClassVar = gvk("v1")

        with pytest.raises(SchemaError, match="Foreign does not say that it is ours"):
            schema.crd_for(Foreign)


def test_a_duration_keeps_its_name_on_a_page() -> None:
    class Timed(KubeObject):
        gvk: ClassVar = GroupVersionKind("example.com", "v1", "Timed")
        crd: ClassVar = schema.CrdOptions(short_names=("t",))

        spec: Annotated[Duration, Field(ge=timedelta(seconds=1))]
        """How | long."""

    page = schema.reference_of(schema.crd_for(Timed))

    assert (
        "| `spec` | duration, such as 1h30m |  | must be at least 1s | How \\| long. |"
    ) in page
    assert "| Names | `timeds`, `t` |" in page
