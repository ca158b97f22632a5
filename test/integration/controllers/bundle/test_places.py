"""Values, and namespaces other than the bundle's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api.batch.v1 import Job
from api.core.v1 import ConfigMap, Secret
from conformance.bundles import ACCOUNT, QUICK, Yard, args_of, condition, secret_text
from controller_runtime import GroupVersionKind, merge_patch
from controller_runtime.testing.envtest.environment import Environment
from controller_runtime.testing.eventually import eventually_gone
from controllers.bundle.options import CrossNamespacePolicy

NAMESPACE = GroupVersionKind("", "v1", "Namespace")


@pytest.fixture
async def target(environment: Environment) -> AsyncIterator[str]:
    async with environment.namespace("target") as name:
        yield name


def away(target: str, **more: object) -> dict[str, object]:
    return {"targetNamespace": target, "serviceAccountName": "werf", **more}


async def test_values_come_as_a_file_the_later_ones_win_and_secrets_stay_secret(
    yard: Yard,
) -> None:
    """Scenarios 34, 35 and 36."""
    await yard.publish("v1.0.0")
    await yard.create(ConfigMap.gvk, "c", data={"app.name": "shop", "app.size": "3"})
    await yard.secret("s", {"values.yaml": b"app: {name: hidden-name}"})
    sources = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]
    bundle = await yard.bundle(
        held=True, converge={"values": {"inline": True}, "valuesFrom": sources}
    )
    async with yard.manager():
        job = await bundle.job()
        assert "--values=/werf/values/values.yaml" in args_of(job)
        assert "hidden-name" not in json.dumps(job)
        secret = await yard.client.get(
            Secret, f"{job['metadata']['name']}-values", yard.namespace
        )
        assert json.loads(secret_text(secret, "values.yaml")) == {
            "inline": True,
            "app": {"name": "hidden-name", "size": 3},
        }

        await bundle.end(job, 1, "Error: cannot use hidden-name here\n")
        failed = (
            await bundle.when(lambda it: it.status.last_job_status == "Failed")
        ).status
        assert "cannot use *** here" in failed.last_job_logs
        assert "hidden-name" not in failed.model_dump_json()


async def test_missing_values_are_named_all_at_once_and_waited_for(yard: Yard) -> None:
    """Scenarios 37 and 38."""
    await yard.publish("v1.0.0")
    sources = [
        {"configMapRef": {"name": "one"}},
        {"secretRef": {"name": "two"}},
        {"secretRef": {"name": "three"}, "optional": True},
    ]
    bundle = await yard.bundle(converge={"valuesFrom": sources})
    async with yard.manager():
        failed = await bundle.phase("Failed")
        told = condition(failed, "ValuesResolved")
        assert told.reason == "SourceNotFound"
        assert "ConfigMap one" in told.message
        assert "Secret two" in told.message
        assert "three" not in told.message
        assert await bundle.jobs() == []

        await yard.create(ConfigMap.gvk, "one", data={"a": "1"})
        await yard.secret("two", {"b": b"2"})
        await bundle.applied("v1.0.0")


async def test_values_that_cannot_be_read_are_told_by_key(yard: Yard) -> None:
    """Scenario 37."""
    await yard.publish("v1.0.0")
    await yard.create(ConfigMap.gvk, "c", data={"values.yaml": "a: ["})
    bundle = await yard.bundle(
        converge={"valuesFrom": [{"configMapRef": {"name": "c"}}]}
    )
    async with yard.manager():
        failed = await bundle.phase("Failed")
        told = condition(failed, "ValuesResolved")
        assert told.reason == "InvalidYAML"
        assert f"ConfigMap {yard.namespace}/c" in told.message
        assert "'values.yaml'" in told.message


async def test_edited_values_are_applied_once_they_are_still(yard: Yard) -> None:
    """Scenario 48: twenty edits are one apply, a comment is none."""
    await yard.publish("v1.0.0")
    await yard.create(ConfigMap.gvk, "c", data={"values.yaml": "a: 0"})
    bundle = await yard.bundle(
        converge={"valuesFrom": [{"configMapRef": {"name": "c"}}]}
    )

    async def edit(text: str) -> None:
        patch = merge_patch({"data": {"values.yaml": text}})
        await yard.client.patch(ConfigMap.gvk, "c", yard.namespace, patch=patch)

    async with yard.manager():
        first = (await bundle.applied("v1.0.0")).status.last_applied_values_hash
        await edit("# only a comment\na: 0")
        await bundle.poll()
        assert len(await bundle.jobs()) == 1

        for number in range(1, 21):
            await edit(f"a: {number}")
        again = (
            await bundle.when(lambda it: len(it.status.version_history) == 2)
        ).status
        assert again.version_history[0].trigger == "ValuesChanged"
        assert again.last_applied_values_hash != first
        await bundle.poll()
        assert len(await bundle.jobs()) == 2


async def test_a_job_in_another_namespace_has_no_owner_and_goes_with_its_bundle(
    yard: Yard, target: str
) -> None:
    """Scenarios 42 and 49."""
    await yard.publish("v1.0.0")
    await yard.create(ACCOUNT, "werf", target)
    bundle = await yard.bundle(held=True, converge=away(target))
    other = await yard.bundle("other", converge=away(target))
    async with yard.manager(namespaces=(target,)):
        job = await bundle.job(namespace=target)
        assert "ownerReferences" not in job["metadata"]
        pod = await bundle.pod(job)
        assert pod["spec"]["serviceAccountName"] == "werf"
        assert f"--namespace={target}" in args_of(job)
        await bundle.run(job)
        status = (await bundle.applied("v1.0.0")).status
        assert status.resolved_target_namespace == target
        await other.applied("v1.0.0")

        await bundle.delete()
        name = job["metadata"]["name"]
        await eventually_gone(yard.client, Job.gvk, name, target)
        await eventually_gone(yard.client, Secret.gvk, f"{name}-registry", target)
        assert len(await other.jobs(target)) == 1


async def test_another_namespace_needs_an_account(yard: Yard, target: str) -> None:
    """Scenarios 43 and 44; its own namespace needs none."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(converge={"targetNamespace": target})
    own = await yard.bundle("own", converge={"targetNamespace": yard.namespace})
    async with yard.manager(namespaces=(target,)):
        failed = await bundle.phase("Failed")
        assert condition(failed, "Stalled").reason == "ServiceAccountRequired"
        await own.applied("v1.0.0")


