"""Jobs that are started anew by processes that are killed meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from api.apps.v1 import ControllerRevision
from api.batch.v1 import Job
from api.core.v1 import ConfigMap
from controller_runtime import (
    Client,
    ConflictError,
    GroupVersionKind,
    HttpTransport,
    Json,
    KubeObject,
    Manager,
    ManagerOptions,
    NamespacedName,
    RawObject,
    Scheme,
    json_patch,
    merge_patch,
)
from controller_runtime.meta import read_meta
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload import setup
from controllers.reload.braking import BrakeOptions
from controllers.reload.options import ReloadOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.sources.digest import config_map_digest
from controllers.reload.workloads import read_workload
from controllers.reload.writing.batch import started_anew
from controllers.reload.writing.ledger import LABEL, Ledger, Owed

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
AUTO = {"reloader.stakater.com/auto": "true"}
NAME = "STAKATER_C_CONFIGMAP"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

TRY = ("create", "jobs")
NOTE = ("create", "controllerrevisions")
DELETE = ("delete", "jobs")
CREATE = ("create", "jobs")
STRIKE = ("delete", "controllerrevisions")


class World:
    """An API server with a ConfigMap `c` and a Job `x` that uses it."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(
        self, kind: type[KubeObject], name: str, annotations: Json, **fields: object
    ) -> None:
        metadata = {"name": name, "namespace": "shop", "annotations": annotations}
        head = {"apiVersion": kind.gvk.api_version, "kind": kind.gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def change(self, value: str) -> None:
        patch = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)

    async def all(self, kind: type[KubeObject]) -> list[Json]:
        return list((await self.client.list(kind.gvk, "shop")).items)

    async def job(self) -> Json:
        return await self.client.get(Job.gvk, "x", "shop")

    async def reloads(self) -> int:
        return len(await self.notes("Reloaded"))

    async def notes(self, reason: str) -> list[str]:
        events = (await self.client.list(EVENT, "shop")).items
        return [event["note"] for event in events if event["reason"] == reason]

    @asynccontextmanager
    async def manager(
        self, *, seconds: float = 30, **options: object
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run a manager, which may be killed by cancelling it, since so long."""
        async with HttpTransport(self.server.config()) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            )
            manager = Manager(transport, options=addresses)
            setup(manager, ReloadOptions(**options))  # type: ignore[arg-type]  # any option
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(manager.start())
                await asyncio.sleep(seconds)
                yield running
                manager.stop()

    async def killed_at(self, verb: str, resource: str) -> None:
        """Run a manager until it asks for this, and kill it before that is done."""
        async with self.manager() as running:
            target = self.server.faults.on(
                verb=verb, resource=resource, times=None, dry_run=False
            )
            hanging = target.hang()
            await self.change("new")
            await asyncio.sleep(5)
            assert hanging.struck == 1
            running.cancel()
        hanging.remove()


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep tracebacks from being drawn, which takes a second each."""
    with capture_logs():
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        await world.create(ConfigMap, "c", {}, data={"k": "old"})
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "x", "envFrom": [source]}
        pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        await world.create(Job, "x", AUTO, spec={"template": pod})
        yield world


