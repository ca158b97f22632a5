"""What CronJobs run for changes, by processes that are killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap
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
from controller_runtime.testing.apiserver.faults import Fault
from controllers.reload import setup
from controllers.reload.options import ReloadOptions
from controllers.reload.preview import Preview
from controllers.reload.record import RECORD, RELOADED_AT
from controllers.reload.workloads import WorkloadKey

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")


class World:
    """An API server with a CronJob `x` that uses the ConfigMaps `a` and `b`."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client
        self.preview: Preview

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        annotations = {"reloader.stakater.com/auto": "true"}
        metadata = {"name": name, "namespace": "shop", "annotations": annotations}
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def change(self, name: str, value: str) -> None:
        patch = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap.gvk, name, "shop", patch=patch)

    async def delete(self, name: str) -> None:
        await self.client.delete(ConfigMap, name, "shop")

    async def runs(self) -> list[Json]:
        return list((await self.client.list(Job.gvk, "shop")).items)

    async def annotations(self) -> dict[str, str]:
        found = await self.client.get(CronJob.gvk, "x", "shop")
        annotations: dict[str, str] = found["metadata"]["annotations"]
        return annotations

    def refuse_patches(self) -> Fault:
        """Let CronJobs not be patched."""
        target = self.server.faults.on(verb="patch", resource="cronjobs", times=None)
        return target.answer(403, reason="Forbidden")

    async def touch(self, text: str) -> None:
        """Have the CronJob be of another version."""
        await self._annotate({"touched": text})

    async def strip(self) -> None:
        """Take away all that is noted on the CronJob."""
        await self._annotate({RECORD: None, RELOADED_AT: None})

    async def _annotate(self, annotations: Mapping[str, str | None]) -> None:
        patch = merge_patch({"metadata": {"annotations": annotations}})
        await self.client.patch(CronJob.gvk, "x", "shop", patch=patch)

    async def reloads(self) -> int:
        events = (await self.client.list(EVENT, "shop")).items
        return sum(event["reason"] == "Reloaded" for event in events)

    @asynccontextmanager
    async def manager(
        self, options: ReloadOptions | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        async with HttpTransport(self.server.config()) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            )
            manager = Manager(transport, options=addresses)
            self.preview = setup(manager, options or ReloadOptions())
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(manager.start())
                await settled()
                yield running
                manager.stop()

    async def killed_before_the_record(self, *names: str) -> None:
        """Change sources, and kill the manager between the run and its record."""
        async with self.manager() as running:
            target = self.server.faults.on(verb="patch", resource="cronjobs")
            hanging = target.hang()
            for name in names:
                await self.change(name, "new")
            await settled()
            assert hanging.struck == 1
            running.cancel()
        assert len(await self.runs()) == 1