async def test_a_missing_namespace_is_waited_for(yard: Yard, target: str) -> None:
    """Scenario 51."""
    await yard.publish("v1.0.0")
    later = f"{target}-later"
    bundle = await yard.bundle(converge=away(later))
    async with yard.manager(namespaces=(target, later)):
        failed = await bundle.phase("Failed")
        assert condition(failed, "PreflightPassed").reason == "NamespaceNotFound"

        await yard.client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": later}}
        )
        try:
            await bundle.ready_says("ServiceAccountNotFound")
            await yard.create(ACCOUNT, "werf", later)
            await bundle.applied("v1.0.0")
        finally:
            await yard.client.delete(NAMESPACE, later)


@pytest.mark.parametrize(
    ("policy", "annotated", "admitted"),
    [
        (CrossNamespacePolicy.ALLOW, "", True),
        (CrossNamespacePolicy.DENY, "*", False),
        (CrossNamespacePolicy.ANNOTATED, "", False),
        (CrossNamespacePolicy.ANNOTATED, "*", True),
    ],
)
async def test_the_policy_decides_who_may_leave_its_namespace(
    yard: Yard,
    target: str,
    policy: CrossNamespacePolicy,
    annotated: str,
    admitted: bool,
) -> None:
    """Section 2.5: whoever writes a bundle must not become any account."""
    await yard.publish("v1.0.0")
    await yard.create(ACCOUNT, "werf", target)
    annotations = {"werf.io/allow-bundles-from": annotated}
    await yard.client.patch(
        ACCOUNT,
        "werf",
        target,
        patch=merge_patch({"metadata": {"annotations": annotations}}),
    )
    bundle = await yard.bundle(converge=away(target))
    options = replace(QUICK, cross_namespace_policy=policy)
    async with yard.manager(options, namespaces=(target,)):
        if admitted:
            await bundle.applied("v1.0.0")
        else:
            failed = await bundle.phase("Failed")
            reason = condition(failed, "PreflightPassed").reason
            assert reason == "CrossNamespaceForbidden"
            assert await bundle.jobs(target) == []


