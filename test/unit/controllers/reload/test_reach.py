"""Which sources reach a workload, and by which of their keys, on an API server."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap, Secret
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer, Resource
from controllers.reload.options import ExtraReference, ReloadOptions
from controllers.reload.record import RECORD
from controllers.reload.workloads import ExtraWorkload

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
AUTO = {"reloader.stakater.com/auto": "true"}
BY_KEYS = AUTO | {"reloader.stakater.com/scope": "keys"}
IGNORE = "reloader.stakater.com/ignore-keys"


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: dict[str, str] | None = None,
        *,
        namespace: str = "shop",
        **fields: object,
    ) -> None:
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        metadata: Json = {"name": name, "namespace": namespace}
        metadata["annotations"] = annotations or {}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def namespace(self, name: str, **labels: str) -> None:
        metadata = {"name": name, "labels": labels}
        head = {"apiVersion": "v1", "kind": "Namespace"}
        await self.client.create({**head, "metadata": metadata})

    async def config_map(self, name: str, namespace: str = "shop", **data: str) -> None:
        await self.create(ConfigMap.gvk, name, namespace=namespace, data=data)

    async def secret(self, name: str, **data: str) -> None:
        await self.create(Secret.gvk, name, data=_encoded(data))

    async def workload(
        self, name: str, annotations: dict[str, str], **spec: object
    ) -> None:
        """Create a Deployment with one container; `env` and the like are its own."""
        container: Json = {"name": "app", "image": "x"}
        for field in ("env", "envFrom", "volumeMounts"):
            container[field] = spec.pop(field, [])
        labels = {"app": name}
        pod = {"containers": [container], **spec}
        await self.create(
            Deployment.gvk,
            name,
            annotations,
            spec={
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        )

    async def change(self, name: str, namespace: str = "shop", **data: str) -> None:
        patch = merge_patch({"data": data})
        await self.client.patch(ConfigMap.gvk, name, namespace, patch=patch)

    async def change_secret(self, name: str, **data: str) -> None:
        patch = merge_patch({"data": _encoded(data)})
        await self.client.patch(Secret.gvk, name, "shop", patch=patch)

    async def annotate(
        self,
        name: str,
        annotations: dict[str, str],
        gvk: GroupVersionKind = Deployment.gvk,
    ) -> None:
        patch = merge_patch({"metadata": {"annotations": annotations}})
        await self.client.patch(gvk, name, "shop", patch=patch)

    async def record(self, name: str = "web") -> dict[str, str]:
        workload = await self.client.get(Deployment.gvk, name, "shop")
        text = workload["metadata"].get("annotations", {}).get(RECORD, "{}")
        record: dict[str, str] = json.loads(text)
        return record

    async def markers(self, name: str = "web") -> dict[str, str]:
        """Return the variables with a value."""
        workload = await self.client.get(Deployment.gvk, name, "shop")
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        env = container.get("env", [])
        return {one["name"]: one["value"] for one in env if "value" in one}

    async def reloads(self) -> int:
        """Count the Events."""
        found = await self.client.list(EVENT, "shop")
        return sum(event["reason"] == "Reloaded" for event in found.items)

    async def settled(self) -> None:
        """Let everything happen that will happen by itself within a minute."""
        await asyncio.sleep(60)

    @asynccontextmanager
    async def manager(
        self, options: ReloadOptions | None = None
    ) -> AsyncIterator[Manager]:
        """Run a manager with the reload controller, from after its first look on."""
        given = options or ReloadOptions()
        async with managing(self.server.config(), given) as manager:
            await self.settled()
            yield manager


def _encoded(data: dict[str, str]) -> dict[str, str]:
    return {key: b64encode(value.encode()).decode() for key, value in data.items()}


def variable(kind: str, name: str, key: str) -> Json:
    return {"name": key.upper(), "valueFrom": {kind: {"name": name, "key": key}}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, Client(transport, scheme=Scheme()))


# --- keys --------------------------------------------------------------------------


async def test_by_keys_a_workload_reloads_for_those_that_it_uses(world: World) -> None:
    """A7."""
    await world.secret("s", used="1", unused="1")
    await world.workload("web", BY_KEYS, env=[variable("secretKeyRef", "s", "used")])
    await world.workload("witness", AUTO, env=[variable("secretKeyRef", "s", "used")])

    async with world.manager():
        await world.change_secret("s", unused="2")
        await world.settled()
        after_unused = (await world.markers(), await world.markers("witness"))
        await world.change_secret("s", used="2")
        await world.settled()

    assert after_unused[0] == {}
    assert after_unused[1].keys() == {"STAKATER_S_SECRET"}
    assert (await world.markers()).keys() == {"STAKATER_S_SECRET"}


@pytest.mark.parametrize("where", ["workload", "source"])
async def test_a_key_that_is_ignored_reloads_nothing(world: World, where: str) -> None:
    """A7: the key that stamps a time."""
    await world.config_map("c", k="1", stamp="1")
    uses = [{"configMapRef": {"name": "c"}}]
    await world.workload("web", AUTO, envFrom=uses)
    if where == "workload":
        await world.annotate("web", {IGNORE: "stamp"})
    else:
        await world.annotate("c", {IGNORE: "stamp"}, ConfigMap.gvk)

    async with world.manager():
        await world.change("c", stamp="2")
        await world.settled()
        after_stamp = await world.reloads()
        await world.change("c", k="2", stamp="3")
        await world.settled()

    assert after_stamp == 0
    assert await world.reloads() == 1


async def test_another_scope_restarts_nothing_and_counts_from_then_on(
    world: World,
) -> None:
    await world.config_map("c", a="1", b="1")
    await world.workload("web", AUTO, env=[variable("configMapKeyRef", "c", "a")])

    async with world.manager():
        of_all = await world.record()
        await world.annotate("web", {"reloader.stakater.com/scope": "keys"})
        await world.settled()
        of_keys = await world.record()
        await world.change("c", b="2")
        await world.settled()
        await world.annotate("web", {"reloader.stakater.com/scope": "object"})
        await world.settled()
        before_witness = await world.markers()
        await world.change("c", b="3")
        await world.settled()

    assert of_all != of_keys
    assert before_witness == {}
    assert await world.reloads() == 1


async def test_a_change_of_a_key_while_nobody_looks_is_found(world: World) -> None:
    await world.config_map("c", a="1", b="1")
    await world.workload("web", BY_KEYS, env=[variable("configMapKeyRef", "c", "a")])
    async with world.manager():
        pass

    await world.change("c", b="2")
    async with world.manager():
        after_unused = await world.reloads()
    await world.change("c", a="2")
    async with world.manager():
        pass

    assert after_unused == 0
    assert await world.reloads() == 1


# --- other namespaces --------------------------------------------------------------

FAR = {"configmap.reloader.stakater.com/reload": "ops/c"}


async def test_a_workload_reloads_for_a_source_of_another_namespace(
    world: World,
) -> None:
    """A17, #578, #335."""
    await world.config_map("c", "ops", k="1")
    await world.workload("web", FAR)

    async with world.manager(ReloadOptions(allow_cross_namespace=True)):
        adopted = await world.record()
        await world.change("c", "ops", k="2")
        await world.settled()

    assert adopted.keys() == {"cm/ops/c"}
    assert (await world.markers()).keys() == {"STAKATER_C_CONFIGMAP"}
    assert await world.reloads() == 1