def variables(job: Json) -> set[str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {one["name"] for one in container.get("env", [])}


async def test_a_job_is_noted_before_it_is_deleted_until_it_is_there_again(
    world: World,
) -> None:
    async with world.manager():
        world.server.requests.clear()
        await world.change("new")
        await asyncio.sleep(5)
        kinds = {"jobs", "controllerrevisions"}
        asked = [
            (r.verb, r.resource) for r in world.server.requests if r.resource in kinds
        ]

    assert asked == [TRY, NOTE, DELETE, CREATE, STRIKE]
    assert await world.all(ControllerRevision) == []


async def test_a_note_that_cannot_be_struck_out_does_not_stay_for_the_next_start(
    world: World,
) -> None:
    verb, resource = STRIKE
    target = world.server.faults.on(verb=verb, resource=resource, times=3)
    away = target.answer(500, reason="InternalError")

    async with world.manager():
        await world.change("new")
        await asyncio.sleep(60)

    assert away.struck == 3
    assert await world.all(ControllerRevision) == []


@pytest.mark.parametrize("request_", [NOTE, DELETE, CREATE, STRIKE], ids="-".join)
async def test_a_job_survives_a_kill_at_any_request(
    world: World, request_: tuple[str, str]
) -> None:
    before = await world.job()
    await world.killed_at(*request_)
    was_lost = await world.all(Job) == []

    async with world.manager():
        pass
    after = await world.job()
    async with world.manager():
        pass

    assert was_lost is (request_ == CREATE)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert variables(after) == {NAME}
    assert await world.job() == after
    assert await world.all(ControllerRevision) == []
    if was_lost:
        assert await world.reloads() == 1


async def test_a_job_that_is_slow_to_end_survives_a_kill(world: World) -> None:
    finalizers: Json = {"metadata": {"finalizers": ["example.com/slow"]}}
    patch = merge_patch(finalizers)
    await world.client.patch(Job.gvk, "x", "shop", patch=patch)
    await world.killed_at(*CREATE)

    async with world.manager():
        assert "deletionTimestamp" in (await world.job())["metadata"]
        gone = json_patch([{"op": "remove", "path": "/metadata/finalizers"}])
        await world.client.patch(Job.gvk, "x", "shop", patch=gone)
        await asyncio.sleep(30)

    assert variables(await world.job()) == {NAME}
    assert await world.all(ControllerRevision) == []


async def test_jobs_that_are_slow_to_end_are_braked_as_others(world: World) -> None:
    brake = BrakeOptions(limit=2, first=timedelta(minutes=4))

    async with world.manager(storm_brake=brake):
        for value in "abc":
            slow = world.server.faults.on(verb="create", resource="jobs", dry_run=False)
            slow.answer(409, reason="AlreadyExists")
            await world.change(value)
            await asyncio.sleep(10)
        assert await world.reloads() == 2
        await asyncio.sleep(300)

    assert await world.reloads() == 3


async def test_a_job_that_ended_before_its_deletion_is_not_run_again(
    world: World,
) -> None:
    await world.killed_at(*DELETE)
    status = {"conditions": [{"type": "Complete", "status": "True"}]}
    await world.client.subresource(Job, "status").patch(
        "x", "shop", patch=merge_patch({"status": status}), kind=Job.gvk
    )
    before = await world.job()

    async with world.manager():
        pass

    assert (await world.job())["metadata"]["uid"] == before["metadata"]["uid"]
    assert await world.all(ControllerRevision) == []


@pytest.mark.parametrize(
    ("value", "verb"),
    [
        pytest.param("old", "list", id="by the note, and there is no change any more"),
        pytest.param("new", "create", id="by the change, which is noted already"),
    ],
)
async def test_a_deletion_that_arrives_after_its_process_died_loses_no_job(
    world: World, value: str, verb: str
) -> None:
    await world.killed_at(*DELETE)
    await world.change(value)
    world.server.faults.on(verb="watch", resource="jobs", times=None).lag(20)
    notes = world.server.faults.on(verb=verb, resource="controllerrevisions")
    late = notes.delay(5)
    if verb == "create":
        unread = world.server.faults.on(verb="list", resource="controllerrevisions")
        unread.answer(403, reason="Forbidden")

    async with world.manager(seconds=1):
        assert late.struck == 1
        await world.client.delete(Job, "x", "shop", propagation_policy="Background")
        await asyncio.sleep(60)

    assert (await world.job())["spec"]["template"]
    assert await world.all(ControllerRevision) == []


async def test_a_job_that_would_not_be_taken_is_not_deleted(world: World) -> None:
    target = world.server.faults.on(verb="create", resource="jobs", times=None)

    async with world.manager():
        before = await world.job()
        refusal = target.answer(422, reason="Invalid", message="no image of x")
        world.server.requests.clear()
        await world.change("new")
        await asyncio.sleep(60)
        assert await world.job() == before
        assert world.server.requests.of(*NOTE) == []
        assert "no image of x" in (await world.notes("ReloadFail"))[0]
        refusal.remove()
        await asyncio.sleep(120)

    assert variables(await world.job()) == {NAME}
    assert await world.reloads() == 1


async def test_a_webhook_that_knows_no_dry_run_keeps_no_job_from_its_reload(
    world: World,
) -> None:
    message = 'admission webhook "a.b.c" does not support dry run'
    target = world.server.faults.on(verb="create", resource="jobs", dry_run=True)

    async with world.manager():
        target.answer(400, reason="BadRequest", message=message)
        await world.change("new")
        await asyncio.sleep(5)

    assert variables(await world.job()) == {NAME}


async def test_a_job_whose_new_start_is_refused_is_told_of_and_tried_until_it_is_not(
    world: World,
) -> None:
    target = world.server.faults.on(
        verb="create", resource="jobs", times=None, dry_run=False
    )
    async with world.manager():
        refusal = target.answer(403, reason="Forbidden", message="exceeded quota")
        await world.change("new")
        await asyncio.sleep(5)
        told = await world.notes("ReloadFail")
        await asyncio.sleep(3600)
    assert "was deleted to be created anew" in told[0]
    assert "exceeded quota" in told[0]
    assert 12 <= refusal.struck <= 24
    assert len(await world.all(ControllerRevision)) == 1

    async with world.manager():
        assert len(await world.notes("ReloadFail")) > len(told)
        refusal.remove()
        await asyncio.sleep(300)

    assert variables(await world.job()) == {NAME}
    assert await world.all(ControllerRevision) == []
    assert await world.reloads() == 1


async def test_a_job_of_ones_own_in_place_of_one_that_is_refused_ends_the_attempts(
    world: World,
) -> None:
    target = world.server.faults.on(
        verb="create", resource="jobs", times=None, dry_run=False
    )
    async with world.manager():
        refusal = target.answer(403, reason="Forbidden")
        await world.change("new")
        await asyncio.sleep(5)
        refusal.remove()
        container = {"name": "app", "image": "mine"}
        pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        await world.create(Job, "x", {}, spec={"template": pod})
        mine = await world.job()
        await asyncio.sleep(600)

    assert await world.job() == mine
    assert await world.all(ControllerRevision) == []


async def test_another_job_that_took_the_name_meanwhile_stays(world: World) -> None:
    await world.killed_at(*CREATE)
    pod = {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}
    }
    await world.create(Job, "x", {}, spec={"template": pod})
    other = await world.job()

    async with world.manager():
        pass

    assert await world.job() == other
    assert await world.all(ControllerRevision) == []


