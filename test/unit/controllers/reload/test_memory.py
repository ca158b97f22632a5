"""Records that go back in time, and `kubectl rollout undo`, which puts them back."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap, PodTemplateSpec
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Meta,
    Scheme,
    json_patch,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.memory import Memory

WEB = WorkloadKey("Deployment", "shop", "web")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")


def at(version: int, *, uid: str = "u") -> Workload:
    meta = Meta(uid=uid, resource_version=str(version))
    return Workload(WEB, meta, PodTemplateSpec())


def knowing(*texts: str) -> Memory:
    """A memory of records that were true at versions from 1 on."""
    memory = Memory()
    for version, text in enumerate(texts, 1):
        memory.learn(at(version), text)
    return memory


def test_a_record_that_was_true_before_is_overridden_by_the_last() -> None:
    assert knowing("a", "b", "c").overrides(at(9), "a") == "c"


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        pytest.param(knowing("a", "b"), "b", id="the last itself"),
        pytest.param(knowing("a", "b", "a"), "a", id="the last, which came twice"),
        pytest.param(knowing("a", "b"), "x", id="one that somebody else wrote"),
        pytest.param(Memory(), "a", id="nothing is known"),
    ],
)
def test_any_other_record_is_believed(memory: Memory, text: str) -> None:
    assert memory.overrides(at(9), text) is None


def test_a_cache_that_lags_teaches_nothing() -> None:
    memory = knowing("a")
    memory.doubt(at(1))
    memory.learn(at(1), "b", "10")
    memory.learn(at(9), "a")

    assert memory.overrides(at(11), "a") == "b"


def test_after_a_lost_answer_nothing_is_known_until_a_later_version_is_seen() -> None:
    memory = knowing("a", "b")
    memory.doubt(at(2))
    memory.learn(at(2), "b")
    assert memory.overrides(at(3), "a") is None

    memory.learn(at(3), "c")
    assert memory.overrides(at(4), "a") == "c"


def test_another_object_of_the_name_is_another_workload() -> None:
    memory = knowing("a", "b")
    assert memory.overrides(at(3, uid="v"), "a") is None

    memory.learn(at(3, uid="v"), "a")
    assert memory.overrides(at(4, uid="v"), "b") is None


def test_what_is_kept_is_bounded_and_let_go_of() -> None:
    memory = knowing(*map(str, range(100)))
    assert memory.overrides(at(200), "0") is None
    assert memory.overrides(at(200), "98") == "99"

    memory.forget(WEB)
    assert len(memory) == 0


def test_a_record_that_the_cache_has_too_is_kept_once() -> None:
    memory = knowing("a")
    memory.learn(at(1), "written", "2")
    seen = "".join(["writ", "ten"])
    memory.learn(at(2), seen)

    assert memory.overrides(at(3), "a") is seen


def test_of_records_before_the_last_no_text_is_kept() -> None:
    size, rounds = 50_000, 10
    memory = Memory()
    tracemalloc.start()
    try:
        for version in range(1, rounds + 1):
            memory.learn(at(version), str(version) * size)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert memory.overrides(at(99), "1" * size) == str(rounds) * size
    assert kept < 2.5 * size


# --- on an API server ---------------------------------------------------------------


class World:
    """A Deployment `web` that uses the ConfigMap `c`, and what kubectl does to it."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def change(self, value: str) -> None:
        patch = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)
        await settled()

    async def read(self) -> Json:
        return await self.client.get(Deployment.gvk, "web", "shop")

    async def record(self) -> Json:
        read: Json = json.loads((await self.read())["metadata"]["annotations"][RECORD])
        return read

    async def undo(self, to: Json) -> None:
        """Put back template and annotations, as `kubectl rollout undo` does."""
        template, annotations = to["spec"]["template"], to["metadata"]["annotations"]
        operations = [
            {"op": "replace", "path": "/spec/template", "value": template},
            {"op": "replace", "path": "/metadata/annotations", "value": annotations},
        ]
        await self.client.patch(
            Deployment.gvk, "web", "shop", patch=json_patch(operations)
        )

    async def touch(self, text: str) -> None:
        """Make another version of the Deployment."""
        patch = merge_patch({"metadata": {"labels": {"touched": text}}})
        await self.client.patch(Deployment.gvk, "web", "shop", patch=patch)
        await settled()

    async def reloads(self) -> int:
        events = (await self.client.list(EVENT, "shop")).items
        return sum(event["reason"] == "Reloaded" for event in events)

    async def plans(self) -> int:
        """Return how often a dry run has said that it would reload."""
        events = (await self.client.list(EVENT, "shop")).items
        return sum(
            event.get("series", {}).get("count", 1)
            for event in events
            if event["reason"] == "ReloadPlanned"
        )

    @asynccontextmanager
    async def manager(self, *, dry_run: bool = False) -> AsyncIterator[None]:
        given = ReloadOptions(dry_run=dry_run)
        async with managing(self.server.config(), given):
            await settled()
            yield


