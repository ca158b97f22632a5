"""What the in-process API server is held to, asked of a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from controller_runtime.errors import AlreadyExistsError, NotFoundError
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.testing.envtest import Cluster
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite(
    "conformance.applies",
    "conformance.kit",
    "conformance.lists",
    "conformance.objects",
    "conformance.served",
    "conformance.watches",
)

from conformance.applies import *  # noqa: E402, F403 - the tests
from conformance.kit import WIDGET, Api  # noqa: E402 - after the registration
from conformance.lists import *  # noqa: E402, F403 - the tests
from conformance.objects import *  # noqa: E402, F403 - the tests
from conformance.served import *  # noqa: E402, F403 - the tests
from conformance.watches import *  # noqa: E402, F403 - the tests

SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"widgets.{WIDGET.group}"},
    "spec": {
        "group": WIDGET.group,
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": WIDGET.kind},
        "versions": [
            {
                "name": WIDGET.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": SCHEMA},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def api(
    config: RestConfig, control_plane: Cluster, namespace: str
) -> AsyncIterator[Api]:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    with suppress(AlreadyExistsError):  # another test was first
        await control_plane.api.post(path, WIDGETS)
    async with HttpTransport(config) as transport:
        api = Api(transport, namespace)
        async with asyncio.timeout(30):
            while not await is_served(api):  # noqa: ASYNC110 - it takes a moment
                await asyncio.sleep(0.1)
        yield api


async def is_served(api: Api) -> bool:
    try:
        await api.transport.request("GET", api.widgets)
    except NotFoundError:
        return False
    return True
