"""Kinds that reload in ways of their own, on an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from api.argoproj.v1alpha1 import Rollout
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap
from api.openshift.v1 import DeploymentConfig
from api.secretsstore.v1 import SecretProviderClass, SecretProviderClassPodStatus
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    KubeObject,
    Manager,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer, Resource
from controllers.reload.options import CronJobStrategy, ReloadOptions
from controllers.reload.record import RECORD, RELOADED_AT

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
AUTO = {"reloader.stakater.com/auto": "true"}
NAME = "STAKATER_C_CONFIGMAP"


def served(model: type[KubeObject]) -> Resource:
    gvk = model.gvk
    plural = model.plural or f"{gvk.kind.lower()}s"
    if gvk.kind == "SecretProviderClass":
        plural = "secretproviderclasses"
    return Resource(gvk=gvk, plural=plural)


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(
        self,
        model: type[KubeObject],
        name: str,
        annotations: dict[str, str] | None = None,
        **fields: object,
    ) -> None:
        metadata = {
            "name": name,
            "namespace": "shop",
            "annotations": annotations or {},
        }
        head = {"apiVersion": model.gvk.api_version, "kind": model.gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def change(self, value: str) -> None:
        await self.patch(ConfigMap, "c", {"data": {"k": value}})

    async def patch(self, model: type[KubeObject], name: str, changes: Json) -> None:
        await self.client.patch(model.gvk, name, "shop", patch=merge_patch(changes))

    async def read(self, model: type[KubeObject], name: str = "x") -> Json:
        return await self.client.get(model.gvk, name, "shop")

    async def all(self, model: type[KubeObject]) -> list[Json]:
        return list((await self.client.list(model.gvk, "shop")).items)

    async def notes(self, reason: str) -> list[str]:
        events = (await self.client.list(EVENT, "shop")).items
        return [str(e["note"]) for e in events if e["reason"] == reason]

    async def times(self, reason: str) -> int:
        events = (await self.client.list(EVENT, "shop")).items
        counts = (
            e.get("series", {}).get("count", 1) for e in events if e["reason"] == reason
        )
        return sum(counts)

    @asynccontextmanager
    async def manager(
        self, options: ReloadOptions | None = None
    ) -> AsyncIterator[Manager]:
        given = options or ReloadOptions()
        async with managing(self.server.config(), given) as manager:
            await settled()
            yield manager


async def settled() -> None:
    """Let everything happen that will happen by itself within half a minute."""
    await asyncio.sleep(30)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        await world.create(ConfigMap, "c", data={"k": "old"})
        yield world


def template(**more: object) -> Json:
    source = {"configMapRef": {"name": "c"}}
    container = {"name": "app", "image": "x", "envFrom": [source]}
    other = {"name": "proxy", "image": "y", "args": ["-v"]}
    spec = {"restartPolicy": "Never", "containers": [container, other], **more}
    return {"metadata": {"labels": {"app": "x"}}, "spec": spec}


def cron_job(**spec: object) -> Json:
    job = {"spec": {"template": template()}}
    return {"schedule": "@daily", "jobTemplate": job, **spec}


def variables(pod_template: Json) -> set[str]:
    return {
        one["name"]
        for container in pod_template["spec"]["containers"]
        for one in container.get("env", [])
    }


# --- CronJobs ----------------------------------------------------------------------


async def test_a_cron_job_runs_a_job_for_each_change(world: World) -> None:
    """Scenario 25."""
    await world.create(CronJob, "x", AUTO, spec=cron_job())

    async with world.manager():
        for value in ("1", "2", "1"):
            await world.change(value)
            await settled()

    jobs = await world.all(Job)
    assert len(jobs) == 3
    assert all(variables(job["spec"]["template"]) == {NAME} for job in jobs)
    assert all(job["metadata"]["name"].startswith("x-") for job in jobs)
    made = (await world.read(CronJob))["spec"]["jobTemplate"]["spec"]["template"]
    assert variables(made) == set()
    assert len(await world.notes("Reloaded")) == 3


async def test_a_cron_job_runs_one_job_though_its_record_meets_a_conflict(
    world: World,
) -> None:
    await world.create(CronJob, "x", AUTO, spec=cron_job())

    async with world.manager():
        world.server.faults.on(verb="patch", resource="cronjobs", times=2).answer(
            409, reason="Conflict"
        )
        await world.change("new")
        await settled()

    assert len(await world.all(Job)) == 1
    assert len(await world.notes("Reloaded")) == 1


@pytest.mark.parametrize(
    ("spec", "options", "annotations", "note"),
    [
        pytest.param({"suspend": True}, {}, {}, "suspended", id="suspended"),
        pytest.param(
            {},
            {"cronjob_strategy": CronJobStrategy.IGNORE},
            {},
            "next run",
            id="ignored by option",
        ),
        pytest.param(
            {},
            {},
            {"reloader.stakater.com/cronjob-reload-strategy": "ignore"},
            "next run",
            id="ignored by annotation",
        ),
    ],
)
async def test_a_cron_job_that_is_not_to_run_says_so(
    world: World,
    spec: Json,
    options: Json,
    annotations: dict[str, str],
    note: str,
) -> None:
    await world.create(CronJob, "x", AUTO | annotations, spec=cron_job(**spec))

    async with world.manager(ReloadOptions(**options)):
        await world.change("new")
        await settled()
        await world.patch(CronJob, "x", {"spec": {"suspend": False}})
        await settled()

    assert await world.all(Job) == []
    (skipped,) = await world.notes("ReloadSkipped")
    assert note in skipped


async def test_a_cron_job_whose_record_is_refused_for_long_runs_one_job_all_the_same(
    world: World,
) -> None:
    await world.create(CronJob, "x", AUTO, spec=cron_job())

    async with world.manager():
        world.server.faults.on(verb="patch", resource="cronjobs", times=2).answer(
            403, reason="Forbidden"
        )
        await world.change("new")
        for _ in range(60):
            for job in await world.all(Job):  # it has ended, and is cleaned up
                await world.client.delete(Job, job["metadata"]["name"], "shop")
            await settled()
        created = world.server.requests.of("create", "jobs")

    assert len(created) == 1
    assert RECORD in (await world.read(CronJob))["metadata"]["annotations"]


async def test_a_cron_job_that_may_not_be_patched_runs_a_job_for_each_change(
    world: World,
) -> None:
    """Scenario 56: so it is under the role of the original's chart."""
    await world.create(CronJob, "x", AUTO, spec=cron_job())
    world.server.faults.on(verb="patch", resource="cronjobs", times=None).answer(
        403, reason="Forbidden"
    )

    with capture_logs() as logs:
        async with world.manager():
            for value in ("1", "2", "1"):
                await world.change(value)
                await settled()
            await asyncio.sleep(3600)
            patches = world.server.requests.of("patch", "cronjobs")

    assert len(await world.all(Job)) == 3
    assert await world.times("Reloaded") == 3  # of one version of it: one Event
    assert await world.times("ReloadFail") == 0
    assert len(patches) <= 4 + 6  # its record, and then every ten minutes
    warnings = [log for log in logs if log["log_level"] in {"warning", "error"}]
    assert [log["kind"] for log in warnings] == ["CronJob"]


