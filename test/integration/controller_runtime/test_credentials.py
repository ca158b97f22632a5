"""Plug-ins of a kubeconfig: real programs, and TLS with what they issue."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller_runtime.errors import ConfigError, UnauthorizedError
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.transport import HttpTransport

NOW = datetime.now(UTC)  # noqa: TID251 -- TLS reads the host's clock
KEY = ec.generate_private_key(ec.SECP256R1())


def issue(name: str) -> tuple[bytes, bytes]:
    """Issue a certificate for 127.0.0.1 that vouches for itself."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    host = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(hours=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return signed.public_bytes(pem), KEY.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, plain
    )


def plugin(directory: Path, status: Mapping[str, object], *, fail: str = "") -> Path:
    """Write a program that counts its runs and answers `status`."""
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    }
    (directory / "answer").write_text(json.dumps(credential))
    program = directory / "plugin"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, sys\n"
        f"here = pathlib.Path({str(directory)!r})\n"
        "with (here / 'runs').open('a') as runs:\n"
        "    runs.write(os.environ['GREETING'] + ' ' + sys.argv[1] + '\\n')\n"
        f"sys.exit({fail!r}) if {fail!r} else None\n"
        "print((here / 'answer').read_text())\n"
    )
    program.chmod(0o755)
    return program


def runs(directory: Path) -> list[str]:
    return (directory / "runs").read_text().splitlines()


EXEC: dict[str, object] = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": "./plugin",
    "args": ["login"],
    "env": [{"name": "GREETING", "value": "hello"}],
}


async def config(
    directory: Path, user: Mapping[str, object], server: str = "https://a", ca: str = ""
) -> RestConfig:
    """Write and load a kubeconfig with this user."""
    parts: dict[str, Any] = {
        "context": {"cluster": "dev", "user": "dev"},
        "cluster": {"server": server, "certificate-authority-data": ca},
        "user": user,
    }
    document = {f"{role}s": [{"name": "dev", role: it}] for role, it in parts.items()}
    path = directory / "config"
    path.write_text(yaml.safe_dump(document | {"current-context": "dev"}))
    return await asyncio.to_thread(load, kubeconfig=path, environ={}, home=directory)


@asynccontextmanager
async def secure_server(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Serve TLS that welcomes the client certificate `bob` alone; yield URL and CA."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        peer = dict(request.transport.get_extra_info("peercert") or {})
        names = {value for rdn in peer.get("subject", ()) for _, value in rdn}
        return web.Response(status=200 if "bob" in names else 401, body=b"{}")

    certificate, key = issue("server")
    (tmp_path / "tls").write_bytes(certificate + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls")
    context.verify_mode = ssl.CERT_OPTIONAL
    for name in ("alice", "bob"):
        context.load_verify_locations(cadata=CERTIFICATES[name][0].decode())
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        port = runner.addresses[0][1]
        yield f"https://127.0.0.1:{port}", base64.b64encode(certificate).decode()
    finally:
        await runner.cleanup()


CERTIFICATES = {name: issue(name) for name in ("alice", "bob")}


def credential(name: str) -> Mapping[str, object]:
    certificate, key = CERTIFICATES[name]
    return {
        "clientCertificateData": certificate.decode(),
        "clientKeyData": key.decode(),
    }


@pytest.mark.behaviour("G2")
async def test_a_plug_in_beside_the_kubeconfig_is_run_once_with_its_settings(
    tmp_path: Path,
) -> None:
    plugin(tmp_path, {"token": "t0ken"})
    credentials = (await config(tmp_path, {"exec": EXEC})).credentials
    assert credentials is not None

    tokens = [await credentials.authorization() for _ in range(2)]

    assert tokens == ["Bearer t0ken"] * 2
    assert runs(tmp_path) == ["hello login"]


@pytest.mark.behaviour("G2")
async def test_a_plug_in_is_run_again_after_its_token_has_expired(
    tmp_path: Path,
) -> None:
    plugin(tmp_path, {"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"})
    credentials = (await config(tmp_path, {"exec": EXEC})).credentials
    assert credentials is not None

    for _ in range(2):
        await credentials.authorization()

    assert len(runs(tmp_path)) == 2


async def test_a_plug_in_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    plugin(tmp_path, {}, fail="not logged in")
    hint = {"installHint": "ask the platform team"}
    credentials = (await config(tmp_path, {"exec": EXEC | hint})).credentials
    assert credentials is not None

    with pytest.raises(ConfigError) as caught:
        await credentials.authorization()

    assert str(caught.value) == (
        f"the exec plug-in of user dev in {tmp_path}/config gave no credentials "
        "(exec: process returned 1. not logged in): ask the platform team"
    )


async def test_a_plug_in_that_is_not_there_is_named(tmp_path: Path) -> None:
    credentials = (await config(tmp_path, {"exec": EXEC})).credentials
    assert credentials is not None

    with pytest.raises(ConfigError, match="No such file or directory"):
        await credentials.authorization()


@pytest.mark.behaviour("G2")
async def test_a_certificate_that_a_plug_in_issues_opens_the_door(
    tmp_path: Path,
) -> None:
    plugin(tmp_path, credential("bob"))

    async with secure_server(tmp_path) as (server, ca):
        settings = await config(tmp_path, {"exec": EXEC}, server, ca)
        async with HttpTransport(settings) as transport:
            answer = await transport.request("GET", "/api")

    assert answer.status == 200
    assert len(runs(tmp_path)) == 1


@pytest.mark.behaviour("G2")
async def test_a_certificate_that_is_refused_is_replaced_by_a_new_one(
    tmp_path: Path,
) -> None:
    plugin(tmp_path, credential("alice"))

    async with secure_server(tmp_path) as (server, ca):
        settings = await config(tmp_path, {"exec": EXEC}, server, ca)
        async with HttpTransport(settings) as transport:
            with pytest.raises(UnauthorizedError):
                await transport.request("GET", "/api")
            plugin(tmp_path, credential("bob"))
            answer = await transport.request("GET", "/api")

    assert answer.status == 200


async def test_a_server_that_nobody_vouches_for_is_not_talked_to(
    tmp_path: Path,
) -> None:
    async with secure_server(tmp_path) as (server, _):
        ca = base64.b64encode(issue("other")[0]).decode()
        settings = await config(tmp_path, {"token": "t"}, server, ca)
        async with HttpTransport(settings) as transport:
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await transport.request("GET", "/api")


def identity(expires: datetime) -> str:
    """Return an unsigned identity token."""
    claims = json.dumps({"exp": int(expires.timestamp())}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.sig"


def oidc(token: str) -> Mapping[str, object]:
    given = {"id-token": token, "refresh-token": "s3cret", "client-secret": "s3cret"}
    return {"auth-provider": {"name": "oidc", "config": given}}


async def test_an_identity_token_is_presented_while_it_is_valid(
    tmp_path: Path,
) -> None:
    token = identity(NOW + timedelta(hours=1))
    credentials = (await config(tmp_path, oidc(token))).credentials
    assert credentials is not None

    assert await credentials.authorization() == f"Bearer {token}"


async def test_an_identity_token_that_is_over_is_an_error_with_a_remedy(
    tmp_path: Path,
) -> None:
    token = identity(NOW - timedelta(hours=1))
    credentials = (await config(tmp_path, oidc(token))).credentials
    assert credentials is not None

    with pytest.raises(ConfigError, match="use an exec plug-in") as caught:
        await credentials.authorization()

    assert "s3cret" not in str(caught.value)
    assert token not in str(caught.value)
