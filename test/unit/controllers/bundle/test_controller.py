"""The controller at work on an API server, down to the requests that it makes.

There is no registry here, and nothing that runs Jobs: see the integration tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.bundle.v1alpha1 import WerfBundle
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    NotFoundError,
)
from controller_runtime.testing.apiserver import ApiServer, Resource
from controllers.bundle import setup
from controllers.bundle.options import BundleOptions
from controllers.manager import scheme

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

LONG_AGO = "2020-01-01T00:00:00Z"


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    def bundle(
        self,
        name: str = "app",
        *,
        converge: Json | None = None,
        status: Json | None = None,
        **spec: object,
    ) -> None:
        registry = {"url": "registry.invalid/app", "digest": f"sha256:{'a' * 64}"}
        self.server.create(
            {
                "apiVersion": WerfBundle.gvk.api_version,
                "kind": WerfBundle.gvk.kind,
                "metadata": {
                    "name": name,
                    "namespace": "shop",
                    "finalizers": ["werf.io/finalizer"],
                },
                "spec": {"registry": registry, "converge": converge or {}, **spec},
                "status": status or {},
            }
        )

    async def read(self) -> WerfBundle:
        return await self.client.get(WerfBundle, "app", "shop")

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[Manager]:
        async with HttpTransport(self.server.config()) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            )
            manager = Manager(transport, scheme=scheme(), options=addresses)
            setup(manager, BundleOptions())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                await asyncio.sleep(5)
                yield manager
                manager.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.register(
            Resource(gvk=WerfBundle.gvk, plural=WerfBundle.plural),
        )
        server.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        )
        yield World(server, Client(transport, scheme=scheme()))


async def test_a_bundle_that_may_not_go_on_is_not_looked_at_all_the_time(
    world: World,
) -> None:
    """Its time to ask the registry has come, and its account is not there."""
    world.bundle(
        converge={"serviceAccountName": "deployer"},
        status={"phase": "Synced", "nextPollTime": LONG_AGO},
    )
    async with world.manager():
        assert (await world.read()).status.phase == "Failed"
        world.server.requests.clear()
        await asyncio.sleep(60)
        looks = world.server.requests.of("get", "serviceaccounts")
        writes = world.server.requests.of("patch", "werfbundles")

    assert 3 <= len(looks) <= 5
    assert writes == []


async def test_a_bundle_that_this_version_cannot_read_is_no_fault_of_the_others(
    world: World,
) -> None:
    """After a downgrade: the schema has let in what only the later version knows."""
    world.bundle("odd", deletionPolicy="Orphan")
    world.bundle(converge={"serviceAccountName": "deployer"})
    async with world.manager():
        assert (await world.read()).status.phase == "Failed"


async def test_a_bundle_whose_jobs_may_not_be_deleted_says_so_and_goes_when_they_may(
    world: World,
) -> None:
    """Scenario 79: its namespace is none of the manager's any more."""
    active = {"name": "job", "namespace": "elsewhere"}
    world.bundle(status={"phase": "Syncing", "activeJob": active})
    fault = world.server.faults.on(verb="delete", resource="jobs", times=None)
    fault.answer(403)
    async with world.manager():
        await world.client.delete(WerfBundle, "app", "shop")
        await asyncio.sleep(200)
        status = (await world.read()).status
        assert status.phase == "Deleting"
        assert "verb delete on jobs" in status.last_error_message
        assert len(world.server.requests.of("delete", "jobs")) <= 5
        events = await world.client.list(EVENT, "shop")
        assert [it["reason"] for it in events.items].count("DeletionBlocked") == 1

        world.server.faults.clear()
        await asyncio.sleep(70)
        with pytest.raises(NotFoundError):
            await world.read()
