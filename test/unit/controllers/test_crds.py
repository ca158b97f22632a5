"""CRDs for kubectl, and those that a cluster lacks."""

from __future__ import annotations

from typing import ClassVar

import yaml
from typer.testing import CliRunner

from api.owned import OWNED
from controller_runtime import GroupVersionKind, HttpTransport, KubeObject, schema
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.apiserver.resources import Resource
from controllers.__main__ import app
from controllers.crds import kinds_of, manifests, missing
from controllers.settings import CONTROLLERS


class Lamp(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Lamp")
    crd: ClassVar = schema.CrdOptions()


class Shade(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Shade")
    crd: ClassVar = schema.CrdOptions()


def test_all_crds_are_one_text_that_kubectl_reads() -> None:
    documents = yaml.safe_load_all(manifests([Lamp, Shade]))

    assert list(documents) == schema.crds_for([Lamp, Shade])


def test_the_verb_prints_ours() -> None:
    answer = CliRunner().invoke(app, ["crds", "--stdout"])

    assert answer.exit_code == 0
    assert answer.stdout == manifests(OWNED)


async def test_what_a_cluster_lacks_is_named_with_the_remedy() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.register(Resource(gvk=Shade.gvk, plural="shades"))

        found = await missing(transport, [Lamp, Shade])

    assert found.startswith("Lamp.example.com; ")
    assert "pilothouse crds --stdout | kubectl apply" in found


async def test_reload_does_not_wait_for_its_crd() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        found = await missing(transport, kinds_of(["reload", "autopilot"]))

    assert found.startswith("ReloaderConfig.reloader.stakater.com; ")
    assert found.endswith("reload goes by annotations alone")


def test_every_kind_of_ours_belongs_to_a_controller() -> None:
    assert list(kinds_of(CONTROLLERS)) == list(OWNED)
    assert [model.gvk.kind for model in kinds_of(["bundle"])] == ["WerfBundle"]


async def test_nothing_is_said_of_a_cluster_that_has_all() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.register(Resource(gvk=Lamp.gvk, plural="lamps"))

        assert await missing(transport, [Lamp]) == ""
