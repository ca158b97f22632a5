"""Jobs that the server does not take again, on a real control plane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from api.apps.v1 import ControllerRevision
from api.batch.v1 import CronJob, Job
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import AUTO, IMAGE, SECONDS, Shop
from controller_runtime import GroupVersionKind, InvalidError, Json, RawObject
from controller_runtime.meta import read_meta
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.plan import Marker, Plan
from controllers.reload.record import RECORD, RELOADED_AT
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.sources.digest import config_map_digest
from controllers.reload.workloads import read_workload
from controllers.reload.writing.batch import run_of

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POLICY = GroupVersionKind(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"
)
BINDING = GroupVersionKind(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"
)
QUOTA = GroupVersionKind("", "v1", "ResourceQuota")

NOW = datetime(2026, 1, 1, tzinfo=UTC)

UNMARKED = (
    "object.spec.template.spec.containers.all(c, !has(c.env) || "
    "c.env.all(e, !e.name.startsWith('STAKATER_')))"
)
"""What a policy of the tests wants of Jobs."""


async def job(shop: Shop) -> Json:
    """Create a Job that stays at work, and wait until it is known."""
    source = {"configMapRef": {"name": "c"}}
    container = {"name": "app", "image": IMAGE, "envFrom": [source]}
    pod = {
        "nodeSelector": {"example.com/is": "nowhere"},
        "restartPolicy": "Never",
        "containers": [container],
    }
    await shop.create(Job.gvk, "x", AUTO, spec={"template": {"spec": pod}})
    return await when(shop, lambda it: RECORD in it["metadata"]["annotations"])


async def when(shop: Shop, condition: Callable[[Json], object]) -> Json:
    return await eventually(
        *(shop.client, Job.gvk, "x", shop.namespace, condition), timeout=SECONDS
    )


async def failed(shop: Shop, *words: str) -> None:
    """Wait for an Event that says so."""
    await eventually_list(
        *(shop.client, EVENT, shop.namespace),
        lambda events: any(
            event["reason"] == "ReloadFail"
            and all(word in event["note"] for word in words)
            for event in events
        ),
        timeout=SECONDS,
    )


async def in_force(shop: Shop) -> None:
    """Wait until a policy is acted on, which nothing tells of."""
    env = [{"name": "STAKATER_C_CONFIGMAP", "value": "x"}]
    container = {"name": "app", "image": IMAGE, "env": env}
    pod = {"restartPolicy": "Never", "containers": [container]}
    marked = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "marked", "namespace": shop.namespace},
        "spec": {"template": {"spec": pod}},
    }
    async with asyncio.timeout(SECONDS):
        with suppress(InvalidError):
            while True:
                await shop.client.create(marked, dry_run=True)
                await asyncio.sleep(0.1)


@pytest.fixture
async def policy(shop: Shop) -> AsyncIterator[None]:
    """Refuse Jobs with a marker in the namespace of the test."""
    name = f"unmarked-{shop.namespace}"
    rule = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "resources": ["jobs"],
        "operations": ["CREATE"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": shop.namespace}}
    matching = {"resourceRules": [rule], "namespaceSelector": here}
    for gvk, spec in (
        (
            POLICY,
            {
                "matchConstraints": matching,
                "validations": [{"expression": UNMARKED, "message": "no markers"}],
            },
        ),
        (BINDING, {"policyName": name, "validationActions": ["Deny"]}),
    ):
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await shop.client.create({**head, "metadata": {"name": name}, "spec": spec})
    await in_force(shop)
    yield
    for gvk in (BINDING, POLICY):
        await shop.client.delete(gvk, name)


@pytest.mark.usefixtures("policy")
async def test_a_job_that_a_policy_would_not_take_stays_at_work(shop: Shop) -> None:
    await shop.sources("cm/c")
    async with shop.manager():
        before = await job(shop)
        await shop.change("cm/c")
        await failed(shop, "no markers", "cannot be reloaded")

    assert is_at_work(await when(shop, bool), before)


async def test_a_job_is_started_anew_under_a_quota_that_it_fills(shop: Shop) -> None:
    await shop.sources("cm/c")
    async with shop.manager():
        before = await job(shop)
        await quota(shop, 1)
        await shop.change("cm/c")
        uid = before["metadata"]["uid"]
        await when(shop, lambda it: it["metadata"]["uid"] != uid)
        await eventually_list(
            *(shop.client, ControllerRevision.gvk, shop.namespace),
            lambda them: not them,
            timeout=SECONDS,
        )


@pytest.mark.usefixtures("crd")
async def test_a_job_that_a_quota_would_keep_from_its_new_start_stays_at_work(
    shop: Shop,
) -> None:
    await shop.sources("cm/c")
    config: Json = {"targets": [{"kind": "Job", "name": "x"}], "autoReloadAll": True}
    await shop.create(ReloaderConfig.gvk, "jobs", spec=config)
    async with shop.manager():
        before = await job(shop)
        await reported(shop, lambda row: row["observedHashes"])
        await quota(shop, 0)
        await shop.change("cm/c")
        await failed(shop, "exceeded quota", "cannot be reloaded")
        await reported(shop, lambda row: "exceeded quota" in row.get("lastError", ""))

    assert is_at_work(await when(shop, bool), before)


async def quota(shop: Shop, jobs: int) -> None:
    """Allow so many Jobs, and wait until those that are there are counted."""
    hard = {"count/jobs.batch": str(jobs)}
    await shop.create(QUOTA, "jobs", spec={"hard": hard})
    await eventually(
        *(shop.client, QUOTA, "jobs", shop.namespace),
        lambda it: it.get("status", {}).get("used", {}).get("count/jobs.batch") == "1",
        timeout=SECONDS,
    )


async def reported(shop: Shop, condition: Callable[[Json], object]) -> None:
    """Wait until the status of the config says so of its target."""
    await eventually(
        *(shop.client, ReloaderConfig.gvk, "jobs", shop.namespace),
        lambda it: any(map(condition, it.get("status", {}).get("targetStatus", ()))),
        timeout=SECONDS,
    )


def is_at_work(now: Json, before: Json) -> bool:
    is_same = now["metadata"]["uid"] == before["metadata"]["uid"]
    return is_same and "deletionTimestamp" not in now["metadata"]


async def test_a_run_of_a_dead_manager_is_the_only_one(shop: Shop) -> None:
    """Scenario 25, and a kill between the run and its record."""
    await shop.sources("cm/c", "cm/d")
    sources = [{"configMapRef": {"name": name}} for name in "cd"]
    container = {"name": "app", "image": IMAGE, "envFrom": sources}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
    await shop.create(CronJob.gvk, "x", AUTO, spec=spec)
    found = (shop.client, CronJob.gvk, "x", shop.namespace)
    async with shop.manager():
        adopted = await eventually(
            *found,
            lambda it: RECORD in it["metadata"]["annotations"],
            timeout=SECONDS,
        )
    raw = json.dumps(adopted).encode()
    workload = read_workload("CronJob", RawObject(read_meta(raw), raw))
    digest = config_map_digest({"k": "new"}, {})
    markers = tuple(
        Marker(
            SourceKey(SourceKind.CONFIG_MAP, shop.namespace, name),
            *("app", f"STAKATER_{name}", digest.marker, digest.marker),
        )
        for name in "cd"
    )
    for name in "cd":
        await shop.change(f"cm/{name}")
    plan = Plan(dict.fromkeys(("cm/c", "cm/d"), digest.recorded), markers)
    await shop.client.create(run_of(workload, plan, now=NOW))
    await shop.remove("cm/d")

    async with shop.manager():
        after = await eventually(
            *found,
            lambda it: RELOADED_AT in it["metadata"]["annotations"],
            timeout=SECONDS,
        )
        await shop.change("cm/c", "newer")
        runs = await eventually_list(
            *(shop.client, Job.gvk, shop.namespace),
            lambda them: len(them) > 1,
            timeout=SECONDS,
        )

    assert json.loads(after["metadata"]["annotations"][RECORD]) == plan.record
    assert len(runs) == 2
