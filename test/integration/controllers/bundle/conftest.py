"""The CRD, a registry for each test, and a namespace to deploy bundles in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance.bundles import Yard
from controller_runtime import Client, HttpTransport, RestConfig, load_restconfig
from controller_runtime.testing.envtest import (
    AssetsOptions,
    QuietProgress,
    Registry,
    RegistryOptions,
)
from controller_runtime.testing.envtest.environment import Environment
from controllers.manager import scheme

CRD = Path(__file__).parents[4] / "config/crd/bases/werf.io_werfbundles.yaml"


@pytest.fixture(scope="session")
def crd(environment: Environment) -> None:
    """Install the CRD, as it is checked in."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, environment.install_crds(CRD)).result()


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[Registry]:
    """Lend a registry; a parameter says which options it has."""
    given = getattr(request, "param", {})
    # What is missing fails the test and is not fetched: that takes minutes.
    options = RegistryOptions(
        assets=AssetsOptions(download=False, build=False), **given
    )
    async with Registry(options, progress=QuietProgress()) as registry:
        yield registry


@pytest.fixture
async def yard(
    crd: None, config: RestConfig, namespace: str, registry: Registry
) -> AsyncIterator[Yard]:
    async with HttpTransport(config) as transport:
        client = Client(transport, scheme=scheme())
        yield Yard(client, config, namespace, registry)
