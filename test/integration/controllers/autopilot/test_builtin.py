"""The built-in catalogue under exactly the role that `pilothouse rbac` writes for it.

With a control plane of its own, as on a cluster that is KubeVirt's: its kinds and its
objects belong to the whole cluster. Numbers are those of the acceptance scenarios.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import yaml

from conformance.platforms import metric, of, rests, until
from controller_runtime import (
    Client,
    GroupVersionKind,
    Json,
    Manager,
    Metrics,
    ObjectReference,
    Roles,
    Transport,
    merge_patch,
)
from controller_runtime.testing.envtest import (
    AssetsOptions,
    ControlPlane,
    ControlPlaneOptions,
    Environment,
    QuietProgress,
)
from controller_runtime.testing.eventually import eventually
from controller_runtime.testing.permissions import RecordingTransport
from controllers.autopilot.platformcrds import platform_crd, platform_crds
from controllers.manager import build
from controllers.rbac import RoleOptions, manifest
from controllers.settings import Settings

HCO_NAME = "kubevirt-hyperconverged"
CNV = "openshift-cnv"
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
DESCHEDULERS = "openshift-kube-descheduler-operator"
NAMESPACES = (CNV, DESCHEDULERS, "openshift-mtv", "pilothouse-system")
DOMAIN = "platform.kubevirt.io"
WANTED = {
    f"{DOMAIN}/autopilot": "true",
    f"{DOMAIN}/enable-mtv": "true",
    f"{DOMAIN}/enable-kubelet-performance-settings": "true",
}
HCO = GroupVersionKind("hco.kubevirt.io", "v1", "HyperConverged")
MACHINE_CONFIG = GroupVersionKind(
    "machineconfiguration.openshift.io", "v1", "MachineConfig"
)
KUBELET_CONFIG = MACHINE_CONFIG._replace(kind="KubeletConfig")
DESCHEDULER = GroupVersionKind("operator.openshift.io", "v1", "KubeDescheduler")
FORKLIFT = GroupVersionKind("forklift.konveyor.io", "v1beta1", "ForkliftController")
UI_PLUGIN = GroupVersionKind("observability.openshift.io", "v1alpha1", "UIPlugin")

SETTINGS = Settings(
    controllers=("autopilot",),
    metrics_bind_address="0",
    metrics_secure=False,
    health_probe_bind_address="0",
    debug_bind_address="0",
)


class Site(NamedTuple):
    environment: Environment
    client: Client

    async def has(
        self,
        gvk: GroupVersionKind,
        name: str,
        namespace: str = "",
        condition: Callable[[Json], object] = bool,
    ) -> Json:
        return await eventually(self.client, gvk, name, namespace, condition)

    async def create(
        self, gvk: GroupVersionKind, name: str, namespace: str = "", **fields: Any
    ) -> Json:
        metadata = {"name": name, **fields.pop("metadata", {})}
        if namespace:
            metadata["namespace"] = namespace
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata}
        return await self.client.create({**head, **fields})

    async def annotate(
        self,
        gvk: GroupVersionKind,
        name: str,
        namespace: str,
        **annotations: str | None,
    ) -> None:
        named = {f"{DOMAIN}/{k.replace('_', '-')}": v for k, v in annotations.items()}
        changes = {"metadata": {"annotations": named}}
        patch = merge_patch(changes)
        await self.client.patch(gvk, name, namespace, patch=patch)

    async def install(self, *, without: str = "") -> None:
        crds = await asyncio.to_thread(lambda: list(platform_crds()))
        wanted = [crd for crd in crds if crd["metadata"]["name"] != without]
        await self.environment.install_crds(*wanted)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    options = ControlPlaneOptions(assets=AssetsOptions.from_environ(os.environ))
    async with ControlPlane(options, progress=QuietProgress()) as cluster:
        environment = Environment(cluster)
        async with environment.client() as client:
            site = Site(environment, client)
            for name in NAMESPACES:
                await site.create(GroupVersionKind("", "v1", "Namespace"), name)
            yield site


@asynccontextmanager
async def running(transport: Transport) -> AsyncIterator[Manager]:
    # The catalogue is read from files.
    manager = await asyncio.to_thread(build, SETTINGS, transport, Metrics())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.start())
        await manager.elected()
        yield manager
        manager.stop()


async def test_all_assets_apply_under_the_generated_role_and_it_has_nothing_to_spare(
    site: Site,
) -> None:
    """Scenarios 1, 65 and 66, and 51 (limits of migrations) on the way."""
    text = (await asyncio.to_thread(manifest, SETTINGS, RoleOptions())).text
    roles = Roles.read("pilothouse", yaml.safe_load_all(text))
    rules = [rule.to_json() for rule in roles.cluster]
    kubeconfig = await site.environment.add_user("pilothouse", rules=rules)
    await site.install()
    managed = {"labels": {f"{DOMAIN}/managed-by": "virt-platform-autopilot"}}
    await site.create(
        UI_PLUGIN, "kubevirt-plugin", metadata=managed, spec={"type": "Monitoring"}
    )
    health_check = GroupVersionKind(
        "remediation.medik8s.io", "v1alpha1", "NodeHealthCheck"
    )
    await site.create(health_check, "virt-node-health-check", metadata=managed)
    await site.create(HCO, HCO_NAME, CNV, metadata={"annotations": WANTED}, spec={})

    async with site.environment.transport(kubeconfig) as transport:
        recording = RecordingTransport(transport)
        async with running(recording) as manager:
            hco = await site.has(
                HCO, HCO_NAME, CNV, lambda o: "labels" in o["metadata"]
            )
            await site.has(MACHINE_CONFIG, "90-worker-swap-online")
            await site.has(KUBELET_CONFIG, "virt-perf-settings")
            descheduler = await site.has(DESCHEDULER, "cluster", DESCHEDULERS)
            await site.has(FORKLIFT, "forklift-controller", "openshift-mtv")
            limits = hco["spec"]["virtualization"]["liveMigrationConfig"]
            assert descheduler["spec"]["evictionLimits"] == {
                "total": limits["parallelMigrationsPerCluster"],
                "node": limits["parallelOutboundMigrationsPerNode"],
            }
            await site.annotate(HCO, HCO_NAME, CNV, reconcile_paused="true")
            labels = of("HyperConverged", CNV, HCO_NAME)
            await until(lambda: metric(manager, "paused_resources", **labels) == 1)
            await site.annotate(HCO, HCO_NAME, CNV, reconcile_paused=None)
            await until(lambda: metric(manager, "paused_resources", **labels) == 0)
            await _an_event_is_counted(site, manager)

    assert recording.forbidden == []
    # What takes a list on servers that cannot stream one, the reload's test shows.
    unused = {str(it) for it in roles.unused(recording.requests) if it.verb != "list"}
    assert unused == set()


async def _an_event_is_counted(site: Site, manager: Manager) -> None:
    recorder = manager.recorder("test")
    about = ObjectReference(HCO, CNV, HCO_NAME)

    async def count() -> int:
        listed = await site.client.list(EVENT, CNV)
        tested = (e for e in listed.items if e["reason"] == "Tested")
        return sum(e.get("series", {}).get("count", 1) for e in tested)

    async def is_counted(number: int) -> bool:
        return await count() == number

    for number in (1, 2):
        recorder.event(about, reason="Tested", action="Test", note="twice")
        await until(partial(is_counted, number))


async def test_the_platform_may_come_late_and_change_without_a_restart(
    site: Site,
) -> None:
    """Scenarios 38, 39, 50 and 56: kinds come, one at a time, and newer."""
    async with site.environment.transport() as transport, running(transport) as manager:
        await until(lambda: rests(manager, "waits for the CRD hyperconvergeds"))
        crd = await asyncio.to_thread(platform_crd, "hyperconvergeds.hco.kubevirt.io")
        await site.environment.install_crds(crd)
        await site.create(HCO, HCO_NAME, CNV, metadata={"annotations": WANTED}, spec={})
        await site.has(HCO, HCO_NAME, CNV, lambda o: "labels" in o["metadata"])

        for variant, profile in PROFILES.items():
            crd = await asyncio.to_thread(platform_crd, KUBE_DESCHEDULERS, variant)
            await site.environment.install_crds(crd)
            await site.has(
                DESCHEDULER,
                "cluster",
                DESCHEDULERS,
                partial(_has_profile, profile),
            )
        await site.install(without=KUBE_DESCHEDULERS)
        await site.has(MACHINE_CONFIG, "90-worker-swap-online")
        await site.has(FORKLIFT, "forklift-controller", "openshift-mtv")

    events = (await site.client.list(EVENT, CNV)).items
    reasons = {event["reason"] for event in events}
    assert {"CRDMissing", "CRDDiscovered"} <= reasons
    assert not {"ApplyFailed", "RenderFailed", "HardwareDetectionFailed"} & reasons


def _has_profile(profile: str, obj: Json) -> bool:
    return bool(obj["spec"]["profiles"] == [profile])


PROFILES = {
    "4.17": "LongLifecycle",
    "4.19": "DevKubeVirtRelieveAndMigrate",
    "": "KubeVirtRelieveAndMigrate",
}
"""Variant of the descheduler's CRD → the newest profile that it knows."""

KUBE_DESCHEDULERS = "kubedeschedulers.operator.openshift.io"
