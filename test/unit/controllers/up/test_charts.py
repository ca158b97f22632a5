"""Charts and bundles made in Python are what `helm push` and werf make."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest

from conformance.fakeregistry import FakeRegistry, serving
from controller_runtime import SystemClock
from controllers.oci import (
    HELM_CHART,
    HELM_CONFIG,
    OCI_MANIFEST,
    WERF_CHART,
    Access,
    RegistryClient,
    RemoteRepository,
    Repository,
    read_image,
)
from controllers.up.bundle_samples import push_bundle
from controllers.up.charts import Chart, push_chart
from controllers.web import Http

CHART = Chart(
    name="shop",
    version="1.2.3+b1",
    values={"replicas": 2},
    files={"templates/map.yaml": "kind: ConfigMap"},
    metadata={"appVersion": "7"},
)


@pytest.fixture
async def repository() -> AsyncIterator[RemoteRepository]:
    async with serving(FakeRegistry()) as registry, Http() as http:
        registries = RegistryClient(http, clock=SystemClock())
        where = Repository(registry.host, "samples/shop")
        yield registries.repository(where, Access(insecure=True))


def unpacked(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        files = {name: tar.extractfile(name) for name in tar.getnames()}
        return {name: file.read().decode() for name, file in files.items() if file}


def test_an_archive_has_one_folder_and_is_the_same_each_time() -> None:
    files = unpacked(CHART.archive())

    assert set(files) == {
        "shop/Chart.yaml",
        "shop/values.yaml",
        "shop/templates/map.yaml",
    }
    assert json.loads(files["shop/Chart.yaml"]) == {
        "apiVersion": "v2",
        "name": "shop",
        "version": "1.2.3+b1",
        "appVersion": "7",
    }
    assert CHART.archive() == CHART.archive()


async def test_a_chart_is_pushed_as_helm_does(repository: RemoteRepository) -> None:
    digest = await push_chart(repository, CHART)

    manifest = await repository.manifest("1.2.3_b1")
    image = read_image(manifest)
    assert manifest.digest == digest
    assert image.config.media_type == HELM_CONFIG
    assert [layer.media_type for layer in image.layers] == [HELM_CHART]
    assert json.loads(manifest.content)["mediaType"] == OCI_MANIFEST
    assert json.loads(await repository.blob(image.config)) == CHART.about


async def test_a_bundle_is_pushed_as_werf_does(repository: RemoteRepository) -> None:
    await push_bundle(repository, "v1.2.3", name="shop")

    manifest = await repository.manifest("v1.2.3")
    [layer] = read_image(manifest).layers
    files = unpacked(await repository.blob(layer))
    assert "mediaType" not in json.loads(manifest.content)
    assert layer.media_type == WERF_CHART
    assert files["shop/extra_annotations.json"] == "{}"
    assert "shop/templates/_werf_helpers.tpl" in files
