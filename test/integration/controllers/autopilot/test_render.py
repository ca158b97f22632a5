"""`pilothouse render` against a real API server, and what it shows applied there.

With a control plane of its own: the kinds belong to the whole cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from controller_runtime import (
    ApiError,
    Client,
    ConfigError,
    GroupVersionKind,
    Json,
    merge_patch,
)
from controller_runtime.testing.envtest import (
    AssetsOptions,
    ControlPlane,
    ControlPlaneOptions,
    Environment,
    QuietProgress,
)
from controllers.autopilot.command import RenderOptions, render
from controllers.autopilot.platformcrds import platform_crd, platform_crds

DESCHEDULERS = "kubedeschedulers.operator.openshift.io"
NAMESPACES = (
    "openshift-cnv",
    "openshift-kube-descheduler-operator",
    "openshift-mtv",
)
WANTED = {
    "platform.kubevirt.io/autopilot": "true",
    "platform.kubevirt.io/enable-mtv": "true",
    "platform.kubevirt.io/enable-kubelet-performance-settings": "true",
}


class Cluster(NamedTuple):
    environment: Environment
    client: Client
    kubeconfig: Path

    async def items(
        self, capsys: pytest.CaptureFixture[str], **options: Any
    ) -> dict[str, Json]:
        """Show everything; asset → what became of it."""
        capsys.readouterr()
        await render(
            RenderOptions(
                kubeconfig=self.kubeconfig, show_excluded=True, output="json", **options
            )
        )
        items = json.loads(capsys.readouterr().out)
        return {item["asset"]: item for item in items}

    async def install(self) -> None:
        crds = await asyncio.to_thread(lambda: list(platform_crds()))
        await self.environment.install_crds(*crds)

    async def create_source(self, version: str = "v1", **spec: Any) -> Json:
        return await self.client.create(
            {
                "apiVersion": f"hco.kubevirt.io/{version}",
                "kind": "HyperConverged",
                "metadata": {
                    "name": "kubevirt-hyperconverged",
                    "namespace": "openshift-cnv",
                    "annotations": WANTED,
                },
                "spec": spec,
            }
        )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    options = ControlPlaneOptions(assets=AssetsOptions.from_environ(os.environ))
    async with ControlPlane(options, progress=QuietProgress()) as plane:
        environment = Environment(plane)
        kubeconfig = tmp_path / "admin"
        await asyncio.to_thread(kubeconfig.write_text, plane.kubeconfig())
        async with environment.client() as client:
            for name in NAMESPACES:
                await client.create(
                    {
                        "apiVersion": "v1",
                        "kind": "Namespace",
                        "metadata": {"name": name},
                    }
                )
            yield Cluster(environment, client, kubeconfig)


async def test_what_is_shown_is_taken_by_the_server(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenarios 1 (in part), 50, 51 and 62, with everything that a platform has."""
    await cluster.install()
    with pytest.raises(ConfigError, match="there is no HyperConverged openshift-cnv/"):
        await render(RenderOptions(kubeconfig=cluster.kubeconfig))
    limits = {"parallelMigrationsPerCluster": 7}
    await cluster.create_source(virtualization={"liveMigrationConfig": limits})

    capsys.readouterr()
    assert (
        await render(RenderOptions(kubeconfig=cluster.kubeconfig, validate=True)) == 0
    )
    text = capsys.readouterr().out
    applied = [
        await cluster.client.apply(obj, field_owner="virt-platform-autopilot")
        for obj in yaml.safe_load_all(text)
        if obj
    ]

    assert {obj["kind"] for obj in applied} == {
        "HyperConverged",
        "MachineConfig",
        "KubeletConfig",
        "KubeDescheduler",
        "ForkliftController",
    }
    descheduler = next(obj for obj in applied if obj["kind"] == "KubeDescheduler")
    # The server's default of the CRD, which the template's own never gets past.
    assert descheduler["spec"]["evictionLimits"] == {"total": 7, "node": 1}
    assert "Warning" not in text

    await _what_would_change_is_shown(cluster, capsys)

    for variant, profile in (
        ("4.19", "DevKubeVirtRelieveAndMigrate"),
        ("4.17", "LongLifecycle"),
    ):
        crd = await asyncio.to_thread(platform_crd, DESCHEDULERS, variant)
        await cluster.environment.install_crds(crd)
        item = (await cluster.items(capsys))["descheduler-loadaware"]
        assert item["object"]["spec"]["profiles"] == [profile]
        await _applied_in_time(cluster.client, item["object"])


