"""What ReloaderConfigs ask for, through all parts at once, on an API server.

Gates, rollouts, statuses and alerts are those of a manager; the wall clock moves with
the loop. There is no controller manager here: tests write the status of workloads.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from api.apps.v1 import Deployment
from api.batch.v1 import CronJob
from api.core.v1 import Secret
from api.reload.v1alpha1 import ReloaderConfig
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
from controller_runtime.testing.apiserver import ApiServer, Resource
from controller_runtime.testing.clock import LoopClock
from controllers.reload import setup
from controllers.reload.alerts.alert import EVENTS
from controllers.reload.braking import BrakeOptions
from controllers.reload.options import AlertFormat, AlertOptions, ReloadOptions
from controllers.reload.rollouts.restarts import RESTARTING
from controllers.reload.workloads import WorkloadKey

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
RESOURCE = Resource(gvk=ReloaderConfig.gvk, plural="reloaderconfigs")
START = datetime(2026, 1, 1, tzinfo=UTC)

LATE: Json = {
    "type": "Progressing",
    "status": "False",
    "reason": "ProgressDeadlineExceeded",
    "message": "ReplicaSet web-2 has timed out",
}


class Chat:
    """A receiver of alerts."""

    def __init__(self) -> None:
        self.told: list[Json] = []
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.json()
        also = body.pop("also")
        self.told += [body | {"to": request.path}, *also]
        return web.Response()

    def events(self) -> list[str]:
        return [body["event"] for body in self.told]


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    chat = Chat()
    runner = web.ServerRunner(web.Server(chat.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chat.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield chat
    await runner.cleanup()


class World:
    """An API server with a Secret, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        metadata = {"name": name, "namespace": "shop"}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def config(self, *targets: str, name: str = "x", **spec: object) -> None:
        """Create a config that watches the Secret for these Deployments."""
        pause = spec.pop("pausePeriod", None)
        rows = [{"kind": "Deployment", "name": target} for target in targets]
        if pause is not None:
            rows = [{**row, "pausePeriod": str(pause)} for row in rows]
        spec = {"watchedResources": {"secrets": ["s"]}, "targets": rows, **spec}
        await self.create(ReloaderConfig.gvk, name, spec=spec)

    async def deployment(self, name: str = "web") -> None:
        """Create one whose pods are there."""
        labels = {"app": name}
        container = {"name": "app", "image": "x"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        selector = {"matchLabels": labels}
        spec = {"replicas": 1, "selector": selector, "template": template}
        await self.create(Deployment.gvk, name, spec=spec)
        await self.roll_out(name)

    async def roll_out(
        self, name: str = "web", progress: Json | None = None, *, updated: int = 1
    ) -> None:
        """Write the status of a Deployment of which so many pods are new."""
        generation = (await self.read(name))["metadata"]["generation"]
        available = {"type": "Available", "status": "True"}
        reason = "NewReplicaSetAvailable" if updated else "ReplicaSetUpdated"
        usual = {"type": "Progressing", "status": "True", "reason": reason}
        status = {
            "observedGeneration": generation,
            "replicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
            "updatedReplicas": updated,
            "conditions": [available, progress or usual],
        }
        part = self.client.subresource(Deployment, "status")
        patch = merge_patch({"status": status})
        await part.patch(name, "shop", patch=patch, kind=Deployment)
        await settled()

    async def change(self, value: str) -> None:
        data = {"k": b64encode(value.encode()).decode()}
        patch = merge_patch({"data": data})
        await self.client.patch(Secret, "s", "shop", patch=patch)

    async def configure(self, name: str = "x", **spec: object) -> None:
        patch = merge_patch({"spec": spec})
        await self.client.patch(ReloaderConfig, name, "shop", patch=patch)

    async def read(self, name: str = "web") -> Json:
        return await self.client.get(Deployment.gvk, name, "shop")

    async def template(self) -> Json:
        """Return the pod template; what is empty is as if it were not there."""
        template: Json = (await self.read())["spec"]["template"]
        for part in (template["metadata"], *template["spec"]["containers"]):
            for field in ("annotations", "env"):
                if not part.get(field):
                    part.pop(field, None)
        return template

    async def marker(self, name: str = "web") -> str | None:
        """Return what stands for the content of the Secret in the pod template."""
        (container,) = (await self.read(name))["spec"]["template"]["spec"]["containers"]
        found = {one["name"]: one["value"] for one in container.get("env", [])}
        return found.get("STAKATER_S_SECRET")

    async def reloaded(self, *names: str) -> set[str]:
        return {name for name in names if await self.marker(name) is not None}

    async def status(self, name: str = "x") -> Json:
        found = await self.client.get(ReloaderConfig.gvk, name, "shop")
        status: Json = found.get("status", {})
        return status

    async def conditions(self) -> dict[str, str]:
        """Return `status reason` by type."""
        found = (await self.status()).get("conditions", [])
        return {c["type"]: f"{c['status']} {c['reason']}" for c in found}

    async def target(self) -> Json:
        (row,) = (await self.status())["targetStatus"]
        return dict(row)

    async def outcomes(self) -> list[str]:
        """Return what the history says came of reloads, the last first."""
        return [one["outcome"] for one in (await self.status())["history"]]

    async def notes(self, reason: str) -> list[str]:
        events = (await self.client.list(EVENT, "shop")).items
        return [str(e["note"]) for e in events if e["reason"] == reason]

    def patches(self) -> list[float]:
        """Return when Deployments were written to."""
        found = self.server.requests.of("patch", "deployments")
        return [request.time for request in found if not request.subresource]

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[Manager]:
        async with HttpTransport(self.server.config()) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            )
            manager = Manager(transport, options=addresses, clock=LoopClock(START))
            # The chat is on this machine.
            options.setdefault("alerts", AlertOptions(allow_loopback=True))
            self.preview = setup(manager, ReloadOptions(**options))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                await settled()
                self.server.requests.clear()
                yield manager
                manager.stop()


