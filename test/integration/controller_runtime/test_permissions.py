"""What a real API server asks of an account, against what is taken for granted here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller_runtime import (
    Client,
    ForbiddenError,
    Grant,
    GroupVersionKind,
    HttpTransport,
    NamespacedName,
    RestConfig,
    Roles,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.credentials import ClientCertificate, StaticCredentials
from controller_runtime.requestinfo import request_info
from controller_runtime.testing.envtest import Cluster
from controller_runtime.testing.permissions import RecordingTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")

ACCOUNT = "tester"


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@asynccontextmanager
async def account_with(
    cluster: Cluster, config: RestConfig, namespace: str, *grants: str
) -> AsyncIterator[RecordingTransport]:
    """Lend the way of an account that has these verbs on ConfigMaps, and no others."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await cluster.api.post(accounts, {"metadata": {"name": ACCOUNT}})
    answer: Mapping[str, Any] = await cluster.api.post(
        f"{accounts}/{ACCOUNT}/token", {}
    )
    roles = Roles.of(
        ACCOUNT, [Grant(v, "", "configmaps", "", namespace) for v in grants]
    )
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    for obj in roles.objects(NamespacedName(namespace, ACCOUNT)):
        await cluster.api.post(f"{group}/{obj['kind'].lower()}s", obj)
    token = answer["status"]["token"]
    theirs = replace(
        config, client_certificate=None, credentials=StaticCredentials.bearer(token)
    )
    async with HttpTransport(theirs) as transport:
        recording = RecordingTransport(transport)
        await _known(recording, namespace, grants[0])
        yield recording


async def _known(recording: RecordingTransport, namespace: str, verb: str) -> None:
    """Wait until the server has heard of the role, and forget that it was asked."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {
                "namespace": namespace,
                "verb": verb,
                "resource": "configmaps",
            }
        },
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    async with asyncio.timeout(30):
        while True:
            body = json.dumps(review).encode()
            answer = await recording.request("POST", path, body=body)
            if json.loads(answer.body)["status"]["allowed"]:
                break
            await asyncio.sleep(0.05)
    recording.requests.clear()


def config_map(namespace: str, **data: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": namespace},
        "data": data,
    }


async def test_an_apply_that_makes_its_object_needs_create_as_well(
    control_plane: Cluster, config: RestConfig, namespace: str
) -> None:
    async with account_with(control_plane, config, namespace, "patch") as recording:
        client = Client(recording, scheme=Scheme())

        with pytest.raises(ForbiddenError, match="cannot create"):
            await client.apply(config_map(namespace), field_owner="t")


async def test_what_an_apply_needs_is_what_is_recorded_of_it(
    control_plane: Cluster, config: RestConfig, namespace: str
) -> None:
    verbs = ("create", "patch")
    async with account_with(control_plane, config, namespace, *verbs) as recording:
        client = Client(recording, scheme=Scheme())

        await client.apply(config_map(namespace, k="v"), field_owner="t")

    assert [request.verb for request in recording.requests] == ["patch", "create"]


async def test_a_patch_needs_patch_alone(
    control_plane: Cluster, config: RestConfig, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await control_plane.api.post(path, config_map(namespace))
    async with account_with(control_plane, config, namespace, "patch") as recording:
        client = Client(recording, scheme=Scheme())
        patch = merge_patch({"data": {"k": "v"}})

        await client.patch(CONFIG_MAP, "c", namespace, patch=patch)

    assert [request.verb for request in recording.requests] == ["patch"]


REQUESTS = [
    ("GET", "configmaps", {}),
    ("GET", "configmaps/c", {}),
    ("GET", "configmaps", {"watch": "1", "timeoutSeconds": "1"}),
    ("GET", "configmaps", {"watch": "false", "limit": "1"}),
    ("GET", "configmaps", {"fieldSelector": "metadata.name=c"}),
    ("DELETE", "configmaps", {}),
    ("DELETE", "configmaps/c", {}),
    ("POST", "configmaps", {}),
    ("PUT", "configmaps/c", {}),
    ("PATCH", "configmaps/c", {}),
    ("GET", "pods/p/log", {}),
    ("POST", "pods/p/eviction", {}),
]


@pytest.mark.parametrize(("method", "rest", "params"), REQUESTS)
async def test_a_refusal_names_the_verb_and_resource_that_a_request_is_taken_for(
    control_plane: Cluster,
    config: RestConfig,
    namespace: str,
    method: str,
    rest: str,
    params: Mapping[str, str],
) -> None:
    pair = control_plane.client_certificate("nobody")
    nobody = ClientCertificate(pair.public, pair.private)
    path = f"/api/v1/namespaces/{namespace}/{rest}"
    asked = request_info(method, path, params)
    theirs = replace(config, client_certificate=nobody, credentials=None)

    async with HttpTransport(theirs) as transport:
        with pytest.raises(ForbiddenError) as refused:
            await transport.request(method, path, params=params, body=b"{}")

    resource = f'resource "{asked.full_resource}"'
    assert f'cannot {asked.verb} {resource} in API group ""' in str(refused.value)
