"""What reaches a workload on a real API server: keys, namespaces, kinds from outside.

A reload is a change of a pod template here; that a change does not reload is shown by
a later one of the same source that does, and by the record, which it finds alone.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    RestConfig,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload import setup
from controllers.reload.hashing import Hashing, MarkerHash
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.workloads import ExtraWorkload

CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")
AUTO = {"reloader.stakater.com/auto": "true"}
BY_KEYS = AUTO | {"reloader.stakater.com/scope": "keys"}


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, *others: str, **options: Any) -> AsyncIterator[None]:
        """Run a manager with the reload controller, for few namespaces."""
        async with HttpTransport(self.config) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            )
            manager = Manager(transport, options=addresses)
            where = (self.namespace, *others)
            setup(manager, ReloadOptions(namespaces=where, **options))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield
                manager.stop()

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: Mapping[str, str] | None = None,
        *,
        namespace: str = "",
        **fields: object,
    ) -> None:
        metadata = {
            "name": name,
            "namespace": namespace or self.namespace,
            "annotations": dict(annotations or {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def change(
        self, gvk: GroupVersionKind, name: str, namespace: str = "", **data: str
    ) -> None:
        patch = merge_patch({"data": data})
        await self.client.patch(gvk, name, namespace or self.namespace, patch=patch)

    async def deployment(
        self, annotations: Mapping[str, str], **of_container: object
    ) -> None:
        container = {"name": "app", "image": "registry.example/app", **of_container}
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        await self.create(Deployment.gvk, "web", annotations, spec=spec)

    async def when(
        self,
        condition: Callable[[Json], object],
        gvk: GroupVersionKind = Deployment.gvk,
    ) -> Json:
        return await eventually(
            self.client, gvk, "web", self.namespace, condition, timeout=30
        )

    async def events(self, count: int) -> list[Json]:
        """Return the Events of reloads and problems, when there are so many."""

        def ours(events: list[Json]) -> list[Json]:
            return [
                event
                for event in events
                if event["reason"] in {"Reloaded", "InvalidReloadAnnotation"}
            ]

        found = await eventually_list(
            *(self.client, EVENT, self.namespace),
            lambda events: len(ours(events)) >= count,
            timeout=30,
        )
        return ours(found)


def record(obj: Json) -> dict[str, str]:
    annotations = obj["metadata"].get("annotations", {})
    found: dict[str, str] = json.loads(annotations.get(RECORD, "{}"))
    return found


def markers(obj: Json) -> dict[str, str]:
    first = obj["spec"]["template"]["spec"]["containers"][0]
    env = first.get("env", [])
    return {one["name"]: one["value"] for one in env if "value" in one}


def _is_established(crd: Json) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return ("Established", "True") in {(c["type"], c["status"]) for c in conditions}


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def shop(config: RestConfig, namespace: str) -> AsyncIterator[Shop]:
    async with HttpTransport(config) as transport:
        yield Shop(Client(transport, scheme=Scheme()), config, namespace)


async def test_by_keys_a_deployment_reloads_for_those_that_it_uses(shop: Shop) -> None:
    """A7, #786."""
    await shop.create(Secret.gvk, "s", data={"used": encoded("1"), "not": encoded("1")})
    uses = {"secretKeyRef": {"name": "s", "key": "used"}}
    await shop.deployment(BY_KEYS, env=[{"name": "V", "valueFrom": uses}])

    async with shop.manager():
        before = record(await shop.when(record))
        await shop.change(Secret.gvk, "s", **{"not": encoded("2")})
        await shop.change(Secret.gvk, "s", used=encoded("2"))
        after = await shop.when(markers)
        await shop.change(Secret.gvk, "s", **{"not": encoded("3")})
        await shop.change(Secret.gvk, "s", used=encoded("3"))
        last = await shop.when(lambda obj: record(obj) not in (before, record(after)))
        events = await shop.events(2)

    assert markers(last).keys() == {"STAKATER_S_SECRET"}
    assert len(events) == 2


