"""Reloads that are held, taken back or cut short, on a real control plane.

Each test has a namespace, and a manager that sees no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from api.apps.v1 import ControllerRevision, Deployment
from api.batch.v1 import Job
from conformance.reloads import AUTO, REPLICA_SET, Shop, is_rolled_out
from controller_runtime import (
    Json,
    RawObject,
    json_patch,
)
from controller_runtime.meta import read_meta
from controller_runtime.testing.eventually import (
    eventually,
    eventually_gone,
    eventually_list,
)
from controllers.reload.options import Strategy
from controllers.reload.plan import Marker, Plan
from controllers.reload.record import RECORD
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.sources.digest import config_map_digest
from controllers.reload.workloads import read_workload
from controllers.reload.writing.batch import started_anew
from controllers.reload.writing.ledger import Ledger

PERIOD = "deployment.reloader.stakater.com/pause-period"
PAUSED_AT = "deployment.reloader.stakater.com/paused-at"
REVISION = "deployment.kubernetes.io/revision"


async def deploy(shop: Shop, name: str, **annotations: str) -> Json:
    """Create one of one pod that uses `c`; return it when it runs and is known."""
    await shop.workload(name, AUTO | annotations, uses=["cm/c"], replicas=1)
    return await settled(shop, name, lambda obj: RECORD in annotations_of(obj))


async def settled(shop: Shop, name: str, condition: Callable[[Json], bool]) -> Json:
    """Wait until the newest template is all that runs, and more."""
    return await shop.when(name, lambda obj: condition(obj) and is_rolled_out(obj))


async def replica_sets(shop: Shop, name: str) -> list[Json]:
    found = await shop.client.list(
        REPLICA_SET, shop.namespace, label_selector=f"app={name}"
    )
    return sorted(found.items, key=lambda it: int(annotations_of(it)[REVISION]))


async def reloads(shop: Shop, name: str) -> int:
    events = await shop.events_now("Reloaded")
    return sum(event["regarding"]["name"] == name for event in events)


async def undo(shop: Shop, name: str) -> None:
    """Do what `kubectl rollout undo` does (kubectl `pkg/polymorphichelpers`)."""
    deployment = await shop.client.get(Deployment.gvk, name, shop.namespace)
    *_, previous, _ = await replica_sets(shop, name)
    template = previous["spec"]["template"]
    del template["metadata"]["labels"]["pod-template-hash"]
    skipped = {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        "deployment.kubernetes.io/revision-history",
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.deployment.rollback.to",
    }
    kept = {k: v for k, v in annotations_of(deployment).items() if k in skipped}
    old = {k: v for k, v in annotations_of(previous).items() if k not in skipped}
    operations = [
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": kept | old},
    ]
    patch = json_patch(operations)
    await shop.client.patch(Deployment.gvk, name, shop.namespace, patch=patch)


def annotations_of(obj: Json) -> Json:
    annotations: Json = obj["metadata"].get("annotations", {})
    return annotations


def record_of(obj: Json) -> Json:
    record: Json = json.loads(annotations_of(obj)[RECORD])
    return record


def marker_of(obj: Json) -> str | None:
    (container,) = obj["spec"]["template"]["spec"]["containers"]
    return next((one["value"] for one in container.get("env", [])), None)


@pytest.fixture
async def shop(shop: Shop) -> Shop:
    await shop.sources("cm/c")
    return shop


async def test_changes_during_a_pause_become_one_rollout_at_its_end(
    shop: Shop,
) -> None:
    """Scenario 29."""
    async with shop.manager():
        await deploy(shop, "web", **{PERIOD: "5s"})
        await shop.change("cm/c", "new")
        paused = await eventually(
            shop.client,
            Deployment.gvk,
            "web",
            shop.namespace,
            lambda obj: PAUSED_AT in annotations_of(obj),
        )
        assert paused["spec"]["paused"] is True
        first = marker_of(paused)
        assert first is not None
        await shop.change("cm/c", "newer")

        after = await settled(
            shop,
            "web",
            lambda obj: marker_of(obj) != first and not obj["spec"].get("paused"),
        )

    assert PAUSED_AT not in annotations_of(after)
    assert len(await replica_sets(shop, "web")) == 2


async def test_no_reload_follows_a_rollback_and_one_the_next_change(
    shop: Shop,
) -> None:
    """Scenario 55."""
    async with shop.manager():
        await deploy(shop, "web")
        await shop.change("cm/c", "new")
        reloaded = await settled(shop, "web", lambda obj: marker_of(obj) is not None)
        # The old ReplicaSet has the old record: else there is nothing to prove.
        await undo(shop, "web")
        undone = await settled(
            shop,
            "web",
            lambda obj: (
                marker_of(obj) is None and record_of(obj) == record_of(reloaded)
            ),
        )
        assert await reloads(shop, "web") == 1

        await shop.change("cm/c", "newer")
        await settled(shop, "web", lambda obj: marker_of(obj) is not None)

    assert await reloads(shop, "web") == 2
    assert int(annotations_of(undone)[REVISION]) == 3


async def test_a_job_that_a_dead_manager_has_deleted_is_created_by_the_next(
    shop: Shop,
) -> None:
    """Scenario 26, and a kill between its two requests."""
    source = {"configMapRef": {"name": "c"}}
    container = {"name": "app", "image": "x", "envFrom": [source]}
    pod = {
        "nodeSelector": {"example.com/is": "nowhere"},
        "restartPolicy": "Never",
        "containers": [container],
    }
    spec = {"template": {"spec": pod}}
    await shop.create(Job.gvk, "x", AUTO, spec=spec)
    before = await shop.client.get(Job.gvk, "x", shop.namespace)
    key = SourceKey(SourceKind.CONFIG_MAP, shop.namespace, "c")
    digest = config_map_digest({"k": "old"}, {})
    value = digest.marker
    marker = Marker(key, "app", "STAKATER_C_CONFIGMAP", value, value)
    record = {"cm/c": digest.recorded}
    plan = Plan(record, (marker,), Strategy.ENV_VARS, "0123456789")
    raw = json.dumps(before).encode()
    workload = read_workload("Job", RawObject(read_meta(raw), raw))
    document = started_anew(workload, plan, now=datetime(2026, 1, 1, tzinfo=UTC))
    dead = Ledger(shop.client, by="dead")
    await dead.note(dead.owe(workload, plan, document))
    await shop.client.delete(Job, "x", shop.namespace, propagation_policy="Background")
    await eventually_gone(shop.client, Job.gvk, "x", shop.namespace)

    async with shop.manager():
        await eventually_list(
            shop.client, ControllerRevision.gvk, shop.namespace, lambda them: not them
        )

    after = await shop.client.get(Job.gvk, "x", shop.namespace)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert marker_of(after) is not None
    assert await reloads(shop, "x") == 1
