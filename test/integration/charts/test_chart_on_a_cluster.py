"""The chart on a real API server: what it takes, and that our processes need no more.

kwok plays the nodes, so Helm sees pods become ready; what would run in them runs here,
with the arguments, the settings and the account that the chart gives them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap, Secret
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Metrics,
    RestConfig,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.credentials import StaticCredentials
from controller_runtime.resources import usual_plural
from controller_runtime.testing.envtest import (
    Cluster,
    ControlPlane,
    ControlPlaneOptions,
)
from controller_runtime.testing.eventually import eventually, eventually_gone
from controller_runtime.testing.permissions import RecordingTransport
from controllers.manager import build
from controllers.reloader.command import compose
from controllers.reloader.settings import read
from controllers.settings import load
from rendering import CHART, NAMESPACE, RELEASE, ROOT, Renderer, renderer

CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
NAMESPACE_KIND = GroupVersionKind("", "v1", "Namespace")
RECORD = "reloader.stakater.com/applied-hashes"

FOREIGN = (
    GroupVersionKind("monitoring.coreos.com", "v1", "ServiceMonitor"),
    GroupVersionKind("monitoring.coreos.com", "v1", "PodMonitor"),
    GroupVersionKind("monitoring.coreos.com", "v1", "PrometheusRule"),
    GroupVersionKind("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler"),
)
"""Kinds of others: the server gets CRDs that take anything."""

EVERYTHING: Json = {
    "serviceMonitor": {"enabled": True, "namespace": "monitoring"},
    "podMonitor": {
        "enabled": True,
        "authorization": {"credentials": {"name": "token", "key": "token"}},
    },
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "from": [{"podSelector": {}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 70},
    "metrics": {"readers": [{"name": "scraper", "namespace": "monitoring"}]},
}
VALUES: tuple[tuple[Json, tuple[str, ...]], ...] = (
    ({}, ()),
    ({}, ("values-production.yaml",)),
    ({}, ("values-development.yaml",)),
    (EVERYTHING, ()),
    ({"namespaces": ["monitoring", NAMESPACE]}, ()),
    ({"reloaderCompat": {"reloader": {}}}, ()),
    ({"reloaderCompat": {"reloader": {"watchGlobally": False}}}, ()),
)


@pytest.fixture(scope="module")
def chart() -> Iterator[Renderer]:
    with renderer() as made:
        yield made


class Site:
    """A cluster with nodes, and its administrator."""

    def __init__(self, client: Client, config: RestConfig, kubeconfig: Path) -> None:
        self.client = client
        self.config = config
        self.kubeconfig = kubeconfig

    async def helm(
        self, chart: Renderer, call: str, values: Json | None = None
    ) -> None:
        await asyncio.to_thread(chart.act, call, self.kubeconfig, values)

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        metadata = {"name": name, "namespace": "shop"}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def open_shop(self) -> None:
        """Make a workload that restarts when its Secret changes."""
        await self.client.create(_namespace("shop"))
        await self.create(Secret.gvk, "s", stringData={"k": "old"})
        container = {
            "name": "app",
            "image": "registry.example/app",
            "envFrom": [{"secretRef": {"name": "s"}}],
        }
        labels = {"app": "shop"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        await self.create(Deployment.gvk, "shop", spec=spec)
        patch = merge_patch(
            {"metadata": {"annotations": {"reloader.stakater.com/auto": "true"}}}
        )
        await self.client.patch(Deployment.gvk, "shop", "shop", patch=patch)

    async def reload(self, value: str) -> None:
        """Change the Secret and wait until the workload has been restarted for it."""
        before = await self._recorded("")
        patch = merge_patch({"stringData": {"k": value}})
        await self.client.patch(Secret.gvk, "s", "shop", patch=patch)
        await self._recorded(before)

    async def _recorded(self, since: str) -> str:
        def is_new(obj: Json) -> bool:
            return _record(obj) not in {"", since}

        return _record(
            await eventually(self.client, Deployment.gvk, "shop", "shop", is_new)
        )

    async def pod(self) -> tuple[Json, RestConfig]:
        """Return the pods of the release's Deployment, and what they log in as."""
        found = await self.client.list(Deployment.gvk, NAMESPACE)
        (deployment,) = found.items
        spec: Json = deployment["spec"]["template"]["spec"]
        account = spec["serviceAccountName"]
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
        answer = await self.client.transport.request("POST", path, body=b"{}")
        token = yaml.safe_load(answer.body)["status"]["token"]
        credentials = StaticCredentials.bearer(token)
        return spec, replace(
            self.config, client_certificate=None, credentials=credentials
        )


