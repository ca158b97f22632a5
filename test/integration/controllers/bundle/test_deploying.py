"""Bundles on a real control plane: one Job for each version, and what becomes of it.

Scenarios are those of `specs/bundle.md`, section 7. "Nothing happens" is shown by a
poll that has ended: whatever it would have started is in its status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from api.batch.v1 import Job
from api.core.v1 import ConfigMap, Secret
from conformance import werf
from conformance.bundles import ACCOUNT, QUICK, Yard, args_of, condition
from controller_runtime import (
    Call,
    HttpTransport,
    InterceptedTransport,
    Proceed,
    Response,
    SystemClock,
    Transport,
    has_owner_reference,
)
from controller_runtime.testing.eventually import eventually_gone, eventually_list
from controllers.bundle.outcomes import Outcomes


async def test_the_newest_version_is_applied_by_one_job_and_the_status_says_so(
    yard: Yard,
) -> None:
    """Scenarios 5 and 7."""
    digest = await yard.publish("v1.0.0", "v1.1.0")
    bundle = await yard.bundle(held=True)
    async with yard.manager():
        job = await bundle.job()
        assert werf.applied(args_of(job)) == werf.Applied(
            yard.url, "v1.1.0", digest, "app", yard.namespace
        )
        syncing = (await bundle.phase("Syncing")).status
        assert syncing.last_applied_tag == ""
        assert syncing.active_job_name == job["metadata"]["name"]

        await bundle.run(job)
        status = (await bundle.applied("v1.1.0")).status
        assert status.last_applied_digest == digest
        assert status.last_sync_time is not None
        assert status.active_job_name == ""
        assert status.last_job_status == "Succeeded"
        assert [entry.version for entry in status.version_history] == ["v1.1.0"]
        assert await bundle.told("VersionResolved")
        assert await bundle.told("JobCreated")
        assert await bundle.told("Synced")


async def test_the_same_tags_start_nothing_and_a_newer_one_starts_one_job(
    yard: Yard,
) -> None:
    """Scenarios 6, 14 and 66: on a node that ends Jobs by itself."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(registry={"versionConstraint": "<2"})
    async with yard.manager():
        first = (await bundle.applied("v1.0.0")).status
        await bundle.poll()
        again = (await bundle.poll()).status
        assert len(await bundle.jobs()) == 1
        assert condition(await bundle.poll(), "RegistryReachable").reason == (
            "NotModified"
        )
        assert again.last_e_tag == first.last_e_tag != ""

        await yard.publish("v2.0.0")
        await bundle.poll()
        assert len(await bundle.jobs()) == 1
        await yard.publish("v1.2.0")
        await bundle.poll()
        status = (await bundle.applied("v1.2.0")).status
        assert len(await bundle.jobs()) == 2
        assert [it.version for it in status.version_history] == ["v1.2.0", "v1.0.0"]


async def test_a_failed_apply_is_told_and_tried_again_until_the_tries_are_used_up(
    yard: Yard,
) -> None:
    """Scenarios 8 and 46: an account without rights."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True, converge={"retries": 1})
    forbidden = (
        'Error: configmaps "werf-synchronization" is forbidden: User '
        '"system:serviceaccount:a:b" cannot get resource "configmaps"'
    )
    async with yard.manager():
        await bundle.end(await bundle.job(), 1, f"some line\n{forbidden}\n")
        failed = (
            await bundle.when(lambda it: it.status.last_job_status == "Failed")
        ).status
        assert failed.last_applied_tag == ""
        assert failed.last_job is not None
        assert failed.last_job.exit_code == 1
        assert failed.last_job.reason == "JobForbidden"
        assert "exit code 1" in failed.last_error_message
        assert 'cannot get resource "configmaps"' in failed.last_error_message
        assert forbidden in failed.last_job_logs

        second = await bundle.job(2)
        assert second["metadata"]["annotations"]["werf.io/trigger"] == "Retry"
        await bundle.end(second, 1, "Error: no\n")
        stalled = await bundle.phase("Failed")
        assert condition(stalled, "Stalled").reason == "RetriesExhausted"
        assert len(await bundle.jobs()) == 2

        await bundle.poll()
        await bundle.run(await bundle.job(3))
        await bundle.applied("v1.0.0")


async def test_a_missing_account_is_waited_for(yard: Yard) -> None:
    """Scenario 9."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(converge={"serviceAccountName": "deployer"})
    async with yard.manager():
        failed = await bundle.phase("Failed")
        assert condition(failed, "PreflightPassed").message == (
            f"ServiceAccount 'deployer' not found in namespace '{yard.namespace}'"
        )
        assert condition(failed, "Ready").reason == "ServiceAccountNotFound"
        assert await bundle.jobs() == []

        await yard.create(ACCOUNT, "deployer")
        await bundle.applied("v1.0.0")


