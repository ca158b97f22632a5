"""Where objects stand while real controllers work on them; the node is kwok's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller_runtime.client import Client
from controller_runtime.clock import SystemClock
from controller_runtime.kstatus import ObjectState, compute_status
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.scheme import Scheme
from controller_runtime.testing.eventually import eventually
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.kit")

from conformance.kit import deployment  # noqa: E402 - after the registration

CONTAINER = {"name": "main", "image": "registry.example/main:1"}
LABELS = {"app": "web"}
TEMPLATE: Json = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}
SELECTOR = {"matchLabels": LABELS}


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def client(config: RestConfig) -> AsyncIterator[Client]:
    async with HttpTransport(config) as transport:
        yield Client(transport, scheme=Scheme())


def workload(api_version: str, kind: str, **spec: object) -> Json:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {"template": TEMPLATE, **spec},
    }


def state(obj: Json) -> ObjectState:
    return compute_status(obj, now=SystemClock().now()).state


REPLICATED: Json = {"selector": SELECTOR, "replicas": 2}
JOB: Json = {
    "template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
}


@pytest.mark.parametrize(
    "obj",
    [
        workload("apps/v1", "Deployment", **REPLICATED),
        workload("apps/v1", "StatefulSet", serviceName="web", **REPLICATED),
        workload("apps/v1", "DaemonSet", selector=SELECTOR),
        workload("apps/v1", "ReplicaSet", **REPLICATED),
        workload("batch/v1", "Job", **JOB),
    ],
    ids=lambda obj: str(obj["kind"]),
)
async def test_a_workload_is_in_progress_and_then_current(
    client: Client, namespace: str, obj: Json
) -> None:
    kind = client.scheme.gvk_of(obj)
    metadata = {**obj["metadata"], "namespace": namespace}

    made = await client.create({**obj, "metadata": metadata})

    assert state(made) is ObjectState.IN_PROGRESS
    done = await eventually(
        client, kind, "web", namespace, lambda it: state(it) is ObjectState.CURRENT
    )
    assert done["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_deployment_without_progress_fails(
    client: Client, namespace: str
) -> None:
    it = deployment("web")
    it["metadata"]["namespace"] = namespace
    it["spec"] |= {"replicas": 1, "progressDeadlineSeconds": 1}
    it["spec"]["template"]["spec"]["nodeSelector"] = {"there-is": "none"}

    await client.create(it)

    kind = GroupVersionKind("apps", "v1", "Deployment")
    await eventually(
        client, kind, "web", namespace, lambda it: state(it) is ObjectState.FAILED
    )
