"""The operator on a real control plane; the node, and so the pods, are kwok's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller_runtime import (
    Client,
    HttpTransport,
    Manager,
    ManagerOptions,
    ObjectMeta,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.envtest import (
    ControlPlane,
    ControlPlaneOptions,
    install_crds,
)
from controller_runtime.testing.eventually import eventually, eventually_gone
from website import DEPLOYMENT, Website, WebsiteSpec, deployment_for, setup

SHOP = Website(
    metadata=ObjectMeta(name="shop", namespace="default"),
    spec=WebsiteSpec(image="nginx", replicas=2),
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Run the operator on a control plane of its own, and lend its client."""
    async with ControlPlane(ControlPlaneOptions(kwok=True)) as cluster:
        await install_crds(cluster.api, Path(__file__).with_name("crd.yaml"))
        path = await cluster.write_kubeconfig(tmp_path / "kubeconfig")
        config = load_restconfig(kubeconfig=path, environ={}, home=tmp_path)
        async with HttpTransport(config) as transport, asyncio.TaskGroup() as tasks:
            nowhere = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            )
            manager = Manager(transport, options=nowhere)
            setup(manager)
            tasks.create_task(manager.start())
            yield manager.client
            manager.stop()


def test_a_deployment_runs_the_image_of_its_website() -> None:
    spec = str(deployment_for(SHOP)["spec"])

    assert "'image': 'nginx'" in spec
    assert "'replicas': 2" in spec


async def test_a_website_is_served_scaled_and_taken_down(client: Client) -> None:
    await client.create(SHOP)
    await eventually(
        client, Website, "shop", "default", lambda site: site.status.ready_replicas == 2
    )

    more = merge_patch({"spec": {"replicas": 3}})
    await client.patch(Website, "shop", "default", patch=more)
    await eventually(
        client, Website, "shop", "default", lambda site: site.status.ready_replicas == 3
    )

    await client.delete(DEPLOYMENT, "shop", "default")
    await eventually(
        client, DEPLOYMENT, "shop", "default", lambda it: it["spec"]["replicas"] == 3
    )

    await client.delete(Website, "shop", "default")
    await eventually_gone(client, DEPLOYMENT, "shop", "default")
