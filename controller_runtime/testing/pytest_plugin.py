"""Fixtures for tests on a real API server: `pytest_plugins = [<this module>]`.

    control_plane   session   the cluster; one for all workers of pytest-xdist
    environment     session   the same, with `envtest_crds` installed: users, webhooks …
    namespace       test      a fresh namespace, deleted afterwards
    client          test      a client of the administrator

To have it otherwise, override what they ask for: `envtest_crds` (files, folders, CRDs)
and `envtest_flags` (of `python -m controller_runtime.testing.envtest up`), both for the
session. With `USE_EXISTING_CLUSTER=true` nothing is started. Async tests want
pytest-asyncio, in either of its modes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from controller_runtime.client import Client
from controller_runtime.testing.envtest import (
    Cluster,
    ExistingCluster,
    uses_existing_cluster,
)
from controller_runtime.testing.envtest.crds import CrdSource
from controller_runtime.testing.envtest.environment import Environment
from controller_runtime.testing.envtest.kubeconfig import CurrentContext
from controller_runtime.testing.envtest.shared import shared_control_plane

_WITH_CONTROLLERS = {"--kwok", "--controller-manager"}

_UNTIL_THE_END = pytest.StashKey[ExitStack]()
"""What this process holds until it has run all of its tests."""


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what is held."""
    config.stash[_UNTIL_THE_END] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the control plane: after all fixtures of all workers."""
    config.stash[_UNTIL_THE_END].close()


@pytest.fixture(scope="session")
def envtest_flags() -> Sequence[str]:
    """Return flags for the control plane, such as `--kwok`; none by default."""
    return ()


@pytest.fixture(scope="session")
def envtest_crds() -> Sequence[CrdSource]:
    """Return the CRDs that every test needs; none by default."""
    return ()


@pytest.fixture(scope="session")
def control_plane(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    envtest_flags: Sequence[str],
) -> Cluster:
    """Lend the cluster that all tests share."""
    if uses_existing_cluster(os.environ):
        return ExistingCluster(CurrentContext.of(os.environ, Path.home()))
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    until_the_end = pytestconfig.stash[_UNTIL_THE_END]
    return until_the_end.enter_context(shared_control_plane(root, envtest_flags))


@pytest.fixture(scope="session")
def environment(
    control_plane: Cluster,
    envtest_flags: Sequence[str],
    envtest_crds: Sequence[CrdSource],
) -> Environment:
    """Lend the cluster with the CRDs on it."""
    controllers = bool(_WITH_CONTROLLERS & set(envtest_flags))
    environment = Environment(control_plane, controllers=controllers)
    if envtest_crds:
        _run(environment.install_crds(*envtest_crds))
    return environment


@pytest_asyncio.fixture
async def namespace(environment: Environment) -> AsyncIterator[str]:
    """Lend a fresh namespace."""
    async with environment.namespace() as name:
        yield name


@pytest_asyncio.fixture
async def client(environment: Environment) -> AsyncIterator[Client]:
    """Lend a client of the administrator."""
    async with environment.client() as client:
        yield client


def _run(work: Coroutine[Any, Any, object]) -> None:
    """Run it in a thread, on a loop that those of the tests do not meet."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