async def test_the_record_of_a_cron_job_is_written_when_that_is_allowed(
    world: World,
) -> None:
    await world.create(CronJob, "x", AUTO, spec=cron_job())
    refused = world.server.faults.on(verb="patch", resource="cronjobs", times=None)
    fault = refused.answer(403, reason="Forbidden")

    async with world.manager():
        await world.change("new")
        await settled()
        fault.remove()
        await asyncio.sleep(1300)
    async with world.manager():
        await settled()
        assert len(await world.all(Job)) == 1
        await world.change("newer")
        await settled()

    annotations = (await world.read(CronJob))["metadata"]["annotations"]
    assert {RECORD, RELOADED_AT} <= set(annotations)
    assert len(await world.all(Job)) == 2


async def test_a_cron_job_may_have_its_template_patched_instead(world: World) -> None:
    patches = {"reloader.stakater.com/cronjob-reload-strategy": "patch"}
    await world.create(CronJob, "x", AUTO | patches, spec=cron_job())

    async with world.manager():
        await world.change("new")
        await settled()

    assert await world.all(Job) == []
    made = (await world.read(CronJob))["spec"]["jobTemplate"]["spec"]["template"]
    assert variables(made) == {NAME}
    assert [c["name"] for c in made["spec"]["containers"]] == ["app", "proxy"]


# --- Jobs --------------------------------------------------------------------------


async def test_a_job_at_work_is_started_anew(world: World) -> None:
    """Scenario 26."""
    await world.create(Job, "x", AUTO, spec={"template": template()})
    before = await world.read(Job)

    async with world.manager():
        await world.change("new")
        await settled()
        after = await world.read(Job)
        await settled()

    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert variables(after["spec"]["template"]) == {NAME}
    assert (await world.read(Job))["metadata"]["uid"] == after["metadata"]["uid"]
    assert len(await world.notes("Reloaded")) == 1


async def test_a_job_that_may_not_be_patched_is_started_anew(world: World) -> None:
    """Scenario 56: so it is under the role of the original's chart."""
    await world.create(Job, "x", AUTO, spec={"template": template()})
    world.server.faults.on(verb="patch", resource="jobs", times=None).answer(
        403, reason="Forbidden"
    )

    uids = set()
    async with world.manager():
        for value in ("1", "2", "3"):
            await world.change(value)
            await settled()
            uids.add((await world.read(Job))["metadata"]["uid"])

    assert len(uids) == 3
    assert len(await world.notes("Reloaded")) == 3
    assert await world.notes("ReloadFail") == []