async def test_without_the_right_to_notes_jobs_reload_and_a_warning_says_so(
    world: World,
) -> None:
    forbidden = world.server.faults.on(resource="controllerrevisions", times=None)
    forbidden.answer(403, reason="Forbidden")

    with capture_logs() as logs:
        async with world.manager():
            for value in ("1", "2"):
                await world.change(value)
                await asyncio.sleep(5)

    warnings = [e["event"] for e in logs if e["log_level"] == "warning"]
    assert warnings == [
        "Jobs of before a crash are not found",
        "Jobs are started anew without a note: a crash may lose one",
    ]
    assert await world.reloads() == 2


async def test_no_job_is_deleted_without_its_note(world: World) -> None:
    before = await world.job()

    async with world.manager():
        full = world.server.faults.on(verb="create", resource="controllerrevisions")
        full.answer(500, reason="InternalError")
        world.server.requests.clear()
        await world.change("new")
        await asyncio.sleep(0.5)
        assert (await world.job())["metadata"]["uid"] == before["metadata"]["uid"]
        await asyncio.sleep(10)

    assert variables(await world.job()) == {NAME}


async def test_notes_are_asked_for_until_there_is_an_answer(world: World) -> None:
    await world.killed_at(*CREATE)
    away = world.server.faults.on(verb="list", resource="controllerrevisions", times=3)
    away.answer(503, reason="ServiceUnavailable")

    async with world.manager():
        pass

    assert variables(await world.job()) == {NAME}


