"""Rollouts that reloads begin, on a real control plane with a fake node.

How many roll out at once, and in which order, is read off one watch of the API server:
its events come in the order of the writes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from conformance.reloads import AUTO, POD, Shop, is_rolled_out
from controller_runtime import (
    GroupVersionKind,
    Json,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.record import RECORD
from controllers.reload.rollouts.restarts import RESTARTING

QUOTA = GroupVersionKind("", "v1", "ResourceQuota")
BUDGET = GroupVersionKind("policy", "v1", "PodDisruptionBudget")

RESTART = {**AUTO, "reloader.stakater.com/rollout-strategy": "restart"}
AFTER = "reloader.stakater.com/depends-on"
CANARY = "reloader.stakater.com/canary"

PATIENCE = 90.0
"""Seconds that anything may take on a machine that has more to do."""


async def all_adopted(shop: Shop, count: int) -> None:
    """Wait until so many Deployments run, with a record."""
    await _all(
        shop,
        lambda found: (
            len(found) == count
            and all(is_rolled_out(one) and recorded(one) for one in found)
        ),
    )


async def all_reloaded(shop: Shop, since: set[str]) -> None:
    """Wait until all Deployments have a record that was none of these, and run."""
    await _all(
        shop,
        lambda found: all(
            is_rolled_out(one) and recorded(one) not in since for one in found
        ),
    )


async def _all(shop: Shop, condition: Callable[[list[Json]], bool]) -> None:
    await eventually_list(
        *(shop.client, Deployment.gvk, shop.namespace, condition), timeout=PATIENCE
    )


async def records(shop: Shop) -> set[str]:
    found = await shop.client.list(Deployment.gvk, shop.namespace)
    return {recorded(one) for one in found.items}


async def pods(shop: Shop, name: str) -> dict[str, str]:
    """Return the uid of each pod that is not on its way out → its creation."""
    found = await shop.client.list(POD, shop.namespace, label_selector=f"app={name}")
    return {
        one["metadata"]["uid"]: one["metadata"]["creationTimestamp"]
        for one in found.items
        if "deletionTimestamp" not in one["metadata"]
    }


async def told(shop: Shop, reason: str, name: str) -> Json:
    """Wait for an Event about a workload."""
    first, *_ = await shop.events(reason, name)
    return first


def recorded(workload: Json) -> str:
    return str(workload["metadata"].get("annotations", {}).get(RECORD, ""))


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
        elif is_rolled_out(workload) and name in self.rolling:
            self.rolling.remove(name)
            self.order.append(f"-{name}")
        self.most = max(self.most, len(self.rolling))
        self._news.set()


@pytest.fixture
async def shop(shop: Shop) -> Shop:
    await shop.sources("cm/c")
    return shop


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
        await shop.workload(name, AUTO, uses=["cm/c"], replicas=1)

    async with shop.manager(max_concurrent_rollouts=5):
        await all_adopted(shop, 50)
        before = await records(shop)
        async with observed(shop, 50) as seen:
            await shop.change("cm/c")
            await all_reloaded(shop, before)
            await seen.until(lambda: len(seen.order) == 100)

    assert len(seen.templates) == 50
    assert seen.most == 5
    reloads = await shop.events_now("Reloaded")
    assert len(reloads) == 50


async def test_workloads_roll_out_one_after_the_other(shop: Shop) -> None:
    await shop.workload(
        "a-web", {**AUTO, AFTER: "Deployment/b-api"}, uses=["cm/c"], replicas=1
    )
    await shop.workload(
        "b-api", {**AUTO, AFTER: "Deployment/c-db"}, uses=["cm/c"], replicas=1
    )
    await shop.workload("c-db", AUTO, uses=["cm/c"], replicas=1)

    async with shop.manager():
        await all_adopted(shop, 3)
        before = await records(shop)
        async with observed(shop, 3) as seen:
            await shop.change("cm/c")
            await all_reloaded(shop, before)
            await seen.until(lambda: len(seen.order) == 6)

    assert seen.order == ["+c-db", "-c-db", "+b-api", "-b-api", "+a-web", "-a-web"]


async def test_a_canary_rolls_out_before_the_others(shop: Shop) -> None:
    """A10."""
    await shop.workload("api", AUTO, uses=["cm/c"], replicas=1)
    await shop.workload("first", {**AUTO, CANARY: "true"}, uses=["cm/c"], replicas=1)
    await shop.workload("web", AUTO, uses=["cm/c"], replicas=1)

    async with shop.manager():
        await all_adopted(shop, 3)
        before = await records(shop)
        async with observed(shop, 3) as seen:
            await shop.change("cm/c")
            await all_reloaded(shop, before)
            await seen.until(lambda: len(seen.order) == 6)

    assert seen.order[:2] == ["+first", "-first"]
    assert len(await shop.events_now("Reloaded")) == 3


async def test_a_canary_that_fails_holds_the_others_and_the_next_manager_does_too(
    shop: Shop,
) -> None:
    await shop.workload(
        "first",
        {**AUTO, CANARY: "true"},
        uses=["cm/c"],
        replicas=1,
        progressDeadlineSeconds=3,
    )
    await shop.workload("web", AUTO, uses=["cm/c"], replicas=1)

    async with shop.manager():
        await all_adopted(shop, 2)
        # No further pod may come, and none goes before.
        await shop.create(QUOTA, "q", spec={"hard": {"pods": "2"}})
        await eventually(
            *(shop.client, QUOTA, "q", shop.namespace),
            lambda quota: quota.get("status", {}).get("used", {}).get("pods") == "2",
            timeout=PATIENCE,
        )
        before = await shop.when("web", is_rolled_out)
        await shop.change("cm/c", "bad")
        failed = await told(shop, "CanaryFailed", "web")

    async with shop.manager():
        await shop.workload("witness", AUTO, uses=["cm/c"], replicas=1)
        await shop.when("witness", lambda it: bool(recorded(it)))
        held = await shop.when("web", lambda _: True)
        await shop.client.delete(QUOTA, "q", shop.namespace)
        await shop.when("first", is_rolled_out)  # it gets there after all
        await shop.when("web", lambda it: recorded(it) != recorded(before))

    assert failed["type"] == "Warning"
    assert f"Deployment {shop.namespace}/first" in failed["note"]
    assert recorded(held) == recorded(before)
    assert held["spec"]["template"] == before["spec"]["template"]


@pytest.mark.parametrize(
    "gvk", [Deployment.gvk, StatefulSet.gvk, DaemonSet.gvk], ids=lambda it: str(it.kind)
)
async def test_the_end_of_a_rollout_is_told(shop: Shop, gvk: GroupVersionKind) -> None:
    await shop.workload("web", AUTO, gvk=gvk, uses=["cm/c"], replicas=1)

    async with shop.manager():
        await shop.when("web", lambda it: is_rolled_out(it) and bool(recorded(it)), gvk)
        await shop.change("cm/c")
        event = await told(shop, "RolloutComplete", "web")

    assert event["type"] == "Normal"
    assert "'c' of type 'CONFIGMAP'" in event["note"]
    status = (await shop.client.get(gvk, "web", shop.namespace))["status"]
    assert 1 in {status.get("updatedReplicas"), status.get("updatedNumberScheduled")}


async def test_a_rollout_that_its_deployment_gives_up_is_told_as_failed(
    shop: Shop,
) -> None:
    await shop.workload(
        "web", AUTO, progressDeadlineSeconds=3, uses=["cm/c"], replicas=1
    )

    async with shop.manager():
        await all_adopted(shop, 1)
        # No second pod may come, and the first does not go before.
        await shop.create(QUOTA, "q", spec={"hard": {"pods": "1"}})
        await eventually(
            *(shop.client, QUOTA, "q", shop.namespace),
            lambda quota: quota.get("status", {}).get("used", {}).get("pods") == "1",
        )
        await shop.change("cm/c")
        failed = await told(shop, "RolloutFailed", "web")

    assert failed["type"] == "Warning"
    assert "Progress deadline exceeded" in failed["note"]


async def test_the_next_manager_tells_the_end_of_a_rollout(shop: Shop) -> None:
    await shop.workload("web", AUTO, uses=["cm/c"], replicas=1)
    async with shop.manager():
        await all_adopted(shop, 1)
        # No pod is available soon.
        await shop.patch(Deployment.gvk, "web", {"spec": {"minReadySeconds": 300}})
        await shop.change("cm/c")
        await shop.when("web", _has_new_pod)

    async with shop.manager():
        await shop.workload("witness", AUTO, uses=["cm/c"], replicas=1)
        await shop.when("witness", lambda it: bool(recorded(it)))
        await shop.patch(Deployment.gvk, "web", {"spec": {"minReadySeconds": 0}})
        event = await told(shop, "RolloutComplete", "web")

    assert event["note"].startswith("'web' of type 'Deployment'")
    assert len(await shop.events_now("Reloaded")) == 1


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
    await shop.workload("web", RESTART, replicas=3, uses=["cm/c"])

    async with shop.manager(restart_all_kinds=True):
        await all_adopted(shop, 1)
        first = await shop.when("web", is_rolled_out)
        old = await pods(shop, "web")
        await shop.change("cm/c")
        held = await told(shop, "ReloadHeld", "web")
        assert await pods(shop, "web") == old
        patch = merge_patch({"spec": {"minAvailable": 2}})
        await shop.client.patch(BUDGET, "web", shop.namespace, patch=patch)
        last = await shop.when("web", lambda it: recorded(it) != recorded(first))
        await told(shop, "RolloutComplete", "web")

    assert "disruption budget" in held["note"]
    assert last["spec"]["template"] == first["spec"]["template"]
    assert RESTARTING not in last["metadata"]["annotations"]
    new = await pods(shop, "web")
    assert len(new) == 3
    assert new.keys().isdisjoint(old)
    assert len(await shop.events_now("Reloaded")) == 1


async def test_a_restart_goes_on_where_a_manager_was_killed(shop: Shop) -> None:
    await shop.workload("web", RESTART, gvk=StatefulSet.gvk, replicas=4, uses=["cm/c"])

    async with shop.manager(restart_all_kinds=True):
        first = await shop.when(
            "web", lambda it: is_rolled_out(it) and bool(recorded(it)), StatefulSet.gvk
        )
        old = await pods(shop, "web")
        await shop.change("cm/c")
        # Pods have names: the second one is new when the third has not gone yet.
        await eventually_list(
            *(shop.client, POD, shop.namespace),
            lambda pods: len({it["metadata"]["uid"] for it in pods} - old.keys()) == 2,
            timeout=PATIENCE,
        )
    renewed = (await pods(shop, "web")).keys() - old.keys()
    between = await shop.client.get(StatefulSet.gvk, "web", shop.namespace)
    assert recorded(between) == recorded(first)
    change = json.loads(between["metadata"]["annotations"][RESTARTING])
    assert change["olderThan"]

    async with shop.manager(restart_all_kinds=True):
        await shop.when(
            "web", lambda it: recorded(it) != recorded(first), StatefulSet.gvk
        )
    now = (await pods(shop, "web")).keys()

    assert len(now) == 4
    assert now.isdisjoint(old)
    assert renewed <= now


@pytest.mark.parametrize(
    "gvk", [StatefulSet.gvk, DaemonSet.gvk], ids=lambda it: str(it.kind)
)
async def test_what_waits_for_deletion_is_marked_and_its_pods_go(
    shop: Shop, gvk: GroupVersionKind
) -> None:
    await shop.workload(
        "web",
        RESTART,
        gvk=gvk,
        updateStrategy={"type": "OnDelete"},
        uses=["cm/c"],
        replicas=1,
    )

    async with shop.manager(restart_all_kinds=True):
        first = await shop.when("web", lambda it: bool(recorded(it)), gvk)
        await eventually_list(
            *(shop.client, POD, shop.namespace), lambda pods: len(pods) == 1
        )
        old = await pods(shop, "web")
        await shop.change("cm/c")
        last = await shop.when("web", lambda it: recorded(it) != recorded(first), gvk)

    assert (await pods(shop, "web")).keys().isdisjoint(old)
    (container,) = last["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["STAKATER_C_CONFIGMAP"]
