"""CRDs, and a client for each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from api.argoproj.v1alpha1 import Rollout
from api.openshift.v1 import DeploymentConfig
from api.secretsstore.v1 import (
    SecretProviderClass,
    SecretProviderClassPodStatus,
)
from conformance.reloads import Shop
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    RestConfig,
    load_restconfig,
)
from controller_runtime.testing.envtest import uses_existing_cluster
from controller_runtime.testing.envtest.environment import Environment
from controllers.manager import scheme

CRD = (
    Path(__file__).parents[4]
    / "config/crd/bases/reloader.stakater.com_reloaderconfigs.yaml"
)


CRD_PATH = (
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
    "reloaderconfigs.reloader.stakater.com"
)

T = TypeVar("T")


@pytest.fixture(scope="session")
def crd(environment: Environment) -> None:
    """Install the CRD, as it is checked in. That of an existing cluster stays."""
    if uses_existing_cluster(os.environ) and _run(environment.api.answers(CRD_PATH)):
        return
    _run(environment.install_crds(CRD))


@pytest.fixture(scope="session")
def served(environment: Environment) -> None:
    """Have kinds of others served, as if their operators were installed."""
    names = {
        "rollouts": Rollout.gvk,
        "deploymentconfigs": DeploymentConfig.gvk,
        "secretproviderclasses": SecretProviderClass.gvk,
        "secretproviderclasspodstatuses": SecretProviderClassPodStatus.gvk,
    }
    crds = [_unchecked(gvk, plural) for plural, gvk in names.items()]
    _run(environment.install_crds(*crds))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread, on a loop that those of the tests do not meet."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _unchecked(gvk: GroupVersionKind, plural: str) -> Json:
    """Write a CRD that takes everything."""
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": gvk.version, "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{gvk.group}"},
        "spec": {
            "group": gvk.group,
            "names": {"kind": gvk.kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version | {"schema": {"openAPIV3Schema": free}}],
        },
    }


@pytest.fixture
async def shop(client: Client, config: RestConfig, namespace: str) -> Shop:
    return Shop(client, config, namespace)


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def client(config: RestConfig) -> AsyncIterator[Client]:
    async with HttpTransport(config) as transport:
        yield Client(transport, scheme=scheme())
