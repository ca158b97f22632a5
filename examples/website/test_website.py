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
    find_controller,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.envtest import (
    ControlPlane,
    ControlPlaneOptions,
    install_crds,
)
from controller_runtime.testing.eventually import eventually
from website import DEPLOYMENT, Website, WebsiteSpec, deployment_for, setup

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace"}
SHOP = Website(
    metadata=ObjectMeta(name="shop", namespace="shop"),
    spec=WebsiteSpec(image="nginx", replicas=2),
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Run the operator on a control plane of its own, and lend its client."""
    async with ControlPlane(ControlPlaneOptions(kwok=True)) as cluster:
        await install_crds(cluster.api, Path(__file__).with_name("crds"))
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


async def test_a_website_is_served_scaled_and_repaired(client: Client) -> None:
    await client.create({**NAMESPACE, "metadata": {"name": "shop"}})
    await client.create(SHOP)
    await eventually(
        client, Website, "shop", "shop", lambda site: site.status.ready_replicas == 2
    )

    more = merge_patch({"spec": {"replicas": 3}})
    await client.patch(Website, "shop", "shop", patch=more)
    await eventually(
        client, Website, "shop", "shop", lambda site: site.status.ready_replicas == 3
    )

    await client.delete(DEPLOYMENT, "shop", "shop")
    deployment = await eventually(
        client, DEPLOYMENT, "shop", "shop", lambda it: it["spec"]["replicas"] == 3
    )

    # With this the garbage collector takes it down together with its Website.
    owner = find_controller(deployment)
    assert owner is not None
    assert (owner.kind, owner.name) == ("Website", "shop")
