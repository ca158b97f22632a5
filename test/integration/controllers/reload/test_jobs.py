"""Jobs that the server does not take again, on a real control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from api.apps.v1 import ControllerRevision
from api.batch.v1 import Job
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import AUTO, IMAGE, SECONDS, Shop
from controller_runtime import GroupVersionKind, InvalidError, Json
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.record import RECORD

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POLICY = GroupVersionKind(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"
)
BINDING = GroupVersionKind(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"
)
QUOTA = GroupVersionKind("", "v1", "ResourceQuota")

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
