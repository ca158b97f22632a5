"""A release from its first revision to its end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.release.v1alpha1 import ManagedRoost
from conformance.charts import CONFIG_MAP as CONFIG_MAP_TEMPLATE
from conformance.charts import chart
from conformance.roosts import CONFIG_MAP, Yard, message, says
from controller_runtime import GroupVersionKind, NotFoundError, json_patch, merge_patch
from controller_runtime.testing.eventually import eventually_gone
from controllers.release.options import ReleaseOptions
from controllers.release.teardown import NAMESPACE, SERVICE_ACCOUNT

ROLE_BINDING = GroupVersionKind("rbac.authorization.k8s.io", "v1", "RoleBinding")

HELD = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: held
  finalizers: [example.com/held]
"""


async def test_a_chart_is_installed_upgraded_when_values_change_and_uninstalled(
    yard: Yard,
) -> None:
    """Scenarios 1 (over HTTP), 8 and 40."""
    async with yard.manager():
        await yard.create(chart={"values": {"inline": "greeting: hi\n"}})
        roost = await yard.ready(1)
        labels = (await yard.records())[0]["metadata"]["labels"]
        assert labels["roost.birb.party/uid"] == roost.metadata.uid
        assert (await yard.config_map())["data"] == {"greeting": "hi"}
        await yard.told("ReleaseInstalled")

        await yard.change(chart={"values": {"inline": "greeting: ho\n"}})
        roost = await yard.ready(2)
        assert (await yard.config_map())["data"] == {"greeting": "ho"}
        assert [it.revision for it in roost.status.history] == [2, 1]
        assert says(roost, "Released") == "True/UpgradeSucceeded"

        await yard.delete()
        await yard.gone()
        assert await yard.records() == []
        with pytest.raises(NotFoundError):
            await yard.config_map()


async def test_nothing_is_written_while_nothing_changes(yard: Yard) -> None:
    """Scenario 14."""
    async with yard.manager():
        await yard.create(interval="1s")
        await yard.ready(1)
        await yard.looked(3)  # what follows from the install itself
        before = await yard.read()

        await yard.looked(3)

        after = await yard.read()
    assert after.metadata.resource_version == before.metadata.resource_version
    assert await yard.statuses() == ["deployed"]


async def test_a_lost_status_comes_back_without_a_deployment(yard: Yard) -> None:
    """Scenario 15."""
    async with yard.manager():
        await yard.create(interval="1s")
        before = await yard.ready(1)

        await yard.client.patch(
            ManagedRoost.gvk,
            "web",
            yard.namespace,
            patch=json_patch([{"op": "remove", "path": "/status"}]),
            subresource="status",
        )

        after = await yard.ready(1)
    assert await yard.statuses() == ["deployed"]
    assert after.status.inventory == before.status.inventory


async def test_an_object_made_anew_takes_its_release_back_without_a_deployment(
    yard: Yard,
) -> None:
    """Section 2.4: the digest is with the release, and the uid follows."""
    async with yard.manager():
        await yard.create(annotations={"roost.birb.party/deletion-policy": "Orphan"})
        await yard.ready(1)
        await yard.delete()
        await yard.gone()

        await yard.create()
        roost = await yard.ready(1)

        labels = (await yard.records())[0]["metadata"]["labels"]
    assert labels["roost.birb.party/uid"] == roost.metadata.uid
    assert await yard.statuses() == ["deployed"]


async def test_an_orphaned_release_stays_when_its_object_goes(yard: Yard) -> None:
    """Scenario 43."""
    async with yard.manager():
        await yard.create()
        await yard.ready(1)

        await yard.annotate(deletion_policy="Orphan")
        await yard.delete()
        await yard.gone()

    assert await yard.statuses() == ["deployed"]
    assert await yard.config_map()
    assert await yard.events("UninstallSkipped")


async def test_an_object_without_a_release_goes_at_once(yard: Yard) -> None:
    """Scenario 40: a release that is not found."""
    yard.unpublish()
    async with yard.manager():
        await yard.create()
        await yard.not_ready("NotFound")

        await yard.delete()

        await yard.gone(timeout=5)


