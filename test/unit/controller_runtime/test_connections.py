"""Broken connections to the in-process server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.brokenconnections", "conformance.cached")

from conformance.brokenconnections import *  # noqa: E402, F403 - the tests
from conformance.brokenconnections import Way  # noqa: E402 - after the registration


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield Way(transport, "n", server)
