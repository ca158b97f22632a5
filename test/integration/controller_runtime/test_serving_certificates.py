"""Certificates on real sockets, a real disk and a real API server."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from conformance.handshake import client_context, serving
from conformance.reviews import reviewing, validating
from controller_runtime.cabundle import VALIDATING, BundleTargets
from controller_runtime.certificates import CertificateAuthority, read_certificates
from controller_runtime.certwatcher import CertWatcher
from controller_runtime.client import Client
from controller_runtime.errors import ApiError, ForbiddenError
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.patch import json_patch
from controller_runtime.servingcert import (
    SECRET,
    ServingCertificate,
    ServingCertOptions,
)
from controller_runtime.testing.envtest import Environment
from controller_runtime.testing.eventually import eventually

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


def options(namespace: str, **more: object) -> ServingCertOptions:
    base = ServingCertOptions(
        secret=NamespacedName(namespace, "webhook-cert"),
        names=["127.0.0.1", "localhost"],
        interval=timedelta(seconds=0.5),
    )
    return replace(base, **more)  # type: ignore[arg-type] # fields of the options


@asynccontextmanager
async def running(*certificates: ServingCertificate) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(each.run()) for each in certificates]
        async with asyncio.timeout(30):
            for each in certificates:
                await each.ready()
        yield
        for task in started:
            task.cancel()


def believes(bundle: bytes) -> Callable[[Json], bool]:
    encoded = base64.b64encode(bundle).decode()
    return lambda it: all(
        webhook["clientConfig"].get("caBundle") == encoded for webhook in it["webhooks"]
    )


async def until_refused(client: Client, namespace: str) -> str:
    """Create ConfigMaps until the webhook is asked, and return what it says."""
    metadata = {"generateName": "x-", "namespace": namespace}
    note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    async with asyncio.timeout(60):
        while True:
            try:
                await client.create(note, dry_run=True)
            except ApiError as error:
                if "refused at" in str(error):
                    return str(error)
            await asyncio.sleep(0.1)


class Asker:
    """An HTTP client whose one connection stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader = reader
        self._writer = writer

    async def ask(self) -> bytes:
        self._writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        return await self._reader.readexactly(5)

    @property
    def shown(self) -> bytes:
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) or b""

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def asker(port: int, ca: bytes, host: str) -> Asker:
    context = client_context(ca)
    return Asker(
        *await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=host
        )
    )


@pytest.mark.behaviour("W6")
async def test_files_that_change_serve_new_connections_and_break_no_old_one(
    tmp_path: Path,
) -> None:
    authority = CertificateAuthority.create()
    host = "webhook.shop.svc"
    await asyncio.to_thread(serving(authority).write, tmp_path, "tls")
    watcher = CertWatcher(
        tmp_path / "tls.crt",
        tmp_path / "tls.key",
        interval=timedelta(milliseconds=50),
    )
    changed = asyncio.Event()

    async with asyncio.TaskGroup() as tasks:
        await watcher.load()
        task = tasks.create_task(watcher.run())
        async with reviewing(watcher.ssl_context) as port:
            old = await asker(port, authority.pem, host)
            assert await old.ask() == b"hello"

            watcher.on_change(lambda pair: changed.set())
            changed.clear()
            await asyncio.to_thread(serving(authority).write, tmp_path, "tls")
            async with asyncio.timeout(30):
                await changed.wait()
            new = await asker(port, authority.pem, host)

            assert await old.ask() == await new.ask() == b"hello"
            assert old.shown != new.shown
            await old.close()
            await new.close()
        task.cancel()


async def test_of_two_replicas_that_start_together_one_makes_the_authority(
    environment: Environment, client: Client, namespace: str
) -> None:
    async with environment.client() as second:
        replicas = [
            ServingCertificate(each, options(namespace)) for each in (client, second)
        ]
        async with running(*replicas):
            secret = await client.get(SECRET, "webhook-cert", namespace)

    bundle = base64.b64decode(secret["data"]["ca.crt"])
    assert len(read_certificates(bundle)) == 1
    assert replicas[0].bundle == replicas[1].bundle == bundle
    assert secret["type"] == "kubernetes.io/tls"