async def test_a_switch_of_hashes_writes_records_and_no_templates(shop: Shop) -> None:
    """A18, C7."""
    await shop.create(ConfigMap.gvk, "c", data={"k": "1"})
    await shop.deployment(AUTO, envFrom=[{"configMapRef": {"name": "c"}}])
    async with shop.manager():
        await shop.when(record)
        await shop.change(ConfigMap.gvk, "c", k="2")
        plain = await shop.when(markers)

    async with shop.manager(hashing=Hashing(marker=MarkerHash.SHA256)):
        await shop.change(ConfigMap.gvk, "c", k="3")
        strong = await shop.when(lambda obj: markers(obj) != markers(plain))
    async with shop.manager(hashing=Hashing(keys=(b"0123456789abcdef",))):
        keyed = await shop.when(lambda obj: record(obj) != record(strong))
        await shop.change(ConfigMap.gvk, "c", k="4")
        last = await shop.when(lambda obj: markers(obj) != markers(strong))

    assert {len(hash_) for hash_ in markers(strong).values()} == {64}
    assert keyed["spec"]["template"] == strong["spec"]["template"]
    assert record(last)["cm/c"].startswith(record(keyed)["cm/c"].partition(":")[0])
    assert len(await shop.events(3)) == 3


async def test_a_source_of_another_namespace_reloads(shop: Shop) -> None:
    """A17, #578."""
    ops = f"{shop.namespace}-ops"
    metadata = {"name": ops}
    await shop.client.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    )
    try:
        await shop.create(ConfigMap.gvk, "c", namespace=ops, data={"k": "1"})
        await shop.deployment({"configmap.reloader.stakater.com/reload": f"{ops}/c"})
        async with shop.manager():
            (refused,) = await shop.events(1)
        async with shop.manager(ops, allow_cross_namespace=True):
            adopted = await shop.when(record)
            await shop.change(ConfigMap.gvk, "c", ops, k="2")
            await shop.when(markers)
    finally:
        await shop.client.delete(NAMESPACE, ops)

    assert refused["reason"] == "InvalidReloadAnnotation"
    assert "--allow-cross-namespace" in refused["note"]
    assert record(adopted).keys() == {f"cm/{ops}/c"}


async def test_a_kind_from_outside_reloads(shop: Shop) -> None:
    """#493: unknown fields, a container without a name, a path of its own."""
    group = f"{shop.namespace}.example.com"
    kind = GroupVersionKind(group, "v1", "Engine")
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    await shop.client.create(
        {
            "apiVersion": CRD.api_version,
            "kind": CRD.kind,
            "metadata": {"name": f"engines.{group}"},
            "spec": {
                "group": group,
                "names": {"kind": "Engine", "plural": "engines"},
                "scope": "Namespaced",
                "versions": [version | {"schema": {"openAPIV3Schema": free}}],
            },
        }
    )
    await eventually(
        *(shop.client, CRD, f"engines.{group}", ""),
        _is_established,
    )
    try:
        await shop.create(ConfigMap.gvk, "c", data={"k": "1"})
        uses = [{"configMapRef": {"name": "c"}}]
        pod = {"containers": [{"image": "x", "envFrom": uses}], "fuel": "hay"}
        spec = {"parts": {"engine": {"spec": pod}}, "template": {"not": "this"}}
        await shop.create(kind, "web", AUTO, spec=spec)
        extra = ExtraWorkload.parse(f"{group}/v1/Engine:.spec.parts.engine")
        async with shop.manager(extra_workloads=(extra,)):
            await shop.when(record, kind)
            await shop.change(ConfigMap.gvk, "c", k="2")
            engine = await shop.when(
                lambda obj: obj["spec"]["parts"] != spec["parts"], kind
            )
            (event,) = await shop.events(1)
    finally:
        await shop.client.delete(CRD, f"engines.{group}")

    (container,) = engine["spec"]["parts"]["engine"]["spec"].pop("containers")
    (marker,) = container.pop("env")
    assert marker["name"] == "STAKATER_C_CONFIGMAP"
    assert container == {"image": "x", "envFrom": uses}
    assert engine["spec"]["parts"]["engine"]["spec"] == {"fuel": "hay"}
    assert event["regarding"]["apiVersion"] == f"{group}/v1"
