"""What clients are held to on the in-process server, asked of a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller_runtime.restconfig import RestConfig, load
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite(
    "conformance.cached", "conformance.clients", "conformance.lostwrites"
)

from conformance.cached import *  # noqa: E402, F403 - the tests
from conformance.cached import Place  # noqa: E402 - after the registration
from conformance.clients import *  # noqa: E402, F403 - the tests
from conformance.lostwrites import *  # noqa: E402, F403 - the tests


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def place(config: RestConfig, namespace: str) -> AsyncIterator[Place]:
    async with HttpTransport(config) as transport:
        yield Place(transport, namespace)
