"""When the controller reloads, on an API server; the wall clock moves with the loop."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import LoopClock
from controllers.reload import setup
from controllers.reload.braking import BrakeOptions
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD, RELOADED_AT
from controllers.reload.terms import Window

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")
AUTO = {"reloader.stakater.com/auto": "true"}
PAUSE = "reloader.stakater.com/pause"
PERIOD = "statefulset.reloader.stakater.com/pause-period"
START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """An API server with a source and workloads, and who changes them."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        metadata = {
            "name": name,
            "namespace": "shop",
            "annotations": fields.pop("annotations", {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def workload(
        self,
        name: str = "web",
        *,
        gvk: GroupVersionKind = Deployment.gvk,
        annotations: Mapping[str, str] = AUTO,
    ) -> None:
        """Create one that uses the ConfigMap and the Secret."""
        sources = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]
        container = {"name": "app", "image": "x", "envFrom": sources}
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self.create(gvk, name, annotations=dict(annotations), spec=spec)

    async def change(self, value: object) -> None:
        await self.patch(ConfigMap.gvk, "c", {"data": {"k": str(value)}})

    async def change_secret(self, value: str) -> None:
        data = {"k": b64encode(value.encode()).decode()}
        await self.patch(Secret.gvk, "s", {"data": data})

    async def patch(self, gvk: GroupVersionKind, name: str, changes: Json) -> None:
        await self.client.patch(gvk, name, "shop", patch=merge_patch(changes))

    async def annotate_namespace(self, value: str | None) -> None:
        patch = merge_patch({"metadata": {"annotations": {PAUSE: value}}})
        await self.client.patch(NAMESPACE, "shop", patch=patch)

    async def read(
        self, name: str = "web", gvk: GroupVersionKind = Deployment.gvk
    ) -> Json:
        return await self.client.get(gvk, name, "shop")

    async def record(
        self, name: str = "web", gvk: GroupVersionKind = Deployment.gvk
    ) -> dict[str, str]:
        annotations = (await self.read(name, gvk))["metadata"].get("annotations", {})
        record: dict[str, str] = json.loads(annotations.get(RECORD, "{}"))
        return record

    async def markers(
        self, name: str = "web", gvk: GroupVersionKind = Deployment.gvk
    ) -> set[str]:
        workload = await self.read(name, gvk)
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        return {entry["name"] for entry in container.get("env", [])}

    async def notes(self, reason: str) -> list[str]:
        events = (await self.client.list(EVENT, "shop")).items
        return [str(e["note"]) for e in events if e["reason"] == reason]

    def patches(self, resource: str = "deployments") -> list[float]:
        """Return when workloads were written to."""
        return [r.time for r in self.server.requests.of("patch", resource)]

    @asynccontextmanager
    async def manager(
        self, options: ReloadOptions | None = None, *, is_killed: bool = False
    ) -> AsyncIterator[Manager]:
        """Run a manager with the reload controller, from after its first look on."""
        async with HttpTransport(self.server.config()) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            )
            manager = Manager(transport, options=addresses, clock=LoopClock(START))
            setup(manager, options or ReloadOptions())
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(manager.start())
                await asyncio.sleep(5)
                self.server.requests.clear()
                yield manager
                if is_killed:
                    running.cancel()
                else:
                    manager.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        await world.client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        )
        await world.create(ConfigMap.gvk, "c", data={"k": "old"})
        await world.create(Secret.gvk, "s", data={"k": b64encode(b"old").decode()})
        yield world


async def test_twenty_quick_updates_are_one_rollout(world: World) -> None:
    """A3; the original makes twenty."""
    await world.workload()

    async with world.manager():
        for number in range(20):
            await world.change(number)
            await asyncio.sleep(0.05)
        await asyncio.sleep(10)

        assert len(world.patches()) == 1
    assert await world.markers() == {"STAKATER_C_CONFIGMAP"}


async def test_sources_that_change_together_are_one_rollout_with_both_markers(
    world: World,
) -> None:
    await world.workload()

    async with world.manager():
        await world.change("new")
        await asyncio.sleep(0.3)
        await world.change_secret("new")
        await asyncio.sleep(10)

        assert len(world.patches()) == 1
    assert await world.markers() == {"STAKATER_C_CONFIGMAP", "STAKATER_S_SECRET"}
    (note,) = await world.notes("Reloaded")
    assert "'c'" in note
    assert "'s'" in note


