"""When workloads reload, on a real control plane; periods are shortened."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from api.apps.v1 import Deployment, StatefulSet
from conformance.reloads import AUTO, SECONDS, Shop, record
from controller_runtime import (
    GroupVersionKind,
    Json,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually_list
from controllers.reload.braking import BrakeOptions
from controllers.reload.record import RELOADED_AT
from controllers.reload.sources.digest import config_map_digest

NAMESPACE = GroupVersionKind("", "v1", "Namespace")
REVISION = GroupVersionKind("apps", "v1", "ControllerRevision")
PERIOD = "statefulset.reloader.stakater.com/pause-period"


def annotated(obj: Json) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def revision(obj: Json) -> int:
    """Return how many templates a Deployment has had."""
    return int(annotated(obj)["deployment.kubernetes.io/revision"])


async def rolled_out(shop: Shop) -> Json:
    """Wait until the controller of Deployments has seen the last of its changes."""
    return await shop.when(
        "web",
        lambda it: (
            it["status"].get("observedGeneration") == it["metadata"]["generation"]
        ),
    )


async def runs_with(
    shop: Shop, value: object, gvk: GroupVersionKind = Deployment.gvk
) -> Json:
    """Wait until a content is what the workload runs with, by its record."""
    wanted = config_map_digest({"k": str(value)}, {}).recorded
    return await shop.when("web", lambda it: record(it).get("cm/c") == wanted, gvk)


@pytest.fixture
async def shop(shop: Shop) -> Shop:
    await shop.sources("cm/c")
    return shop


async def test_twenty_quick_updates_are_one_rollout(shop: Shop) -> None:
    """A3."""
    await shop.deployed("web", AUTO, uses=["cm/c"])
    # Longer than by default: a busy machine may take its time between two of them.
    gathers = {
        "debounce": timedelta(seconds=3),
        "debounce_max": timedelta(seconds=60),
    }
    async with shop.manager(**gathers):
        await runs_with(shop, "old")
        for number in range(20):
            await shop.change("cm/c", str(number))
        await runs_with(shop, 19)

    assert revision(await rolled_out(shop)) == 2
    assert len(await shop.events("Reloaded", "web")) == 1


async def test_a_stateful_set_rests_after_a_reload_and_then_reloads_once(
    shop: Shop,
) -> None:
    """Scenario 13, as an annotation."""
    period = timedelta(seconds=10)
    noted = AUTO | {PERIOD: "10s"}
    await shop.deployed("web", noted, gvk=StatefulSet.gvk, uses=["cm/c"])
    async with shop.manager():
        await runs_with(shop, "old", StatefulSet.gvk)
        await shop.change("cm/c", "first")
        first = await runs_with(shop, "first", StatefulSet.gvk)
        await shop.change("cm/c", "second")
        (held,) = await shop.events("ReloadHeld", "web")
        await shop.change("cm/c", "third")
        third = await runs_with(shop, "third", StatefulSet.gvk)

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
        timeout=SECONDS,
    )
    assert len(revisions) == 3


async def test_a_restart_inside_a_cooldown_loses_and_doubles_nothing(
    shop: Shop,
) -> None:
    options = {"cooldown": timedelta(seconds=10)}
    await shop.deployed("web", AUTO, uses=["cm/c"])
    async with shop.manager(**options):
        await runs_with(shop, "old")
        await shop.change("cm/c", "first")
        first = await runs_with(shop, "first")
        await shop.change("cm/c", "second")
        await shop.events("ReloadHeld", "web")
    async with shop.manager(**options):
        second = await runs_with(shop, "second")

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
    await shop.deployed("web", AUTO, uses=["cm/c"])
    async with shop.manager(storm_brake=brake, debounce=timedelta(milliseconds=5)):
        await runs_with(shop, "old")
        now = asyncio.get_running_loop().time
        count, end = 0, now() + SECONDS
        while now() < end:
            await shop.change("cm/c", str(count))
            count += 1
            if (
                count % 20 == 0
                and end - now() > 5
                and await shop.events_now("ReloadThrottled")
            ):
                end = now() + 5
        await runs_with(shop, count - 1)
        (told,) = await shop.events("ReloadThrottled", "web")

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
    await shop.deployed("web", AUTO, uses=["cm/c"])
    # Long enough for the news of the Namespace to be there first.
    options = {"namespaces": (), "debounce": timedelta(seconds=3)}
    async with shop.manager(namespace_selector=only, **options):
        await runs_with(shop, "old")
        await pause("true")
        await shop.change("cm/c", "new")
        (held,) = await shop.events("ReloadHeld", "web")
        assert f"taken away from namespace {shop.namespace}" in held["note"]
        await pause(None)
        await runs_with(shop, "new")

    assert revision(await rolled_out(shop)) == 2