async def settled() -> None:
    """Let everything happen that will happen by itself within seconds."""
    await asyncio.sleep(10)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer(clock=LoopClock(START)) as server,
        HttpTransport(server.config()) as transport,
    ):
        server.register(RESOURCE)
        world = World(server, Client(transport, scheme=Scheme()))
        namespace = {"apiVersion": "v1", "kind": "Namespace"}
        await world.client.create({**namespace, "metadata": {"name": "shop"}})
        data = {"k": b64encode(b"old").decode()}
        await world.create(Secret.gvk, "s", data=data)
        yield world


# --- rollouts in the status --------------------------------------------------------


async def test_a_status_follows_a_rollout_to_its_end(world: World) -> None:
    await world.deployment()
    await world.config("web")

    async with world.manager():
        await world.change("new")
        await settled()
        begun, at_first = await world.target(), await world.conditions()
        await world.roll_out(updated=0)
        halfway = await world.target()
        await world.roll_out()

    assert (begun["rolloutState"], halfway["rolloutState"]) == (
        *("Pending", "Progressing"),
    )
    assert at_first["Progressing"] == "True Reconciling"
    assert (await world.target())["rolloutState"] == "Complete"
    assert (await world.conditions())["Progressing"] == "False ReloadSucceeded"
    assert await world.outcomes() == ["Complete"]
    (entry,) = (await world.status())["history"]
    assert entry["durationSeconds"] == pytest.approx(20, abs=1)


async def test_a_rollout_that_fails_is_told_until_it_is_complete(world: World) -> None:
    await world.deployment()
    await world.config("web")

    async with world.manager():
        await world.change("new")
        await settled()
        await world.roll_out("web", LATE, updated=0)
        failed, outcomes = await world.conditions(), await world.outcomes()
        state = (await world.target())["rolloutState"]
        await world.roll_out()

    assert failed["Progressing"] == "False ReloadFailed"
    assert failed["Degraded"] == "True ReloadFailed"
    assert failed["Available"] == "True ReloadSucceeded"
    assert (state, outcomes) == ("Failed", ["RolloutFailed"])
    assert (await world.conditions())["Degraded"] == "False Reconciled"
    assert await world.outcomes() == ["Complete"]


