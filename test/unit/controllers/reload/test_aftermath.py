"""What follows a reload: the controller at work on an API server.

There is no controller manager here: tests write the status of workloads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from api.apps.v1 import Deployment, StatefulSet
from api.core.v1 import ConfigMap
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import FakeClock
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.rollouts.restarts import RESTARTING

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POD = GroupVersionKind("", "v1", "Pod")
AUTO = {"reloader.stakater.com/auto": "true"}
RESTART = {**AUTO, "reloader.stakater.com/rollout-strategy": "restart"}
AFTER = "reloader.stakater.com/depends-on"
CANARY = "reloader.stakater.com/canary"


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client, clock: FakeClock) -> None:
        self.server = server
        self.client = client
        self.clock = clock

    async def create(self, gvk: GroupVersionKind, name: str, **fields: Any) -> None:
        metadata = {
            "name": name,
            "namespace": fields.pop("namespace", "shop"),
            "annotations": fields.pop("annotations", {}),
            **fields.pop("metadata", {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def workload(
        self,
        name: str,
        annotations: dict[str, str],
        gvk: GroupVersionKind = StatefulSet.gvk,
    ) -> None:
        labels = {"app": name}
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "x", "envFrom": [source]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: Json = {
            "replicas": 1,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": template,
        }
        if gvk == Deployment.gvk:
            del spec["serviceName"]
        await self.create(gvk, name, annotations=annotations, spec=spec)
        await self.roll_out(name, gvk)

    async def roll_out(
        self, name: str, gvk: GroupVersionKind = StatefulSet.gvk, *, updated: int = 1
    ) -> None:
        """Write the status of a workload of which so many pods are new."""
        generation = (await self.read(name, gvk))["metadata"]["generation"]
        status = {
            "observedGeneration": generation,
            "replicas": 1,
            "currentReplicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
            "updatedReplicas": updated,
            "currentRevision": "new" if updated else "old",
            "updateRevision": "new",
            "conditions": [{"type": "Available", "status": "True"}],
        }
        part = self.client.subresource(gvk, "status")
        patch = merge_patch({"status": status})
        await part.patch(name, "shop", patch=patch, kind=gvk)
        await settled()

    async def change(self, value: str) -> None:
        patch = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)
        await settled()

    async def read(self, name: str, gvk: GroupVersionKind = StatefulSet.gvk) -> Json:
        return await self.client.get(gvk, name, "shop")

    async def annotations(self, name: str) -> dict[str, str]:
        return dict((await self.read(name))["metadata"]["annotations"])

    async def record(self, name: str) -> str:
        return (await self.annotations(name))[RECORD]

    async def restarting(self) -> dict[str, str] | None:
        text = (await self.annotations("web")).get(RESTARTING)
        return None if text is None else dict(json.loads(text))

    async def pod(self, name: str) -> None:
        """Create a pod of `web`, which is ready, a minute after all before it."""
        self.clock.advance(timedelta(minutes=1))
        owner = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": "web",
            "uid": (await self.read("web"))["metadata"]["uid"],
            "controller": True,
        }
        metadata = {"labels": {"app": "web"}, "ownerReferences": [owner]}
        spec = {"containers": [{"name": "app", "image": "x"}]}
        await self.create(POD, name, metadata=metadata, spec=spec)
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        part = self.client.subresource(POD, "status")
        patch = merge_patch({"status": ready})
        await part.patch(name, "shop", patch=patch, kind=POD)

    async def go(self, name: str) -> None:
        """Do what an eviction does; there is none on this server."""
        await self.client.delete(POD, name, "shop", grace_period_seconds=0)

    async def told(self, reason: str) -> list[str]:
        """Name the workloads that Events with a reason are about, oldest first."""
        events = (await self.client.list(EVENT, "shop")).items
        found = sorted(events, key=lambda event: str(event["eventTime"]))
        return [e["regarding"]["name"] for e in found if e["reason"] == reason]

    async def notes(self, reason: str) -> list[str]:
        events = (await self.client.list(EVENT, "shop")).items
        return [str(e["note"]) for e in events if e["reason"] == reason]

    async def reloaded(self) -> set[str]:
        found = await self.client.list(StatefulSet.gvk, "shop")
        return {
            str(one["metadata"]["name"])
            for one in found.items
            if "env" in one["spec"]["template"]["spec"]["containers"][0]
        }

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[Manager]:
        given = ReloadOptions(**options)
        async with managing(self.server.config(), given) as manager:
            await settled()
            yield manager


async def settled() -> None:
    """Let everything happen that will happen by itself within half a minute."""
    await asyncio.sleep(30)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = FakeClock()
    async with (
        ApiServer(clock=clock) as server,
        HttpTransport(server.config()) as transport,
    ):
        world = World(server, Client(transport, scheme=Scheme()), clock)
        await world.create(ConfigMap.gvk, "c", data={"k": "old"})
        yield world


# --- rollouts ----------------------------------------------------------------------


async def test_the_end_of_a_rollout_is_told_once(world: World) -> None:
    await world.workload("web", AUTO)

    async with world.manager():
        await world.change("new")
        await world.roll_out("web", updated=0)
        assert await world.told("RolloutComplete") == []
        await world.roll_out("web")
        await world.roll_out("web", updated=0)  # not ours
        await world.roll_out("web")

    (note,) = await world.notes("RolloutComplete")
    assert note.startswith("'c' of type 'CONFIGMAP' in namespace 'shop' changed: 'web'")
    assert "has rolled out within" in note


async def test_a_status_that_nobody_follows_costs_no_look(world: World) -> None:
    await world.workload("web", AUTO)

    async with world.manager() as manager:
        before = looks(manager)
        await world.roll_out("web", updated=0)
        await world.roll_out("web")
        assert looks(manager) == before
        await world.change("new")
        after = looks(manager)
        await world.roll_out("web", updated=0)
        assert looks(manager) > after


async def test_a_rollout_without_headway_is_told_when_that_has_lasted(
    world: World,
) -> None:
    await world.workload("web", AUTO)

    async with world.manager(rollout_timeout=timedelta(minutes=5)):
        await world.change("new")
        await world.roll_out("web", updated=0)
        await asyncio.sleep(200)
        assert await world.told("RolloutFailed") == []
        await asyncio.sleep(100)
        assert await world.told("RolloutFailed") == ["web"]
        await world.roll_out("web")
        assert await world.told("RolloutComplete") == ["web"]


async def test_a_rollout_is_followed_on_by_the_next_process(world: World) -> None:
    await world.workload("web", AUTO)
    async with world.manager():
        await world.change("new")
        await world.roll_out("web", updated=0)

    async with world.manager():
        await world.roll_out("web")
    async with world.manager():
        await world.roll_out("web")

    assert await world.told("RolloutComplete") == ["web"]
    (note,) = await world.notes("RolloutComplete")
    assert note.startswith("'web' of type 'StatefulSet' in namespace 'shop' has")


async def test_places_that_a_process_has_taken_are_taken_in_the_next(
    world: World,
) -> None:
    await world.workload("a", AUTO)
    async with world.manager():
        await world.change("1")
        await world.roll_out("a", updated=0)
    await world.workload("b", {"configmap.reloader.stakater.com/reload": "c"})

    async with world.manager(max_concurrent_rollouts=1):
        await world.change("2")  # `a` has its place, and takes the change along
        assert await world.told("ReloadHeld") == ["b"]
        assert await world.record("b") != await world.record("a")
        await world.roll_out("a")
        assert await world.record("b") == await world.record("a")


async def test_a_dry_run_follows_nothing(world: World) -> None:
    await world.workload("web", AUTO)

    async with world.manager(dry_run=True, max_concurrent_rollouts=1):
        await world.change("new")
        await world.roll_out("web", updated=0)
        await world.roll_out("web")

    assert await world.told("ReloadPlanned") == ["web"]
    assert await world.told("RolloutComplete") == []


# --- order -------------------------------------------------------------------------


async def test_what_depends_on_another_goes_when_that_has_rolled_out(
    world: World,
) -> None:
    await world.workload("a", {**AUTO, AFTER: "StatefulSet/b"})
    await world.workload("b", AUTO)

    async with world.manager():
        await world.change("new")
        assert await world.reloaded() == {"b"}
        assert await world.told("ReloadHeld") == ["a"]
        await world.roll_out("b")
        assert await world.reloaded() == {"a", "b"}


async def test_a_circle_is_told_once_and_all_of_it_reloads(world: World) -> None:
    await world.workload("a", {**AUTO, AFTER: "StatefulSet/b"})
    await world.workload("b", {**AUTO, AFTER: "StatefulSet/a"})

    async with world.manager():
        await world.change("new")
        assert await world.reloaded() == {"a"}
        await world.roll_out("a")
        assert await world.reloaded() == {"a", "b"}
        await world.roll_out("b")

    assert sorted(await world.told("InvalidReloadAnnotation")) == ["a", "b"]


async def test_what_waits_for_a_suspended_workload_goes_when_its_change_is_gone(
    world: World,
) -> None:
    pause = "reloader.stakater.com/pause"
    await world.workload("a", {**AUTO, AFTER: "StatefulSet/b"})
    await world.workload("b", {**AUTO, pause: "true"})

    async with world.manager():
        await world.change("new")
        assert await world.reloaded() == set()
        await world.client.delete(StatefulSet.gvk, "b", "shop")
        await settled()
        assert await world.reloaded() == {"a"}


# --- canaries ----------------------------------------------------------------------


async def test_the_others_reload_when_their_canary_has_rolled_out(
    world: World,
) -> None:
    """A10."""
    await world.workload("a", AUTO)
    await world.workload("b", {**AUTO, CANARY: "true"})
    await world.workload("c", AUTO)

    async with world.manager():
        await world.change("new")
        assert await world.reloaded() == {"b"}
        assert sorted(await world.told("ReloadHeld")) == ["a", "c"]
        await world.roll_out("b", updated=0)
        assert await world.reloaded() == {"b"}
        await world.roll_out("b")
        assert await world.reloaded() == {"a", "b", "c"}
    assert await world.told("CanaryFailed") == []


async def test_a_manager_that_starts_in_the_middle_of_a_canary_goes_on(
    world: World,
) -> None:
    await world.workload("a", AUTO)
    await world.workload("b", {**AUTO, CANARY: "true"})
    async with world.manager():
        await world.change("new")
        assert await world.reloaded() == {"b"}

    async with world.manager():
        await settled()
        assert await world.reloaded() == {"b"}
        await world.roll_out("b", updated=0)
        assert await world.reloaded() == {"b"}
        await world.roll_out("b")
        assert await world.reloaded() == {"a", "b"}


async def test_a_canary_without_headway_holds_the_others_until_another_change(
    world: World,
) -> None:
    await world.workload("a", AUTO)
    await world.workload("b", {**AUTO, CANARY: "true"})

    async with world.manager():
        await world.change("bad")
        await world.roll_out("b", updated=0)
        await asyncio.sleep(700)
        assert await world.told("CanaryFailed") == ["a"]
        assert await world.reloaded() == {"b"}
        before = await world.record("b")
        await world.change("good")
        assert await world.record("b") != before
        assert await world.reloaded() == {"b"}
        await world.roll_out("b")
        assert await world.reloaded() == {"a", "b"}


async def test_the_others_go_when_somebody_says_it_is_no_canary(world: World) -> None:
    await world.workload("a", AUTO)
    await world.workload("b", {**AUTO, CANARY: "true"})

    async with world.manager():
        await world.change("bad")
        await world.roll_out("b", updated=0)
        await asyncio.sleep(700)
        assert await world.reloaded() == {"b"}
        patch = merge_patch({"metadata": {"annotations": {CANARY: None}}})
        await world.client.patch(StatefulSet.gvk, "b", "shop", patch=patch)
        await settled()
        assert await world.reloaded() == {"a", "b"}


async def test_a_dry_run_plans_the_others_too(world: World) -> None:
    await world.workload("a", AUTO)
    await world.workload("b", {**AUTO, CANARY: "true"})

    async with world.manager(dry_run=True):
        await world.change("new")
        await settled()

    assert sorted(await world.told("ReloadPlanned")) == ["a", "b"]


# --- restarts ----------------------------------------------------------------------


async def test_a_restart_replaces_pods_and_writes_the_record_last(
    world: World,
) -> None:
    await world.workload("web", RESTART)
    await world.pod("old")

    async with world.manager(restart_all_kinds=True):
        before, record = await world.read("web"), await world.record("web")
        await world.change("new")
        assert await world.restarting() is not None
        assert await world.record("web") == record
        await world.go("old")
        await world.pod("new")
        await settled()

    assert (await world.read("web"))["spec"] == before["spec"]
    assert await world.restarting() is None
    assert await world.record("web") != record
    assert await world.told("Reloaded") == ["web"]
    assert await world.told("RolloutComplete") == ["web"]


async def test_a_restart_of_another_process_goes_on_and_is_told_once(
    world: World,
) -> None:
    await world.workload("web", RESTART)
    await world.pod("old")
    async with world.manager(restart_all_kinds=True):
        await world.change("new")
        begun = await world.restarting()
    await world.go("old")
    await world.pod("new")

    async with world.manager(restart_all_kinds=True):
        pass

    assert begun is not None
    assert begun["olderThan"]
    assert await world.restarting() is None
    pods = (await world.client.list(POD, "shop")).items
    assert [pod["metadata"]["name"] for pod in pods] == ["new"]
    assert await world.told("Reloaded") == ["web"]
    assert await world.told("RolloutComplete") == ["web"]


async def test_another_change_in_the_middle_makes_all_pods_go_again(
    world: World,
) -> None:
    await world.workload("web", RESTART)
    await world.pod("old")

    async with world.manager(restart_all_kinds=True):
        await world.change("1")
        first = await world.restarting()
        await world.pod("between")
        await world.change("2")
        second = await world.restarting()

    assert first is not None
    assert second is not None
    assert second["change"] != first["change"]
    assert second["olderThan"] > first["olderThan"]


async def test_a_change_that_is_taken_back_in_the_middle_makes_all_pods_go_again(
    world: World,
) -> None:
    await world.workload("web", RESTART)
    await world.pod("old")

    async with world.manager(restart_all_kinds=True):
        record = await world.record("web")
        await world.change("new")
        await world.go("old")
        await world.pod("between")  # has what is new, and that is not wanted any more
        await world.change("old")
        again = await world.restarting()
        await world.go("between")
        await world.pod("last")
        await settled()

    assert again == {"change": "", "olderThan": "2030-01-01T00:02:00Z"}
    assert await world.restarting() is None
    assert await world.record("web") == record


async def test_a_restart_that_is_not_wanted_any_more_becomes_a_reload(
    world: World,
) -> None:
    await world.workload("web", RESTART)
    await world.pod("old")
    async with world.manager(restart_all_kinds=True):
        await world.change("new")
        assert await world.reloaded() == set()

    async with world.manager(restart_all_kinds=False):
        pass

    assert await world.reloaded() == {"web"}
    assert await world.restarting() is None


def looks(manager: Manager) -> float:
    registry = manager.metrics.registry
    labels = {"kind": "StatefulSet"}
    return registry.get_sample_value("reloader_workloads_scanned_total", labels) or 0