async def test_another_namespace_takes_a_flag_that_an_event_names(
    world: World,
) -> None:
    await world.config_map("c", "ops", k="1")
    await world.workload("web", FAR)

    async with world.manager():
        await world.change("c", "ops", k="2")
        await world.settled()

    (event,) = (await world.client.list(EVENT, "shop")).items
    assert event["reason"] == "InvalidReloadAnnotation"
    assert "--allow-cross-namespace" in event["note"]
    assert await world.record() == {}


async def test_a_namespace_that_is_not_selected_is_not_reached(world: World) -> None:
    """The selector is about sources too (2.4, rule 0)."""
    await world.namespace("shop", team="a")
    await world.namespace("ops")
    await world.config_map("c", "ops", k="1")
    await world.config_map("own", k="1")
    both = {"configmap.reloader.stakater.com/reload": "ops/c,own"}
    await world.workload("web", both)

    async with world.manager(
        ReloadOptions(allow_cross_namespace=True, namespace_selector="team=a")
    ):
        pass

    assert (await world.record()).keys() == {"cm/own"}


# --- other references --------------------------------------------------------------


async def test_a_secret_to_pull_images_reloads_if_that_is_asked_for(
    world: World,
) -> None:
    """3.3."""
    await world.secret("s", k="1")
    await world.workload("web", AUTO, imagePullSecrets=[{"name": "s"}])
    extra = frozenset({ExtraReference.IMAGE_PULL_SECRETS})

    async with world.manager(ReloadOptions(extra_references=extra)):
        await world.change_secret("s", k="2")
        await world.settled()
        with_it = await world.reloads()
    async with world.manager():
        await world.change_secret("s", k="3")
        await world.settled()

    assert with_it == await world.reloads() == 1