async def test_a_rollout_without_headway_has_failed_in_the_status_too(
    world: World,
) -> None:
    await world.deployment()
    await world.config("web")

    async with world.manager():
        await world.change("new")
        await settled()
        await world.roll_out(updated=0)
        await asyncio.sleep(700)  # after its own deadline, and a grace

    assert (await world.target())["rolloutState"] == "Failed"
    assert await world.outcomes() == ["RolloutFailed"]


async def test_the_end_of_what_another_process_began_is_in_the_status(
    world: World,
) -> None:
    await world.deployment()
    await world.config("web")
    async with world.manager():
        await world.change("new")
        await settled()
        await world.roll_out(updated=0)
        assert await world.outcomes() == ["Reloaded"]

    async with world.manager():
        await world.roll_out()

    assert await world.outcomes() == ["Complete"]


async def test_a_deployment_that_rests_is_paused_in_the_status(world: World) -> None:
    await world.deployment()
    await world.config("web")
    pause = {"deployment.reloader.stakater.com/pause-period": "10m"}
    patch = merge_patch({"metadata": {"annotations": pause}})
    await world.client.patch(Deployment, "web", "shop", patch=patch)

    async with world.manager():
        await world.change("new")
        await settled()
        await world.roll_out(updated=0)

    assert (await world.target())["rolloutState"] == "Paused"
    assert (await world.conditions())["Progressing"] == "False ReloadSucceeded"


# --- alerts ------------------------------------------------------------------------


async def test_rollouts_are_told_to_the_chat_of_all_and_that_of_the_config(
    world: World, chat: Chat
) -> None:
    hook = {"url": f"{chat.url}/config", "format": "json"}
    told = AlertOptions(
        url=f"{chat.url}/all",
        format=AlertFormat.JSON,
        events=frozenset(EVENTS),
        allow_loopback=True,
    )
    await world.deployment()
    await world.config("web", alerts={"customWebhook": hook})

    async with world.manager(alerts=told):
        await world.change("new")
        await settled()
        await world.roll_out("web", LATE, updated=0)
        await world.roll_out()

    for path in ("/all", "/config"):
        bodies = [body for body in chat.told if body["to"] == path]
        assert [body["event"] for body in bodies] == [
            *("reloaded", "rolloutFailed", "rolloutComplete")
        ]
        assert {body["sources"][0]["name"] for body in bodies} == {"s"}


async def test_the_end_of_what_another_process_began_is_told_to_its_config(
    world: World, chat: Chat
) -> None:
    hook = {"url": f"{chat.url}/config", "format": "json"}
    await world.deployment()
    alerts = {"customWebhook": hook}
    await world.config("web", alerts=alerts, reloadStrategy="annotations")
    async with world.manager():
        await world.change("new")
        await settled()
        await world.roll_out(updated=0)
    chat.told.clear()

    async with world.manager() as manager:
        await world.roll_out()
        shown = manager.metrics.exposition().decode()

    (body,) = chat.told
    assert (body["event"], body["sources"]) == ("rolloutComplete", [])
    assert body["strategy"] == "annotations"
    labels = 'kind="Deployment",outcome="complete"'
    assert f"reloader_rollout_duration_seconds_count{{{labels}}} 1.0" in shown


async def test_a_storm_is_told_once(world: World, chat: Chat) -> None:
    hook = {"url": chat.url, "format": "json"}
    await world.deployment()
    await world.config("web", alerts={"customWebhook": hook})
    brake = BrakeOptions(limit=2, first=timedelta(minutes=1))

    async with world.manager(storm_brake=brake):
        for value in "abcd":
            await world.change(value)
            await settled()

    assert chat.events() == ["reloaded", "reloaded", "throttled"]


# --- times -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [{"pausePeriod": "1m"}, {"minInterval": "1m"}], ids=str
)
async def test_a_second_reload_waits_for_the_period_of_the_config(
    world: World, spec: Json
) -> None:
    """Scenario 13."""
    await world.deployment()
    await world.config("web", **spec)

    async with world.manager():
        await world.change("1")
        await settled()
        first = await world.marker()
        await world.change("2")
        await settled()
        held, row = await world.status(), await world.target()
        (began,) = world.patches()
        assert await world.marker() == first
        await asyncio.sleep(120)
        _, again = world.patches()

    assert again - began == pytest.approx(60, abs=1.5)
    (pending,) = held["pending"]
    assert pending["reason"] == "Cooldown"
    assert held["reloadCount"] == 1
    until = datetime.fromisoformat(row["pausedUntil"])
    assert until == datetime.fromisoformat(row["lastReloadTime"]) + timedelta(minutes=1)
    status = await world.status()
    assert status["reloadCount"] == 2
    assert "pending" not in status


