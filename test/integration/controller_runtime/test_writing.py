"""What is written on the in-process server, asked of a real one.

Events, finalizers and whole objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller_runtime.client import Client
from controller_runtime.credentials import StaticCredentials
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.rbac import Grant, Roles
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.scheme import Scheme
from controller_runtime.testing.envtest import Cluster
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite(
    "conformance.ensuring",
    "conformance.eventroles",
    "conformance.events",
    "conformance.finalizing",
    "conformance.kit",
)

from conformance.ensuring import *  # noqa: E402, F403 - the tests
from conformance.eventroles import *  # noqa: E402, F403 - the tests
from conformance.events import *  # noqa: E402, F403 - the tests
from conformance.finalizing import *  # noqa: E402, F403 - the tests

REVIEW = GroupVersionKind("authorization.k8s.io", "v1", "SelfSubjectAccessReview")

ACCOUNT = "teller"


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def client(config: RestConfig) -> AsyncIterator[Client]:
    async with HttpTransport(config) as transport:
        yield Client(transport, scheme=Scheme())


@pytest.fixture
def account(
    control_plane: Cluster, config: RestConfig, client: Client, namespace: str
) -> Account:  # noqa: F405 - with the tests
    @asynccontextmanager
    async def open_account(group: str) -> AsyncIterator[Client]:
        grants = [Grant(verb, group, "events", "", namespace) for verb in VERBS]
        for obj in Roles.of(ACCOUNT, grants).objects(
            NamespacedName(namespace, ACCOUNT)
        ):
            await client.create(obj)
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        await control_plane.api.post(accounts, {"metadata": {"name": ACCOUNT}})
        answer: Mapping[str, Any] = await control_plane.api.post(
            f"{accounts}/{ACCOUNT}/token", {}
        )
        credentials = StaticCredentials.bearer(answer["status"]["token"])
        theirs = replace(config, client_certificate=None, credentials=credentials)
        async with HttpTransport(theirs) as transport:
            found = Client(transport, scheme=Scheme())
            await known(found, namespace, group)
            yield found

    return open_account


VERBS = ("create", "patch")


async def known(client: Client, namespace: str, group: str) -> None:
    """Wait until the server has heard of the role."""
    asked = {"namespace": namespace, "group": group, "resource": "events"}
    spec = {"resourceAttributes": {**asked, "verb": VERBS[-1]}}
    review: Json = {"apiVersion": REVIEW.api_version, "kind": REVIEW.kind, "spec": spec}
    async with asyncio.timeout(30):
        while not (await client.create(review))["status"]["allowed"]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
