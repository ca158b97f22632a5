"""ReloaderConfigs on a real control plane: real rollouts, on a fake node.

Each test has a namespace, and a manager that sees no other. That something does *not*
reload is shown by a witness: another target, whose source changes afterwards and which
has reloaded while nothing moved at the first.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from api.apps.v1 import Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import IMAGE
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    RestConfig,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.envtest.crds import install_crds
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload import setup
from controllers.reload.options import ReloadOptions
from controllers.reload.patches import LAST_RELOAD, RESOURCE_HASH, TRIGGERED_AT
from controllers.reload.record import RECORD

POD = GroupVersionKind("", "v1", "Pod")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
CRD = (
    Path(__file__).parents[4]
    / "config/crd/bases/reloader.stakater.com_reloaderconfigs.yaml"
)

ENV_VARS: Json = {"reloadStrategy": "env-vars"}

SECONDS = 60.0
"""Longest wait for a rollout of a few pods, on a machine that is busy."""


class Snapshot(NamedTuple):
    """What must not move where nothing reloads."""

    generation: int
    template: Json
    pods: frozenset[str]


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, **options: object) -> AsyncIterator[None]:
        """Run a manager with the reload controller, for this namespace alone."""
        async with HttpTransport(self.config) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            )
            manager = Manager(transport, options=addresses)
            given = {"namespaces": (self.namespace,), **options}
            setup(manager, ReloadOptions(**given))  # type: ignore[arg-type]  # any option
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield
                manager.stop()

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> Json:
        metadata = {"name": name, "namespace": self.namespace}
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        return await self.client.create({**head, "metadata": metadata, **fields})

    async def secret(self, name: str = "s") -> None:
        await self.create(Secret.gvk, name, data=_data("old"))

    async def config_map(self, name: str = "c") -> None:
        await self.create(ConfigMap.gvk, name, data={"k": "old"})

    async def reloader(self, name: str = "x", **spec: object) -> None:
        await self.create(ReloaderConfig.gvk, name, spec=spec)

    async def change(self, name: str = "s", value: str = "new") -> None:
        await self.patch(Secret.gvk, name, {"data": _data(value)})

    async def patch(self, gvk: GroupVersionKind, name: str, changes: Json) -> None:
        await self.client.patch(gvk, name, self.namespace, patch=merge_patch(changes))

    async def workload(
        self,
        name: str = "web",
        gvk: GroupVersionKind = Deployment.gvk,
        *,
        replicas: int = 1,
        rolls_out: bool = True,
    ) -> None:
        """Create a workload without annotations that uses `s` and `c`."""
        labels = {"app": name}
        uses = [
            {"secretRef": {"name": "s", "optional": True}},
            {"configMapRef": {"name": "c", "optional": True}},
        ]
        container = {"name": "app", "image": IMAGE, "envFrom": uses}
        spec: Json = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container]},
            },
        }
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self.create(gvk, name, spec=spec)
        if rolls_out:
            await self.when(_is_rolled_out, name, gvk)

    async def adopted(
        self, source: str, name: str = "web", gvk: GroupVersionKind = Deployment.gvk
    ) -> Snapshot:
        """Wait until a source such as `cm/c` is in the record."""
        return await self.when(
            lambda obj: source in _annotation(obj) and _is_rolled_out(obj), name, gvk
        )

    async def reloaded(
        self,
        since: Snapshot,
        name: str = "web",
        gvk: GroupVersionKind = Deployment.gvk,
    ) -> Snapshot:
        """Wait until another template is all that runs, in pods that are all new."""
        now = await self.when(
            lambda obj: (
                obj["spec"]["template"] != since.template and _is_rolled_out(obj)
            ),
            name,
            gvk,
        )
        assert len(now.pods) == len(since.pods) > 0
        assert now.pods.isdisjoint(since.pods)
        return now

    async def when(
        self,
        condition: Callable[[Json], object],
        name: str = "web",
        gvk: GroupVersionKind = Deployment.gvk,
    ) -> Snapshot:
        await eventually(
            *(self.client, gvk, name, self.namespace, condition), timeout=SECONDS
        )
        return await self.snapshot(name, gvk)

    async def snapshot(
        self, name: str = "web", gvk: GroupVersionKind = Deployment.gvk
    ) -> Snapshot:
        obj = await self.client.get(gvk, name, self.namespace)
        pods = await self.client.list(POD, self.namespace, label_selector=f"app={name}")
        living = [p for p in pods.items if "deletionTimestamp" not in p["metadata"]]
        return Snapshot(
            obj["metadata"]["generation"],
            obj["spec"]["template"],
            frozenset(pod["metadata"]["uid"] for pod in living),
        )

    async def writers(self, name: str = "web") -> set[str]:
        """Name the managers of fields of a Deployment."""
        obj = await self.client.get(Deployment.gvk, name, self.namespace)
        return {entry["manager"] for entry in obj["metadata"]["managedFields"]}


def _data(value: str) -> Mapping[str, str]:
    return {"k": b64encode(value.encode()).decode()}


def _annotation(obj: Json) -> str:
    return str(obj["metadata"].get("annotations", {}).get(RECORD, ""))


def _is_rolled_out(obj: Json) -> bool:
    """Tell what `kubectl rollout status` waits for."""
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return False
    if status.get("currentRevision") != status.get("updateRevision"):
        return False
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    return all(status.get(count) == wanted for count in counts)


def variables(snapshot: Snapshot) -> set[str]:
    (container,) = snapshot.template["spec"]["containers"]
    return {entry["name"] for entry in container.get("env", [])}


def notes(snapshot: Snapshot) -> dict[str, str]:
    found: dict[str, str] = snapshot.template["metadata"].get("annotations", {})
    return found


def target(name: str = "web", kind: str = "Deployment") -> Json:
    return {"kind": kind, "name": name}


@pytest.fixture
async def shop(crd: None, config: RestConfig, namespace: str) -> AsyncIterator[Shop]:
    async with HttpTransport(config) as transport:
        yield Shop(Client(transport, scheme=Scheme()), config, namespace)


@pytest.mark.e2e
async def test_a_secret_of_a_config_gives_a_deployment_new_pods(shop: Shop) -> None:
    """Scenario 1."""
    await shop.secret()
    await shop.workload(replicas=2)
    await shop.reloader(
        watchedResources={"secrets": ["s"]}, targets=[target()], **ENV_VARS
    )

    async with shop.manager():
        before = await shop.adopted("secret/s")
        await shop.change()
        after = await shop.reloaded(before)

    assert len(after.pods) == 2
    assert variables(after) == {TRIGGERED_AT, "STAKATER_S_SECRET"}
    assert notes(after).keys() >= {RESOURCE_HASH}
    assert after.generation == before.generation + 1


@pytest.mark.e2e
async def test_a_config_map_of_a_config_gives_a_deployment_new_pods(
    shop: Shop,
) -> None:
    """Scenario 2."""
    await shop.config_map()
    await shop.workload()
    await shop.reloader(
        watchedResources={"configMaps": ["c"]}, targets=[target()], **ENV_VARS
    )

    async with shop.manager():
        before = await shop.adopted("cm/c")
        await shop.patch(ConfigMap.gvk, "c", {"data": {"k": "new"}})
        after = await shop.reloaded(before)

    assert TRIGGERED_AT in variables(after)


@pytest.mark.e2e
async def test_annotations_give_a_stateful_set_new_pods(shop: Shop) -> None:
    """Scenario 3."""
    await shop.config_map()
    await shop.workload("db", StatefulSet.gvk, replicas=2)
    await shop.reloader(
        watchedResources={"configMaps": ["c"]},
        targets=[target("db", "StatefulSet")],
        reloadStrategy="annotations",
    )

    async with shop.manager():
        before = await shop.adopted("cm/c", "db", StatefulSet.gvk)
        await shop.patch(ConfigMap.gvk, "c", {"data": {"k": "new"}})
        after = await shop.reloaded(before, "db", StatefulSet.gvk)

    assert notes(after).keys() >= {LAST_RELOAD, RESOURCE_HASH}
    assert variables(after) == set()


@pytest.mark.e2e
async def test_one_secret_gives_two_deployments_new_pods(shop: Shop) -> None:
    """Scenario 4."""
    await shop.secret()
    await shop.workload("web")
    await shop.workload("api")
    await shop.reloader(
        watchedResources={"secrets": ["s"]}, targets=[target("web"), target("api")]
    )

    async with shop.manager():
        before = {it: await shop.adopted("secret/s", it) for it in ("web", "api")}
        await shop.change()
        for name, snapshot in before.items():
            await shop.reloaded(snapshot, name)


@pytest.mark.e2e
async def test_a_target_that_comes_later_reloads(shop: Shop) -> None:
    """Scenario 10."""
    await shop.secret()
    await shop.reloader(watchedResources={"secrets": ["s"]}, targets=[target()])

    async with shop.manager():
        await shop.change(value="before it is there")
        await shop.workload()
        before = await shop.adopted("secret/s")
        assert variables(before) == set()
        await shop.change(value="then")
        await shop.reloaded(before)


@pytest.mark.e2e
async def test_two_configs_on_one_secret_reload_what_each_names(shop: Shop) -> None:
    """Scenario 14."""
    await shop.secret()
    for name in ("web", "api"):
        await shop.workload(name)
        await shop.reloader(
            name, watchedResources={"secrets": ["s"]}, targets=[target(name)]
        )

    async with shop.manager():
        before = {it: await shop.adopted("secret/s", it) for it in ("web", "api")}
        await shop.change()
        for name, snapshot in before.items():
            after = await shop.reloaded(snapshot, name)
            assert after.generation == snapshot.generation + 1


async def test_a_secret_a_config_map_and_a_config_of_one_name_are_three(
    shop: Shop,
) -> None:
    """Scenario 52."""
    await shop.secret("x")
    await shop.config_map("x")
    await shop.workload()
    await shop.reloader(
        "x",
        watchedResources={"secrets": ["x"], "configMaps": ["x"]},
        targets=[target()],
    )

    async with shop.manager():
        await shop.adopted("secret/x")
        before = await shop.adopted("cm/x")
        await shop.change("x")
        after = await shop.reloaded(before)
        assert variables(after) == {TRIGGERED_AT, "STAKATER_X_SECRET"}
        await shop.patch(ConfigMap.gvk, "x", {"data": {"k": "new"}})
        last = await shop.reloaded(after)

    assert variables(last) >= {"STAKATER_X_SECRET", "STAKATER_X_CONFIGMAP"}


async def test_a_dry_run_tells_and_leaves_workloads_alone(shop: Shop) -> None:
    """Scenario 54."""
    await shop.secret()
    await shop.workload()
    await shop.workload("witness")
    before = await shop.snapshot()
    await shop.reloader(
        "x", watchedResources={"secrets": ["s"]}, targets=[target()], dryRun=True
    )
    await shop.reloader(
        "y", watchedResources={"secrets": ["s"]}, targets=[target("witness")]
    )

    async with shop.manager():
        witness = await shop.adopted("secret/s", "witness")
        await shop.change()
        await eventually_list(
            shop.client,
            EVENT,
            shop.namespace,
            lambda events: any(it["reason"] == "ReloadPlanned" for it in events),
            timeout=SECONDS,
        )
        await shop.reloaded(witness, "witness")

    assert await shop.snapshot() == before
    assert "Reloader" not in await shop.writers()


async def test_all_that_the_pods_of_selected_workloads_use_may_count(
    shop: Shop,
) -> None:
    await shop.secret()
    await shop.workload()
    await shop.patch(Deployment.gvk, "web", {"metadata": {"labels": {"team": "a"}}})

    async with shop.manager():
        # Later than the first list: the cache has only the Deployment's name.
        await shop.reloader(
            autoReloadAll=True,
            targets=[{"kind": "*", "selector": {"matchLabels": {"team": "a"}}}],
        )
        before = await shop.adopted("secret/s")
        await shop.change()
        await shop.reloaded(before)


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
            await shop.secret()
            await shop.workload("web", rolls_out=False)
            await shop.workload("api", rolls_out=False)
            auto = {"reloader.stakater.com/auto": "true"}
            await shop.patch(Deployment.gvk, "api", {"metadata": {"annotations": auto}})
            async with shop.manager():
                await shop.when(lambda it: "secret/s" in _annotation(it), "api")
                await install_crds(plane.api, CRD)
                await shop.reloader(
                    watchedResources={"secrets": ["s"]}, targets=[target()]
                )
                before = await shop.when(lambda it: "secret/s" in _annotation(it))
                await shop.change()
                await shop.when(lambda it: it["spec"]["template"] != before.template)