async def test_a_closed_window_of_a_config_holds_until_it_opens(world: World) -> None:
    await world.deployment()
    window = {"schedule": "5 0 * * *", "duration": "1h"}
    await world.config("web", window=window)

    async with world.manager():
        await world.change("new")
        await settled()
        (pending,) = (await world.status())["pending"]
        assert await world.marker() is None
        await asyncio.sleep(300)

    assert pending["reason"] == "Window"
    assert pending["until"] == "2026-01-01T00:05:00Z"
    assert await world.marker() is not None


async def test_what_one_of_two_configs_suspends_the_other_reloads(world: World) -> None:
    await world.deployment("web")
    await world.deployment("api")
    await world.config("web", "api", name="x", suspend=True)
    await world.config("web", name="y")

    async with world.manager():
        await world.change("new")
        await settled()
        assert await world.reloaded("web", "api") == {"web"}
        (pending,) = (await world.status())["pending"]
        assert "pending" not in await world.status("y")
        await world.configure(suspend=False)
        await settled()

    assert pending["workload"] == "shop/Deployment/api"
    assert await world.reloaded("web", "api") == {"web", "api"}


# --- others ------------------------------------------------------------------------


async def test_no_more_targets_of_a_config_roll_out_at_once_than_it_says(
    world: World,
) -> None:
    names = ("a", "b", "c")
    for name in (*names, "other"):
        await world.deployment(name)
    await world.config(*names, maxConcurrent=1)
    await world.config("other", name="y")

    async with world.manager():
        await world.change("new")
        await settled()
        done = await world.reloaded(*names)
        assert len(done) == 1
        assert await world.reloaded("other") == {"other"}
        held = await world.status()
        for number in (2, 3):
            for name in done:
                await world.roll_out(name)
            done = await world.reloaded(*names)
            assert len(done) == number

    assert held["pendingCount"] == 2
    assert {one["reason"] for one in held["pending"]} == {"Budget"}


async def test_targets_of_a_config_wait_for_what_it_depends_on(world: World) -> None:
    await world.deployment("web")
    await world.deployment("db")
    first = {"kind": "Deployment", "name": "db"}
    await world.config("web", dependsOn=[first])
    await world.config("db", name="y")

    async with world.manager():
        await world.change("new")
        await settled()
        assert await world.reloaded("web", "db") == {"db"}
        (pending,) = (await world.status())["pending"]
        await world.roll_out("db")
        assert await world.reloaded("web", "db") == {"web", "db"}

    assert pending["reason"] == "Order"


# --- canaries ----------------------------------------------------------------------


async def with_a_canary(world: World, **spec: Any) -> None:
    """Create `web` and `api`, of which `api` goes first, and a config for both."""
    await world.deployment("web")
    await world.deployment("api")
    first = {"kind": "Deployment", "name": "api", "canary": True}
    rest = {"kind": "Deployment", "name": "web"}
    await world.config(targets=[rest, first], **spec)


async def test_targets_of_a_config_wait_for_its_canary(world: World) -> None:
    """A10."""
    await with_a_canary(world)

    async with world.manager():
        await world.change("new")
        await settled()
        assert await world.reloaded("web", "api") == {"api"}
        (pending,) = (await world.status())["pending"]
        previewed = world.preview.of_workload(WorkloadKey("Deployment", "shop", "web"))
        await world.roll_out("api")
        assert await world.reloaded("web", "api") == {"web", "api"}
        await world.roll_out("web")

    assert (pending["workload"], pending["reason"]) == (
        *("shop/Deployment/web", "Canary"),
    )
    assert (previewed["wouldReload"], previewed["waitsFor"]) == (True, "Canary")
    assert previewed["waits"] == "for its canary Deployment shop/api, which rolls out"
    assert (await world.status())["reloadCount"] == 1
    assert (await world.conditions())["Progressing"] == "False ReloadSucceeded"