async def test_a_deleted_bundle_takes_its_jobs_and_secrets_along(yard: Yard) -> None:
    """Scenario 10."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True, converge={"values": {"a": 1}})
    async with yard.manager():
        job = await bundle.job()
        name = job["metadata"]["name"]
        assert job["metadata"]["ownerReferences"][0]["controller"] is True
        await bundle.client.get(Secret, f"{name}-values", yard.namespace)

        await bundle.delete()
        for kind, each in (
            (Job.gvk, name),
            (Secret.gvk, f"{name}-values"),
            (Secret.gvk, f"{name}-registry"),
        ):
            await eventually_gone(bundle.client, kind, each, yard.namespace)


async def test_a_bad_url_is_told_once_and_for_all(yard: Yard) -> None:
    """Scenario 4."""
    bundle = await yard.bundle(registry={"url": "invalid://x"})
    async with yard.manager():
        failed = await bundle.phase("Failed")
        assert condition(failed, "Stalled").reason == "InvalidURL"
        assert "spec.registry.url" in condition(failed, "Ready").message
        assert failed.status.next_poll_time is None
        assert await bundle.jobs() == []

        await yard.publish("v1.0.0")
        await bundle.patch(registry={"url": yard.url})
        await bundle.applied("v1.0.0")


async def test_a_bad_constraint_is_told(yard: Yard) -> None:
    """Scenario 65."""
    bundle = await yard.bundle(registry={"versionConstraint": ">=one"})
    async with yard.manager():
        failed = await bundle.phase("Failed")
        assert condition(failed, "Stalled").reason == "InvalidConstraint"


async def test_a_moved_tag_is_applied_anew(yard: Yard) -> None:
    """Scenario 30."""
    await yard.publish("stable")
    bundle = await yard.bundle(registry={"tag": "stable"})
    async with yard.manager():
        first = (await bundle.applied("stable")).status
        digest = await yard.publish("stable", greeting="good morning")
        assert digest != first.last_applied_digest
        await bundle.poll()
        status = (
            await bundle.when(lambda it: it.status.last_applied_digest == digest)
        ).status
        assert [it.version for it in status.version_history] == ["stable", "stable"]
        assert status.version_history[0].trigger == "DigestChanged"


async def test_what_was_applied_before_is_applied_again_when_it_is_wanted_again(
    yard: Yard,
) -> None:
    """The Job of the first time is still there, and is not taken for a new one."""
    await yard.publish("v1.0.0", "v2.0.0")
    bundle = await yard.bundle(registry={"tag": "v1.0.0"})
    async with yard.manager():
        await bundle.applied("v1.0.0")
        await bundle.patch(registry={"tag": "v2.0.0"})
        await bundle.applied("v2.0.0")
        await bundle.patch(registry={"tag": "v1.0.0"})
        await bundle.applied("v1.0.0")
        assert len(await bundle.jobs()) == 3


async def test_a_digest_is_deployed_without_a_tag(yard: Yard) -> None:
    digest = await yard.publish("v1.0.0")
    await yard.publish("v1.0.0", greeting="another")
    bundle = await yard.bundle(registry={"digest": digest})
    async with yard.manager():
        status = (
            await bundle.when(lambda it: it.status.last_applied_digest == digest)
        ).status
        assert status.last_applied_tag == f"sha256-{digest[7:19]}"
        (job,) = await bundle.jobs()
        assert werf.applied(args_of(job)).digest == digest


async def test_a_job_that_somebody_deletes_is_replaced_once(yard: Yard) -> None:
    """Scenario 23."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True)
    async with yard.manager():
        first = (await bundle.job())["metadata"]["name"]
        await bundle.made()
        await bundle.client.delete(
            Job.gvk, first, yard.namespace, propagation_policy="Background"
        )
        await bundle.told("JobLost")
        second = await bundle.job()
        assert second["metadata"]["name"] != first
        assert second["metadata"]["annotations"]["werf.io/attempt"] == "2"
        await bundle.run(second)
        await bundle.applied("v1.0.0")


