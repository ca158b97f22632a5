"""Operations that fail: retried, rolled back, given up, told."""

from __future__ import annotations

import os

from conformance.charts import CONFIG_MAP as CONFIG_MAP_TEMPLATE
from conformance.charts import DEPLOYMENT as DEPLOYMENT_TEMPLATE
from conformance.charts import NOWHERE, chart
from conformance.roosts import CONFIG_MAP, DEPLOYMENT, Yard, message, says
from controller_runtime import GroupVersionKind

SERVICE_ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")
ROLE = GroupVersionKind("rbac.authorization.k8s.io", "v1", "Role")
ROLE_BINDING = GroupVersionKind("rbac.authorization.k8s.io", "v1", "RoleBinding")

PODS = chart(templates={"deployment.yaml": DEPLOYMENT_TEMPLATE})
UNREADY = {"object": {"nodes": NOWHERE}}
"""Values with which the pods never run."""


async def test_an_upgrade_that_times_out_is_rolled_back(yard: Yard) -> None:
    """Scenario 17."""
    yard.publish(PODS)
    async with yard.manager():
        policy = {"timeout": "5s"}
        await yard.create(chart={"upgradePolicy": policy})
        await yard.ready(1)

        await yard.change(chart={"values": UNREADY})
        roost = await yard.when(
            lambda it: says(it, "Remediated") == "True/RollbackSucceeded"
        )

        assert says(roost, "Ready") == "False/RolledBack"
        assert says(roost, "Released") == "False/UpgradeFailed"
        assert await yard.statuses() == ["superseded", "failed", "deployed"]
        first, _, last = await yard.records()
        digest = "roost.birb.party/config-digest"
        assert last["metadata"]["labels"][digest] == first["metadata"]["labels"][digest]
        assert await yard.events("RolledBack")

        await yard.change(chart={"values": None})
        roost = await yard.ready(3)
    assert says(roost, "Remediated") == ""
    assert roost.status.failures is None


async def test_retries_run_out_and_a_token_brings_them_back(yard: Yard) -> None:
    """Scenario 18."""
    yard.publish(PODS)
    async with yard.manager():
        await yard.create(
            chart={"values": UNREADY},
            timeout="1s",
            retryInterval="1s",
            interval="10s",
            install={"retries": 2},
        )
        roost = await yard.not_ready("RetriesExceeded")
        assert roost.status.failures is not None
        assert roost.status.failures.install + roost.status.failures.upgrade == 3
        assert says(roost, "Stalled") == "True/RetriesExceeded"
        assert "gave up after 3 attempts" in message(roost)

        await yard.annotate(reset_at="now")
        await yard.when(
            lambda it: it.status.failures is None or it.status.failures.total < 3
        )
        await yard.not_ready("RetriesExceeded")

        await yard.change(chart={"values": None}, timeout="60s")
        await yard.ready()


async def test_a_first_install_that_fails_is_upgraded_from_and_never_uninstalled(
    yard: Yard,
) -> None:
    """Scenarios 19 and 20."""
    yard.publish(
        chart(templates={"d.yaml": DEPLOYMENT_TEMPLATE, "c.yaml": CONFIG_MAP_TEMPLATE})
    )
    async with yard.manager():
        await yard.create(chart={"values": UNREADY}, timeout="2s", retryInterval="1h")
        await yard.not_ready("InstallFailed")
        before = await yard.config_map()
        assert await yard.statuses() == ["failed"]

        await yard.change(chart={"values": None}, timeout="60s")

        await yard.ready(2)
        after = await yard.config_map()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not await yard.events("Uninstalled")


async def test_a_failed_install_is_uninstalled_only_where_that_is_asked_for(
    yard: Yard,
) -> None:
    """Scenario 20."""
    yard.publish(PODS)
    async with yard.manager():
        await yard.create(
            chart={"values": UNREADY},
            timeout="1s",
            retryInterval="1h",
            install={"remediation": "uninstall"},
        )

        roost = await yard.when(
            lambda it: says(it, "Remediated") == "True/UninstallSucceeded"
        )

    assert await yard.records() == []
    assert says(roost, "Ready").startswith("False/")


async def test_what_belongs_to_nobody_is_taken_only_where_that_is_asked_for(
    yard: Yard,
) -> None:
    """Scenario 34."""
    await yard.apply(CONFIG_MAP, "web", data={"greeting": "mine"})
    async with yard.manager():
        await yard.create()
        roost = await yard.not_ready("OwnedByOther")
        assert 'ConfigMap "web"' in message(roost)
        assert await yard.records() == []

        await yard.change(takeOwnership=True)
        await yard.ready(1)
        assert (await yard.config_map())["data"] == {"greeting": "hello"}


async def test_a_release_that_no_record_can_hold_is_refused_before_it_is_applied(
    yard: Yard,
) -> None:
    """Scenario 53."""
    yard.publish(chart(files={"large.bin": os.urandom(1_600_000)}))
    async with yard.manager():
        await yard.create()

        roost = await yard.not_ready("ReleaseTooLarge")

    assert says(roost, "Stalled") == "True/ReleaseTooLarge"
    found = await yard.client.list(CONFIG_MAP, yard.namespace)
    assert [it for it in found.items if it["metadata"]["name"] == "web"] == []


async def test_a_chart_that_does_not_render_stalls_until_it_is_another(
    yard: Yard,
) -> None:
    """Issue 6: a broken chart."""
    yard.publish(chart(templates={"broken.yaml": "{{ .Values.a.b.c }}"}))
    yard.publish(chart(version="1.0.1"), version="1.0.1")
    async with yard.manager():
        await yard.create()
        roost = await yard.not_ready("ValuesInvalid")
        assert says(roost, "Stalled") == "True/ValuesInvalid"
        assert "broken.yaml" in message(roost)

        await yard.change(chart={"version": "1.0.1"})
        await yard.ready()


async def test_an_account_that_may_not_is_told_what_it_lacks(yard: Yard) -> None:
    """Issue 6: forbidden calls; the account is the object's, by impersonation."""
    await yard.apply(SERVICE_ACCOUNT, "deployer")
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]
    await yard.apply(ROLE, "deployer", rules=rules)
    await yard.apply(
        ROLE_BINDING,
        "deployer",
        roleRef={
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": "deployer",
        },
        subjects=[{"kind": "ServiceAccount", "name": "deployer"}],
    )
    async with yard.manager():
        await yard.create(serviceAccountName="deployer", interval="2s")
        roost = await yard.not_ready("Forbidden")
        assert "configmaps" in message(roost)
        assert f"system:serviceaccount:{yard.namespace}:deployer" in message(roost)

        rules.append({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]})
        await yard.apply(ROLE, "deployer", rules=rules)
        await yard.ready()

        await yard.delete()
        await yard.gone()
    assert await yard.records() == []


async def test_a_deployment_is_waited_for_and_its_pods_run(yard: Yard) -> None:
    """Section 3.2: wait=watcher."""
    yard.publish(PODS)
    async with yard.manager():
        await yard.create()
        await yard.ready(1)
        deployment = await yard.client.get(DEPLOYMENT, "web", yard.namespace)
    assert deployment["status"]["readyReplicas"] == 1