async def test_the_bundles_namespace_is_looked_into_first(
    yard: Yard, target: str
) -> None:
    """Scenario 39."""
    await yard.publish("v1.0.0")
    await yard.create(ACCOUNT, "werf", target)
    await yard.create(ConfigMap.gvk, "both", data={"from": "bundle"})
    await yard.create(ConfigMap.gvk, "both", target, data={"from": "target", "x": "y"})
    await yard.create(ConfigMap.gvk, "there", target, data={"there": "yes"})
    sources = [{"configMapRef": {"name": it}} for it in ("both", "there")]
    bundle = await yard.bundle(held=True, converge=away(target, valuesFrom=sources))
    async with yard.manager(namespaces=(target,)):
        job = await bundle.job(namespace=target)
        secret = await yard.client.get(
            Secret, f"{job['metadata']['name']}-values", target
        )
        assert json.loads(secret_text(secret, "values.yaml")) == {
            "from": "bundle",
            "there": "yes",
        }


async def test_a_release_belongs_to_the_older_bundle(yard: Yard) -> None:
    """Scenario 47."""
    await yard.publish("v1.0.0")
    bundles = [
        await yard.bundle(name, converge={"releaseName": "shop"})
        for name in ("one", "two")
    ]
    metadata = [(await it.when(lambda _: True)).metadata for it in bundles]
    # Times have whole seconds: of two of one second the uid decides.
    ages = [(str(it.creation_timestamp), it.uid) for it in metadata]
    older, younger = bundles if ages[0] < ages[1] else reversed(bundles)
    async with yard.manager():
        await older.applied("v1.0.0")
        failed = await younger.phase("Failed")
        assert condition(failed, "Stalled").reason == "ReleaseConflict"
        assert f"{yard.namespace}/{older.name}" in condition(failed, "Stalled").message
        assert (await older.poll()).status.phase == "Synced"

        await younger.patch(converge={"releaseName": "other"})
        await younger.applied("v1.0.0")


async def test_two_bundles_of_one_namespace_do_not_disturb_each_other(
    yard: Yard,
) -> None:
    """Scenario 47."""
    await yard.publish("v1.0.0", "v2.0.0")
    bundles = [
        await yard.bundle(name, registry={"tag": tag})
        for name, tag in (("one", "v1.0.0"), ("two", "v2.0.0"))
    ]
    async with yard.manager():
        await bundles[0].applied("v1.0.0")
        await bundles[1].applied("v2.0.0")


async def test_a_changed_secret_is_read_anew_and_an_unchanged_one_is_not(
    yard: Yard,
) -> None:
    """Scenario 70: values of a Secret, rotated."""
    await yard.publish("v1.0.0")
    await yard.secret("s", {"a": b"1"})
    bundle = await yard.bundle(converge={"valuesFrom": [{"secretRef": {"name": "s"}}]})
    async with yard.manager():
        first = (await bundle.applied("v1.0.0")).status
        await yard.client.patch(
            Secret.gvk,
            "s",
            yard.namespace,
            patch=merge_patch({"stringData": {"a": "2"}}),
        )
        await bundle.when(
            lambda it: (
                it.status.last_applied_values_hash != first.last_applied_values_hash
            )
        )