def _record(obj: Json) -> str:
    return str(obj["metadata"].get("annotations", {}).get(RECORD, ""))


def _namespace(name: str, labels: Mapping[str, str] | None = None) -> Json:
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _crd(gvk: GroupVersionKind) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    plural = usual_plural(gvk.kind)
    version = {
        "name": gvk.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    # Of a group that is kept for Kubernetes.
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": f"{plural}.{gvk.group}", "annotations": approved},
        "spec": {
            "group": gvk.group,
            "scope": "Namespaced",
            "names": {"kind": gvk.kind, "plural": plural},
            "versions": [version],
        },
    }


def _original(folder: Path) -> Path:
    """Make a chart whose Deployment is called and selects as the original's."""
    name = f"{RELEASE}-reloader"
    labels = {"app": name, "release": RELEASE}
    container = {"name": name, "image": "registry.example/reloader"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container]},
            },
        },
    }
    place = folder / "original"
    (place / "templates").mkdir(parents=True)
    (place / "templates" / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    head = {"apiVersion": "v1", "name": "reloader", "version": "2.2.16"}
    (place / "Chart.yaml").write_text(yaml.safe_dump(head))
    return place


def _is_established(crd: Json) -> bool:
    conditions = crd.get("status", {}).get("conditions", [])
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@asynccontextmanager
async def site(cluster: Cluster, folder: Path) -> AsyncIterator[Site]:
    kubeconfig = await cluster.write_kubeconfig(folder / "admin")
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=kubeconfig, environ={}, home=folder
    )
    async with HttpTransport(config) as transport:
        yield Site(Client(transport, scheme=Scheme()), config, kubeconfig)


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.start())
        await manager.elected()
        yield
        manager.stop()


async def forbidden(place: Site, settings: Path, value: str) -> list[str]:
    """Run what the Deployment would, see it reload, and return what it may not do."""
    spec, config = await place.pod()
    (container,) = spec["containers"]
    verb, *arguments = container["args"]
    async with HttpTransport(config) as transport:
        recording = RecordingTransport(transport)
        if verb == "run":
            found = await place.client.list(ConfigMap.gvk, NAMESPACE)
            (text,) = [
                it["data"]["config.yaml"]
                for it in found.items
                if "config.yaml" in it.get("data", {})
            ]
            await asyncio.to_thread(settings.write_text, text)
            flags: dict[str, object] = {
                "metrics_bind_address": "127.0.0.1:0",
                "health_probe_bind_address": "0",
                "debug_bind_address": "0",
                "leader_election_namespace": NAMESPACE,
            }
            chosen = await asyncio.to_thread(load, flags, {}, settings)
            manager = build(chosen, recording, Metrics(), config=config)
        else:
            pod = {"POD_NAME": "pod-1", "POD_NAMESPACE": NAMESPACE}
            given = [*arguments, "--metrics-bind-address=127.0.0.1:0"]
            environ = {**pod, "RELOADER_NAMESPACE": NAMESPACE}
            manager = compose(read(given, environ), recording, Metrics())
        async with running(manager):
            await place.reload(value)
    return [str(it) for it in recording.forbidden]