async def test_the_api_server_calls_a_webhook_with_our_certificate_and_the_next_one(
    client: Client, namespace: str
) -> None:
    targets = BundleTargets(validating=[namespace])
    certificate = ServingCertificate(client, options(namespace, inject=targets))

    async with running(certificate), reviewing(certificate.ssl_context) as port:
        url = f"https://127.0.0.1:{port}/validate"
        await client.create(validating(namespace, {"url": url}))
        try:
            await eventually(
                client, VALIDATING, namespace, "", believes(certificate.bundle)
            )
            first = certificate.bundle
            assert "refused" in await until_refused(client, namespace)

            await client.delete(SECRET, "webhook-cert", namespace)
            await eventually(
                client, VALIDATING, namespace, "", lambda it: not believes(first)(it)
            )
            assert certificate.bundle != first
            assert "refused" in await until_refused(client, namespace)
        finally:
            await client.delete(VALIDATING, namespace)


async def test_a_bundle_that_somebody_takes_away_is_put_back(
    client: Client, namespace: str
) -> None:
    targets = BundleTargets(validating=[namespace])
    certificate = ServingCertificate(client, options(namespace, inject=targets))
    original = validating(namespace, {"url": "https://127.0.0.1:1/validate"})
    path = "/webhooks/0/clientConfig/caBundle"

    async with running(certificate):
        await client.create(original)
        is_whole = believes(certificate.bundle)
        try:
            await eventually(client, VALIDATING, namespace, "", is_whole)
            remove = json_patch([{"op": "remove", "path": path}])
            await client.patch(VALIDATING, namespace, patch=remove)
            await eventually(client, VALIDATING, namespace, "", is_whole)
            # What a GitOps tool does: all of it as it is in the repository.
            await client.apply(original, force=True, field_owner="gitops")
            repaired = await eventually(client, VALIDATING, namespace, "", is_whole)
        finally:
            await client.delete(VALIDATING, namespace)

    (webhook,) = repaired["webhooks"]
    assert webhook["timeoutSeconds"] == 5
    assert webhook["clientConfig"]["url"] == "https://127.0.0.1:1/validate"


async def test_a_stale_patch_of_a_bundle_changes_nothing(
    client: Client, namespace: str
) -> None:
    original = validating(namespace, {"url": "https://127.0.0.1:1/validate"})
    created = await client.create(original)
    stale = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "remove", "path": "/webhooks/0"},
    ]
    try:
        with pytest.raises(ApiError):
            await client.patch(VALIDATING, namespace, patch=json_patch(stale))
        found = await client.get(VALIDATING, namespace)
    finally:
        await client.delete(VALIDATING, namespace)

    version = created["metadata"]["resourceVersion"]
    assert found["metadata"]["resourceVersion"] == version


async def test_the_rights_that_are_documented_are_enough_and_none_is_too_many(
    environment: Environment, client: Client, namespace: str
) -> None:
    group = "admissionregistration.k8s.io"
    named: Json = {"resourceNames": ["webhook-cert"], "verbs": ["get", "update"]}
    secrets: Json = {"apiGroups": [""], "resources": ["secrets"]}
    webhooks: Json = {
        "apiGroups": [group],
        "resources": ["validatingwebhookconfigurations"],
        "resourceNames": [namespace],
        "verbs": ["list", "watch", "patch"],
    }
    user = f"certs-{namespace}"
    await environment.add_user(
        user,
        rules=[{**secrets, **named}, {**secrets, "verbs": ["create"]}],
        namespace=namespace,
    )
    kubeconfig = await environment.add_user(user, rules=[webhooks])
    targets = BundleTargets(validating=[namespace])
    await client.create(validating(namespace, {"url": "https://127.0.0.1:1/"}))

    try:
        async with environment.client(kubeconfig) as limited:
            ours = ServingCertificate(
                limited,
                options(namespace, inject=targets),
                randomness=random.Random(1),  # noqa: S311 - jitter
            )
            async with running(ours):
                await eventually(
                    client, VALIDATING, namespace, "", believes(ours.bundle)
                )
            more = options(namespace, inject=BundleTargets(validating=["another"]))
            with pytest.raises(ForbiddenError, match="validatingwebhookconfigurations"):
                async with asyncio.timeout(30):
                    await ServingCertificate(limited, more).run()
    finally:
        await client.delete(VALIDATING, namespace)
