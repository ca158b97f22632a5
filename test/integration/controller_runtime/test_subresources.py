"""Subresources of every sort on a real server, and that cached reads see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from controller_runtime.errors import ConflictError, NotFoundError
from controller_runtime.meta import ApiModel, GroupVersionKind, Json, KubeObject
from controller_runtime.patch import merge_patch
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.subresource import SubResource
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.cached")

from conformance.cached import Place, World, keeping  # noqa: E402 - after that

DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
SCALE = GroupVersionKind("autoscaling", "v1", "Scale")
POD = GroupVersionKind("", "v1", "Pod")
SERVICE_ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")
TOKEN_REQUEST = GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest")


class ScaleSpec(ApiModel):
    replicas: int = 0


class Scale(KubeObject):
    gvk: ClassVar = SCALE

    spec: ScaleSpec = ScaleSpec()


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def place(config: RestConfig, namespace: str) -> AsyncIterator[Place]:
    async with HttpTransport(config) as transport:
        yield Place(transport, namespace)


def template(**spec: object) -> Json:
    container = {"name": "main", "image": "registry.example/main:1"}
    return {"containers": [container], **spec}


def deployment(namespace: str) -> Json:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template()},
        },
    }


def pod(namespace: str, **spec: object) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": template(**spec),
    }


async def scaled_to_two(scales: SubResource, namespace: str) -> tuple[Scale, Scale]:
    """Return the scale before and after; the controller of Deployments writes too."""
    while True:
        before = await scales.get("web", namespace, kind=Scale)
        wanted = before.model_copy(update={"spec": ScaleSpec(replicas=2)})
        with suppress(ConflictError):
            return before, await scales.update("web", namespace, body=wanted)


@pytest.mark.behaviour("K4")
async def test_a_scale_is_read_replaced_and_patched_and_seen_in_the_cache(
    place: Place,
) -> None:
    world = World(place, keeping(place))
    world.cache.declare(DEPLOYMENT)
    scales = world.client.subresource(DEPLOYMENT, "scale")

    async with world.running():
        await world.client.create(deployment(place.namespace))
        before, after = await scaled_to_two(scales, place.namespace)
        seen = await world.client.get(DEPLOYMENT, "web", place.namespace)
        patched = await scales.patch(
            "web",
            place.namespace,
            patch=merge_patch({"spec": {"replicas": 0}}),
            kind=SCALE,
        )
        seen_again = await world.client.get(DEPLOYMENT, "web", place.namespace)
        with pytest.raises(ConflictError):
            await scales.update("web", place.namespace, body=before)

    assert (before.spec.replicas, after.spec.replicas) == (0, 2)
    assert patched["spec"] == {}
    assert seen["spec"]["replicas"] == 2
    assert seen_again["spec"]["replicas"] == 0


@pytest.mark.behaviour("K4")
async def test_a_token_is_made_and_leaves_nothing_to_wait_for(place: Place) -> None:
    world = World(place, keeping(place))
    world.cache.declare(SERVICE_ACCOUNT)
    tokens = world.client.subresource(SERVICE_ACCOUNT, "token")
    request: Json = {
        "apiVersion": TOKEN_REQUEST.api_version,
        "kind": TOKEN_REQUEST.kind,
        "spec": {"expirationSeconds": 600},
    }

    async with world.running():
        made = await tokens.create("default", place.namespace, body=request)
        assert not world.client._writes.concern(SERVICE_ACCOUNT)
        with pytest.raises(NotFoundError):
            await tokens.create("nobody", place.namespace, body=request)

    assert made["status"]["token"]


@pytest.mark.behaviour("K4")
async def test_a_pod_is_bound_and_evicted_and_the_cache_knows(place: Place) -> None:
    world = World(place, keeping(place))
    world.cache.declare(POD)
    pods = (place.namespace, "one")
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "one", "namespace": place.namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "nowhere"},
    }
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "one", "namespace": place.namespace},
    }

    async with world.running():
        # A scheduler of this name does not run, so that nobody else binds it.
        await world.client.create(pod(place.namespace, schedulerName="none"))
        bound = await world.client.subresource(POD, "binding").create(
            *reversed(pods), body=binding
        )
        seen = await world.client.get(POD, "one", place.namespace)
        evicted = await world.client.subresource(POD, "eviction").create(
            *reversed(pods),
            body={**eviction, "deleteOptions": {"gracePeriodSeconds": 0}},
        )
        with pytest.raises(NotFoundError):
            await world.client.get(POD, "one", place.namespace)

    assert bound == binding
    assert seen["spec"]["nodeName"] == "nowhere"
    assert evicted["kind"] == "Eviction"
    assert world.stale_reads == 0