async def _what_would_change_is_shown(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--diff`, with what users say on the objects (scenarios 3, 4, 12 and 18)."""
    gvk = GroupVersionKind("operator.openshift.io", "v1", "KubeDescheduler")
    options = RenderOptions(
        kubeconfig=cluster.kubeconfig, diff=True, asset="descheduler-loadaware"
    )

    async def shown(code: int, mode: str, annotation: str = "x", text: str = "") -> str:
        said = dict.fromkeys(("patch", "ignore-fields", "mode")) | {annotation: text}
        keys = {f"platform.kubevirt.io/{key}": value for key, value in said.items()}
        patch = merge_patch({"metadata": {"annotations": keys}, "spec": {"mode": mode}})
        await cluster.client.patch(gvk, "cluster", NAMESPACES[1], patch=patch)
        capsys.readouterr()
        assert await render(options) == code
        return capsys.readouterr().out

    replaced = '[{"op": "replace", "path": "/spec/mode", "value": "Predictive"}]'
    assert "# Change" not in await shown(0, "Automatic")
    assert "# Change: /spec/mode\n" in await shown(3, "Predictive")
    assert "mode: Predictive" in await shown(0, "Predictive", "patch", replaced)
    assert "/patch: the patch is not JSON" in await shown(0, "Automatic", "patch", "[")
    assert "mode" not in await shown(0, "Predictive", "ignore-fields", "/spec/mode")
    alone = await shown(0, "Predictive", "mode", "unmanaged")
    assert "# Status: FILTERED\n# Reason: its annotation" in alone
    assert "# Status: INCLUDED" in await shown(0, "Automatic")


async def _applied_in_time(client: Client, obj: Json) -> None:
    """Apply, once the server has taken the CRD's new schema to heart."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.apply(
                    obj, field_owner="virt-platform-autopilot", force=True
                )
            except ApiError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_platform_of_the_old_kind_gets_the_same(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenarios 56 and 72: v1beta1 alone, and no kinds of OpenShift's configuration."""
    await cluster.environment.install_crds(
        await asyncio.to_thread(
            platform_crd, "hyperconvergeds.hco.kubevirt.io", "v1beta1"
        ),
        await asyncio.to_thread(platform_crd, DESCHEDULERS),
    )
    limits = {"parallelMigrationsPerCluster": 7, "parallelOutboundMigrationsPerNode": 3}
    await cluster.create_source("v1beta1", liveMigrationConfig=limits)

    items = await cluster.items(capsys)

    assert {name: item["status"] for name, item in items.items()} == {
        "hco-golden-config": "EXCLUDED",
        "hco-golden-config-v1beta1": "INCLUDED",
        "swap-enable": "EXCLUDED",
        "kubelet-perf-settings": "EXCLUDED",
        "descheduler-loadaware": "INCLUDED",
        "mtv-operator": "EXCLUDED",
    }
    assert items["hco-golden-config"]["reason"].endswith("serves v1beta1, not v1")
    assert items["swap-enable"]["reason"] == (
        "there is no CRD machineconfigs.machineconfiguration.openshift.io"
    )
    descheduler = items["descheduler-loadaware"]["object"]
    assert descheduler["spec"]["evictionLimits"] == {"total": 7, "node": 3}
    for name in ("hco-golden-config-v1beta1", "descheduler-loadaware"):
        await cluster.client.apply(
            items[name]["object"], field_owner="virt-platform-autopilot", force=True
        )