async def test_a_change_that_is_taken_back_in_time_is_no_reload(world: World) -> None:
    await world.workload()

    async with world.manager():
        await world.change("new")
        await asyncio.sleep(0.3)
        await world.change("old")
        await asyncio.sleep(10)

        assert world.patches() == []


async def test_a_secret_that_is_empty_for_a_moment_reloads_for_what_comes_then(
    world: World,
) -> None:
    """A20."""
    made = {"annotations": {"cert-manager.io/certificate-name": "s"}}
    await world.patch(Secret.gvk, "s", {"metadata": made})
    await world.workload()

    async with world.manager():
        await world.patch(Secret.gvk, "s", {"data": None})
        await asyncio.sleep(20)
        await world.change_secret("old")
        await asyncio.sleep(60)
        assert world.patches() == []
        await world.patch(Secret.gvk, "s", {"data": None})
        await asyncio.sleep(20)
        await world.change_secret("new")
        await asyncio.sleep(60)
        assert len(world.patches()) == 1
        await world.patch(Secret.gvk, "s", {"data": None})
        await asyncio.sleep(60)
        assert len(world.patches()) == 2


@pytest.mark.parametrize("seconds", [0, 30])
async def test_an_empty_secret_of_nobody_or_of_no_account_reloads_at_once(
    world: World, seconds: int
) -> None:
    if not seconds:
        made = {"annotations": {"cert-manager.io/certificate-name": "s"}}
        await world.patch(Secret.gvk, "s", {"metadata": made})
    await world.workload()

    async with world.manager(ReloadOptions(interim=timedelta(seconds=seconds))):
        await world.patch(Secret.gvk, "s", {"data": None})
        await asyncio.sleep(10)
        assert len(world.patches()) == 1


async def test_a_change_reloads_at_once_where_nothing_is_to_be_gathered(
    world: World,
) -> None:
    await world.workload()

    async with world.manager(ReloadOptions(debounce=timedelta())):
        began = asyncio.get_running_loop().time()
        await world.change("new")
        await asyncio.sleep(10)
        (at,) = world.patches()

    assert at - began < 0.1


async def test_after_a_reload_a_workload_rests_and_then_reloads_once(
    world: World,
) -> None:
    """Scenario 13, as an annotation."""
    await world.workload(gvk=StatefulSet.gvk, annotations=AUTO | {PERIOD: "1m"})

    async with world.manager():
        await world.change("first")
        await asyncio.sleep(2)
        (first,) = world.patches("statefulsets")
        await world.change("second")
        await asyncio.sleep(15)
        assert len(world.patches("statefulsets")) == 1
        await world.change("third")
        await asyncio.sleep(60)

        _, second = world.patches("statefulsets")
    assert second - first == pytest.approx(60, abs=0.1)
    annotations = (await world.read("web", StatefulSet.gvk))["metadata"]["annotations"]
    reloaded = datetime.fromisoformat(annotations[RELOADED_AT])
    at = START + timedelta(seconds=second)
    assert abs(reloaded - at) < timedelta(seconds=1)
    (note,) = await world.notes("ReloadHeld")
    assert "it reloads once in 1m at most" in note


async def test_the_default_for_all_kinds_holds_a_deployment_too(world: World) -> None:
    """A14."""
    await world.workload()

    async with world.manager(ReloadOptions(cooldown=timedelta(seconds=30))):
        for number in range(4):
            await world.change(number)
            await asyncio.sleep(5)
        await asyncio.sleep(60)

        first, second = world.patches()
    assert second - first == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
async def test_a_restart_inside_a_cooldown_neither_loses_a_change_nor_hastens_it(
    world: World, is_killed: bool
) -> None:
    options = ReloadOptions(cooldown=timedelta(minutes=1))
    await world.workload()

    async with world.manager(options, is_killed=is_killed):
        await world.change("first")
        await asyncio.sleep(2)
        (first,) = world.patches()
        await world.change("second")
        await asyncio.sleep(2)
    async with world.manager(options):
        await asyncio.sleep(120)

        (second,) = world.patches()
    assert second - first == pytest.approx(60, abs=0.1)
    assert len(await world.notes("Reloaded")) == 2


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
async def test_a_restart_while_changes_are_gathered_reloads_once(
    world: World, is_killed: bool
) -> None:
    await world.workload()
    async with world.manager(is_killed=is_killed):
        await world.change("new")
        await asyncio.sleep(0.2)
        assert world.patches() == []
    assert await world.markers() == set()

    for _ in range(2):
        async with world.manager():
            pass

    assert len(await world.notes("Reloaded")) == 1
    assert await world.markers() == {"STAKATER_C_CONFIGMAP"}


