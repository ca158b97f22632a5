"""All that a test asks of its cluster, in one place.

    environment = Environment(cluster)
    await environment.install_crds(Path("config/crd"))
    async with environment.namespace() as namespace, environment.client() as client:
        ...

Nothing here belongs to an event loop: one environment serves all tests of a session,
each with a loop of its own. `controller_runtime.testing.pytest_plugin` lends it.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller_runtime.client import Client
from controller_runtime.restconfig import RestConfig
from controller_runtime.restconfig import load as load_restconfig
from controller_runtime.scheme import Scheme
from controller_runtime.testing.envtest.access import Cluster
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.crds import CrdSource, install_crds
from controller_runtime.testing.envtest.users import Rule, add_user
from controller_runtime.testing.envtest.webhooks import (
    WebhookHost,
    install_webhooks,
    uninstall_webhooks,
    webhook_host,
)
from controller_runtime.transport import HttpTransport

_ACCOUNT_SECONDS = 30.0
"""Longest to wait for the account that pods of a new namespace run as."""

_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Environment:
    """A cluster, and what tests do to it."""

    cluster: Cluster

    controllers: bool = False
    """Whether a controller manager runs: then a namespace is ready when pods can be
    created in it, and goes away when it is deleted."""

    @property
    def api(self) -> Api:
        """What asks the cluster a question as the administrator."""
        return self.cluster.api

    async def install_crds(
        self, *sources: CrdSource, webhooks: WebhookHost | None = None
    ) -> list[str]:
        """Install CRDs and wait until they are served: see `crds.install_crds`."""
        return await install_crds(self.api, *sources, webhooks=webhooks)

    @asynccontextmanager
    async def webhooks(
        self, *configurations: Mapping[str, Any]
    ) -> AsyncIterator[WebhookHost]:
        """Install webhook configurations that lead to the test, until it leaves.

        Yields where to serve them: an address and a certificate for it.
        """
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory)
        try:
            host = await asyncio.to_thread(webhook_host, Path(folder.name))
            await install_webhooks(self.api, *configurations, host=host)
            yield host
        finally:
            await uninstall_webhooks(self.api, *configurations)
            await asyncio.to_thread(folder.cleanup)

    async def add_user(
        self,
        name: str,
        groups: Sequence[str] = (),
        *,
        rules: Sequence[Rule] = (),
        role: str = "",
        namespace: str = "",
    ) -> str:
        """Make a user with exactly these rights: see `users.add_user`."""
        return await add_user(
            self.cluster, name, groups, rules=rules, role=role, namespace=namespace
        )

    @asynccontextmanager
    async def namespace(self, prefix: str = "test") -> AsyncIterator[str]:
        """Lend a fresh namespace; it is deleted afterwards, and nobody waits for it."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        await self.api.post("/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            if self.controllers:
                await self._until_pods_can_be_created(name)
            yield name
        finally:
            await self.api.delete(f"/api/v1/namespaces/{name}")

    @asynccontextmanager
    async def transport(self, kubeconfig: str = "") -> AsyncIterator[HttpTransport]:
        """Lend a connection: as the administrator, or as who a kubeconfig says."""
        text = kubeconfig or self.cluster.kubeconfig()
        config = await asyncio.to_thread(_restconfig, text)
        async with HttpTransport(config) as transport:
            yield transport

    @asynccontextmanager
    async def client(
        self, kubeconfig: str = "", *, scheme: Scheme | None = None
    ) -> AsyncIterator[Client]:
        """Lend a client: as the administrator, or as who a kubeconfig says."""
        async with self.transport(kubeconfig) as transport:
            yield Client(transport, scheme=scheme or Scheme())

    async def _until_pods_can_be_created(self, namespace: str) -> None:
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        async with asyncio.timeout(_ACCOUNT_SECONDS):
            while not await self.api.answers(account):  # noqa: ASYNC110 - no watch here
                await asyncio.sleep(_POLL)


def _restconfig(text: str) -> RestConfig:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return load_restconfig(kubeconfig=path, environ={}, home=Path(folder))
