"""Rollouts that reloads begin, on a real control plane with a fake node.

How many roll out at once, and in which order, is read off one watch of the API server:
its events come in the order of the writes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.core.v1 import ConfigMap
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
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload import setup
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.restarts import RESTARTING

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POD = GroupVersionKind("", "v1", "Pod")
QUOTA = GroupVersionKind("", "v1", "ResourceQuota")
BUDGET = GroupVersionKind("policy", "v1", "PodDisruptionBudget")

AUTO = {"reloader.stakater.com/auto": "true"}
RESTART = {**AUTO, "reloader.stakater.com/rollout-strategy": "restart"}
AFTER = "reloader.stakater.com/depends-on"

PATIENCE = 90.0
"""Seconds that anything may take on a machine that has more to do."""


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[Manager]:
        """Run a manager with the reload controller, for this namespace alone."""
        async with HttpTransport(self.config) as transport:
            manager = Manager(
                transport,
                options=ManagerOptions(
                    metrics_bind_address="0", health_probe_bind_address="0"
                ),
            )
            setup(manager, ReloadOptions(namespaces=(self.namespace,), **options))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield manager
                manager.stop()

    async def create(self, gvk: GroupVersionKind, name: str, **fields: Any) -> Json:
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "annotations": fields.pop("annotations", {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        return await self.client.create({**head, "metadata": metadata, **fields})

    async def change(self, **data: str) -> None:
        patch = merge_patch({"data": data})
        await self.client.patch(ConfigMap.gvk, "c", self.namespace, patch=patch)

    async def patch(self, name: str, spec: Json) -> None:
        """Change the spec of a Deployment."""
        patch = merge_patch({"spec": spec})
        await self.client.patch(Deployment.gvk, name, self.namespace, patch=patch)

    async def workload(
        self,
        name: str,
        annotations: dict[str, str],
        *,
        gvk: GroupVersionKind = Deployment.gvk,
        replicas: int = 1,
        **spec: Any,
    ) -> None:
        """Create a workload that uses the ConfigMap `c`."""
        labels = {"app": name}
        container = {
            "name": "app",
            "image": "registry.example/app",
            "envFrom": [{"configMapRef": {"name": "c"}}],
        }
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        whole: Json = {
            "selector": {"matchLabels": labels},
            "template": template,
            **({} if gvk == DaemonSet.gvk else {"replicas": replicas}),
            **({"serviceName": name} if gvk == StatefulSet.gvk else {}),
            **spec,
        }
        await self.create(gvk, name, annotations=annotations, spec=whole)

    async def when(
        self,
        name: str,
        condition: Callable[[Json], bool],
        gvk: GroupVersionKind = Deployment.gvk,
    ) -> Json:
        found = await eventually(
            *(self.client, gvk, name, self.namespace, condition), timeout=PATIENCE
        )
        return dict(found)

    async def all_adopted(self, count: int) -> None:
        """Wait until so many Deployments run, with a record."""
        await self._all(
            lambda found: (
                len(found) == count
                and all(is_settled(one) and record(one) for one in found)
            )
        )

    async def all_reloaded(self, since: set[str]) -> None:
        """Wait until all Deployments have a record that was none of these, and run."""
        await self._all(
            lambda found: all(
                is_settled(one) and record(one) not in since for one in found
            )
        )

    async def _all(self, condition: Callable[[list[Json]], bool]) -> None:
        await eventually_list(
            *(self.client, Deployment.gvk, self.namespace, condition), timeout=PATIENCE
        )

    async def records(self) -> set[str]:
        found = await self.client.list(Deployment.gvk, self.namespace)
        return {record(one) for one in found.items}

    async def pods(self, name: str) -> dict[str, str]:
        """Return the uid of each pod that is not on its way out → its creation."""
        found = await self.client.list(
            POD, self.namespace, label_selector=f"app={name}"
        )
        return {
            one["metadata"]["uid"]: one["metadata"]["creationTimestamp"]
            for one in found.items
            if "deletionTimestamp" not in one["metadata"]
        }

    async def event(self, reason: str, name: str) -> Json:
        """Wait for an Event about a workload."""

        def is_there(found: list[Json]) -> bool:
            return any(_is(one, reason, name) for one in found)

        found = await eventually_list(
            *(self.client, EVENT, self.namespace, is_there), timeout=PATIENCE
        )
        return next(one for one in found if _is(one, reason, name))

    async def events(self, reason: str) -> list[Json]:
        found = await self.client.list(EVENT, self.namespace)
        return [one for one in found.items if one["reason"] == reason]


def _is(event: Json, reason: str, name: str) -> bool:
    return bool(event["reason"] == reason and event["regarding"]["name"] == name)


def record(workload: Json) -> str:
    return str(workload["metadata"].get("annotations", {}).get(RECORD, ""))


def is_settled(obj: Json) -> bool:
    """Tell what `kubectl rollout status` waits for."""
    status, want = obj.get("status", {}), obj["spec"].get("replicas", 1)
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return False
    if status.get("currentRevision") != status.get("updateRevision"):
        return False
    if obj["kind"] == "DaemonSet":
        counts = ["updatedNumberScheduled", "numberAvailable"]
        want = status.get("desiredNumberScheduled", 1)
    else:
        counts = ["replicas", "updatedReplicas", "availableReplicas"]
    return all(status.get(count, 0) == want for count in counts)


class Observed:
    """What one watch of Deployments has seen of them."""

    def __init__(self) -> None:
        self.templates: dict[str, Json] = {}
        self.rolling: set[str] = set()
        self.most = 0
        self.order: list[str] = []
        """`+name` where a rollout began, `-name` where it ended."""
        self._news = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until enough was seen."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def see(self, workload: Json) -> None:
        name, template = workload["metadata"]["name"], workload["spec"]["template"]
        if self.templates.setdefault(name, template) != template:
            self.templates[name] = template
            self.rolling.add(name)
            self.order.append(f"+{name}")
        elif is_settled(workload) and name in self.rolling:
            self.rolling.remove(name)
            self.order.append(f"-{name}")
        self.most = max(self.most, len(self.rolling))
        self._news.set()


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def shop(config: RestConfig, namespace: str) -> AsyncIterator[Shop]:
    async with HttpTransport(config) as transport:
        shop = Shop(Client(transport, scheme=Scheme()), config, namespace)
        await shop.create(ConfigMap.gvk, "c", data={"k": "old"})
        yield shop


@asynccontextmanager
async def observed(shop: Shop, count: int) -> AsyncIterator[Observed]:
    """Watch so many Deployments from now on, until the end of the block."""
    seen = Observed()

    async def watch() -> None:
        async with shop.client.watch(Deployment.gvk, shop.namespace) as events:
            async for event in events:
                if event.object is not None:
                    seen.see(event.object)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        await seen.until(lambda: len(seen.templates) == count)
        yield seen
        watching.cancel()


def names(count: int) -> Iterable[str]:
    return [f"w{number:02}" for number in range(count)]


@pytest.mark.timeout(300)
async def test_no_more_roll_out_at_once_than_there_are_places(shop: Shop) -> None:
    for name in names(50):
        await shop.workload(name, AUTO)

    async with shop.manager(max_concurrent_rollouts=5):
        await shop.all_adopted(50)
        before = await shop.records()
        async with observed(shop, 50) as seen:
            await shop.change(k="new")
            await shop.all_reloaded(before)
            await seen.until(lambda: len(seen.order) == 100)

    assert len(seen.templates) == 50
    assert seen.most == 5
    reloads = await shop.events("Reloaded")
    assert len(reloads) == 50


async def test_workloads_roll_out_one_after_the_other(shop: Shop) -> None:
    await shop.workload("a-web", {**AUTO, AFTER: "Deployment/b-api"})
    await shop.workload("b-api", {**AUTO, AFTER: "Deployment/c-db"})
    await shop.workload("c-db", AUTO)

    async with shop.manager():
        await shop.all_adopted(3)
        before = await shop.records()
        async with observed(shop, 3) as seen:
            await shop.change(k="new")
            await shop.all_reloaded(before)
            await seen.until(lambda: len(seen.order) == 6)

    assert seen.order == ["+c-db", "-c-db", "+b-api", "-b-api", "+a-web", "-a-web"]


@pytest.mark.parametrize(
    "gvk", [Deployment.gvk, StatefulSet.gvk, DaemonSet.gvk], ids=lambda it: str(it.kind)
)
async def test_the_end_of_a_rollout_is_told(shop: Shop, gvk: GroupVersionKind) -> None:
    await shop.workload("web", AUTO, gvk=gvk)

    async with shop.manager():
        await shop.when("web", lambda it: is_settled(it) and bool(record(it)), gvk)
        await shop.change(k="new")
        event = await shop.event("RolloutComplete", "web")

    assert event["type"] == "Normal"
    assert "'c' of type 'CONFIGMAP'" in event["note"]
    status = (await shop.client.get(gvk, "web", shop.namespace))["status"]
    assert 1 in {status.get("updatedReplicas"), status.get("updatedNumberScheduled")}


async def test_a_rollout_that_its_deployment_gives_up_is_told_as_failed(
    shop: Shop,
) -> None:
    await shop.workload("web", AUTO, progressDeadlineSeconds=3)

    async with shop.manager():
        await shop.all_adopted(1)
        # No second pod may come, and the first does not go before.
        await shop.create(QUOTA, "q", spec={"hard": {"pods": "1"}})
        await eventually(
            *(shop.client, QUOTA, "q", shop.namespace),
            lambda quota: quota.get("status", {}).get("used", {}).get("pods") == "1",
        )
        await shop.change(k="new")
        failed = await shop.event("RolloutFailed", "web")

    assert failed["type"] == "Warning"
    assert "Progress deadline exceeded" in failed["note"]


async def test_the_next_manager_tells_the_end_of_a_rollout(shop: Shop) -> None:
    await shop.workload("web", AUTO)
    async with shop.manager():
        await shop.all_adopted(1)
        await shop.patch("web", {"minReadySeconds": 300})  # no pod is available soon
        await shop.change(k="new")
        await shop.when("web", _has_new_pod)

    async with shop.manager():
        await shop.workload("witness", AUTO)
        await shop.when("witness", lambda it: bool(record(it)))
        await shop.patch("web", {"minReadySeconds": 0})
        event = await shop.event("RolloutComplete", "web")

    assert event["note"].startswith("'web' of type 'Deployment'")
    assert len(await shop.events("Reloaded")) == 1


def _has_new_pod(deployment: Json) -> bool:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    status, generation = deployment["status"], deployment["metadata"]["generation"]
    is_seen = status.get("observedGeneration") == generation
    return "env" in container and is_seen and status.get("updatedReplicas") == 1


async def test_a_restart_evicts_pods_as_their_disruption_budget_lets_it(
    shop: Shop,
) -> None:
    await shop.create(
        BUDGET,
        "web",
        spec={"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}},
    )
    await shop.workload("web", RESTART, replicas=3)

    async with shop.manager(restart_all_kinds=True):
        await shop.all_adopted(1)
        first = await shop.when("web", is_settled)
        old = await shop.pods("web")
        await shop.change(k="new")
        held = await shop.event("ReloadHeld", "web")
        assert await shop.pods("web") == old
        patch = merge_patch({"spec": {"minAvailable": 2}})
        await shop.client.patch(BUDGET, "web", shop.namespace, patch=patch)
        last = await shop.when("web", lambda it: record(it) != record(first))
        await shop.event("RolloutComplete", "web")

    assert "disruption budget" in held["note"]
    assert last["spec"]["template"] == first["spec"]["template"]
    assert RESTARTING not in last["metadata"]["annotations"]
    new = await shop.pods("web")
    assert len(new) == 3
    assert new.keys().isdisjoint(old)
    assert len(await shop.events("Reloaded")) == 1


async def test_a_restart_goes_on_where_a_manager_was_killed(shop: Shop) -> None:
    await shop.workload("web", RESTART, gvk=StatefulSet.gvk, replicas=4)

    async with shop.manager(restart_all_kinds=True):
        first = await shop.when(
            "web", lambda it: is_settled(it) and bool(record(it)), StatefulSet.gvk
        )
        old = await shop.pods("web")
        await shop.change(k="new")
        # Pods have names: the second one is new when the third has not gone yet.
        await eventually_list(
            *(shop.client, POD, shop.namespace),
            lambda pods: len({it["metadata"]["uid"] for it in pods} - old.keys()) == 2,
            timeout=PATIENCE,
        )
    renewed = (await shop.pods("web")).keys() - old.keys()
    between = await shop.client.get(StatefulSet.gvk, "web", shop.namespace)
    assert record(between) == record(first)
    change = json.loads(between["metadata"]["annotations"][RESTARTING])
    assert change["olderThan"]

    async with shop.manager(restart_all_kinds=True):
        await shop.when("web", lambda it: record(it) != record(first), StatefulSet.gvk)
    now = (await shop.pods("web")).keys()

    assert len(now) == 4
    assert now.isdisjoint(old)
    assert renewed <= now


@pytest.mark.parametrize(
    "gvk", [StatefulSet.gvk, DaemonSet.gvk], ids=lambda it: str(it.kind)
)
async def test_what_waits_for_deletion_is_marked_and_its_pods_go(
    shop: Shop, gvk: GroupVersionKind
) -> None:
    await shop.workload("web", RESTART, gvk=gvk, updateStrategy={"type": "OnDelete"})

    async with shop.manager(restart_all_kinds=True):
        first = await shop.when("web", lambda it: bool(record(it)), gvk)
        await eventually_list(
            *(shop.client, POD, shop.namespace), lambda pods: len(pods) == 1
        )
        old = await shop.pods("web")
        await shop.change(k="new")
        last = await shop.when("web", lambda it: record(it) != record(first), gvk)

    assert (await shop.pods("web")).keys().isdisjoint(old)
    (container,) = last["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["STAKATER_C_CONFIGMAP"]
