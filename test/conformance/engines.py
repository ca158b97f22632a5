"""A pool of Helm workers, and a namespace in which it works, for tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from conformance.charts import DEPLOYMENT, NOWHERE, chart
from controller_runtime import Client, GroupVersionKind, Json, RestConfig
from controller_runtime.testing.eventually import eventually
from controllers.release.helm.engine import EngineError, OperationOptions, Order
from controllers.release.helm.pool import PoolOptions, WorkerPool

CONFIG_MAP_GVK = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
DEPLOYMENTS = GroupVersionKind("apps", "v1", "Deployment")


APP = chart(templates={"deployment.yaml": DEPLOYMENT})

STUCK = {"nodes": NOWHERE}


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def ended(pid: int) -> None:
    """Wait until a process is gone, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(20):
            await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def refused(operation: Awaitable[None]) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await operation
    return caught.value


@asynccontextmanager
async def running(
    config: RestConfig, options: PoolOptions | None = None
) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(config, options=options)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pool.run())
        yield pool
        pool.stop()
    assert not pool.pids


class Bench:
    """A namespace, a chart, and orders for it."""

    def __init__(self, client: Client, namespace: str, folder: Path) -> None:
        self.client = client
        self.namespace = namespace
        self.folder = folder

    def order(
        self,
        *,
        content: bytes | None = None,
        values: Mapping[str, object] | None = None,
        options: OperationOptions | None = None,
        release: str = "web",
    ) -> Order:
        path = self.folder / "chart.tgz"
        path.write_bytes(content or chart())
        return Order(
            operation="op",
            release=release,
            namespace=self.namespace,
            chart=path,
            values=values or {},
            options=options or OperationOptions(timeout=timedelta(seconds=60)),
        )

    async def make_admin(self, kind: str, name: str) -> None:
        """Let a user or group do everything in the namespace."""
        group = "rbac.authorization.k8s.io"
        await self.client.create(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "admin", "namespace": self.namespace},
                "roleRef": {
                    "apiGroup": group,
                    "kind": "ClusterRole",
                    "name": "cluster-admin",
                },
                "subjects": [{"kind": kind, "name": name, "apiGroup": group}],
            }
        )
        who = (
            {"user": "somebody", "groups": [name]}
            if kind == "Group"
            else {"user": name}
        )
        async with asyncio.timeout(20):
            while not await self._may_write(who):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)

    async def _may_write(self, who: Mapping[str, object]) -> bool:
        """Ask the authorizer, which hears of roles by a watch."""
        asked = {
            "namespace": self.namespace,
            "verb": "create",
            "resource": "configmaps",
        }
        review: Json = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**who, "resourceAttributes": asked},
        }
        answer = await self.client.create(review)
        return bool(answer["status"]["allowed"])

    async def config_map(self, name: str = "web") -> Json:
        return await self.client.get(CONFIG_MAP_GVK, name, self.namespace)

    async def rollout_of(self, selector: Mapping[str, str]) -> None:
        """Wait until the Deployment wants its pods on such nodes."""
        await eventually(
            self.client,
            DEPLOYMENTS,
            "web",
            self.namespace,
            lambda obj: obj["spec"]["template"]["spec"].get("nodeSelector") == selector,
        )

    async def created(self, name: str) -> None:
        """Wait until there is such a Deployment."""
        await eventually(self.client, DEPLOYMENTS, name, self.namespace, lambda _: True)

    async def labels(self, revision: int, release: str = "web") -> Json:
        """Return the labels of a record."""
        name = f"sh.helm.release.v1.{release}.v{revision}"
        secret = await self.client.get(SECRET, name, self.namespace)
        labels: Json = secret["metadata"]["labels"]
        return labels

    async def records(self, release: str = "web") -> dict[int, str]:
        """Return revision → status."""
        found = await self.client.list(
            SECRET, self.namespace, label_selector=f"owner=helm,name={release}"
        )
        labels = [secret["metadata"]["labels"] for secret in found.items]
        return {int(each["version"]): each["status"] for each in labels}