def forged(**changes: object) -> Json:
    """Make data of a note: a Job `y` of the namespace `shop`, but for changes."""
    container = {"name": "app", "image": "x"}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "y", "namespace": "shop"},
        "spec": {"template": pod},
    }
    return {"uid": "u", "job": job | changes}


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"uid": "u", "job": {"spec": 7}},
        forged(metadata={"name": "y", "namespace": "kube-system"}),
        forged(metadata={"name": "y"}),
        forged(metadata={"name": ["y"], "namespace": "shop"}),
        forged(apiVersion="apps/v1", kind="Deployment"),
    ],
)
async def test_a_note_that_cannot_be_read_is_left_and_keeps_nobody_from_work(
    world: World, data: Json | None
) -> None:
    metadata = {"name": "odd", "namespace": "shop", "labels": {LABEL: "Job"}}
    head = {"apiVersion": "apps/v1", "kind": "ControllerRevision"}
    await world.client.create(
        {**head, "metadata": metadata, "revision": 1, "data": data}
    )

    with capture_logs() as logs:
        async with world.manager():
            await world.change("new")
            await asyncio.sleep(5)

    assert variables(await world.job()) == {NAME}
    assert [e["note"] for e in logs if e["event"] == "note cannot be read"] == ["odd"]
    jobs = (await world.client.list(Job.gvk)).items
    assert [job["metadata"]["name"] for job in jobs] == ["x"]


async def test_a_note_speaks_to_no_config_of_another_namespace() -> None:
    marker = Marker(
        *(SourceKey(SourceKind.CONFIG_MAP, "shop", "c"), "app", NAME, "v", "h"),
        configs=(NamespacedName("shop", "a"), NamespacedName("billing", "b")),
    )
    data = {**forged(), "plan": msgspec.to_builtins(Plan({}, (marker,)))}
    metadata = {"name": "n", "namespace": "shop", "labels": {LABEL: "Job"}}
    head = {"apiVersion": "apps/v1", "kind": "ControllerRevision"}
    note = {**head, "metadata": metadata, "revision": 1, "data": data}
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        client = Client(transport, scheme=Scheme())
        await client.create(note)

        (owed,) = await Ledger(client, by="us").recall(["shop"])

    assert owed.plan.configs == (NamespacedName("shop", "a"),)


async def test_a_note_whose_reason_is_not_understood_still_brings_back_the_job(
    world: World,
) -> None:
    await world.killed_at(*CREATE)
    (note,) = await world.all(ControllerRevision)
    note["data"]["plan"] = {"of": "another version"}
    await world.client.delete(ControllerRevision, note["metadata"]["name"], "shop")
    del note["metadata"]["resourceVersion"], note["metadata"]["uid"]
    await world.client.create(json.loads(json.dumps(note)))

    async with world.manager():
        pass

    assert variables(await world.job()) == {NAME}
    assert await world.reloads() == 0
    assert await world.all(ControllerRevision) == []


async def noted(world: World, value: str = "new") -> Owed:
    """Note that the Job is started anew, as another process would."""
    raw = json.dumps(await world.job()).encode()
    workload = read_workload("Job", RawObject(read_meta(raw), raw))
    digest = config_map_digest({"k": value}, {})
    key = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")
    marker = Marker(key, "app", NAME, digest.marker, digest.marker)
    plan = Plan({"cm/c": digest.recorded}, (marker,), change="0123456789")
    ledger = Ledger(world.client, by=f"another, for {value}")
    owed = ledger.owe(workload, plan, started_anew(workload, plan, now=NOW))
    await ledger.note(owed)
    return owed


async def deleted(world: World) -> None:
    await world.client.delete(Job, "x", "shop", propagation_policy="Background")


