"""Entries of records that nobody uses any more."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import PodTemplateSpec
from controller_runtime import (
    Client,
    HttpTransport,
    Manager,
    ManagerOptions,
    Meta,
    Scheme,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload import setup
from controllers.reload.annotations import read_policy
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.ageing import AGE, Ageing
from controllers.reload.writing.upkeep import NOTHING, Chore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEB = WorkloadKey("Deployment", "shop", "web")
AUTO = {"reloader.stakater.com/auto": "true"}


def workload(*entries: str, annotations: dict[str, str] = AUTO) -> Workload:
    """A workload that uses the ConfigMap `used`, with these in its record."""
    record = json.dumps(dict.fromkeys(entries, "0" * 20))
    source = {"configMapRef": {"name": "used"}}
    template = {"spec": {"containers": [{"name": "app", "envFrom": [source]}]}}
    meta = Meta(resource_version="42", annotations=annotations | {RECORD: record})
    return Workload(WEB, meta, PodTemplateSpec.model_validate(template))


def look(ageing: Ageing, of: Workload, after: timedelta) -> Chore:
    policy = read_policy(of.meta.annotations, {}, ReloadOptions())
    return ageing(of, policy, NOW + after)


def left(chore: Chore) -> set[str]:
    assert chore.patch is not None
    body = json.loads(chore.patch.body)
    assert body.keys() == {"metadata"}
    assert body["metadata"]["resourceVersion"] == "42"
    return set(json.loads(body["metadata"]["annotations"][RECORD]))


def test_an_entry_that_is_unused_for_a_day_is_dropped_and_the_others_stay() -> None:
    ageing, of = Ageing(), workload("cm/used", "cm/unused", "secret/used")

    assert look(ageing, of, timedelta()) == NOTHING
    assert look(ageing, of, AGE - timedelta(seconds=1)) == NOTHING
    assert left(look(ageing, of, AGE)) == {"cm/used"}


@pytest.mark.parametrize(
    ("entry", "annotations"),
    [
        pytest.param("cm/used", AUTO, id="used by the pods"),
        pytest.param(
            "cm/used",
            {"reloader.stakater.com/search": "true"},
            id="used, if it is tagged",
        ),
        pytest.param(
            "cm/listed-1",
            {"configmap.reloader.stakater.com/reload": "listed-.*"},
            id="listed, though the pods do not use it",
        ),
        pytest.param("cm/other/c", AUTO, id="of another namespace"),
        pytest.param("what/is-it", AUTO, id="of a kind that is not known"),
        pytest.param("cm/c", {}, id="of a workload that asks for nothing now"),
    ],
)
def test_any_other_entry_stays(entry: str, annotations: dict[str, str]) -> None:
    ageing, of = Ageing(), workload(entry, annotations=annotations)

    assert look(ageing, of, timedelta()) == NOTHING
    assert look(ageing, of, 2 * AGE) == NOTHING


@pytest.mark.parametrize(
    "annotations",
    [
        {"configmap.reloader.stakater.com/auto": "true"},
        {**AUTO, "secrets.exclude.reloader.stakater.com/reload": "s"},
    ],
)
def test_an_entry_that_is_left_out_by_annotation_is_unused(
    annotations: dict[str, str],
) -> None:
    ageing, of = Ageing(), workload("cm/used", "secret/s", annotations=annotations)
    look(ageing, of, timedelta())

    assert left(look(ageing, of, AGE)) == {"cm/used"}


def test_an_entry_that_was_used_meanwhile_has_its_day_again() -> None:
    ageing, of = Ageing(), workload("cm/used", "cm/unused")
    listed = {**AUTO, "configmap.reloader.stakater.com/reload": "unused"}
    look(ageing, of, timedelta())
    look(ageing, workload("cm/used", "cm/unused", annotations=listed), AGE / 2)

    assert look(ageing, of, AGE) == NOTHING
    assert look(ageing, of, 1.9 * AGE) == NOTHING
    assert left(look(ageing, of, 2 * AGE)) == {"cm/used"}


def test_what_is_used_or_gone_takes_no_place() -> None:
    ageing = Ageing()
    look(ageing, workload("cm/used", "cm/unused"), timedelta())
    assert len(ageing) == 1
    look(ageing, workload("cm/used"), timedelta())
    assert len(ageing) == 0

    look(ageing, workload("cm/unused"), timedelta())
    ageing.forget(WEB)
    assert len(ageing) == 0


class JumpingClock:
    """Wall-clock time that a test moves on."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


async def test_a_running_manager_drops_what_is_unused_for_a_day() -> None:
    clock = JumpingClock()
    entries = dict.fromkeys(("cm/unused", "cm/used"), "0" * 20)
    annotations = AUTO | {RECORD: json.dumps(entries)}
    labels = {"app": "web"}
    container = {"name": "app", "image": "x"}
    uses = {"envFrom": [{"configMapRef": {"name": "used"}}]}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container | uses]},
    }
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        client = Client(transport, scheme=Scheme())
        await client.create(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": "web",
                    "namespace": "shop",
                    "annotations": annotations,
                },
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            }
        )
        addresses = ManagerOptions(
            metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
        )
        manager = Manager(transport, options=addresses, clock=clock)
        setup(manager, ReloadOptions())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            await asyncio.sleep(5)
            clock.time += AGE
            await asyncio.sleep(ReloadOptions().resync.total_seconds())
            read = await client.get(Deployment.gvk, "web", "shop")
            manager.stop()

    assert json.loads(read["metadata"]["annotations"][RECORD]).keys() == {"cm/used"}
    assert read["spec"]["template"]["spec"]["containers"][0].get("env", []) == []