async def test_a_suspended_object_ignores_edits_and_catches_up(yard: Yard) -> None:
    """Scenario 48."""
    async with yard.manager():
        await yard.create()
        await yard.ready(1)
        await yard.change(suspend=True, chart={"values": {"inline": "greeting: no"}})
        await yard.when(lambda it: says(it, "Ready") == "Unknown/Suspended")
        await yard.change(chart={"values": {"inline": "greeting: late"}})
        await yard.when(
            lambda it: it.status.observed_generation == it.metadata.generation
        )
        assert await yard.statuses() == ["deployed"]

        await yard.change(suspend=False)
        await yard.ready(2)
        assert (await yard.config_map())["data"] == {"greeting": "late"}

        await yard.change(suspend=True)
        await yard.when(lambda it: says(it, "Ready") == "Unknown/Suspended")
        await yard.delete()
        await yard.gone()
    assert await yard.records() == []


async def test_a_long_name_becomes_a_shorter_one_that_stays(yard: Yard) -> None:
    """Scenario 50."""
    name = "a" * 60
    async with yard.manager():
        await yard.create(name)
        roost = await yard.ready(1, name)
        release = roost.status.helm_release
        assert release is not None
        assert len(release.name) == 53
        assert release.name.startswith("a" * 40 + "-")

        await yard.change(name, chart={"values": {"inline": "greeting: x"}})
        roost = await yard.ready(2, name)

    assert roost.status.helm_release is not None
    assert roost.status.helm_release.name == release.name


async def test_an_object_waits_until_what_a_finalizer_holds_is_gone(
    yard: Yard,
) -> None:
    """Section 2.9: Helm gives up, and deletes its record all the same."""
    yard.publish(
        chart(templates={"held.yaml": HELD, "configmap.yaml": CONFIG_MAP_TEMPLATE})
    )
    async with yard.manager():
        await yard.create(timeout="2s", retryInterval="1s")
        await yard.ready(1)

        await yard.delete()
        await yard.when(lambda it: "ConfigMap" in message(it) and "held" in message(it))
        assert await yard.records() == []

        await yard.client.patch(
            CONFIG_MAP,
            "held",
            yard.namespace,
            patch=merge_patch({"metadata": {"finalizers": None}}),
        )
        await yard.gone()
    assert await yard.records() == []


async def test_dependencies_come_first_and_a_circle_of_them_is_named(
    yard: Yard,
) -> None:
    """Section 2.5: dependsOn."""
    options = ReleaseOptions(requeue_dependency=timedelta(seconds=1))
    async with yard.manager(options):
        await yard.create("web", dependsOn=[{"name": "base"}])
        roost = await yard.not_ready("DependencyNotReady")
        assert "base does not exist" in message(roost)
        await yard.create("base", dependsOn=[{"name": "web"}])
        roost = await yard.not_ready("DependencyCycle", "base")
        assert "→" in message(roost)
        await yard.not_ready("DependencyCycle")

        await yard.patch("base", {"spec": {"dependsOn": None}})
        await yard.ready(1, "base")
        await yard.ready(1)


async def test_a_namespace_goes_with_all_that_is_in_it(yard: Yard) -> None:
    """Scenario 42."""
    name = f"{yard.namespace}-gone"
    other = Yard(yard.client, yard.config, name, yard.repository, yard.folder)
    head = {"apiVersion": "v1", "kind": "Namespace"}
    await yard.client.create({**head, "metadata": {"name": name}})
    await other.apply(SERVICE_ACCOUNT, "deployer")
    group = "rbac.authorization.k8s.io"
    await other.apply(
        ROLE_BINDING,
        "deployer",
        roleRef={"apiGroup": group, "kind": "ClusterRole", "name": "admin"},
        subjects=[{"kind": "ServiceAccount", "name": "deployer"}],
    )
    async with other.manager():
        await other.create(serviceAccountName="deployer")
        await other.ready(1)

        await yard.client.delete(NAMESPACE, name)

        await eventually_gone(yard.client, NAMESPACE, name, "", timeout=60)


async def test_objects_are_written_in_helms_name_whatever_runs_it(yard: Yard) -> None:
    """Scenario 33."""
    async with yard.manager():
        await yard.create()
        await yard.ready(1)
        found = await yard.config_map()
    assert [it["manager"] for it in found["metadata"]["managedFields"]] == ["helm"]
