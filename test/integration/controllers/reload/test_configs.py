"""ReloaderConfigs on a real control plane: real rollouts, on a fake node.

Each test has a namespace, and a manager that sees no other. That something does *not*
reload is shown by a witness: another target, whose source changes afterwards and which
has reloaded while nothing moved at the first.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api.apps.v1 import Deployment, StatefulSet
from conformance.reloads import AUTO, Shop, record
from controller_runtime import (
    Client,
    HttpTransport,
    Json,
    Scheme,
    load_restconfig,
)
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.envtest.crds import install_crds
from controllers.reload.writing.patches import LAST_RELOAD, RESOURCE_HASH, TRIGGERED_AT

pytestmark = pytest.mark.usefixtures("crd")

CRD = (
    Path(__file__).parents[4]
    / "config/crd/bases/reloader.stakater.com_reloaderconfigs.yaml"
)

ENV_VARS: Json = {"reloadStrategy": "env-vars"}

USED = ["secret/s", "cm/c"]


def target(name: str = "web", kind: str = "Deployment") -> Json:
    return {"kind": kind, "name": name}


@pytest.mark.e2e
async def test_a_secret_of_a_config_gives_a_deployment_new_pods(shop: Shop) -> None:
    """Scenario 1."""
    await shop.sources("secret/s")
    web = await shop.deployed("web", uses=USED, replicas=2)
    await shop.reloader(
        watchedResources={"secrets": ["s"]}, targets=[target()], **ENV_VARS
    )

    async with shop.manager():
        before = await web.adopted("secret/s")
        await shop.change("secret/s")
        after = await web.reloaded(before)

    assert len(after.pods) == 2
    assert after.markers == {TRIGGERED_AT, "STAKATER_S_SECRET"}
    assert after.notes.keys() >= {RESOURCE_HASH}
    assert after.generation == before.generation + 1


@pytest.mark.e2e
async def test_a_config_map_of_a_config_gives_a_deployment_new_pods(
    shop: Shop,
) -> None:
    """Scenario 2."""
    await shop.sources("cm/c")
    web = await shop.deployed("web", uses=USED)
    await shop.reloader(
        watchedResources={"configMaps": ["c"]}, targets=[target()], **ENV_VARS
    )

    async with shop.manager():
        before = await web.adopted("cm/c")
        await shop.change("cm/c")
        after = await web.reloaded(before)

    assert TRIGGERED_AT in after.markers


@pytest.mark.e2e
async def test_annotations_give_a_stateful_set_new_pods(shop: Shop) -> None:
    """Scenario 3."""
    await shop.sources("cm/c")
    db = await shop.deployed("db", gvk=StatefulSet.gvk, uses=USED, replicas=2)
    await shop.reloader(
        watchedResources={"configMaps": ["c"]},
        targets=[target("db", "StatefulSet")],
        reloadStrategy="annotations",
    )

    async with shop.manager():
        before = await db.adopted("cm/c")
        await shop.change("cm/c")
        after = await db.reloaded(before)

    assert after.notes.keys() >= {LAST_RELOAD, RESOURCE_HASH}
    assert after.markers == set()


@pytest.mark.e2e
async def test_one_secret_gives_two_deployments_new_pods(shop: Shop) -> None:
    """Scenario 4."""
    await shop.sources("secret/s")
    both = [await shop.deployed(name, uses=USED) for name in ("web", "api")]
    await shop.reloader(
        watchedResources={"secrets": ["s"]}, targets=[target("web"), target("api")]
    )

    async with shop.manager():
        before = [await workload.adopted("secret/s") for workload in both]
        await shop.change("secret/s")
        for workload, snapshot in zip(both, before, strict=True):
            await workload.reloaded(snapshot)


@pytest.mark.e2e
async def test_a_target_that_comes_later_reloads(shop: Shop) -> None:
    """Scenario 10."""
    await shop.sources("secret/s")
    await shop.reloader(watchedResources={"secrets": ["s"]}, targets=[target()])

    async with shop.manager():
        await shop.change("secret/s", "before it is there")
        web = await shop.deployed("web", uses=USED)
        before = await web.adopted("secret/s")
        assert before.markers == set()
        await shop.change("secret/s", "then")
        await web.reloaded(before)


@pytest.mark.e2e
async def test_two_configs_on_one_secret_reload_what_each_names(shop: Shop) -> None:
    """Scenario 14."""
    await shop.sources("secret/s")
    both = [await shop.deployed(name, uses=USED) for name in ("web", "api")]
    for name in ("web", "api"):
        await shop.reloader(
            name, watchedResources={"secrets": ["s"]}, targets=[target(name)]
        )

    async with shop.manager():
        before = [await workload.adopted("secret/s") for workload in both]
        await shop.change("secret/s")
        for workload, snapshot in zip(both, before, strict=True):
            after = await workload.reloaded(snapshot)
            assert after.generation == snapshot.generation + 1


async def test_a_secret_a_config_map_and_a_config_of_one_name_are_three(
    shop: Shop,
) -> None:
    """Scenario 52."""
    await shop.sources("secret/x")
    await shop.sources("cm/x")
    web = await shop.deployed("web", uses=USED)
    await shop.reloader(
        "x",
        watchedResources={"secrets": ["x"], "configMaps": ["x"]},
        targets=[target()],
    )

    async with shop.manager():
        await web.adopted("secret/x")
        before = await web.adopted("cm/x")
        await shop.change("secret/x")
        after = await web.reloaded(before)
        assert after.markers == {TRIGGERED_AT, "STAKATER_X_SECRET"}
        await shop.change("cm/x")
        last = await web.reloaded(after)

    assert last.markers >= {"STAKATER_X_SECRET", "STAKATER_X_CONFIGMAP"}


async def test_a_dry_run_tells_and_leaves_workloads_alone(shop: Shop) -> None:
    """Scenario 54."""
    await shop.sources("secret/s")
    web = await shop.deployed("web", uses=USED)
    witness = await shop.deployed("witness", uses=USED)
    before = await web.snapshot()
    await shop.reloader(
        "x", watchedResources={"secrets": ["s"]}, targets=[target()], dryRun=True
    )
    await shop.reloader(
        "y", watchedResources={"secrets": ["s"]}, targets=[target("witness")]
    )

    async with shop.manager():
        seen = await witness.adopted("secret/s")
        await shop.change("secret/s")
        await shop.events("ReloadPlanned", "web")
        await witness.reloaded(seen)

    assert await web.snapshot() == before
    untouched = await shop.client.get(Deployment.gvk, "web", shop.namespace)
    writers = {entry["manager"] for entry in untouched["metadata"]["managedFields"]}
    assert "Reloader" not in writers


async def test_all_that_the_pods_of_selected_workloads_use_may_count(
    shop: Shop,
) -> None:
    await shop.sources("secret/s")
    web = await shop.deployed("web", uses=USED)
    await shop.patch(Deployment.gvk, "web", {"metadata": {"labels": {"team": "a"}}})

    async with shop.manager():
        # Later than the first list: the cache has only the Deployment's name.
        await shop.reloader(
            autoReloadAll=True,
            targets=[{"kind": "*", "selector": {"matchLabels": {"team": "a"}}}],
        )
        before = await web.adopted("secret/s")
        await shop.change("secret/s")
        await web.reloaded(before)


@pytest.mark.timeout(180)
async def test_the_crd_may_come_while_the_manager_runs(tmp_path: Path) -> None:
    """Scenario 50: annotations work without it, and configs once it is there."""
    async with ControlPlane(ControlPlaneOptions(start_timeout=60)) as plane:
        path = await plane.write_kubeconfig(tmp_path / "kubeconfig")
        config = await asyncio.to_thread(
            load_restconfig, kubeconfig=path, environ={}, home=tmp_path
        )
        async with HttpTransport(config) as transport:
            shop = Shop(Client(transport, scheme=Scheme()), config, "default")
            await shop.sources("secret/s")
            await shop.workload("web", uses=["secret/s"])
            await shop.workload("api", AUTO, uses=["secret/s"])
            async with shop.manager():
                await shop.when("api", lambda it: "secret/s" in record(it))
                await install_crds(plane.api, CRD)
                await shop.reloader(
                    watchedResources={"secrets": ["s"]}, targets=[target()]
                )
                before = await shop.when("web", lambda it: "secret/s" in record(it))
                await shop.change("secret/s")
                template = before["spec"]["template"]
                await shop.when("web", lambda it: it["spec"]["template"] != template)