# --- kinds from outside ------------------------------------------------------------

KNATIVE = GroupVersionKind("serving.knative.dev", "v1", "Service")
SERVED = Resource(gvk=KNATIVE, plural="services")
EXTRA = ReloadOptions(
    extra_workloads=(
        ExtraWorkload.parse("serving.knative.dev/v1/Service:.spec.template"),
    )
)


async def knative(world: World, name: str, **spec: object) -> None:
    """Create a Service of Knative; its containers may go without a name."""
    uses = [{"configMapRef": {"name": "c"}}]
    containers = [{"image": "x", "envFrom": uses}, {"name": "proxy", "image": "y"}]
    usual = {"template": {"spec": {"containers": containers, "timeoutSeconds": 9}}}
    await world.create(KNATIVE, name, AUTO, spec={**usual, **spec})


async def test_a_kind_from_outside_reloads_and_keeps_what_else_it_has(
    world: World,
) -> None:
    """#493."""
    world.server.register(SERVED)
    await world.config_map("c", k="1")
    await knative(world, "web")
    before = (await world.client.get(KNATIVE, "web", "shop"))["spec"]

    async with world.manager(EXTRA):
        await world.change("c", k="2")
        await world.settled()
        patches = world.server.requests.of("patch", "services")

    spec = (await world.client.get(KNATIVE, "web", "shop"))["spec"]
    pod = spec["template"]["spec"]
    (marker,) = pod["containers"][0].pop("env")
    assert marker["name"] == "STAKATER_C_CONFIGMAP"
    assert spec == before
    assert len(patches) == 2  # one of the first look, one of the change
    (event,) = (await world.client.list(EVENT, "shop")).items
    assert event["reason"] == "Reloaded"
    assert event["regarding"]["apiVersion"] == "serving.knative.dev/v1"
    assert event["regarding"]["kind"] == "Service"


async def test_a_kind_from_outside_may_come_and_go(world: World) -> None:
    """Scenario 50."""
    await world.config_map("c", k="1")

    async with world.manager(EXTRA):
        world.server.register(SERVED)
        await knative(world, "web")
        await world.settled()
        await world.change("c", k="2")
        await world.settled()
        while_here = await world.reloads()
        world.server.unregister(SERVED)
        await world.settled()
        await world.change("c", k="3")
        await world.settled()

    assert while_here == await world.reloads() == 1


async def test_a_path_to_no_template_is_told_in_an_event(world: World) -> None:
    world.server.register(SERVED)
    await world.config_map("c", k="1")
    await knative(world, "web", template={"spec": {"containers": "many"}})

    async with world.manager(EXTRA):
        pass

    (event,) = (await world.client.list(EVENT, "shop")).items
    assert event["reason"] == "InvalidReloadAnnotation"
    assert ".spec.template: is no pod template with containers" in event["note"]