async def test_a_canary_gives_a_secret_its_time_and_the_others_wait_for_both(
    world: World,
) -> None:
    made = {"metadata": {"annotations": {"cert-manager.io/certificate-name": "s"}}}
    await world.client.patch(Secret, "s", "shop", patch=merge_patch(made))
    await with_a_canary(world)
    empty = merge_patch({"data": None})

    async with world.manager():
        await world.client.patch(Secret, "s", "shop", patch=empty)
        await settled()
        waiting = (await world.status())["pending"]
        assert [one["reason"] for one in waiting] == ["Interim", "Interim"]

    async with world.manager():  # the time begins anew
        await settled()
        assert await world.reloaded("web", "api") == set()
        await asyncio.sleep(25)
        assert await world.reloaded("web", "api") == {"api"}
        (pending,) = (await world.status())["pending"]
        assert pending["reason"] == "Canary"
        await world.change("new")
        await settled()
        await world.roll_out("api")
        assert await world.reloaded("web", "api") == {"web", "api"}
        await world.roll_out("web")

    assert (await world.status())["reloadCount"] == 2
    rows = (await world.status())["targetStatus"]
    assert {row["name"]: row["reloadCount"] for row in rows} == {"api": 2, "web": 1}


@pytest.mark.parametrize("is_suspended", [True, False])
async def test_a_canary_that_may_not_go_yet_holds_the_others_in_a_dry_run_too(
    world: World, *, is_suspended: bool
) -> None:
    await with_a_canary(world)
    pause = "true" if is_suspended else None
    note = {"metadata": {"annotations": {"reloader.stakater.com/pause": pause}}}
    await world.client.patch(Deployment, "api", "shop", patch=merge_patch(note))

    async with world.manager(dry_run=True):
        await world.change("new")
        await settled()
        await world.change("newer")
        await settled()
        status = await world.status()
        previewed = world.preview.of_workload(WorkloadKey("Deployment", "shop", "web"))

    assert world.patches() == []
    reasons = [one["reason"] for one in status.get("pending", [])]
    assert reasons == (["Suspended", "Canary"] if is_suspended else [])
    assert len(status.get("wouldReload", [])) == (0 if is_suspended else 2)
    assert previewed.get("waitsFor") == ("Canary" if is_suspended else None)


async def test_what_appears_while_its_canary_is_tried_is_not_lost_with_the_process(
    world: World,
) -> None:
    await world.client.delete(Secret.gvk, "s", "shop")
    await with_a_canary(world, reloadOnCreate=True)

    async with world.manager():
        await world.create(Secret.gvk, "s", data={"k": "bmV3"})
        await settled()
        assert await world.reloaded("web", "api") == {"api"}

    async with world.manager():
        await settled()
        assert await world.reloaded("web", "api") == {"api"}
        await world.roll_out("api")
        assert await world.reloaded("web", "api") == {"web", "api"}


async def test_a_canary_that_fails_with_another_change_too_is_told_of_again(
    world: World,
) -> None:
    await with_a_canary(world)

    with capture_logs() as logs:
        async with world.manager():
            for value in ("bad", "worse"):
                await world.change(value)
                await settled()
                await world.roll_out("api", LATE, updated=0)

    told = [log for log in logs if "which has failed" in log.get("why", "")]
    assert [log["name"] for log in told] == ["web", "web"]
    assert {log["log_level"] for log in told} == {"warning"}


async def test_nobody_says_when_a_canary_that_somebody_rolls_out_is_through(
    world: World,
) -> None:
    await with_a_canary(world)
    suspended = {"metadata": {"annotations": {"reloader.stakater.com/pause": "true"}}}
    await world.client.patch(Deployment, "web", "shop", patch=merge_patch(suspended))

    async with world.manager():
        await world.change("new")
        await settled()
        await world.roll_out("api")
        container = {"name": "app", "image": "y"}
        image = {"spec": {"template": {"spec": {"containers": [container]}}}}
        await world.client.patch(Deployment, "api", "shop", patch=merge_patch(image))
        resumed = {"metadata": {"annotations": {"reloader.stakater.com/pause": None}}}
        await world.client.patch(Deployment, "web", "shop", patch=merge_patch(resumed))
        await settled()
        (pending,) = (await world.status())["pending"]
        await world.roll_out("api")
        await asyncio.sleep(30)
        assert await world.marker("web") is not None

    assert pending["reason"] == "Canary"
    assert "until" not in pending