async def test_a_job_is_created_again_whatever_fails_in_between(world: World) -> None:
    await world.create(Job, "x", AUTO, spec={"template": template()})

    async with world.manager():
        refusal = world.server.faults.on(
            verb="create", resource="jobs", times=3, dry_run=False
        )
        refusal.answer(500, reason="InternalError")
        await world.change("new")
        await settled()

    assert variables((await world.read(Job))["spec"]["template"]) == {NAME}
    assert len(await world.notes("Reloaded")) == 1


async def test_a_job_with_a_finalizer_is_created_when_the_old_one_is_gone(
    world: World,
) -> None:
    await world.create(Job, "x", AUTO, spec={"template": template()})
    await world.patch(Job, "x", {"metadata": {"finalizers": ["example.com/slow"]}})

    async with world.manager():
        await world.change("new")
        await settled()
        assert "deletionTimestamp" in (await world.read(Job))["metadata"]
        await world.patch(Job, "x", {"metadata": {"finalizers": None}})
        await settled()

    assert variables((await world.read(Job))["spec"]["template"]) == {NAME}


@pytest.mark.parametrize("handled", [True, False])
async def test_a_job_survives_that_the_answer_to_its_deletion_is_lost(
    world: World, handled: bool
) -> None:
    await world.create(Job, "x", AUTO, spec={"template": template()})

    async with world.manager():
        world.server.faults.on(verb="delete", resource="jobs").cut(handled=handled)
        await world.change("new")
        await settled()

    assert variables((await world.read(Job))["spec"]["template"]) == {NAME}
    assert len(await world.notes("Reloaded")) == 1


async def test_a_job_that_is_being_deleted_by_others_is_not_created_again(
    world: World,
) -> None:
    await world.create(Job, "x", AUTO, spec={"template": template()})
    await world.patch(Job, "x", {"metadata": {"finalizers": ["example.com/slow"]}})

    async with world.manager():
        await world.client.delete(Job, "x", "shop")
        await settled()
        await world.change("new")
        await settled()
        await world.patch(Job, "x", {"metadata": {"finalizers": None}})
        await settled()

    assert await world.all(Job) == []


async def test_a_job_that_has_ended_is_not_run_again(world: World) -> None:
    await world.create(Job, "x", AUTO, spec={"template": template()})
    status = {"conditions": [{"type": "Complete", "status": "True"}]}
    await world.client.subresource(Job, "status").patch(
        "x", "shop", patch=merge_patch({"status": status}), kind=Job.gvk
    )
    before = await world.read(Job)

    async with world.manager():
        await world.change("new")
        await settled()

    assert (await world.read(Job))["metadata"]["uid"] == before["metadata"]["uid"]
    (note,) = await world.notes("ReloadSkipped")
    assert "ended" in note


async def test_a_job_that_has_ended_is_run_again_where_that_is_asked_for(
    world: World,
) -> None:
    """As the original does, by default."""
    await world.create(Job, "x", AUTO, spec={"template": template()})
    status = {"conditions": [{"type": "Complete", "status": "True"}]}
    await world.client.subresource(Job, "status").patch(
        "x", "shop", patch=merge_patch({"status": status}), kind=Job.gvk
    )
    before = await world.read(Job)

    async with world.manager(ReloadOptions(recreate_finished_jobs=True)):
        await world.change("new")
        await settled()

    after = await world.read(Job)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert "conditions" not in after.get("status", {})
    assert variables(after["spec"]["template"]) == {NAME}


async def test_a_job_that_a_cron_job_started_is_left_alone(world: World) -> None:
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": "c",
        "uid": "u",
        "controller": True,
    }
    await world.create(Job, "x", AUTO, spec={"template": template()})
    await world.patch(Job, "x", {"metadata": {"ownerReferences": [owner]}})
    before = await world.read(Job)

    async with world.manager():
        await world.change("new")
        await settled()

    assert await world.read(Job) == before


# --- kinds that come and go ---------------------------------------------------------