async def settled() -> None:
    await asyncio.sleep(5)


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep tracebacks from being drawn, which takes a second each."""
    with capture_logs():
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        client = Client(transport, scheme=Scheme())
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "x", "envFrom": [source]}
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        auto = {"reloader.stakater.com/auto": "true"}
        metadata = {"namespace": "shop"}
        for kind, meta, fields in (
            (ConfigMap, {"name": "c"}, {"data": {"k": "0"}}),
            (
                Deployment,
                {"name": "web", "annotations": auto},
                {"spec": {"selector": {"matchLabels": labels}, "template": template}},
            ),
        ):
            head = {"apiVersion": kind.gvk.api_version, "kind": kind.gvk.kind}
            await client.create({**head, "metadata": metadata | meta, **fields})
        yield World(server, client)


@pytest.mark.parametrize("back", [1, 2])
async def test_a_rollback_is_followed_by_no_reload_and_the_next_change_by_one(
    world: World, back: int
) -> None:
    """Scenario 55."""
    async with world.manager():
        states = [await world.read()]
        for value in ("1", "2"):
            await world.change(value)
            states.append(await world.read())
        latest = await world.record()

        await world.undo(states[-1 - back])
        await settled()
        undone = await world.read()

        assert await world.reloads() == 2
        assert undone["spec"]["template"] == states[-1 - back]["spec"]["template"]
        assert await world.record() == latest
        await world.change("3")
        assert await world.reloads() == 3


async def test_a_rollback_to_content_that_comes_back_later_still_reloads(
    world: World,
) -> None:
    async with world.manager():
        first = await world.read()
        await world.change("1")
        await world.undo(first)
        await settled()
        await world.change("0")

    assert await world.reloads() == 2


async def test_a_change_that_came_with_the_rollback_reloads(world: World) -> None:
    async with world.manager():
        first = await world.read()
        await world.change("1")
        refusal = world.server.faults.on(verb="patch", resource="deployments", times=2)
        await world.undo(first)
        refusal.answer(409, reason="Conflict")
        patch = merge_patch({"data": {"k": "2"}})
        await world.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)
        await settled()

    assert await world.reloads() == 2


async def test_a_change_is_not_missed_when_the_answer_to_the_last_one_was_lost(
    world: World,
) -> None:
    async with world.manager():
        world.server.faults.on(verb="watch", resource="deployments", times=None).lag(3)
        cut = world.server.faults.on(verb="patch", resource="deployments")
        cut.cut(handled=True)
        patch = merge_patch({"data": {"k": "1"}})
        await world.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)
        await asyncio.sleep(1)
        after_first = (await world.read())["spec"]["template"]
        await world.change("0")
        await settled()
        await settled()
        again = (await world.read())["spec"]["template"]

    assert again != after_first
    (container,) = again["spec"]["containers"]
    assert len(container["env"]) == 1


async def test_a_write_that_is_refused_for_a_cache_that_lags_is_no_reason_to_doubt(
    world: World,
) -> None:
    world.server.faults.on(verb="watch", resource="deployments", times=None).lag(3)
    async with world.manager():
        await settled()
        first = await world.read()
        patch = merge_patch({"data": {"k": "1"}})
        await world.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)
        await asyncio.sleep(1)
        # The manager looks at the Deployment as it was before its own reload.
        news = {"metadata": {"annotations": {"reloader.stakater.com/match": "true"}}}
        patch = merge_patch(news)
        await world.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)
        await asyncio.sleep(20)
        refused = len(world.server.requests.of("patch", "deployments"))
        await world.undo(first)
        await asyncio.sleep(20)

    assert refused > 2, "nothing was refused: the cache was not behind"
    assert await world.reloads() == 1


# --- owners that take annotations away ----------------------------------------------


@asynccontextmanager
async def stripped(world: World) -> AsyncIterator[None]:
    """Have somebody take away what the manager writes in the metadata, soon after."""

    async def strip() -> None:
        gone = merge_patch({"metadata": {"annotations": {RECORD: None}}})
        while True:
            if RECORD in (await world.read())["metadata"]["annotations"]:
                await world.client.patch(Deployment.gvk, "web", "shop", patch=gone)
            await asyncio.sleep(5)

    async with asyncio.TaskGroup() as tasks:
        stripping = tasks.create_task(strip())
        yield
        stripping.cancel()


async def test_a_change_is_not_missed_where_somebody_takes_the_record_away(
    world: World,
) -> None:
    async with stripped(world), world.manager():
        for number in range(1, 4):
            await world.change(str(number))
            await asyncio.sleep(60)
            assert await world.reloads() == number


async def test_a_record_that_is_taken_away_each_time_is_put_back_less_and_less(
    world: World,
) -> None:
    async with stripped(world), world.manager():
        world.server.requests.clear()
        await asyncio.sleep(600)
        written = world.server.requests.of("patch", "deployments")

    assert len(written) < 30, "half of them put it back"
    assert await world.reloads() == 0


async def test_a_record_that_is_taken_away_once_is_put_back_at_once(
    world: World,
) -> None:
    async with world.manager():
        before = await world.record()
        gone = merge_patch({"metadata": {"annotations": {RECORD: None}}})
        await world.client.patch(Deployment.gvk, "web", "shop", patch=gone)
        await settled()

        assert await world.record() == before
    assert await world.reloads() == 0


@pytest.mark.parametrize("status", [403, 422, 500])
async def test_a_change_is_not_missed_while_the_first_record_cannot_be_written(
    world: World, status: int
) -> None:
    target = world.server.faults.on(verb="patch", resource="deployments", times=None)
    reason = {403: "Forbidden", 422: "Invalid", 500: "InternalError"}[status]
    refusal = target.answer(status, reason=reason)

    async with world.manager():
        await world.change("1")
        assert await world.reloads() == 0
        refusal.remove()
        await asyncio.sleep(1300)

    assert await world.reloads() == 1
    assert "STAKATER_C_CONFIGMAP" in str(await world.read())


async def test_a_dry_run_tells_once_of_content_that_comes_back(world: World) -> None:
    async with world.manager(dry_run=True):
        for value in ("1", "0"):
            await world.touch(f"before-{value}")
            await world.change(value)
        await asyncio.sleep(7200)

    assert await world.plans() == 2