async def test_an_evicted_pod_is_no_failure(yard: Yard) -> None:
    """Scenario 33."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True)
    async with yard.manager():
        job = await bundle.job()
        await bundle.evict(job)
        await bundle.run(job)
        await bundle.applied("v1.0.0")
        assert "JobFailed" not in await bundle.events()
        assert len(await bundle.jobs()) == 1


async def test_a_suspended_bundle_is_left_alone_and_its_job_is_followed(
    yard: Yard,
) -> None:
    """Scenario 78."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True)
    async with yard.manager():
        job = await bundle.job()
        await bundle.patch(suspend=True)
        await bundle.run(job)
        suspended = await bundle.phase("Suspended")
        assert suspended.status.last_applied_tag == "v1.0.0"
        assert suspended.status.next_poll_time is None

        await yard.publish("v2.0.0")
        await bundle.patch(suspend=False)
        await bundle.run(await bundle.job(2))
        await bundle.applied("v2.0.0")
        assert {"Suspended", "Resumed"} <= await bundle.events()


async def test_the_last_words_of_a_pod_stand_in_for_a_log_that_is_not_to_be_had(
    yard: Yard,
) -> None:
    """Scenario 26: no kubelet has it."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True)
    async with yard.manager():
        await bundle.end(await bundle.job(), 1, "ä" * 2000 + "\nError: the last line")
        failed = (
            await bundle.when(lambda it: it.status.last_job_status == "Failed")
        ).status
        assert failed.last_job_logs.endswith("Error: the last line")


async def test_long_logs_are_kept_beside_the_bundle_and_the_oldest_go(
    yard: Yard,
) -> None:
    """Scenario 26."""
    bundle = await (await yard.bundle()).when(lambda _: True)
    outcomes = Outcomes(yard.client)
    now, place = SystemClock().now(), ""
    for number in range(7):
        place = await outcomes.keep_log(bundle, f"job-{number}", "x" * 50_000, now)
    kept = await yard.client.list(
        ConfigMap,
        yard.namespace,
        label_selector=f"werf.io/bundle-uid={bundle.metadata.uid}",
    )
    names = {it.metadata.name for it in kept.items}
    assert place == f"{yard.namespace}/job-6-logs"
    assert len(names) == 5
    assert "job-6-logs" in names
    assert all(has_owner_reference(bundle, it) for it in kept.items)

    later = now + timedelta(days=8)
    await outcomes.keep_log(bundle, "job-7", "y", later)
    kept = await yard.client.list(
        ConfigMap,
        yard.namespace,
        label_selector=f"werf.io/bundle-uid={bundle.metadata.uid}",
    )
    assert [it.metadata.name for it in kept.items] == ["job-7-logs"]


@asynccontextmanager
async def dying(
    transport: Transport, verb: str, resource: str
) -> AsyncIterator[tuple[Transport, asyncio.Event]]:
    """Let nothing pass from the first call of a kind on: that manager is dead."""
    reached = asyncio.Event()

    async def die(call: Call, proceed: Proceed) -> Response:
        if call.info.verb == verb and call.info.full_resource == resource:
            if not reached.is_set() and verb == "create":
                await proceed()
            reached.set()
        if reached.is_set() and call.info.verb not in {"watch", "list", "get"}:
            await asyncio.Event().wait()
        return await proceed()

    verbs = dict.fromkeys(("create", "patch", "delete"), die)
    yield InterceptedTransport(transport, verbs), reached


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        pytest.param("create", "jobs", id="the Job is made and has no Secrets"),
        pytest.param("create", "secrets", id="one of the Secrets is made"),
        pytest.param("patch", "jobs", id="the Job is complete and suspended"),
    ],
)
async def test_a_manager_that_dies_while_it_makes_a_job_goes_on_with_it(
    yard: Yard, verb: str, resource: str
) -> None:
    """Scenarios 22 and 29."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True)
    async with (
        HttpTransport(yard.config) as transport,
        dying(transport, verb, resource) as (broken, reached),
        yard.manager(transport=broken),
        asyncio.timeout(30),
    ):
        await reached.wait()
    (before,) = await bundle.jobs()
    assert before["spec"]["suspend"] is True

    async with yard.manager():
        job = await bundle.job()
        assert job["metadata"]["uid"] == before["metadata"]["uid"]
        await bundle.run(job)
        await bundle.applied("v1.0.0")
        assert len(await bundle.jobs()) == 1


