"""CRDs from models on a real API server: taken, obeyed, left alone by round trips."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field

from conformance.traits import TRAITS, Trait, Traits
from controller_runtime import (
    ApiModel,
    Client,
    GroupVersionKind,
    HttpTransport,
    InvalidError,
    Json,
    KubeObject,
    ObjectMeta,
    RestConfig,
    Scheme,
    load_restconfig,
    merge_patch,
    schema,
)
from controller_runtime.testing.envtest import Cluster, install_crds

CRDS = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"  # what `kubectl get` asks for

each = pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.name)


class GadgetSpec(ApiModel):
    color: str = "red"
    replicas: Annotated[int, Field(ge=0)] = 1


class GadgetStatus(ApiModel):
    replicas: int = 0


OPTIONS: dict[str, Any] = {
    "printer_columns": (
        schema.PrinterColumn("Color", ".spec.color"),
        schema.PrinterColumn("Ready", ".status.replicas", priority=1),
        schema.AGE,
    ),
    "scale": schema.Scale(),
    "selectable_fields": (".spec.color",),
}


class OldGadget(KubeObject):
    gvk: ClassVar = GroupVersionKind("traits.example.com", "v1alpha1", "Gadget")
    crd: ClassVar = schema.CrdOptions(
        storage=False, deprecation_warning="use v1", **OPTIONS
    )

    spec: GadgetSpec = GadgetSpec()
    status: GadgetStatus = GadgetStatus()


class Gadget(KubeObject):
    gvk: ClassVar = GroupVersionKind("traits.example.com", "v1", "Gadget")
    crd: ClassVar = schema.CrdOptions(
        short_names=("gdt",), categories=("toys",), **OPTIONS
    )

    spec: GadgetSpec = GadgetSpec()
    status: GadgetStatus = GadgetStatus()


class Converted(KubeObject):
    gvk: ClassVar = GroupVersionKind("traits.example.com", "v1", "Converted")
    namespaced: ClassVar = False
    crd: ClassVar = schema.CrdOptions(
        conversion=schema.WebhookConversion(service="nobody", namespace="default"),
    )

    spec: GadgetSpec


GADGETS = schema.crd_for(OldGadget, Gadget)
MADE = [schema.crd_for(Traits), GADGETS, schema.crd_for(Converted)]


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def transport(config: RestConfig) -> AsyncIterator[HttpTransport]:
    async with HttpTransport(config) as transport:
        yield transport


@pytest.fixture
async def client(transport: HttpTransport, control_plane: Cluster) -> Client:
    await install_crds(control_plane.api, *MADE)
    return Client(transport, scheme=Scheme())


def traits(trait: Trait, value: Json, namespace: str) -> Traits:
    meta = ObjectMeta(generate_name="a-", namespace=namespace)
    return Traits.model_validate({"metadata": meta, "spec": {trait.name: value}})


async def conditions_of(client: Client, name: str) -> dict[str, str]:
    crd = await client.get(CRDS, name)
    return {it["type"]: it["status"] for it in crd["status"]["conditions"]}


@pytest.mark.parametrize("name", ["traits", "gadgets", "converteds"])
async def test_a_crd_is_established_and_its_schema_structural(
    client: Client, name: str
) -> None:
    conditions = await conditions_of(client, f"{name}.traits.example.com")

    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


async def test_the_server_adds_nothing_to_a_crd_and_drops_nothing(
    client: Client,
) -> None:
    crd = await client.get(CRDS, "gadgets.traits.example.com")

    assert crd["spec"] == {**GADGETS["spec"], "conversion": {"strategy": "None"}}


@each
async def test_what_fits_is_not_changed_by_a_round_trip(
    client: Client, namespace: str, trait: Trait
) -> None:
    for good in trait.good:
        created = await client.create(traits(trait, good, namespace))

        read = await client.get(Traits, created.metadata.name, namespace)
        written = await client.update(read)

        spec = json.loads(written.model_dump_json(by_alias=True, exclude_unset=True))
        assert spec["spec"] == {trait.name: {**trait.filled, **good}}
        assert written.metadata.resource_version == created.metadata.resource_version


@each
async def test_what_does_not_fit_is_refused_with_a_sentence(
    client: Client, namespace: str, trait: Trait
) -> None:
    for sentence, bad in trait.bad.items():
        wrong = {
            "apiVersion": Traits.gvk.api_version,
            "kind": Traits.gvk.kind,
            "metadata": {"generateName": "a-", "namespace": namespace},
            "spec": {trait.name: bad},
        }

        with pytest.raises(InvalidError) as refusal:
            await client.create(wrong)

        assert sentence in str(refusal.value)


async def test_what_may_not_change_does_not(client: Client, namespace: str) -> None:
    union = next(trait for trait in TRAITS if trait.name == "union")
    created = await client.create(traits(union, {"type": "none"}, namespace))
    other = created.model_dump(by_alias=True, mode="json", exclude_unset=True)
    head = {"apiVersion": Traits.gvk.api_version, "kind": Traits.gvk.kind}

    for changed in ({"type": "http", "http": "x"}, {}):
        with pytest.raises(InvalidError, match="type cannot be changed"):
            await client.update({**other, **head, "spec": {"union": changed}})


async def test_an_unknown_field_is_dropped_and_one_of_a_free_object_kept(
    client: Client, namespace: str
) -> None:
    meta = {"generateName": "a-", "namespace": namespace}
    spec = {"free": {"kept": {"a": 1}, "a": 1}, "a": 1}

    made = await client.create(Traits.model_validate({"metadata": meta, "spec": spec}))

    assert made.spec.model_dump(exclude_unset=True) == {
        "free": {"kept": {"known": 1, "a": 1}}
    }


async def test_every_name_of_a_kind_is_known_to_discovery(client: Client) -> None:
    crd = await client.get(CRDS, "gadgets.traits.example.com")

    assert crd["status"]["acceptedNames"] == {
        "kind": "Gadget",
        "listKind": "GadgetList",
        "plural": "gadgets",
        "singular": "gadget",
        "shortNames": ["gdt"],
        "categories": ["toys"],
    }


async def test_columns_show_what_their_paths_name(
    client: Client, transport: HttpTransport, namespace: str
) -> None:
    await client.create(
        Gadget(metadata=ObjectMeta(name="a", namespace=namespace), spec=GadgetSpec())
    )
    path = f"/apis/traits.example.com/v1/namespaces/{namespace}/gadgets"

    answer = await transport.request("GET", path, accept=TABLE)

    table = json.loads(answer.body)
    assert [it["name"] for it in table["columnDefinitions"]] == (
        ["Name", "Color", "Ready", "Age"]
    )
    assert table["rows"][0]["cells"][:2] == ["a", "red"]


async def test_the_spec_is_scaled_by_the_scale_subresource(
    client: Client, namespace: str
) -> None:
    await client.create(
        Gadget(metadata=ObjectMeta(name="a", namespace=namespace), spec=GadgetSpec())
    )

    patch = merge_patch({"spec": {"replicas": 3}})
    await client.patch(Gadget, "a", namespace, patch=patch, subresource="scale")

    assert (await client.get(Gadget, "a", namespace)).spec.replicas == 3


async def test_a_status_is_written_apart_from_the_spec(
    client: Client, namespace: str
) -> None:
    gadget = Gadget(
        metadata=ObjectMeta(name="a", namespace=namespace),
        spec=GadgetSpec(color="blue"),
        status=GadgetStatus(replicas=5),
    )
    created = await client.create(gadget)
    assert created.status.replicas == 0

    both = merge_patch({"spec": {"color": "green"}, "status": {"replicas": 2}})
    await client.patch(Gadget, "a", namespace, patch=both, subresource="status")

    read = await client.get(Gadget, "a", namespace)
    assert (read.spec.color, read.status.replicas) == ("blue", 2)


async def test_objects_are_selected_by_a_field_of_theirs(
    client: Client, namespace: str
) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        meta = ObjectMeta(name=name, namespace=namespace)
        await client.create(Gadget(metadata=meta, spec=GadgetSpec(color=color)))

    blue = await client.list(Gadget, namespace, field_selector="spec.color=blue")

    assert [gadget.metadata.name for gadget in blue.items] == ["b"]


async def test_an_old_version_is_served_with_a_warning(
    transport: HttpTransport, client: Client, namespace: str
) -> None:
    path = f"/apis/traits.example.com/v1alpha1/namespaces/{namespace}/gadgets"

    answer = await transport.request("GET", path)

    assert "use v1" in answer.headers["Warning"]