@pytest.mark.parametrize("period", ["5 minutes", "-1m", "1"])
async def test_a_period_that_cannot_be_read_is_told_and_the_workload_reloads(
    world: World, period: str
) -> None:
    await world.workload(gvk=StatefulSet.gvk, annotations=AUTO | {PERIOD: period})
    await world.workload("other", gvk=StatefulSet.gvk)

    async with world.manager():
        for number in range(2):
            await world.change(number)
            await asyncio.sleep(2)

        assert len(world.patches("statefulsets")) == 4
    (note,) = await world.notes("PausePeriodInvalid")
    assert PERIOD in note
    assert "such as 90s, 15m or 1h30m" in note
    assert await world.notes("InvalidReloadAnnotation") == []


async def test_a_period_of_another_kind_does_not_hold_a_workload(world: World) -> None:
    await world.workload(annotations=AUTO | {PERIOD: "1h"})

    async with world.manager():
        for number in range(2):
            await world.change(number)
            await asyncio.sleep(2)

        assert len(world.patches()) == 2


async def test_a_storm_is_braked_told_once_and_its_last_content_lands(
    world: World,
) -> None:
    """Scenario 48, on a virtual clock: ten minutes of changes."""
    await world.workload()
    async with world.manager() as manager:
        for number in range(200):
            await world.change(number)
            await asyncio.sleep(3)
        before = await world.record()
        await asyncio.sleep(600)

        assert len(world.patches()) <= 20
        exposition = manager.metrics.exposition().decode()
    assert await world.record() != before
    (note,) = await world.notes("ReloadThrottled")
    assert "reloaded 10 times within 5m" in note
    assert await world.notes("ReloadHeld") == []
    throttled = 'reloader_throttled_total{kind="Deployment",namespace="shop"} '
    assert throttled in exposition

    async with world.manager():  # nothing is left to do
        await asyncio.sleep(10)
        assert world.patches() == []


@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_manager_that_restarts_again_and_again_is_braked_as_one(
    world: World, is_killed: bool
) -> None:
    await world.workload()
    brake = BrakeOptions(limit=3, first=timedelta(minutes=1))
    options, reloads = ReloadOptions(storm_brake=brake), []
    for number in range(5):
        async with world.manager(options, is_killed=is_killed):
            await world.change(number)
            await asyncio.sleep(3)
            reloads.append(len(world.patches()))

    assert reloads == [1, 1, 1, 0, 0]
    assert await world.notes("ReloadThrottled")
    assert await world.notes("ReloadFail") == []


async def test_a_reload_whose_reasons_to_wait_alternate_is_told_once_of_each(
    world: World,
) -> None:
    await world.workload()
    window = Window("*/2 * * * *", timedelta(minutes=1))
    options = ReloadOptions(cooldown=timedelta(hours=1), windows=(window,))

    async with world.manager(options):
        await world.change("first")
        await asyncio.sleep(200)
        assert len(world.patches()) == 1
        for number in range(20):
            await world.change(number)
            await asyncio.sleep(60)

        await asyncio.sleep(1800)  # until what is the same has been counted up
        events = (await world.client.list(EVENT, "shop")).items
    held = [event for event in events if event["reason"] == "ReloadHeld"]
    assert sum(event.get("series", {}).get("count", 1) for event in held) == 2


async def test_a_storm_at_one_workload_delays_no_other(world: World) -> None:
    await world.create(ConfigMap.gvk, "calm", data={"k": "old"})
    await world.workload()
    calm = {"configmap.reloader.stakater.com/reload": "calm"}
    await world.workload("other", annotations=calm)
    async with world.manager():
        for number in range(15):
            await world.change(number)
            await asyncio.sleep(0.6)
        began = asyncio.get_running_loop().time()
        await world.patch(ConfigMap.gvk, "calm", {"data": {"k": "new"}})
        await asyncio.sleep(2)

        (at,) = [
            request.time
            for request in world.server.requests.of("patch", "deployments")
            if request.name == "other"
        ]
    assert at - began < 0.7


async def test_a_suspended_namespace_holds_changes_until_it_is_not(
    world: World,
) -> None:
    """A15."""
    await world.workload()
    await world.annotate_namespace("true")

    async with world.manager():
        for number in range(3):
            await world.change(number)
            await asyncio.sleep(2)
        assert world.patches() == []
        (note,) = await world.notes("ReloadHeld")
        assert "pause is taken away from namespace shop" in note

        await world.annotate_namespace(None)
        await asyncio.sleep(2)
        assert len(world.patches()) == 1

        await world.annotate_namespace("true")
        await world.change("while suspended")
        await asyncio.sleep(2)
        assert len(world.patches()) == 1