async def test_a_job_that_a_former_leader_drops_late_is_brought_back(
    world: World,
) -> None:
    async with world.manager():
        await noted(world, "old")
        await deleted(world)
        await asyncio.sleep(120)

    assert variables(await world.job()) == {NAME}
    assert await world.all(ControllerRevision) == []
    assert await world.reloads() == 1


async def test_a_cache_that_lags_takes_no_older_job_for_what_is_owed(
    world: World,
) -> None:
    async with world.manager():
        pass
    world.server.faults.on(verb="watch", resource="jobs", times=None).lag(600)
    listed = world.server.faults.on(verb="list", resource="controllerrevisions")
    late = listed.delay(5)

    async with world.manager(seconds=1):
        assert late.struck == 1
        before = await world.job()
        await deleted(world)
        del before["metadata"]["uid"], before["metadata"]["resourceVersion"]
        await world.client.create(before)
        await noted(world)
        await deleted(world)
        await asyncio.sleep(30)
        assert variables(await world.job()) == {NAME}

    assert await world.all(ControllerRevision) == []


async def test_a_deletion_that_is_still_on_its_way_is_refused_when_its_note_goes(
    world: World,
) -> None:
    await world.killed_at(*DELETE)
    before = (await world.job())["metadata"]
    await world.change("old")

    async with world.manager():
        assert await world.all(ControllerRevision) == []
        with pytest.raises(ConflictError):
            await world.client.delete(
                *(Job, "x", "shop"),
                uid=before["uid"],
                resource_version=before["resourceVersion"],
            )

    assert (await world.job())["metadata"]["uid"] == before["uid"]


async def test_a_job_is_kept_by_its_note_when_two_lead_at_once_and_both_die(
    world: World,
) -> None:
    async with world.manager() as one, world.manager() as other:
        refused = world.server.faults.on(verb="delete", resource="jobs").delay(3)
        target = world.server.faults.on(
            verb="create", resource="jobs", times=None, dry_run=False
        )
        hanging = target.hang()
        await world.change("new")
        await asyncio.sleep(10)
        assert refused.struck == 1
        assert await world.all(Job) == []
        one.cancel()
        other.cancel()
    hanging.remove()

    async with world.manager():
        pass

    assert variables(await world.job()) == {NAME}
    assert await world.all(ControllerRevision) == []


async def test_two_that_lead_at_once_start_a_job_anew_once_for_a_change(
    world: World,
) -> None:
    seen: set[str] = set()

    async def follow() -> None:
        async with world.client.watch(Job.gvk, "shop") as events:
            async for event in events:
                if event.object is not None:
                    seen.add(event.object["metadata"]["uid"])

    async with world.manager(), world.manager(), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        for number, value in enumerate("abcdef"):
            fault = world.server.faults.on(verb="delete", resource="jobs")
            fault.delay(number / 100)
            await world.change(value)
            await asyncio.sleep(20)
        following.cancel()

    assert len(seen) == 1 + 6
    assert await world.all(ControllerRevision) == []


async def test_a_job_that_its_user_deletes_meanwhile_stays_deleted(
    world: World,
) -> None:
    async with world.manager():
        verb, resource = NOTE
        late = world.server.faults.on(verb=verb, resource=resource).delay(3)
        await world.change("new")
        await asyncio.sleep(1)
        assert late.struck == 1
        await deleted(world)
        await asyncio.sleep(120)

    assert await world.all(Job) == []
    assert await world.all(ControllerRevision) == []


async def test_of_two_notes_about_a_job_the_last_counts(world: World) -> None:
    await noted(world, "older")
    before = await world.job()
    await deleted(world)
    del before["metadata"]["uid"], before["metadata"]["resourceVersion"]
    await world.client.create(before)
    await world.change("new")
    last = await noted(world, "new")
    await deleted(world)
    world.server.requests.clear()

    async with world.manager(seconds=120):
        pass

    assert len(world.server.requests.of("create", "jobs")) == 1
    pod = (await world.job())["spec"]["template"]["spec"]
    assert pod["containers"] == last.document["spec"]["template"]["spec"]["containers"]
    assert await world.all(ControllerRevision) == []
