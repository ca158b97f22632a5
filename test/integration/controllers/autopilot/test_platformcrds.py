"""The platform's kinds, in brief, behave on a real API server as upstream's do.

With a control plane of its own: the variants of a CRD have one name.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller_runtime import ApiError, Client, ConflictError, InvalidError, Json
from controller_runtime.testing.envtest import (
    AssetsOptions,
    ControlPlane,
    ControlPlaneOptions,
    Environment,
    QuietProgress,
)
from controllers.autopilot.platformcrds import (
    platform_crd,
    platform_crds,
    platform_kinds,
)

DESCHEDULERS = "kubedeschedulers.operator.openshift.io"


@pytest.fixture
async def environment() -> AsyncIterator[Environment]:
    options = ControlPlaneOptions(assets=AssetsOptions.from_environ(os.environ))
    async with ControlPlane(options, progress=QuietProgress()) as cluster:
        yield Environment(cluster)


@pytest.fixture
async def client(environment: Environment) -> AsyncIterator[Client]:
    async with environment.client() as client:
        yield client


def descheduler(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "operator.openshift.io/v1",
        "kind": "KubeDescheduler",
        "metadata": {"name": "cluster", "namespace": "default"},
        "spec": spec,
    }


async def test_the_kinds_are_served_and_keep_what_matters_of_upstream(
    environment: Environment, client: Client
) -> None:
    kinds = await asyncio.to_thread(platform_kinds)
    crds = await asyncio.to_thread(lambda: list(platform_crds()))

    installed = await environment.install_crds(*crds)

    assert set(installed) == {kind.name for kind in kinds}
    await _the_source_object_has_defaults_in_both_versions(client)
    await _a_pool_selector_is_owned_as_a_whole(client)
    await _groups_of_rules_are_owned_by_name(client)
    await _a_boolean_is_no_string(client)
    await _older_deschedulers_know_less(environment, client)


async def _the_source_object_has_defaults_in_both_versions(client: Client) -> None:
    made: Json = await client.apply(
        {
            "apiVersion": "hco.kubevirt.io/v1",
            "kind": "HyperConverged",
            "metadata": {"name": "kubevirt-hyperconverged", "namespace": "default"},
            "spec": {},
        },
        field_owner="test",
    )
    migrations = made["spec"]["virtualization"]["liveMigrationConfig"]
    assert migrations["parallelMigrationsPerCluster"] == 5
    assert migrations["parallelOutboundMigrationsPerNode"] == 1
    assert made["spec"]["security"]["certConfig"]["ca"]["duration"] == "48h0m0s"

    with pytest.raises(InvalidError, match="kubevirt-hyperconverged"):
        await client.apply(
            {
                "apiVersion": "hco.kubevirt.io/v1beta1",
                "kind": "HyperConverged",
                "metadata": {"name": "another", "namespace": "default"},
            },
            field_owner="test",
        )


async def _a_pool_selector_is_owned_as_a_whole(client: Client) -> None:
    def config(labels: dict[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "machineconfiguration.openshift.io/v1",
            "kind": "KubeletConfig",
            "metadata": {"name": "selected"},
            "spec": {"machineConfigPoolSelector": {"matchLabels": labels}},
        }

    await client.apply(config({"a": "1"}), field_owner="one")
    with pytest.raises(ConflictError, match="machineConfigPoolSelector"):
        await client.apply(config({"b": "1"}), field_owner="two")


async def _groups_of_rules_are_owned_by_name(client: Client) -> None:
    def rules(group: str) -> dict[str, Any]:
        return {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "rules", "namespace": "default"},
            "spec": {"groups": [{"name": group, "rules": []}]},
        }

    await client.apply(rules("a"), field_owner="one")
    both = await client.apply(rules("b"), field_owner="two")
    assert [group["name"] for group in both["spec"]["groups"]] == ["a", "b"]


async def _a_boolean_is_no_string(client: Client) -> None:
    forklift: dict[str, Any] = {
        "apiVersion": "forklift.konveyor.io/v1beta1",
        "kind": "ForkliftController",
        "metadata": {"name": "forklift-controller", "namespace": "default"},
        "spec": {"feature_ui_plugin": True},
    }
    with pytest.raises(ApiError, match="feature_ui_plugin"):
        await client.apply(forklift, field_owner="test")


async def _older_deschedulers_know_less(
    environment: Environment, client: Client
) -> None:
    limits = {"evictionLimits": {"total": 5, "node": 2}}
    await client.apply(descheduler(**limits), field_owner="test")

    for variant, newest in (
        ("4.19", "DevKubeVirtRelieveAndMigrate"),
        ("4.17", "LongLifecycle"),
    ):
        crd = await asyncio.to_thread(platform_crd, DESCHEDULERS, variant)
        await environment.install_crds(crd)
        await _refuses(client, descheduler(profiles=["KubeVirtRelieveAndMigrate"]))
        await client.apply(descheduler(profiles=[newest]), field_owner="test")


async def _refuses(client: Client, obj: dict[str, Any]) -> None:
    """Wait until the server has taken a new schema to heart."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.apply(obj, field_owner="test")
            except InvalidError:
                return
            await asyncio.sleep(0.05)
