"""What the settings make of the manager."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controller_runtime import HttpTransport, LeaderElectionOptions, Metrics
from controller_runtime.testing.apiserver import ApiServer
from controllers.manager import build
from controllers.settings import Settings, load


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield transport


async def test_by_default_there_is_no_election(transport: HttpTransport) -> None:
    manager = build(Settings(), transport, Metrics())

    assert manager.options.leader_election is None


@pytest.mark.behaviour("L1")
async def test_replicas_stand_for_the_lease_pilothouse(
    transport: HttpTransport,
) -> None:
    environ = {
        "PILOTHOUSE_LEADER_ELECT": "true",
        "PILOTHOUSE_LEADER_ELECTION_NAMESPACE": "platform",
    }

    manager = build(load({}, environ, None), transport, Metrics())

    assert manager.options.leader_election == LeaderElectionOptions(
        name="pilothouse", namespace="platform"
    )
