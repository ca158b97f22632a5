"""What a real API server says about the groups of servers that are away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import ServerError
from controller_runtime.meta import GroupVersionKind
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.scheme import Scheme
from controller_runtime.testing.eventually import eventually
from controller_runtime.transport import HttpTransport

API_SERVICE = GroupVersionKind("apiregistration.k8s.io", "v1", "APIService")
AWAY = GroupVersionKind("away.example.com", "v1", "Widget")


@asynccontextmanager
async def away(client: Client) -> AsyncIterator[None]:
    """Have a group whose own server is not there."""
    name = f"{AWAY.version}.{AWAY.group}"
    await client.create(
        {
            "apiVersion": API_SERVICE.api_version,
            "kind": API_SERVICE.kind,
            "metadata": {"name": name},
            "spec": {
                "group": AWAY.group,
                "version": AWAY.version,
                "groupPriorityMinimum": 1000,
                "versionPriority": 1,
                "insecureSkipTLSVerify": True,
                "service": {"name": "away", "namespace": "default"},
            },
        }
    )
    try:
        yield
    finally:
        await client.delete(API_SERVICE, name)


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


async def test_a_group_whose_server_is_away_is_not_said_to_be_missing(
    config: RestConfig,
) -> None:
    async with HttpTransport(config) as transport:
        client = Client(transport, scheme=Scheme())
        async with away(client):
            await eventually(
                client,
                API_SERVICE,
                f"{AWAY.version}.{AWAY.group}",
                "",
                lambda it: it.get("status", {}).get("conditions"),
            )

            with pytest.raises(ServerError) as refused:
                await Discovery(transport).resource(AWAY)

    assert refused.value.status == 503
