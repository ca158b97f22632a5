"""What the settings make of the manager."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from controller_runtime import (
    ConfigError,
    ForbiddenError,
    HttpTransport,
    LeaderElectionOptions,
    Manager,
    Metrics,
)
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.envtest.certificates import CertificateAuthority
from controllers.manager import build
from controllers.settings import Settings, load


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield transport


async def test_by_default_there_is_no_election(transport: HttpTransport) -> None:
    manager = build(Settings(), transport, Metrics())

    assert manager.options.leader_election is None


@pytest.mark.behaviour("L1")
async def test_replicas_stand_for_the_lease_pilothouse(
    transport: HttpTransport,
) -> None:
    environ = {
        "PILOTHOUSE_LEADER_ELECT": "true",
        "PILOTHOUSE_LEADER_ELECTION_NAMESPACE": "platform",
    }

    manager = build(load({}, environ, None), transport, Metrics())

    assert manager.options.leader_election == LeaderElectionOptions(
        name="pilothouse", namespace="platform"
    )


QUIET = Settings(
    metrics_bind_address="0", health_probe_bind_address="0", debug_bind_address="0"
)


@asynccontextmanager
async def without_secrets() -> AsyncIterator[HttpTransport]:
    """Reach a server that lets nobody read Secrets and has no CRD of ours."""
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        for verb in ("list", "watch"):
            fault = server.faults.on(verb=verb, resource="secrets", times=None)
            fault.answer(403, reason="Forbidden", message="secrets is forbidden")
        yield transport


async def test_one_of_all_that_may_not_read_is_switched_off_and_the_others_stay() -> (
    None
):
    async with without_secrets() as transport:
        manager = build(QUIET, transport, Metrics())
        async with running(manager):
            await asyncio.sleep(5)
            ready = await manager.probes.readyz("", {"verbose": ("",)})

    lines = ready.body.decode().splitlines()
    assert ready.status == 200
    assert "[+]reload ok: switched off" in next(it for it in lines if "reload" in it)
    for name, kind in (("bundle", "WerfBundle"), ("release", "ManagedRoost")):
        line = next(it for it in lines if f"]{name} " in it)
        assert f"waits for {kind}" in line


async def test_one_that_the_user_named_and_may_not_read_stops_the_manager() -> None:
    named = load({"controllers": "reload,bundle"}, {}, None)
    settings = QUIET.model_copy(update={"controllers": named.controllers})
    async with without_secrets() as transport:
        manager = build(settings, transport, Metrics())

        with pytest.raises(ForbiddenError, match="secrets is forbidden"):
            await manager.start()


def certified(folder: Path) -> Settings:
    return Settings(
        metrics_bind_address="127.0.0.1:0",
        metrics_cert_path=folder,
        health_probe_bind_address="0",
        debug_bind_address="0",
        controllers=(),
    )


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.start())
        await manager.elected()
        yield
        manager.stop()


async def shown(manager: Manager, authority: CertificateAuthority) -> bytes:
    """Connect as who believes the authority, and return the certificate."""
    trusted = ssl.create_default_context(cadata=authority.pem.decode())
    url = urlsplit(manager.metrics_url)
    _, writer = await asyncio.open_connection(url.hostname, url.port, ssl=trusted)
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    found = tls.getpeercert(binary_form=True) or b""
    writer.close()
    await writer.wait_closed()
    return found


async def test_metrics_are_served_with_the_certificate_in_a_folder_and_with_the_next(
    transport: HttpTransport, tmp_path: Path
) -> None:
    authority = CertificateAuthority.create()
    authority.server(["localhost"], ["127.0.0.1"]).write(tmp_path, "tls")
    manager = build(certified(tmp_path), transport, Metrics())

    async with running(manager):
        before = after = await until_served(manager, authority)
        authority.server(["localhost"], ["127.0.0.1"]).write(tmp_path, "tls")
        for _ in range(1000):  # the files are read by a thread, which is in no hurry
            if (after := await shown(manager, authority)) != before:
                break
            await asyncio.sleep(1)

    assert after != before


async def until_served(manager: Manager, authority: CertificateAuthority) -> bytes:
    """Connect again until the first look at the files is over."""
    for _ in range(1000):
        with suppress(OSError):
            return await shown(manager, authority)
        await asyncio.sleep(0)
    raise AssertionError("nothing is served")


async def test_a_folder_without_a_certificate_ends_the_manager_with_a_sentence(
    transport: HttpTransport, tmp_path: Path
) -> None:
    manager = build(certified(tmp_path), transport, Metrics())

    with pytest.raises(ConfigError, match=r"no certificate can be served .*tls\.crt"):
        await manager.start()


async def test_without_metrics_nobody_looks_for_their_certificate(
    transport: HttpTransport, tmp_path: Path
) -> None:
    settings = certified(tmp_path).model_copy(update={"metrics_bind_address": "0"})

    async with running(build(settings, transport, Metrics())):
        pass
