"""Helm in its workers, on a real API server with a kwok node.

The scenarios are those of the release specification, section 5. Helm is never loaded
into the process that runs the tests: a fork afterwards would hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from conformance.charts import chart
from controller_runtime import (
    Client,
    GroupVersionKind,
    Json,
    RestConfig,
    load_restconfig,
)
from controllers.release.helm.engine import (
    OperationOptions,
    Order,
)
from controllers.release.helm.pool import PoolOptions, WorkerPool

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
DEPLOYMENTS = GroupVersionKind("apps", "v1", "Deployment")


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=Path("/"))


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

    async def config_map(self, name: str = "web") -> Json:
        return await self.client.get(CONFIG_MAP, name, self.namespace)

    async def records(self, release: str = "web") -> dict[int, str]:
        """Return revision → status."""
        found = await self.client.list(
            SECRET, self.namespace, label_selector=f"owner=helm,name={release}"
        )
        labels = [secret["metadata"]["labels"] for secret in found.items]
        return {int(each["version"]): each["status"] for each in labels}


@pytest.fixture
async def bench(client: Client, namespace: str, tmp_path: Path) -> Bench:
    return Bench(client, namespace, tmp_path)


async def test_a_release_lives_from_install_to_uninstall(
    config: RestConfig, bench: Bench
) -> None:
    """33: the fields' manager is `helm`."""
    async with running(config) as pool:
        await pool.install(bench.order())
        installed = await bench.config_map()
        await pool.upgrade(bench.order(values={"greeting": "bye"}))
        upgraded = await bench.config_map()
        await pool.rollback(bench.order(), revision=1)
        rolled_back = await bench.config_map()
        records = await bench.records()
        await pool.uninstall(bench.order())
        await pool.uninstall(bench.order())
        after = await bench.records()

    assert installed["data"] == rolled_back["data"] == {"greeting": "hello"}
    assert upgraded["data"] == {"greeting": "bye"}
    assert records == {1: "superseded", 2: "superseded", 3: "deployed"}
    assert after == {}
    assert {f["manager"] for f in installed["metadata"]["managedFields"]} == {"helm"}
