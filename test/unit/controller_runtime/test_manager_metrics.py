"""`/metrics` of a manager: who reads it, and what its account needs for that."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from controller_runtime import (
    GroupVersionKind,
    HttpTransport,
    Manager,
    ManagerOptions,
    Permission,
    builder,
)
from controller_runtime.selfsigned import server_context
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.envtest.certificates import CertificateAuthority

REVIEWS = {
    "create tokenreviews.authentication.k8s.io",
    "create subjectaccessreviews.authorization.k8s.io",
}

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield transport


def make(
    transport: HttpTransport,
    *,
    address: str = "127.0.0.1:0",
    secure: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Manager:
    options = ManagerOptions(
        metrics_bind_address=address,
        metrics_secure=secure,
        metrics_tls=tls,
        health_probe_bind_address="0",
        watchdog=None,
    )
    return Manager(transport, options=options)


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.start())
        await manager.elected()
        yield
        manager.stop()


async def scrape(manager: Manager, tls: ssl.SSLContext | bool = False) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(manager.metrics_url, ssl=tls) as response,
    ):
        return response.status


def grants(manager: Manager) -> set[str]:
    return set(map(str, manager.grants))


async def test_by_default_metrics_are_https_and_for_nobody_without_a_token(
    transport: HttpTransport,
) -> None:
    manager = make(transport)

    async with running(manager):
        assert manager.metrics_url.startswith("https://127.0.0.1:")
        assert await scrape(manager) == 401


async def test_plain_metrics_are_for_everybody_and_only_on_request(
    transport: HttpTransport,
) -> None:
    manager = make(transport, secure=False)

    async with running(manager):
        assert manager.metrics_url.startswith("http://127.0.0.1:")
        assert await scrape(manager) == 200


async def test_a_certificate_of_ones_own_is_what_clients_see(
    transport: HttpTransport,
) -> None:
    authority = CertificateAuthority.create()
    tls = server_context()
    with TemporaryDirectory() as folder:
        pair = authority.server(["localhost"], ["127.0.0.1"])
        tls.load_cert_chain(*pair.write(Path(folder), "tls"))
    manager = make(transport, tls=tls)

    async with running(manager):
        trusted = ssl.create_default_context(cadata=authority.pem.decode())
        assert await scrape(manager, trusted) == 401


async def test_a_certificate_of_our_own_making_cannot_be_verified(
    transport: HttpTransport,
) -> None:
    manager = make(transport)

    async with running(manager):
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await scrape(manager, ssl.create_default_context())


async def test_secure_metrics_take_the_permission_to_review(
    transport: HttpTransport,
) -> None:
    assert grants(make(transport)) == REVIEWS


@pytest.mark.parametrize(("address", "secure"), [("0", True), ("127.0.0.1:0", False)])
async def test_without_secure_metrics_nothing_is_reviewed(
    transport: HttpTransport, address: str, *, secure: bool
) -> None:
    assert grants(make(transport, address=address, secure=secure)) == set()


async def test_what_the_builder_watches_and_what_a_controller_declares_is_granted(
    transport: HttpTransport,
) -> None:
    async def reconcile(_: object) -> None: ...

    manager = make(transport, address="0")

    builder.controller(
        manager,
        CONFIG_MAP,
        reconcile,
        owns=[SECRET],
        permissions=[Permission(SECRET, ("create", "patch"))],
    )
    manager.recorder("configmap")

    assert grants(manager) == {
        "list configmaps",
        "watch configmaps",
        "list secrets",
        "watch secrets",
        "create secrets",
        "patch secrets",
        "create events.events.k8s.io",
        "patch events.events.k8s.io",
    }
