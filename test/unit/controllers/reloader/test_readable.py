"""Which kinds are left out since the role does not have them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from controller_runtime import Client, HttpTransport, Scheme
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.options import ReloadOptions
from controllers.reloader.readable import readable


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


async def test_what_may_be_listed_stays(client: Client) -> None:
    with capture_logs() as logs:
        found = await readable(ReloadOptions(), client)

    assert found == ReloadOptions()
    assert [log for log in logs if log["log_level"] == "warning"] == []


async def test_what_may_not_be_listed_is_left_out_and_told(
    server: ApiServer, client: Client
) -> None:
    server.faults.on(verb="list", resource="cronjobs").answer(403, reason="Forbidden")

    with capture_logs() as logs:
        found = await readable(ReloadOptions(), client)

    assert found.ignored_workloads == {"CronJob"}
    (warning,) = [log for log in logs if log["log_level"] == "warning"]
    assert warning["event"] == "kind is left out"


async def test_one_namespace_that_refuses_is_enough(
    server: ApiServer, client: Client
) -> None:
    server.faults.on(verb="list", resource="jobs").answer(403, reason="Forbidden")
    options = ReloadOptions(namespaces=("shop", "blog"))

    found = await readable(options, client)

    assert found.ignored_workloads == {"Job"}


async def test_what_is_left_out_anyhow_is_not_asked_for(
    server: ApiServer, client: Client
) -> None:
    options = ReloadOptions(ignored_workloads=frozenset({"Job", "CronJob"}))

    assert await readable(options, client) == options
    assert server.requests.of("list") == []


async def test_a_server_that_is_busy_leaves_nothing_out(
    server: ApiServer, client: Client
) -> None:
    server.faults.on(verb="list", resource="jobs", times=None).answer(500)

    assert await readable(ReloadOptions(), client) == ReloadOptions()
