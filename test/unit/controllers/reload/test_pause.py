"""Deployments that rest after a reload, from decisions to an API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

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
    Patch,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import LoopClock
from controllers.reload.annotations import read_policy
from controllers.reload.options import AnnotationKeys, ReloadOptions
from controllers.reload.policy import Problem, ReloadPolicy
from controllers.reload.rollout import problems
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.pause import Pausing, pause_of_reload, upkeep
from controllers.reload.writing.upkeep import NOTHING, Chore, due

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PERIOD = "deployment.reloader.stakater.com/pause-period"
PAUSED_AT = "deployment.reloader.stakater.com/paused-at"
AUTO = {"reloader.stakater.com/auto": "true"}
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")


def ago(**span: float) -> str:
    return (NOW - timedelta(**span)).isoformat()


def deployment(
    *,
    paused: bool = False,
    period: str | None = "5m",
    since: str | None = None,
    kind: str = "Deployment",
) -> Workload:
    given = {PERIOD: period, PAUSED_AT: since}
    annotations = AUTO | {k: v for k, v in given.items() if v is not None}
    return Workload(
        WorkloadKey(kind, "shop", "web"),
        Meta(name="web", resource_version="42", annotations=annotations),
        PodTemplateSpec(),
        json.dumps({"spec": {"paused": paused}}).encode(),
    )


def policy(of: Workload) -> ReloadPolicy:
    return read_policy(of.meta.annotations, {}, ReloadOptions())


def at_reload(of: Workload) -> Pausing | None:
    return pause_of_reload(of, policy(of), NOW)


def chore(of: Workload) -> Chore:
    return upkeep(of, policy(of), NOW)


def body(patch: Patch | None) -> Json:
    assert patch is not None
    decoded: Json = json.loads(patch.body)
    return decoded


BEGINS = Pausing(True, PAUSED_AT, "2026-11-21T12:00:00Z")
ENDS = Pausing(False, PAUSED_AT, None)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(deployment(), BEGINS, id="it begins"),
        pytest.param(deployment(period=None), None, id="no period"),
        pytest.param(deployment(kind="StatefulSet"), None, id="another kind"),
        pytest.param(deployment(paused=True), None, id="paused by somebody else"),
        pytest.param(deployment(since=ago(days=1)), BEGINS, id="ended by somebody"),
        pytest.param(
            deployment(paused=True, since=ago(minutes=4)), None, id="it goes on"
        ),
        pytest.param(
            deployment(paused=True, since=ago(minutes=5)), ENDS, id="it has ended"
        ),
    ],
)
def test_a_reload_begins_a_pause_or_ends_it_or_leaves_it(
    of: Workload, expected: Pausing | None
) -> None:
    """Scenario 29: TestPauseDeployment."""
    assert at_reload(of) == expected


@pytest.mark.parametrize(
    ("since", "seconds"),
    [
        pytest.param(ago(minutes=1), 240.0, id="in time"),
        pytest.param("2026-11-21T13:59:00+02:00", 240.0, id="in another zone"),
        pytest.param(ago(minutes=-1), 360.0, id="by a clock that goes before"),
    ],
)
def test_a_pause_that_goes_on_says_when_it_ends(since: str, seconds: float) -> None:
    """Scenario 29: TestHandleMissingTimerSimple and TestGetPauseStartTime."""
    assert chore(deployment(paused=True, since=since)) == Chore(seconds=seconds)


@pytest.mark.parametrize(
    ("since", "period"),
    [
        pytest.param(ago(minutes=5), "5m", id="overdue"),
        pytest.param("yesterday", "5m", id="no time"),
        pytest.param("2026-11-21T12:00:00", "5m", id="a time without a zone"),
        pytest.param(ago(minutes=-6), "5m", id="a time far ahead"),
        pytest.param(ago(minutes=1), None, id="no period any more"),
        pytest.param(ago(minutes=1), "5 minutes", id="no valid period any more"),
    ],
)
def test_a_pause_that_is_over_ends_at_once(since: str, period: str | None) -> None:
    """Scenario 29: TestHandleMissingTimerSimple and TestGetPauseStartTime."""
    ended = chore(deployment(paused=True, since=since, period=period))

    assert ended.reason == "Resumed"
    assert body(ended.patch) == {
        "metadata": {"resourceVersion": "42", "annotations": {PAUSED_AT: None}},
        "spec": {"paused": False},
    }


def test_a_pause_of_somebody_else_never_ends() -> None:
    """Scenario 29: TestPauseDeployment."""
    assert chore(deployment(paused=True)) == NOTHING


def test_a_pause_that_somebody_has_ended_is_not_taken_for_the_next() -> None:
    left = chore(deployment(since=ago(minutes=1)))

    assert body(left.patch) == {
        "metadata": {"resourceVersion": "42", "annotations": {PAUSED_AT: None}}
    }
    assert left.reason == ""


@pytest.mark.parametrize("period", ["5 minutes", "5", "-5m", "0s"])
def test_a_period_that_is_none_is_told_of_in_an_event_of_its_own(period: str) -> None:
    of = deployment(period=period)

    ((annotation, _, event),) = problems(of, policy(of))

    assert (annotation, event) == (PERIOD, "PausePeriodInvalid")
    assert at_reload(of) is None


def test_a_period_may_stand_on_the_pod_template() -> None:
    read = read_policy(AUTO, {PERIOD: "1h30m"}, ReloadOptions())

    assert read.terms.pause_period == timedelta(minutes=90)
    assert read.problems == ()


def test_the_annotations_may_have_other_names() -> None:
    keys = AnnotationKeys(
        pause_period="example.com/rest", paused_at="example.com/since"
    )
    read = read_policy({"example.com/rest": "1m"}, {}, ReloadOptions(keys=keys))

    begins = pause_of_reload(deployment(), read, NOW)

    assert begins == Pausing(True, "example.com/since", "2026-11-21T12:00:00Z")


class Always:
    """An `Upkeep` of one chore."""

    def __init__(self, chore: Chore) -> None:
        self.chore = chore

    def __call__(self, *_: object) -> Chore:
        return self.chore

    def forget(self, key: WorkloadKey) -> None:
        pass


def test_of_several_chores_the_first_that_is_due_is_done_or_the_soonest_awaited() -> (
    None
):
    def row(*chores: Chore) -> Chore:
        of = deployment()
        return due([Always(chore) for chore in chores], of, policy(of), NOW)

    written = Chore(merge_patch({}))
    assert row() == NOTHING
    assert row(NOTHING, Chore(seconds=5), Chore(seconds=3)) == Chore(seconds=3)
    assert row(Chore(seconds=5), written, Chore(merge_patch({"a": 1}))) == written


def test_a_problem_says_which_event_tells_of_it() -> None:
    assert Problem("a", "b").event == "InvalidReloadAnnotation"


# --- on an API server ---------------------------------------------------------------


class World:
    """An API server with a ConfigMap `c` and Deployments that use it."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def deployment(self, name: str = "web", **annotations: str) -> None:
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "x", "envFrom": [source]}
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        await self.create(
            Deployment.gvk,
            name,
            AUTO | annotations,
            spec={"selector": {"matchLabels": labels}, "template": template},
        )

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: dict[str, str] | None = None,
        **fields: object,
    ) -> None:
        metadata = {
            "name": name,
            "namespace": "shop",
            "annotations": annotations or {},
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def change(self, value: str) -> None:
        patch = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)

    async def patch(self, changes: Json) -> None:
        patch = merge_patch(changes)
        await self.client.patch(Deployment.gvk, "web", "shop", patch=patch)

    async def annotate(self, **annotations: str | None) -> None:
        await self.patch({"metadata": {"annotations": annotations}})

    async def read(self, name: str = "web") -> Json:
        return await self.client.get(Deployment.gvk, name, "shop")

    async def is_paused(self, name: str = "web") -> tuple[bool, bool]:
        """Tell whether it is paused, and whether it says since when."""
        read = await self.read(name)
        since = read["metadata"]["annotations"].get(PAUSED_AT)
        return read["spec"].get("paused", False), since is not None

    async def marker(self, name: str = "web") -> str | None:
        (container,) = (await self.read(name))["spec"]["template"]["spec"]["containers"]
        return next((one["value"] for one in container.get("env", [])), None)

    async def notes(self, reason: str) -> list[str]:
        events = (await self.client.list(EVENT, "shop")).items
        return [str(e["note"]) for e in events if e["reason"] == reason]

    @asynccontextmanager
    async def manager(self, **options: object) -> AsyncIterator[None]:
        given = ReloadOptions(**options)  # type: ignore[arg-type]  # any option
        async with managing(self.server.config(), given, clock=LoopClock(NOW)):
            await passes(seconds=5)
            yield


