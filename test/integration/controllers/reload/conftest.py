"""The CRD of ReloaderConfigs, and a client for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller_runtime import Client, HttpTransport, RestConfig, load_restconfig
from controller_runtime.testing.envtest.environment import Environment
from controllers.manager import scheme

CRD = (
    Path(__file__).parents[4]
    / "config/crd/bases/reloader.stakater.com_reloaderconfigs.yaml"
)


@pytest.fixture(scope="session")
def crd(environment: Environment) -> None:
    """Install the CRD, as it is checked in."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, environment.install_crds(CRD)).result()


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def client(config: RestConfig) -> AsyncIterator[Client]:
    async with HttpTransport(config) as transport:
        yield Client(transport, scheme=scheme())