async def test_a_half_made_job_that_is_not_wanted_any_more_never_runs(
    yard: Yard,
) -> None:
    """Scenario 29: the spec and a request came while no manager was there."""
    await yard.publish("v1.0.0", "v2.0.0")
    bundle = await yard.bundle(registry={"tag": "v1.0.0"}, held=True)
    async with (
        HttpTransport(yard.config) as transport,
        dying(transport, "patch", "jobs") as (broken, reached),
        yard.manager(transport=broken),
        asyncio.timeout(30),
    ):
        await reached.wait()
    (before,) = await bundle.jobs()
    await bundle.patch(registry={"tag": "v2.0.0"})

    async with yard.manager():
        await bundle.poll()
        await eventually_gone(
            bundle.client, Job.gvk, before["metadata"]["name"], yard.namespace
        )
        job = await bundle.job()
        assert werf.applied(args_of(job)).tag == "v2.0.0"
        await bundle.run(job)
        await bundle.applied("v2.0.0")


async def test_a_restarted_manager_keeps_job_etag_and_time_of_the_next_poll(
    yard: Yard,
) -> None:
    """Scenario 20."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True)
    async with yard.manager():
        job = await bundle.job()
        before = (await bundle.made()).status
    await bundle.run(job)  # while nobody looks

    async with yard.manager():
        after = (await bundle.applied("v1.0.0")).status
        assert len(await bundle.jobs()) == 1
    assert after.next_poll_time == before.next_poll_time
    assert after.last_poll_time == before.last_poll_time
    assert after.last_e_tag == before.last_e_tag != ""


async def test_what_is_not_acted_on_is_told_and_what_must_not_be_ignored_stops_it(
    yard: Yard,
) -> None:
    await yard.publish("v1.0.0")
    drifting = await yard.bundle(
        "drifting", converge={"driftDetection": {"enabled": True}}
    )
    signed = await yard.bundle(
        "signed",
        registry={"verify": {"provider": "cosign", "secretRef": {"name": "keys"}}},
    )
    async with yard.manager():
        applied = await drifting.applied("v1.0.0")
        assert "driftDetection" in condition(applied, "Unsupported").message
        await drifting.told("Unsupported")
        stopped = await signed.phase("Failed")
        assert condition(stopped, "Stalled").reason == "NotImplemented"
        assert "spec.registry.verify" in condition(stopped, "Ready").message
        assert await signed.jobs() == []


async def test_no_more_jobs_run_at_once_than_may(yard: Yard) -> None:
    await yard.publish("v1.0.0")
    options = replace(QUICK, max_active_jobs=1, preflight_retry=timedelta(seconds=0.2))
    first, second = [await yard.bundle(name, held=True) for name in ("one", "two")]
    async with yard.manager(options):
        jobs = await eventually_list(
            yard.client, Job.gvk, yard.namespace, lambda jobs: len(jobs) == 1
        )
        runs, waits = (first, second)
        if jobs[0]["metadata"]["labels"]["werf.io/bundle"] == "two":
            runs, waits = second, first
        await waits.when(lambda it: condition(it, "Reconciling").reason == "Queued")
        await runs.run(await runs.job())
        await waits.run(await waits.job())
        await waits.applied("v1.0.0")
