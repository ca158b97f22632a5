"""Reloads that are taken back, on a real control plane with a fake node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    RestConfig,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload import setup
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
QUOTA = GroupVersionKind("", "v1", "ResourceQuota")
REPLICA_SET = GroupVersionKind("apps", "v1", "ReplicaSet")

PATIENCE = 90.0
"""Seconds that anything may take on a machine that has more to do."""


@asynccontextmanager
async def running(config: RestConfig, namespace: str) -> AsyncIterator[Manager]:
    addresses = ManagerOptions(metrics_bind_address="0", health_probe_bind_address="0")
    async with HttpTransport(config) as transport:
        manager = Manager(transport, options=addresses)
        setup(manager, ReloadOptions(namespaces=(namespace,)))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            yield manager
            manager.stop()


async def create(
    client: Client, kind: GroupVersionKind, name: str, **rest: object
) -> None:
    namespace = rest.pop("namespace")
    head = {"apiVersion": kind.api_version, "kind": kind.kind}
    metadata = {"name": name, "namespace": namespace}
    await client.create({**head, "metadata": metadata, **rest})


async def deploy(client: Client, namespace: str) -> None:
    labels = {"app": "web"}
    mine = [{"name": name, "value": "1"} for name in ("ZERO", "ALPHA")]
    container = {"name": "app", "image": "registry.example/app", "env": mine}
    spec = {
        "replicas": 1,
        "progressDeadlineSeconds": 3,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container]},
        },
    }
    await create(client, Deployment.gvk, "web", namespace=namespace, spec=spec)


def runs(deployment: Json) -> bool:
    status = deployment.get("status", {})
    is_seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    return is_seen and all(status.get(count) == 1 for count in counts)


@pytest.mark.usefixtures("crd")
async def test_the_pods_from_before_a_reload_that_fails_stay(
    client: Client, config: RestConfig, namespace: str
) -> None:
    """A9: the template is the old one to the letter, so no pod is made anew."""
    await create(client, ConfigMap.gvk, "c", namespace=namespace, data={"k": "old"})
    await deploy(client, namespace)
    spec = {
        "watchedResources": {"configMaps": ["c"]},
        "targets": [{"kind": "Deployment", "name": "web"}],
        "onFailure": "Rollback",
    }
    await create(client, ReloaderConfig.gvk, "x", namespace=namespace, spec=spec)
    web = (client, Deployment.gvk, "web", namespace)

    async with running(config, namespace):
        before = await eventually(
            *web,
            lambda it: runs(it) and RECORD in it["metadata"]["annotations"],
            timeout=PATIENCE,
        )
        # No second pod may come, and the first does not go before.
        await create(
            client, QUOTA, "q", namespace=namespace, spec={"hard": {"pods": "1"}}
        )
        await eventually(
            *(client, QUOTA, "q", namespace),
            lambda quota: quota.get("status", {}).get("used", {}).get("pods") == "1",
            timeout=PATIENCE,
        )
        change = merge_patch({"data": {"k": "bad"}})
        await client.patch(ConfigMap.gvk, "c", namespace, patch=change)
        await eventually_list(
            *(client, EVENT, namespace),
            lambda found: any(it["reason"] == "ReloadRolledBack" for it in found),
            timeout=PATIENCE,
        )
        after = await eventually(*web, runs, timeout=PATIENCE)
        status = await eventually(
            *(client, ReloaderConfig.gvk, "x", namespace),
            lambda it: _is_back(it.get("status", {})),
            timeout=PATIENCE,
        )

    assert after["spec"] == before["spec"]
    record = after["metadata"]["annotations"][RECORD]
    assert record != before["metadata"]["annotations"][RECORD]
    assert len((await client.list(REPLICA_SET, namespace)).items) == 2
    assert [entry["outcome"] for entry in status["status"]["history"]] == [
        "RolloutFailed"
    ]


def _is_back(status: Json) -> bool:
    (row,) = status["targetStatus"]
    return bool(status.get("history")) and row["rolloutState"] == "Complete"