async def settled() -> None:
    """Let everything happen that will happen by itself within half a minute."""
    await asyncio.sleep(30)


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep tracebacks from being drawn, which takes a second each."""
    with capture_logs():
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        for name in "ab":
            await world.create(ConfigMap.gvk, name, data={"k": "old"})
        sources = [{"configMapRef": {"name": name}} for name in "ab"]
        container = {"name": "app", "image": "x", "envFrom": sources}
        pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        job = {"spec": {"template": pod}}
        spec = {"schedule": "@daily", "jobTemplate": job}
        await world.create(CronJob.gvk, "x", spec=spec)
        yield world


async def test_a_run_whose_record_was_not_written_is_told_by_the_next_manager(
    world: World,
) -> None:
    await world.killed_before_the_record("a")

    for _ in range(2):
        async with world.manager():
            pass

    (run,) = await world.runs()
    written = run["metadata"]["annotations"]
    assert {k: (await world.annotations())[k] for k in (RECORD, RELOADED_AT)} == {
        k: written[k] for k in (RECORD, RELOADED_AT)
    }
    assert await world.reloads() == 1


async def test_a_source_that_goes_between_run_and_record_makes_no_second_run(
    world: World,
) -> None:
    await world.killed_before_the_record("a", "b")
    await world.delete("b")

    async with world.manager():
        await world.create(ConfigMap.gvk, "b", data={"k": "new"})
        await settled()

    assert len(await world.runs()) == 1


async def test_what_changes_between_run_and_record_is_one_more_run(
    world: World,
) -> None:
    await world.killed_before_the_record("a")
    await world.change("b", "new")

    for _ in range(2):
        async with world.manager():
            pass

    assert len(await world.runs()) == 2


async def test_what_changes_while_the_record_is_refused_is_one_run_when_it_is_not(
    world: World,
) -> None:
    async with world.manager():
        target = world.server.faults.on(verb="patch", resource="cronjobs", times=None)
        refusal = target.answer(422, reason="Invalid")
        for value in ("1", "2", "3"):
            await world.change("a", value)
            await settled()
        assert len(await world.runs()) == 1
        refusal.remove()
        await asyncio.sleep(600)

    assert len(await world.runs()) == 2


async def test_without_the_right_to_list_jobs_a_run_is_made_once_all_the_same(
    world: World,
) -> None:
    await world.killed_before_the_record("a")

    target = world.server.faults.on(verb="list", resource="jobs", times=None)
    forbidden = target.answer(403, reason="Forbidden")
    options = ReloadOptions(ignored_workloads=frozenset({"Job"}))
    async with world.manager(options):
        forbidden.remove()

    assert len(await world.runs()) == 1
    assert await world.reloads() == 1


async def test_a_job_of_the_name_that_is_no_run_of_it_counts_as_one(
    world: World,
) -> None:
    await world.killed_before_the_record("a")
    (run,) = await world.runs()
    name = run["metadata"]["name"]
    changes: Json = {"metadata": {"annotations": {RELOADED_AT: "yesterday"}}}
    await world.client.patch(Job.gvk, name, "shop", patch=merge_patch(changes))

    async with world.manager():
        pass

    assert len(await world.runs()) == 1
    assert "a" in (await world.annotations())[RECORD]
    assert await world.reloads() == 1


async def test_where_no_record_can_be_written_what_comes_back_is_one_more_run(
    world: World,
) -> None:
    world.refuse_patches()

    async with world.manager():
        for value in ("1", "2"):
            await world.change("a", value)
            await settled()
    async with world.manager():
        await world.change("a", "1")
        await settled()

    assert len(await world.runs()) == 3


async def test_where_no_record_can_be_written_an_older_one_puts_nothing_back(
    world: World,
) -> None:
    refusal = world.refuse_patches()

    async with world.manager():
        for value in ("1", "old"):
            refusal.remove()
            await world.touch(f"before {value}")
            refusal = world.refuse_patches()
            await settled()
            await world.change("a", value)
            await settled()
        await asyncio.sleep(7200)

    assert len(await world.runs()) == 2


async def test_the_time_of_a_run_is_written_with_the_record_that_may_be_at_last(
    world: World,
) -> None:
    await world.delete("b")
    refusal = world.refuse_patches()

    async with world.manager():
        for value in ("1", "2"):
            await world.change("a", value)
            await settled()
        refusal.remove()
        await world.create(ConfigMap.gvk, "b", data={"k": "new"})
        await settled()
        assert RELOADED_AT in await world.annotations()
    async with world.manager():
        await world.change("a", "1")
        await settled()

    assert len(await world.runs()) == 3


async def test_the_preview_knows_what_could_not_be_written(world: World) -> None:
    async with world.manager():
        await world.change("a", "1")
        await settled()
        world.refuse_patches()
        await world.change("a", "2")
        await settled()
        said = world.preview.of_workload(WorkloadKey("CronJob", "shop", "x"))

    assert len(await world.runs()) == 2
    assert said["wouldReload"] is False


async def test_a_cron_job_whose_notes_its_owner_takes_away_runs_for_each_change(
    world: World,
) -> None:
    async with world.manager():
        for value in ("1", "2", "1", "3"):
            await world.change("a", value)
            await settled()
            await world.strip()
            await settled()
            await world.strip()

    assert len(await world.runs()) == 4