@pytest.mark.parametrize("policy", ["None", "Rollback"])
async def test_a_canary_that_fails_holds_the_others_and_the_conditions_say_so(
    world: World, policy: str
) -> None:
    await with_a_canary(world, onFailure=policy)

    async with world.manager():
        await world.change("bad")
        await settled()
        await world.roll_out("api", LATE, updated=0)
        if policy == "Rollback":
            assert await world.marker("api") is None
            await world.roll_out("api")
        await asyncio.sleep(650)  # longer than any rollout may stand still
        assert await world.marker("web") is None
        failed, status = await world.conditions(), await world.status()

    (pending,) = status["pending"]
    assert pending["reason"] == "CanaryFailed"
    assert failed["Degraded"] == "True ReloadFailed"
    assert failed["Progressing"] == "False ReloadFailed"
    assert len(await world.notes("CanaryFailed")) == 1

    async with world.manager():  # another, which reads it all from objects
        await settled()
        assert await world.marker("web") is None
        await world.change("good")
        await settled()
        assert await world.reloaded("web", "api") == {"api"}
        await world.roll_out("api")
        assert await world.reloaded("web", "api") == {"web", "api"}
        await world.roll_out("web")
        assert (await world.conditions())["Degraded"] == "False Reconciled"


async def test_a_canary_that_somebody_undoes_holds_the_others_as_before(
    world: World,
) -> None:
    await with_a_canary(world)

    async with world.manager():
        before = await world.read("api")
        await world.change("bad")
        await settled()
        await world.roll_out("api", LATE, updated=0)
        # As `kubectl rollout undo` does it.
        now = await world.read("api")
        now["spec"] = before["spec"]
        now["metadata"]["annotations"] = before["metadata"]["annotations"]
        await world.client.update(now)
        await settled()
        await world.roll_out("api")
        assert (await world.conditions())["Degraded"] == "True ReloadFailed"

    async with world.manager():
        await settled()
        assert await world.reloaded("web", "api") == set()
        await world.change("good")
        await settled()
        await world.roll_out("api")
        assert await world.reloaded("web", "api") == {"web", "api"}


async def test_a_config_without_its_canary_lets_the_others_go(world: World) -> None:
    await with_a_canary(world)

    async with world.manager():
        await world.change("bad")
        await settled()
        await world.roll_out("api", LATE, updated=0)
        assert await world.marker("web") is None
        targets = [{"kind": "Deployment", "name": name} for name in ("web", "api")]
        await world.configure(targets=targets)
        await settled()
        assert await world.marker("web") is not None


async def test_a_config_that_wants_restarts_has_pods_evicted(world: World) -> None:
    await world.deployment()
    await world.config("web", rolloutStrategy="restart")
    before = (await world.read())["spec"]

    async with world.manager():
        with capture_logs():  # there is no ReplicaSet that would bring the pods
            await world.change("new")
            await asyncio.sleep(1)
            begun = (await world.read())["metadata"]["annotations"].get(RESTARTING)
            await settled()

    assert begun is not None
    assert (await world.read())["spec"] == before


async def test_a_canary_whose_pods_do_not_come_back_has_failed(world: World) -> None:
    await with_a_canary(world, rolloutStrategy="restart")
    reasons: list[str] = []

    with capture_logs():  # there is no ReplicaSet that would bring the pods
        async with world.manager():
            await world.change("new")
            for seconds in (10, 700):
                await asyncio.sleep(seconds)
                (pending,) = (await world.status())["pending"]
                reasons.append(pending["reason"])

    assert reasons == ["Canary", "CanaryFailed"]
    assert await world.notes("CanaryFailed")


