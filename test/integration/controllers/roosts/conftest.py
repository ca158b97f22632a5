"""ManagedRoosts on a real API server, with Helm, charts and pods (kwok) that are real.

The scenarios are those of the release specification, section 5.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.owned import OWNED
from conformance.charts import chart
from conformance.repositories import ChartRepository, serving
from conformance.roosts import Yard
from controller_runtime import (
    Client,
    HttpTransport,
    Json,
    RestConfig,
    Scheme,
    load_restconfig,
    schema,
)
from controller_runtime.testing.envtest import Cluster
from controller_runtime.testing.envtest.crds import install_crds


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def repository() -> AsyncIterator[ChartRepository]:
    async with serving(ChartRepository()) as repository:
        yield repository


@pytest.fixture(scope="session")
def crds() -> list[Json]:
    return schema.crds_for(OWNED)


@pytest.fixture
async def yard(
    crds: list[Json],
    control_plane: Cluster,
    config: RestConfig,
    namespace: str,
    repository: ChartRepository,
    tmp_path: Path,
) -> AsyncIterator[Yard]:
    await install_crds(control_plane.api, *crds)
    async with HttpTransport(config) as transport:
        client = Client(transport, scheme=Scheme())
        yard = Yard(client, config, namespace, repository, tmp_path)
        yard.publish(chart())
        yield yard
        await yard.clear()