@pytest.mark.parametrize("model", [Rollout, DeploymentConfig])
async def test_an_optional_kind_reloads_from_when_it_is_served_until_it_is_not(
    world: World, model: type[KubeObject]
) -> None:
    """Scenario 50."""
    async with world.manager() as manager:
        world.server.register(served(model))
        await world.create(model, "x", AUTO, spec={"template": template()})
        await settled()
        assert RECORD in (await world.read(model))["metadata"]["annotations"]
        await world.change("new")
        await settled()
        reloaded = await world.read(model)
        world.server.unregister(served(model))
        await settled()
        kinds = {informer.gvk for informer in manager.cache}
        world.server.register(served(model))
        await world.create(model, "y", AUTO, spec={"template": template()})
        await settled()
        await world.change("newer")
        await settled()

    app, proxy = reloaded["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in app["env"]] == [NAME]
    assert app["envFrom"] == [{"configMapRef": {"name": "c"}}]
    assert proxy == {"name": "proxy", "image": "y", "args": ["-v"]}
    assert model.gvk not in kinds
    assert variables((await world.read(model, "y"))["spec"]["template"]) == {NAME}
    assert len(await world.notes("Reloaded")) == 2


async def test_an_optional_kind_that_may_not_be_read_is_left_out_until_it_may(
    world: World,
) -> None:
    world.server.register(served(Rollout))
    await world.create(Rollout, "x", AUTO, spec={"template": template()})
    refusal = world.server.faults.on(resource="rollouts", times=3)
    refusal.answer(403, reason="Forbidden")

    async with world.manager():
        await settled()
        await settled()
        await settled()

    assert RECORD in (await world.read(Rollout))["metadata"]["annotations"]


async def test_a_rollout_may_restart_its_pods_and_keep_its_template(
    world: World,
) -> None:
    """Scenario 27."""
    world.server.register(served(Rollout))
    restarts = {"reloader.stakater.com/rollout-strategy": "restart"}
    await world.create(Rollout, "x", AUTO | restarts, spec={"template": template()})
    before = await world.read(Rollout)

    async with world.manager():
        await world.change("new")
        await settled()

    after = await world.read(Rollout)
    assert after["spec"]["restartAt"].endswith("Z")
    assert after["spec"]["template"] == before["spec"]["template"]
    assert len(await world.notes("Reloaded")) == 1


async def test_a_rollout_whose_template_is_elsewhere_restarts_for_what_it_lists(
    world: World,
) -> None:
    """Its `workloadRef` names a Deployment, which has the pods' template."""
    world.server.register(served(Rollout))
    listed = {"configmap.reloader.stakater.com/reload": "c"}
    restarts = {"reloader.stakater.com/rollout-strategy": "restart"}
    elsewhere = {"workloadRef": {"kind": "Deployment", "name": "x"}}
    await world.create(Rollout, "x", listed | restarts, spec=elsewhere)
    await world.create(Rollout, "silent", listed, spec=elsewhere)

    async with world.manager():
        for value in ("1", "2"):
            await world.change(value)
            await settled()

    spec = (await world.read(Rollout))["spec"]
    assert "restartAt" in spec
    assert "template" not in spec
    assert (await world.read(Rollout, "silent"))["spec"] == elsewhere
    assert await world.times("Reloaded") == 2


# --- SecretProviderClasses ----------------------------------------------------------

SPC = SecretProviderClassPodStatus
CSI = {
    "containers": [
        {
            "name": "app",
            "image": "x",
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
    ],
    "volumes": [
        {
            "name": "v",
            "csi": {
                "driver": "secrets-store.csi.k8s.io",
                "volumeAttributes": {"secretProviderClass": "vault"},
            },
        }
    ],
}


def mounted(version: str) -> Json:
    objects = [{"id": "password", "version": version}]
    return {"secretProviderClassName": "vault", "objects": objects}


async def test_a_workload_reloads_once_for_what_its_pods_are_told_one_by_one(
    world: World,
) -> None:
    """Scenario 19, the part of SecretProviderClasses."""
    world.server.register(served(SecretProviderClass))
    world.server.register(Resource(gvk=SPC.gvk, plural=SPC.plural, subresources=()))
    world.server.register(served(Rollout))
    await world.create(SecretProviderClass, "vault")
    typed = {"secretproviderclass.reloader.stakater.com/auto": "true"}
    body = {"template": {"spec": CSI}}
    await world.create(Rollout, "x", typed, spec=body)
    for pod in ("x-1", "x-2"):
        await world.create(SPC, pod, status=mounted("1"))

    async with world.manager():
        adopted = await world.read(Rollout)
        for pod in ("x-1", "x-2"):
            await world.patch(SPC, pod, {"status": mounted("2")})
            await settled()
        await world.client.delete(SPC.gvk, "x-2", "shop")
        await settled()
        assert len(await world.notes("Reloaded")) == 1
        ignored = {"reloader.stakater.com/ignore": "true"}
        await world.patch(
            SecretProviderClass, "vault", {"metadata": {"annotations": ignored}}
        )
        await world.patch(SPC, "x-1", {"status": mounted("3")})
        await settled()

    assert "spc/vault" in adopted["metadata"]["annotations"][RECORD]
    pod_template = (await world.read(Rollout))["spec"]["template"]
    assert variables(pod_template) == {"STAKATER_VAULT_SECRETPROVIDERCLASS"}
    assert len(await world.notes("Reloaded")) == 1