async def test_a_preview_knows_the_record_that_may_not_be_written(
    world: World,
) -> None:
    source = {"secretRef": {"name": "s"}}
    container = {"name": "app", "image": "x", "envFrom": [source]}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": pod}}}
    head = {"name": "web", "annotations": {"reloader.stakater.com/auto": "true"}}
    await world.create(
        CronJob.gvk, "web", metadata=head | {"namespace": "shop"}, spec=spec
    )
    refusing = world.server.faults.on(verb="patch", resource="cronjobs", times=None)
    refusing.answer(403, reason="Forbidden")

    with capture_logs():
        async with world.manager():
            await world.change("new")
            await settled()
            key = WorkloadKey("CronJob", "shop", "web")
            (said,) = world.preview.of_workload(key)["sources"]

    assert said["state"] == "current"


# --- rollback ----------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["env-vars", "annotations"])
async def test_a_reload_that_does_not_roll_out_is_taken_back_once(
    world: World, strategy: str
) -> None:
    """A9."""
    await world.deployment()
    await world.config("web", onFailure="Rollback", reloadStrategy=strategy)

    async with world.manager():
        before = await world.template()
        await world.change("bad")
        await settled()
        assert await world.template() != before
        await world.roll_out("web", LATE, updated=0)
        assert await world.template() == before
        assert (await world.target())["rolloutState"] == "Failed"
        written = len(world.patches())
        await world.roll_out()
        await asyncio.sleep(3600)
        assert len(world.patches()) == written, "it is tried again"
        undone = await world.status(), await world.conditions()
        await world.change("good")
        await settled()
        assert await world.template() != before

    (note,) = await world.notes("ReloadRolledBack")
    assert "does not come back" in note
    assert len(await world.notes("RolloutFailed")) == 1
    assert await world.notes("RolloutComplete") == []
    status, conditions = undone
    assert status["targetStatus"][0]["rolloutState"] == "Complete"
    assert [entry["outcome"] for entry in status["history"]] == ["RolloutFailed"]
    assert conditions["Degraded"] == "False Reconciled"


async def test_two_reloads_that_do_not_roll_out_are_taken_back_together(
    world: World,
) -> None:
    await world.deployment()
    await world.config("web", onFailure="Rollback")

    async with world.manager():
        before = await world.template()
        await world.change("1")
        await settled()
        await world.roll_out(updated=0)
        await world.change("2")
        await settled()
        await world.roll_out("web", LATE, updated=0)

    assert await world.template() == before


async def test_only_the_last_reload_is_taken_back_if_the_first_rolled_out(
    world: World,
) -> None:
    await world.deployment()
    await world.config("web", onFailure="Rollback")

    async with world.manager():
        await world.change("1")
        await settled()
        await world.roll_out()
        good = await world.template()
        await world.change("2")
        await settled()
        await world.roll_out("web", LATE, updated=0)

    assert await world.template() == good
    assert await world.marker() is not None


async def test_what_nobody_wants_back_stays(world: World) -> None:
    await world.deployment()
    await world.config("web")

    async with world.manager():
        await world.change("bad")
        await settled()
        await world.roll_out("web", LATE, updated=0)

    assert await world.marker() is not None
    assert await world.notes("ReloadRolledBack") == []


async def test_a_rollback_that_is_refused_is_tried_again(world: World) -> None:
    await world.deployment()
    await world.config("web", onFailure="Rollback")

    async with world.manager():
        with capture_logs():
            await world.change("bad")
            await settled()
            await world.roll_out(updated=0)
            refusal = world.server.faults.on(
                verb="patch", resource="deployments"
            ).answer(403, reason="Forbidden")
            await asyncio.sleep(700)  # after its own deadline, and a grace

    assert refusal.struck == 1
    assert await world.marker() is None
    assert len(await world.notes("UpkeepFail")) == 1


async def test_a_template_that_somebody_has_changed_since_is_left_alone(
    world: World,
) -> None:
    await world.deployment()
    await world.config("web", onFailure="Rollback")

    async with world.manager():
        await world.change("bad")
        await settled()
        # As the controller of Deployments would, of a template after that of ours.
        later = {"deployment.kubernetes.io/revision": "7"}
        patch = merge_patch({"metadata": {"annotations": later}})
        await world.client.patch(Deployment, "web", "shop", patch=patch)
        await world.roll_out("web", LATE, updated=0)

    assert await world.marker() is not None
