"""Broken connections on the way to a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller_runtime.restconfig import RestConfig, load
from controller_runtime.testing.proxy import TestingProxy
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.brokenconnections", "conformance.cached")

from conformance.brokenconnections import *  # noqa: E402, F403 - the tests
from conformance.brokenconnections import Way  # noqa: E402 - after the registration


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def way(config: RestConfig, namespace: str) -> AsyncIterator[Way]:
    async with (
        TestingProxy(config) as proxy,
        HttpTransport(proxy.config()) as transport,
    ):
        yield Way(transport, namespace, proxy)
