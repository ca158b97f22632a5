"""Whose a release is, and what a ManagedRoost may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from api.release.v1alpha1 import ManagedRoost
from conformance.roosts import SECRET, Yard, message, says
from controller_runtime import InvalidError, Json, merge_patch

RK_SAMPLE = """
apiVersion: roost.birb.party/v1alpha1
kind: ManagedRoost
metadata: {name: web}
spec:
  chart:
    repository:
      url: "oci://registry.example.com/charts"
      auth: {type: token, secretRef: {name: registry-creds, key: token}}
    name: web
    version: ">=1.2.0 <2.0.0"
    values:
      inline: "replicas: 2\\n"
      secretRefs: [{name: web-secrets, key: values.yaml}]
      template: {enabled: true, context: {env: staging}}
    upgradePolicy: {timeout: 300s, atomic: true}
    hooks: {preInstall: true, timeout: 60s}
  healthChecks:
    - name: pods
      type: kubernetes
      kubernetes: {checkPods: true, requiredReadyRatio: 1.0, customResources: []}
      interval: 30s
    - name: page
      type: http
      http: {url: "http://{{.ServiceName}}/", expectedCodes: [200]}
      weight: 3
  teardownPolicy:
    triggers: [{type: timeout, timeout: 72h}]
    requireManualApproval: true
    cleanup: {gracePeriod: 30s, force: true, order: [Deployment]}
  driftDetection:
    mode: enabled
    ignore: [{paths: ["/spec/replicas"], target: {kind: Deployment}}]
  tenancy:
    tenantId: acme
    namespaceIsolation: {enabled: true}
    rbac: {enabled: true, roles: [{name: viewer}]}
  observability: {metrics: {enabled: true, interval: 15s}}
  metadata: {team: web}
"""


async def test_a_release_of_the_helm_cli_is_adopted_once_and_belongs_to_one_object(
    yard: Yard,
) -> None:
    """Scenario 35."""
    async with yard.manager():
        await yard.create()
        await yard.ready(1)
        await yard.annotate(deletion_policy="Orphan")
        await yard.delete()
        await yard.gone()
        # As the CLI would have made it: nobody's.
        labels = {f"roost.birb.party/{it}": None for it in ("uid", "config-digest")}
        await yard.client.patch(
            SECRET,
            "sh.helm.release.v1.web.v1",
            yard.namespace,
            patch=merge_patch({"metadata": {"labels": labels}}),
        )

        await yard.create()
        roost = await yard.ready(2)
        uid = (await yard.records())[-1]["metadata"]["labels"]["roost.birb.party/uid"]
        assert uid == roost.metadata.uid

        await yard.create("second", releaseName="web")
        second = await yard.not_ready("ReleaseOwnedByOther", "second")
        assert says(second, "Stalled") == "True/ReleaseOwnedByOther"
        assert roost.metadata.uid in message(second)
        await yard.delete("second")
        await yard.gone("second")
    assert await yard.statuses() == ["superseded", "deployed"]


async def test_a_revision_that_is_asked_for_is_held_until_something_changes(
    yard: Yard,
) -> None:
    """Scenario 49."""
    async with yard.manager():
        await yard.create(interval="1s")
        await yard.ready(1)
        await yard.change(chart={"values": {"inline": "greeting: second"}})
        await yard.ready(2)

        await yard.annotate(rollback_to="1@t")
        await yard.not_ready("RolledBack")
        assert (await yard.config_map())["data"] == {"greeting": "hello"}
        await yard.looked(3)
        assert await yard.statuses() == ["superseded", "superseded", "deployed"]

        await yard.change(chart={"values": {"inline": "greeting: fourth"}})
        await yard.ready(4)
        assert (await yard.config_map())["data"] == {"greeting": "fourth"}


async def test_a_token_forces_an_upgrade_exactly_once(yard: Yard) -> None:
    """Row force-at."""
    async with yard.manager():
        await yard.create(interval="1s")
        await yard.ready(1)
        await yard.annotate(force_at="now")
        await yard.ready(2)
        await yard.looked(3)
    assert await yard.statuses() == ["superseded", "deployed"]


async def test_a_manifest_of_roost_keeper_keeps_every_field_and_says_what_is_inert(
    yard: Yard,
) -> None:
    """Scenario 54."""
    sample: Json = yaml.safe_load(RK_SAMPLE)
    sample["metadata"]["namespace"] = yard.namespace
    async with yard.manager():
        created = await yard.client.create(sample)
        _contains(created["spec"], sample["spec"], "spec")

        roost = await yard.when(lambda it: it.status.unsupported_fields)
        event = await yard.told("UnsupportedField")

    assert {
        "spec.tenancy.tenantId",
        "spec.tenancy.namespaceIsolation",
        "spec.tenancy.rbac",
        "spec.healthChecks",
        "spec.teardownPolicy.triggers",
        "spec.driftDetection",
    } <= set(roost.status.unsupported_fields)
    assert "spec.tenancy.tenantId" in event["note"]


def _contains(whole: Any, part: Any, path: str) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            assert key in whole, f"{path}.{key} was pruned"
            _contains(whole[key], value, f"{path}.{key}")
    elif isinstance(part, list):
        assert len(whole) == len(part), path
        for index, (left, right) in enumerate(zip(whole, part, strict=True)):
            _contains(left, right, f"{path}[{index}]")
    else:
        assert whole == part, path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"namespace": "other"}, "namespace"),
        ({"releaseName": "other"}, "releaseName"),
        ({"chart": {"values": {"inline": "a: 1", "object": {"a": 1}}}}, "at most one"),
        ({"chart": {"repository": {"auth": {"password": "x"}}}}, "needs a username"),
        ({"chart": {"repository": {"auth": {"token": "x"}}}}, "needs type: token"),
        ({"chart": {"repository": {"url": "ftp://x"}}}, "url"),
        ({"healthChecks": [{"name": "x", "type": "http"}]}, "http"),
        ({"interval": "5 minutes"}, "interval"),
    ],
)
async def test_the_api_server_refuses_what_cannot_be_meant(
    yard: Yard, changes: Json, words: str
) -> None:
    """Section 1.1: rules of the CRD."""
    await yard.create()
    with pytest.raises(InvalidError, match=words):
        await yard.patch("web", {"spec": changes})


async def test_what_would_do_harm_if_it_were_ignored_is_refused(yard: Yard) -> None:
    """Section 1: never silently inert."""
    async with yard.manager():
        await yard.create("verified", chart={"verify": {"provider": "cosign"}})
        await yard.create("elsewhere", namespace="default")
        await yard.create(
            "foreign",
            chart={
                "values": {"secretRefs": [{"name": "s", "namespace": "kube-system"}]}
            },
        )
        for name, words in (
            ("verified", "spec.chart.verify"),
            ("elsewhere", "spec.serviceAccountName"),
            ("foreign", "secretRefs[0].namespace"),
        ):
            roost = await yard.not_ready("InvalidSpec", name)
            assert words in message(roost)
            assert says(roost, "Stalled") == "True/InvalidSpec"


async def test_the_sample_is_what_the_server_takes(yard: Yard) -> None:
    """The file in config/samples."""
    file = Path(__file__).parents[4] / "config/samples/roost_v1alpha1_managedroost.yaml"
    for document in yaml.safe_load_all(file.read_text()):
        document["metadata"]["namespace"] = yard.namespace
        made = await yard.client.create(document)
        if made["kind"] == ManagedRoost.gvk.kind:
            _contains(made["spec"], document["spec"], "spec")
