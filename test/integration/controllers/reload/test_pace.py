"""When workloads reload, on a real control plane; periods are shortened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.apps.v1 import Deployment, StatefulSet
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
from controllers.reload.braking import BrakeOptions
from controllers.reload.digest import config_map_digest
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD, RELOADED_AT

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")
REVISION = GroupVersionKind("apps", "v1", "ControllerRevision")
AUTO = {"reloader.stakater.com/auto": "true"}
PERIOD = "statefulset.reloader.stakater.com/pause-period"
LONG = 60.0
"""Seconds that a busy machine may take."""


class Shop:
    """A namespace with a source, and who works in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[None]:
        """Run a manager with the reload controller, for this namespace alone."""
        options = {"namespaces": (self.namespace,), **options}
        async with HttpTransport(self.config) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            )
            manager = Manager(transport, options=addresses)
            setup(manager, ReloadOptions(**options))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield
                manager.stop()

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: Mapping[str, str] | None = None,
        **fields: object,
    ) -> None:
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "annotations": dict(annotations or {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def workload(
        self, gvk: GroupVersionKind = Deployment.gvk, *, period: str = ""
    ) -> None:
        """Create one that uses the ConfigMap, and wait until it is rolled out."""
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "x.example/app", "envFrom": [source]}
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = "web"
        annotations = AUTO | ({PERIOD: period} if period else {})
        await self.create(gvk, "web", annotations, spec=spec)
        await self.when(gvk, lambda it: it["status"].get("availableReplicas") == 1)

    async def change(self, value: object) -> None:
        patch = merge_patch({"data": {"k": str(value)}})
        await self.client.patch(ConfigMap.gvk, "c", self.namespace, patch=patch)

    async def when(self, gvk: GroupVersionKind, condition: Any) -> Json:
        return await eventually(
            self.client, gvk, "web", self.namespace, condition, timeout=LONG
        )

    async def runs_with(
        self, value: object, gvk: GroupVersionKind = Deployment.gvk
    ) -> Json:
        """Wait until a content is what the workload runs with, by its record."""
        wanted = config_map_digest({"k": str(value)}, {}).recorded
        return await self.when(gvk, lambda it: record(it).get("cm/c") == wanted)

    async def has(self, reason: str) -> bool:
        events = await self.client.list(EVENT, self.namespace)
        return any(event["reason"] == reason for event in events.items)

    async def told(self, reason: str) -> list[Json]:
        """Wait for an Event, and return all with that reason."""
        events = await eventually_list(
            self.client,
            EVENT,
            self.namespace,
            lambda found: any(one["reason"] == reason for one in found),
            timeout=LONG,
        )
        return [event for event in events if event["reason"] == reason]


def record(obj: Json) -> dict[str, str]:
    found: dict[str, str] = json.loads(annotated(obj).get(RECORD, "{}"))
    return found


def annotated(obj: Json) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def revision(obj: Json) -> int:
    """Return how many templates a Deployment has had."""
    return int(annotated(obj)["deployment.kubernetes.io/revision"])


async def rolled_out(shop: Shop) -> Json:
    """Wait until the controller of Deployments has seen the last of its changes."""
    return await shop.when(
        Deployment.gvk,
        lambda it: (
            it["status"].get("observedGeneration") == it["metadata"]["generation"]
        ),
    )


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def shop(config: RestConfig, namespace: str) -> AsyncIterator[Shop]:
    async with HttpTransport(config) as transport:
        shop = Shop(Client(transport, scheme=Scheme()), config, namespace)
        await shop.create(ConfigMap.gvk, "c", data={"k": "old"})
        yield shop


async def test_twenty_quick_updates_are_one_rollout(shop: Shop) -> None:
    """A3."""
    await shop.workload()
    # Longer than by default: a busy machine may take its time between two of them.
    gathers = {
        "debounce": timedelta(seconds=3),
        "debounce_max": timedelta(seconds=60),
    }
    async with shop.manager(**gathers):
        await shop.runs_with("old")
        for number in range(20):
            await shop.change(number)
        await shop.runs_with(19)

    assert revision(await rolled_out(shop)) == 2
    assert len(await shop.told("Reloaded")) == 1


async def test_a_stateful_set_rests_after_a_reload_and_then_reloads_once(
    shop: Shop,
) -> None:
    """Scenario 13, as an annotation."""
    period = timedelta(seconds=10)
    await shop.workload(StatefulSet.gvk, period="10s")
    async with shop.manager():
        await shop.runs_with("old", StatefulSet.gvk)
        await shop.change("first")
        first = await shop.runs_with("first", StatefulSet.gvk)
        await shop.change("second")
        (held,) = await shop.told("ReloadHeld")
        await shop.change("third")
        third = await shop.runs_with("third", StatefulSet.gvk)

    assert "it reloads once in 10s at most" in held["note"]
    times = [
        datetime.fromisoformat(annotated(it)[RELOADED_AT]) for it in (first, third)
    ]
    assert times[1] - times[0] >= period - timedelta(milliseconds=2)
    revisions = await eventually_list(
        shop.client,
        REVISION,
        shop.namespace,
        lambda found: len(found) >= 3,
        timeout=LONG,
    )
    assert len(revisions) == 3


async def test_a_restart_inside_a_cooldown_loses_and_doubles_nothing(
    shop: Shop,
) -> None:
    options = {"cooldown": timedelta(seconds=10)}
    await shop.workload()
    async with shop.manager(**options):
        await shop.runs_with("old")
        await shop.change("first")
        first = await shop.runs_with("first")
        await shop.change("second")
        await shop.told("ReloadHeld")
    async with shop.manager(**options):
        second = await shop.runs_with("second")

    times = [
        datetime.fromisoformat(annotated(it)[RELOADED_AT]) for it in (first, second)
    ]
    assert times[1] - times[0] >= timedelta(seconds=9.99)
    assert revision(await rolled_out(shop)) == 3


async def test_a_storm_makes_few_rollouts_and_its_last_content_lands(
    shop: Shop,
) -> None:
    """Scenario 48, a hundred times as fast."""
    brake = BrakeOptions(
        limit=10,
        window=timedelta(seconds=60),
        first=timedelta(seconds=0.05),
        longest=timedelta(seconds=3),
        quiet=timedelta(seconds=3),
    )
    await shop.workload()
    async with shop.manager(storm_brake=brake, debounce=timedelta(milliseconds=5)):
        await shop.runs_with("old")
        now = asyncio.get_running_loop().time
        count, end = 0, now() + LONG
        while now() < end:
            await shop.change(count)
            count += 1
            if (
                count % 20 == 0
                and end - now() > 5
                and await shop.has("ReloadThrottled")
            ):
                end = now() + 5
        await shop.runs_with(count - 1)
        (told,) = await shop.told("ReloadThrottled")

    assert told["type"] == "Warning"
    assert 10 < revision(await rolled_out(shop)) - 1 <= 20


async def test_a_namespace_that_is_suspended_holds_changes_until_it_is_not(
    shop: Shop,
) -> None:
    """A15."""

    async def pause(value: str | None) -> None:
        noted = {"reloader.stakater.com/pause": value}
        patch = merge_patch({"metadata": {"annotations": noted}})
        await shop.client.patch(NAMESPACE, shop.namespace, patch=patch)

    only = f"kubernetes.io/metadata.name={shop.namespace}"
    await shop.workload()
    # Long enough for the news of the Namespace to be there first.
    options = {"namespaces": (), "debounce": timedelta(seconds=3)}
    async with shop.manager(namespace_selector=only, **options):
        await shop.runs_with("old")
        await pause("true")
        await shop.change("new")
        (held,) = await shop.told("ReloadHeld")
        assert f"until namespace {shop.namespace} is not suspended" in held["note"]
        await pause(None)
        await shop.runs_with("new")

    assert revision(await rolled_out(shop)) == 2