async def passes(**span: float) -> None:
    await asyncio.sleep(timedelta(**span).total_seconds())


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep tracebacks from being drawn, which takes a second each."""
    with capture_logs():
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        await world.create(ConfigMap.gvk, "c", data={"k": "old"})
        yield world


OURS, FOREIGN, NONE = (True, True), (True, False), (False, False)


async def test_a_reload_pauses_in_the_patch_that_marks_and_ends_by_itself(
    world: World,
) -> None:
    """Scenario 29."""
    await world.deployment(**{PERIOD: "5m"})

    async with world.manager():
        world.server.requests.clear()
        await world.change("new")
        await passes(minutes=4)
        first = await world.marker()
        patches = len(world.server.requests.of("patch", "deployments"))
        assert (await world.is_paused(), patches) == (OURS, 1)
        await world.change("newer")
        await passes(seconds=30)
        assert await world.is_paused() == OURS
        assert await world.marker() not in {None, first}
        await passes(minutes=1)

    assert await world.is_paused() == NONE
    assert len(world.server.requests.of("patch", "deployments")) == 3
    assert len(await world.notes("Reloaded")) == 2
    (note,) = await world.notes("Resumed")
    assert note == (
        "'web' of type 'Deployment' in namespace 'shop' rolls out: its pause has ended"
    )


async def test_without_a_period_a_reload_does_not_pause(world: World) -> None:
    """Scenario 29."""
    await world.deployment()

    async with world.manager():
        await world.change("new")
        await passes(seconds=5)

    assert await world.marker() is not None
    assert await world.is_paused() == NONE


async def test_what_somebody_else_has_paused_is_marked_and_stays_paused(
    world: World,
) -> None:
    """Scenario 29."""
    await world.deployment(**{PERIOD: "5m"})
    await world.patch({"spec": {"paused": True}})

    async with world.manager():
        await world.change("new")
        await passes(minutes=15)

    assert await world.marker() is not None
    assert await world.is_paused() == FOREIGN


@pytest.mark.parametrize(("minutes", "expected"), [(3, OURS), (5, NONE)])
async def test_a_pause_lasts_as_long_whoever_ends_it(
    world: World, minutes: int, expected: tuple[bool, bool]
) -> None:
    await world.deployment(**{PERIOD: "5m"})
    async with world.manager():
        await world.change("new")
        await passes(seconds=10)

    await passes(minutes=minutes)
    async with world.manager():
        assert await world.is_paused() == expected
        await passes(minutes=5)

    assert await world.is_paused() == NONE


async def test_a_change_after_a_pause_that_is_overdue_ends_it(world: World) -> None:
    await world.deployment(**{PERIOD: "5m"})
    async with world.manager():
        await world.change("new")
        await passes(seconds=10)
    first = await world.marker()

    await world.change("newer")
    await passes(minutes=15)
    async with world.manager():
        assert await world.is_paused() == NONE

    assert await world.marker() not in {None, first}


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param({PERIOD: None}, id="no period"),
        pytest.param({"reloader.stakater.com/ignore": "true"}, id="ignored"),
        pytest.param({PAUSED_AT: "yesterday"}, id="no time"),
    ],
)
async def test_a_pause_ends_with_what_asks_for_it(
    world: World, annotation: dict[str, str | None]
) -> None:
    await world.deployment(**{PERIOD: "5h"})

    async with world.manager():
        await world.change("new")
        await passes(seconds=10)
        assert await world.is_paused() == OURS
        await world.annotate(**annotation)
        await passes(seconds=10)

    assert await world.is_paused() == NONE


async def test_a_pause_ends_when_its_end_is_refused_for_long(world: World) -> None:
    await world.deployment(**{PERIOD: "5m"})

    async with world.manager():
        await world.change("new")
        await passes(minutes=4)
        refusal = world.server.faults.on(
            verb="patch", resource="deployments", times=6
        ).answer(403, reason="Forbidden", message="not now")
        await passes(seconds=90)
        assert await world.is_paused() == OURS
        assert refusal.struck > 3
        await passes(minutes=2)

    assert await world.is_paused() == NONE
    assert any("not now" in note for note in await world.notes("UpkeepFail"))


async def test_a_reload_that_waits_keeps_no_pause_from_its_end(world: World) -> None:
    await world.deployment(**{PERIOD: "5m"})

    async with world.manager():
        await world.change("new")
        await passes(seconds=10)
        first = await world.marker()
        await world.annotate(**{"reloader.stakater.com/pause": "true"})
        await world.change("newer")
        await passes(minutes=5)

    assert await world.is_paused() == NONE
    assert await world.marker() == first


async def test_a_long_row_of_reloads_keeps_no_pause_from_its_end(world: World) -> None:
    await world.deployment(**{PERIOD: "5m"})

    async with world.manager(reloads_per_second=0.0001):
        await world.change("new")
        await passes(seconds=10)
        assert await world.is_paused() == OURS
        await world.change("newer")
        await passes(minutes=5)

    assert await world.is_paused() == NONE


async def test_an_invalid_period_of_one_keeps_none_from_its_reload(
    world: World,
) -> None:
    await world.deployment("bad", **{PERIOD: "5 minutes"})
    await world.deployment("good")

    async with world.manager():
        await world.change("new")
        await passes(seconds=5)

    assert await world.is_paused("bad") == NONE
    assert None not in {await world.marker("bad"), await world.marker("good")}
    (note,) = await world.notes("PausePeriodInvalid")
    assert note.startswith(f"{PERIOD}: '5 minutes' is no time such as 90s")


async def test_a_dry_run_ends_no_pause(world: World) -> None:
    await world.deployment(**{PERIOD: "5m", PAUSED_AT: ago(days=1)})
    await world.patch({"spec": {"paused": True}})

    async with world.manager(dry_run=True):
        await passes(minutes=15)

    assert await world.is_paused() == OURS