@pytest.mark.parametrize("selector", ["", "!nothing"])
async def test_a_suspended_namespace_stays_so_over_a_restart(
    world: World, selector: str
) -> None:
    options = ReloadOptions(namespace_selector=selector)
    await world.workload()
    async with world.manager(options):
        pass
    await world.change("while down")
    await world.annotate_namespace("true")
    # The list of Namespaces is the last to come.
    world.server.faults.on(verb="list", resource="namespaces").delay(2)

    async with world.manager(options):
        await asyncio.sleep(30)
        assert await world.markers() == set()
        (note,) = await world.notes("ReloadHeld")
        assert "pause is taken away from namespace shop" in note

        await world.annotate_namespace(None)
        await asyncio.sleep(2)
        assert await world.markers() == {"STAKATER_C_CONFIGMAP"}


async def test_who_may_not_read_namespaces_reloads_all_the_same_and_says_so_once(
    world: World,
) -> None:
    await world.workload()
    for verb in ("list", "watch"):
        world.server.faults.on(verb=verb, resource="namespaces", times=None).answer(
            403, reason="Forbidden"
        )

    with capture_logs() as logs:
        async with world.manager():
            await world.change("new")
            await asyncio.sleep(60)

    assert await world.markers() == {"STAKATER_C_CONFIGMAP"}
    left_out = [e for e in logs if e["event"] == "kind is left out"]
    assert [e["kind"] for e in left_out] == ["Namespace (v1)"]


async def test_where_namespaces_are_named_they_are_not_asked_for(world: World) -> None:
    await world.workload()

    async with world.manager(ReloadOptions(namespaces=("shop",))):
        await world.change("new")
        await asyncio.sleep(30)
        asked = [r for r in world.server.requests if r.resource == "namespaces"]

    assert asked == []
    assert await world.markers() == {"STAKATER_C_CONFIGMAP"}


async def test_namespaces_are_served_for_ever_and_nobody_asks_for_that_again(
    world: World,
) -> None:
    async with world.manager():
        await asyncio.sleep(60)
        asked = {request.path for request in world.server.requests}

    assert "/api/v1" not in asked
    assert any(path.startswith("/apis/") for path in asked), "others come and go"


async def test_a_change_waits_for_its_window_and_says_until_when(world: World) -> None:
    """A6."""
    window = Window("30 1 * * *", timedelta(hours=1), "Europe/Berlin")
    await world.workload()

    async with world.manager(ReloadOptions(windows=(window,))):
        for number in range(3):
            await world.change(number)
            await asyncio.sleep(60)
        (note,) = await world.notes("ReloadHeld")
        assert "waits until 2026-01-01 01:30 Europe/Berlin" in note
        await asyncio.sleep(3600)

        (at,) = world.patches()
    # 1:30 in Berlin is half an hour after midnight in London.
    assert at == pytest.approx(1800, abs=1)


async def test_what_waits_and_how_long_it_did_is_measured(world: World) -> None:
    await world.workload()
    pending = 'reloader_pending_reloads{reason="Cooldown"}'

    async with world.manager(ReloadOptions(cooldown=timedelta(seconds=45))) as manager:
        await world.change("first")
        await asyncio.sleep(2)
        await world.change("second")
        await asyncio.sleep(2)
        assert f"{pending} 1.0" in manager.metrics.exposition().decode()
        await asyncio.sleep(60)
        exposition = manager.metrics.exposition().decode()

    assert f"{pending} 0.0" in exposition
    series = "reloader_change_to_reload_seconds_bucket"
    for bound, count in {"0.1": 0, "1.0": 1, "30.0": 1, "60.0": 2}.items():
        line = f'{series}{{kind="Deployment",le="{bound}"}} {count}.0'
        assert line in exposition


async def test_many_workloads_of_one_source_reload_evenly(world: World) -> None:
    for number in range(30):
        await world.workload(f"web-{number}")

    async with world.manager(ReloadOptions(reloads_per_second=5)):
        await world.change("new")
        await asyncio.sleep(30)
        times = world.patches()

    assert len(times) == 30
    for start in times:
        assert sum(start <= time < start + 1 for time in times) <= 11
    assert times[-1] - times[0] == pytest.approx(5, abs=0.5)
