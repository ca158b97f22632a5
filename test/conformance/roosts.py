"""ManagedRoosts on a cluster, a chart repository, and managers that drive them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from api.release.v1alpha1 import ManagedRoost
from conformance.repositories import ChartRepository
from controller_runtime import (
    CacheOptions,
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    KindOptions,
    LeaderElectionOptions,
    Manager,
    ManagerOptions,
    NamespaceOptions,
    RestConfig,
    Transport,
    find_condition,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_gone
from controllers.manager import scheme
from controllers.release import setup
from controllers.release.helm.pool import WorkerPool
from controllers.release.options import ReleaseOptions
from controllers.release.parts import real_parts

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

Condition = Callable[[ManagedRoost], object]


class Yard:
    """A namespace with ManagedRoosts in it."""

    def __init__(
        self,
        client: Client,
        config: RestConfig,
        namespace: str,
        repository: ChartRepository,
        folder: Path,
    ) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace
        self.repository = repository
        self.folder = folder
        self.pools: list[WorkerPool] = []
        """Workers of the managers, the newest last."""
        self.managers: list[Manager] = []
        """The newest last."""
        self.charts: dict[str, bytes] = {}
        """Version → archive of the chart `app`, in the repository."""

    def publish(self, archive: bytes, version: str = "1.0.0") -> None:
        """Put a version of the chart `app` into the repository, or another in place."""
        self.charts[version] = archive
        files = {f"/app-{it}.tgz": content for it, content in self.charts.items()}
        entries = [
            {
                "apiVersion": "v2",
                "name": "app",
                "version": it,
                "urls": [f"app-{it}.tgz"],
                "digest": hashlib.sha256(content).hexdigest(),
            }
            for it, content in self.charts.items()
        ]
        index = {"apiVersion": "v1", "entries": {"app": entries}}
        self.repository.files = {**files, "/index.yaml": json.dumps(index).encode()}

    def unpublish(self) -> None:
        """Empty the repository."""
        self.repository.files = {"/index.yaml": b"apiVersion: v1\nentries: {}\n"}

    def lock(self, username: str, password: str) -> None:
        """Let only somebody who knows the password read the repository."""
        self.repository.username, self.repository.password = username, password

    @asynccontextmanager
    async def manager(
        self,
        options: ReleaseOptions | None = None,
        *,
        leads: bool = False,
        around: Callable[[Transport], Transport] = lambda transport: transport,
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run a manager for this namespace alone; yields its task."""
        options = replace(
            options or ReleaseOptions(),
            namespaces=(self.namespace,),
            cache=self.folder / "charts",
            leads=leads,
        )
        kind = KindOptions(namespaces={self.namespace: NamespaceOptions()})
        lease = LeaderElectionOptions(name="roosts", namespace=self.namespace)
        async with HttpTransport(self.config) as transport:
            manager = Manager(
                around(transport),
                scheme=scheme(),
                lease_transport=transport,
                options=ManagerOptions(
                    metrics_bind_address="0",
                    health_probe_bind_address="0",
                    cache=CacheOptions(by_object={ManagedRoost: kind}),
                    leader_election=lease if leads else None,
                ),
            )
            parts = real_parts(manager, options, self.config)
            assert isinstance(parts.engine, WorkerPool)
            self.pools.append(parts.engine)
            self.managers.append(manager)
            setup(manager, options, parts)
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(manager.start())
                yield task
                manager.stop()

    async def create(self, name: str = "web", **spec: object) -> None:
        """Create a ManagedRoost of the chart `app` 1.0.0."""
        await self.client.create(self.roost(name, **spec))

    def roost(self, name: str = "web", **spec: object) -> Json:
        """Return a ManagedRoost; `chart` is merged over the usual one."""
        chart = {
            "repository": {"url": self.repository.url},
            "name": "app",
            "version": "1.0.0",
            **cast(Json, spec.pop("chart", {})),
        }
        annotations = spec.pop("annotations", {})
        metadata = {"name": name, "namespace": self.namespace}
        return {
            "apiVersion": ManagedRoost.gvk.api_version,
            "kind": ManagedRoost.gvk.kind,
            "metadata": {**metadata, "annotations": annotations},
            "spec": {"chart": chart, **spec},
        }

    async def change(self, name: str = "web", **spec: object) -> None:
        """Merge changes into a spec."""
        await self.patch(name, {"spec": spec})

    async def annotate(self, name: str = "web", **annotations: str) -> None:
        """Set annotations of our group; `_` stands for `-`."""
        named = {
            f"roost.birb.party/{key.replace('_', '-')}": value
            for key, value in annotations.items()
        }
        await self.patch(name, {"metadata": {"annotations": named}})

    async def patch(self, name: str, changes: Json) -> None:
        await self.client.patch(
            ManagedRoost.gvk, name, self.namespace, patch=merge_patch(changes)
        )

    async def read(self, name: str = "web") -> ManagedRoost:
        return await self.client.get(ManagedRoost, name, self.namespace)

    async def when(
        self, condition: Condition, name: str = "web", *, timeout: float = 60
    ) -> ManagedRoost:
        """Wait until something is true of a ManagedRoost."""
        return await eventually(
            self.client,
            ManagedRoost,
            name,
            self.namespace,
            condition,
            timeout=timeout,
        )

    async def ready(
        self, revision: int | None = None, name: str = "web", *, timeout: float = 60
    ) -> ManagedRoost:
        """Wait until the newest spec is deployed, in this revision."""

        def is_ready(roost: ManagedRoost) -> bool:
            release = roost.status.helm_release
            return (
                roost.status.observed_generation == roost.metadata.generation
                and says(roost, "Ready") == "True/Succeeded"
                and release is not None
                and revision in {None, release.revision}
            )

        return await self.when(is_ready, name, timeout=timeout)

    async def looked(self, times: int, *, timeout: float = 60) -> None:
        """Wait until the newest manager has looked that often again.

        The witness of what does not happen: nothing else tells that a look is over.
        """
        enough = self._looks() + times
        async with asyncio.timeout(timeout):
            while self._looks() < enough:  # noqa: ASYNC110 - a metric wakes nobody
                await asyncio.sleep(0.05)

    def _looks(self) -> float:
        collected = self.managers[-1].metrics.registry.collect()
        return sum(
            sample.value
            for metric in collected
            for sample in metric.samples
            if sample.name == "controller_runtime_reconcile_total"
        )

    async def not_ready(
        self, reason: str, name: str = "web", *, timeout: float = 60
    ) -> ManagedRoost:
        """Wait until Ready is False for a reason."""
        return await self.when(
            lambda roost: says(roost, "Ready") == f"False/{reason}",
            name,
            timeout=timeout,
        )

    async def delete(self, name: str = "web") -> None:
        await self.client.delete(ManagedRoost, name, self.namespace)

    async def gone(self, name: str = "web", *, timeout: float = 60) -> None:
        await eventually_gone(
            self.client, ManagedRoost, name, self.namespace, timeout=timeout
        )

    async def clear(self) -> None:
        """Let go of every ManagedRoost: nobody is there any more to do it."""
        left = await self.client.list(ManagedRoost, self.namespace)
        for roost in left.items:
            free = {"metadata": {"finalizers": None}}
            await self.patch(roost.metadata.name, free)

    async def records(self, release: str = "web") -> list[Json]:
        """Return the records of a release, the oldest first."""
        found = await self.client.list(
            SECRET, self.namespace, label_selector=f"owner=helm,name={release}"
        )
        return sorted(
            found.items, key=lambda it: int(it["metadata"]["labels"]["version"])
        )

    async def statuses(self, release: str = "web") -> list[str]:
        """Return what Helm says of each revision, the oldest first."""
        records = await self.records(release)
        return [it["metadata"]["labels"]["status"] for it in records]

    async def config_map(self, name: str = "web") -> Json:
        return await self.client.get(CONFIG_MAP, name, self.namespace)

    async def apply(self, kind: GroupVersionKind, name: str, **fields: object) -> None:
        """Create or change a ConfigMap or Secret."""
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata = {"name": name, "namespace": self.namespace}
        await self.client.apply(
            {**head, "metadata": metadata, **fields}, force=True, field_owner="test"
        )

    async def events(self, reason: str) -> list[Json]:
        found = await self.client.list(EVENT, self.namespace)
        return [event for event in found.items if event["reason"] == reason]

    async def told(self, reason: str) -> Json:
        """Wait for an Event."""
        async with asyncio.timeout(30):
            while True:
                if events := await self.events(reason):
                    return events[0]
                await asyncio.sleep(0.1)


def says(roost: ManagedRoost, type_: str) -> str:
    """Return `status/reason` of a condition; empty if it is not there."""
    found = find_condition(roost.status.conditions, type_)
    return f"{found.status}/{found.reason}" if found is not None else ""


def message(roost: ManagedRoost, type_: str = "Ready") -> str:
    found = find_condition(roost.status.conditions, type_)
    return found.message if found is not None else ""