async def test_the_server_takes_every_object_and_knows_every_field(
    chart: Renderer, tmp_path: Path
) -> None:
    async with (
        ControlPlane(ControlPlaneOptions()) as cluster,
        site(cluster, tmp_path) as place,
    ):
        for name in ("monitoring", NAMESPACE):
            await place.client.create(_namespace(name))
        for gvk in FOREIGN:
            await place.client.create(_crd(gvk))
        for gvk in FOREIGN:
            name = f"{usual_plural(gvk.kind)}.{gvk.group}"
            await eventually(place.client, CRD, name, "", _is_established)
        dry = place.client.with_defaults(dry_run=True)
        old: dict[str, Any] = yaml.safe_load(
            await asyncio.to_thread((ROOT / "test/data/reloader-values.yaml").read_text)
        )
        cases = (*VALUES, ({"reloaderCompat": old}, ()))
        tried = set()
        for values, files in cases:
            rendered = await asyncio.to_thread(
                chart.render, values, *(CHART / it for it in files)
            )
            for obj in rendered.objects:
                await dry.apply(obj)
                tried.add(obj["kind"])

    assert {it.kind for it in FOREIGN} < tried
    assert {"NetworkPolicy", "HorizontalPodAutoscaler", CRD.kind} < tried


@pytest.mark.timeout(300)
async def test_installed_upgraded_and_removed_it_works_with_its_own_rights(
    chart: Renderer, tmp_path: Path
) -> None:
    options = ControlPlaneOptions(kwok=True)
    async with ControlPlane(options) as cluster, site(cluster, tmp_path) as place:
        await place.open_shop()
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        await place.client.create(_namespace(NAMESPACE, restricted))
        values: Json = {"controllers": ["reload"]}
        await place.helm(chart, "install", values)
        assert await forbidden(place, tmp_path / "config.yaml", "new") == []

        name = f"{RELEASE}-pilothouse"
        await place.helm(chart, "upgrade", {**values, "replicaCount": 1})
        alone = await place.client.get(Deployment.gvk, name, NAMESPACE)
        assert alone["spec"]["strategy"] == {"type": "Recreate"}

        await place.create(ReloaderConfig.gvk, "kept", spec={})
        scoped: Json = {
            **values,
            "namespaces": ["shop"],
            "metrics": {"secure": False},
            "rbac": {"namespacedOnly": True},
        }
        await place.helm(chart, "upgrade", scoped)
        roles = GroupVersionKind("rbac.authorization.k8s.io", "v1", "ClusterRole")
        turns = await place.client.get(Deployment.gvk, name, NAMESPACE)
        assert turns["spec"]["strategy"]["type"] == "RollingUpdate"
        await eventually_gone(place.client, roles, name, "")
        assert await forbidden(place, tmp_path / "config.yaml", "newer") == []

        await place.helm(chart, "uninstall")
        await eventually_gone(place.client, Deployment.gvk, name, NAMESPACE)
        await place.client.get(ReloaderConfig.gvk, "kept", "shop")
        await place.helm(chart, "install", values)
        await place.client.get(ReloaderConfig.gvk, "kept", "shop")


@pytest.mark.timeout(300)
async def test_in_the_place_of_the_original_it_works_with_its_own_rights(
    chart: Renderer, tmp_path: Path
) -> None:
    options = ControlPlaneOptions(kwok=True)
    async with ControlPlane(options) as cluster, site(cluster, tmp_path) as place:
        await place.open_shop()
        with renderer(_original(tmp_path)) as original:
            await place.helm(original, "install")
        everywhere: Json = {"reloader": {"enableHA": True}}
        await place.helm(chart, "upgrade", {"reloaderCompat": everywhere})
        assert await forbidden(place, tmp_path / "none", "new") == []

        there = {"watchGlobally": False, "namespaces": "shop"}
        await place.helm(chart, "upgrade", {"reloaderCompat": {"reloader": there}})
        assert await forbidden(place, tmp_path / "none", "newer") == []
