"""What is written on the in-process server, asked of a real one.

Events, finalizers and whole objects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller_runtime.client import Client
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.scheme import Scheme
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite(
    "conformance.ensuring",
    "conformance.events",
    "conformance.finalizing",
    "conformance.kit",
)

from conformance.ensuring import *  # noqa: E402, F403 - the tests
from conformance.events import *  # noqa: E402, F403 - the tests
from conformance.finalizing import *  # noqa: E402, F403 - the tests


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def client(config: RestConfig) -> AsyncIterator[Client]:
    async with HttpTransport(config) as transport:
        yield Client(transport, scheme=Scheme())
