"""Processes that die, edits that overtake, servers that do not answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from conformance.charts import DEPLOYMENT as DEPLOYMENT_TEMPLATE
from conformance.charts import NOWHERE, chart
from conformance.roosts import DEPLOYMENT, SECRET, Yard, message, says
from controller_runtime import (
    Call,
    InterceptedTransport,
    Json,
    Proceed,
    Response,
    ServerError,
    SystemClock,
    Transport,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list

ROOT = Path(__file__).parents[4]

PODS = chart(templates={"deployment.yaml": DEPLOYMENT_TEMPLATE})
UNREADY = {"object": {"nodes": NOWHERE}}


async def begun(yard: Yard, status: str = "pending-upgrade") -> None:
    """Wait until Helm is in the middle of an operation."""
    await eventually_list(
        yard.client,
        SECRET,
        yard.namespace,
        lambda records: bool(records) and last_status(records) == status,
        label_selector="owner=helm,name=web",
    )


def last_status(records: list[Json]) -> str:
    labels = [record["metadata"]["labels"] for record in records]
    newest = max(labels, key=lambda it: int(it["version"]))
    return str(newest["status"])


async def test_a_worker_that_dies_in_an_upgrade_costs_nobody_anything(
    yard: Yard,
) -> None:
    """Scenario 24."""
    yard.publish(PODS)
    async with yard.manager():
        await yard.create(timeout="10m")
        await yard.create("other", chart={"values": {"object": {"replicas": 1}}})
        await yard.ready(1)
        await yard.ready(1, "other")
        await yard.change(chart={"values": UNREADY})
        await begun(yard)

        for pid in yard.pools[-1].pids:
            os.kill(pid, signal.SIGKILL)
        await begun(yard)  # once more, after it was unlocked
        await yard.change(chart={"values": None})

        roost = await yard.ready()
        assert await yard.events("ReleaseUnlocked")
        other = await yard.ready(1, "other")
    assert roost.status.failures is None
    assert other.status.failures is None


@asynccontextmanager
async def process(yard: Yard, kubeconfig: Path) -> AsyncIterator[Process]:
    """Run the manager as users do, in a process of its own that stands for a Lease."""
    settings = {
        "controllers": ["release"],
        "metrics_bind_address": "0",
        "health_probe_bind_address": "0",
        "debug_bind_address": "0",
        "leader_elect": True,
        "leader_election_namespace": yard.namespace,
        "release": {
            "namespaces": [yard.namespace],
            "cache": str(yard.folder / "charts"),
        },
    }
    file = yard.folder / "settings.yaml"
    file.write_text(json.dumps(settings))
    manager = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controllers", "run"),
        f"--config={file}",
        f"--kubeconfig={kubeconfig}",
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield manager
    finally:
        if manager.returncode is None:
            manager.terminate()
        await manager.wait()


async def test_a_manager_that_is_killed_in_an_upgrade_is_followed_by_one_that_goes_on(
    yard: Yard, kubeconfig: Path
) -> None:
    """Scenario 21."""
    yard.publish(PODS)
    async with process(yard, kubeconfig) as leader:
        await yard.create(timeout="10m")
        await yard.ready(1)
        async with process(yard, kubeconfig):
            await yard.change(chart={"values": UNREADY})
            await begun(yard)
            assert (await yard.read()).status.operation is not None

            leader.kill()

            await eventually(
                yard.client,
                SECRET,
                "sh.helm.release.v1.web.v3",
                yard.namespace,
                lambda it: it["metadata"]["labels"]["status"] == "pending-upgrade",
                timeout=60,
            )
            await yard.told("ReleaseUnlocked")
            await yard.change(chart={"values": None})
            await yard.ready()


@pytest.mark.parametrize(("minutes", "is_unlocked"), [(10, True), (1, False)])
async def test_what_nobody_recorded_is_left_alone_for_a_while(
    yard: Yard, minutes: int, is_unlocked: bool
) -> None:
    """Scenario 23."""
    async with yard.manager():
        await yard.create()
        await yard.ready(1)
    (record,) = await yard.records()
    then = SystemClock().now() - timedelta(minutes=minutes)
    labels = {
        "status": "pending-install",
        "modifiedAt": str(int(then.timestamp())),
        "createdAt": str(int(then.timestamp())),
    }
    await recreated(yard, record, labels)

    async with yard.manager():
        if is_unlocked:
            await yard.ready(2)
            assert await yard.events("ReleaseUnlocked")
        else:
            await yard.not_ready("Locked")
            assert await yard.statuses() == ["pending-install"]
            await yard.annotate(unlock_at="now")
            await yard.ready(2)


async def recreated(yard: Yard, record: Json, labels: dict[str, str]) -> None:
    metadata = record["metadata"]
    await yard.client.patch(
        SECRET,
        metadata["name"],
        yard.namespace,
        patch=merge_patch({"metadata": {"labels": labels}}),
    )


async def test_an_edit_overtakes_an_upgrade_that_waits(yard: Yard) -> None:
    """Scenario 25."""
    yard.publish(PODS)
    async with yard.manager():
        await yard.create(timeout="30m")
        await yard.ready(1)
        await yard.change(chart={"values": UNREADY})
        await begun(yard)

        await yard.change(chart={"values": {"object": {"nodes": None, "replicas": 2}}})
        await eventually(
            yard.client,
            SECRET,
            "sh.helm.release.v1.web.v2",
            yard.namespace,
            lambda it: it["metadata"]["labels"]["status"] == "failed",
            timeout=3,
        )

        roost = await yard.ready()
        deployment = await yard.client.get(DEPLOYMENT, "web", yard.namespace)
    assert deployment["spec"]["replicas"] == 2
    assert roost.status.failures is None
    assert not await yard.events("UpgradeFailed")


async def test_an_object_that_is_deleted_does_not_wait_for_its_upgrade(
    yard: Yard,
) -> None:
    """Section 2.9: what runs is cancelled first."""
    yard.publish(PODS)
    async with yard.manager():
        await yard.create(timeout="30m")
        await yard.ready(1)
        await yard.change(chart={"values": UNREADY})
        await begun(yard)

        await yard.delete()

        await yard.gone()
    assert await yard.records() == []


async def test_a_server_in_trouble_is_no_failure_and_nothing_is_taken_for_absent(
    yard: Yard,
) -> None:
    """Scenario 52."""
    is_down = asyncio.Event()

    async def refuse(call: Call, proceed: Proceed) -> Response:
        if is_down.is_set() and call.info.resource == "secrets":
            raise ServerError("in trouble", status=503)
        return await proceed()

    def around(transport: Transport) -> Transport:
        return InterceptedTransport(transport, {"list": refuse, "get": refuse})

    with capture_logs():
        await through_trouble(yard, around, is_down)
    assert await yard.statuses() == ["superseded", "deployed"]


async def through_trouble(
    yard: Yard, around: Callable[[Transport], Transport], is_down: asyncio.Event
) -> None:
    async with yard.manager(around=around):
        await yard.create(interval="1s")
        await yard.ready(1)
        is_down.set()
        await yard.annotate(force_at="now")
        await yard.looked(3)
        roost = await yard.read()
        assert roost.status.failures is None
        assert says(roost, "Ready") == "True/Succeeded"

        is_down.clear()

        await yard.ready(2)


async def test_a_record_that_cannot_be_read_is_told_of_and_holds_nobody_for_ever(
    yard: Yard,
) -> None:
    """Section 2.1: release Secrets, decoded by us."""
    async with yard.manager():
        await yard.create(interval="2s")
        await yard.ready(1)
        rubbish = {"data": {"release": "cnViYmlzaA=="}}
        await yard.client.patch(
            SECRET,
            "sh.helm.release.v1.web.v1",
            yard.namespace,
            patch=merge_patch(rubbish),
        )
        await yard.delete()
        roost = await yard.not_ready("RecordUnreadable")
        assert "sh.helm.release.v1.web.v1" in message(roost)

        await yard.annotate(deletion_policy="Orphan")
        await yard.gone()
