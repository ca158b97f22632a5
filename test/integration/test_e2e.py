"""`make test-e2e CLUSTER=existing`, up to the question whether to go on."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller_runtime.testing.envtest import Cluster

ROOT = Path(__file__).parents[2]

Document = dict[str, Any]


async def ended(*kubeconfigs: Path) -> tuple[int, str]:
    """Run it with nobody to ask; return the exit code and what it said."""
    environ = {k: v for k, v in os.environ.items() if k not in {"KUBECONFIG", "YES"}}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hack.e2e"),
        cwd=ROOT,
        env=environ | {"KUBECONFIG": os.pathsep.join(map(str, kubeconfigs))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_nobody_to_ask_is_a_no(kubeconfig: Path, control_plane: Cluster) -> None:
    code, said = await ended(kubeconfig)

    assert code == 1
    assert control_plane.url in said
    assert "context" in said
    assert "YES=1" in said.splitlines()[-1]


@pytest.mark.parametrize("text", [None, "clusters: []", "{"])
async def test_a_kubeconfig_that_leads_nowhere_is_named(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text, encoding="utf-8")

    code, said = await ended(path)

    assert code == 1
    assert said.startswith("test-e2e: ")
    assert str(path) in said
    assert "Traceback" not in said


@pytest.fixture
def document(control_plane: Cluster) -> Document:
    """Return the administrator's kubeconfig, to be written in another way."""
    found: Document = yaml.safe_load(control_plane.kubeconfig())
    return found


def cluster_of(document: Document) -> Document:
    found: Document = document["clusters"][0]["cluster"]
    return found


def write(path: Path, document: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def move_to_files(fields: Document, folder: Path) -> None:
    """Put what is in `…-data` into files, which are named from where they are."""
    for name in [name for name in fields if name.endswith("-data")]:
        file = folder / name.removesuffix("-data")
        file.write_bytes(base64.b64decode(fields.pop(name)))
        fields[file.name] = file.name


def plug_in(folder: Path, user: Document) -> Document:
    """Let a program beside the kubeconfig say who we are; return its user."""
    status = {
        "clientCertificateData": base64.b64decode(
            user["client-certificate-data"]
        ).decode(),
        "clientKeyData": base64.b64decode(user["client-key-data"]).decode(),
    }
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    program = folder / "login"
    program.touch(mode=0o700)
    program.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(json.dumps(answer))}\n")
    return {"exec": {"apiVersion": version, "command": "./login", "args": []}}


async def test_a_plug_in_says_who_we_are(tmp_path: Path, document: Document) -> None:
    user = document["users"][0]
    user["user"] = plug_in(tmp_path, user["user"])

    code, said = await ended(write(tmp_path / "kubeconfig", document))

    assert code == 1
    assert "YES=1" in said.splitlines()[-1]  # it has reached the server


async def test_a_plug_in_that_fails_is_one_sentence(
    tmp_path: Path, document: Document
) -> None:
    version = "client.authentication.k8s.io/v1"
    gone = {"apiVersion": version, "command": "./login", "installHint": "install it"}
    document["users"][0]["user"] = {"exec": gone}
    path = write(tmp_path / "kubeconfig", document)

    code, said = await ended(path)

    assert code == 1
    assert said.startswith("test-e2e: the exec plug-in of user ")
    assert str(path) in said
    assert said.endswith("install it\n")
    assert said.count("\n") == 1


async def test_files_beside_a_kubeconfig_and_parts_of_it_elsewhere_are_found(
    tmp_path: Path, document: Document
) -> None:
    move_to_files(cluster_of(document), tmp_path)
    document["contexts"][0]["context"]["namespace"] = "elsewhere"
    user = document.pop("users")[0]
    there = write(tmp_path / "there" / "kubeconfig", {"users": [user]})
    move_to_files(user["user"], there.parent)
    write(there, {"users": [user]})

    code, said = await ended(
        tmp_path / "gone", write(tmp_path / "here", document), there
    )

    assert code == 1
    assert str(there) in said
    assert "YES=1" in said.splitlines()[-1]


async def test_a_server_may_go_unverified(tmp_path: Path, document: Document) -> None:
    cluster = cluster_of(document)
    del cluster["certificate-authority-data"]
    cluster["insecure-skip-tls-verify"] = True

    code, said = await ended(write(tmp_path / "kubeconfig", document))

    assert code == 1
    assert "YES=1" in said.splitlines()[-1]


@asynccontextmanager
async def tunnel(target: str, asked: list[str]) -> AsyncIterator[str]:
    """Serve a proxy that leads to one server, whoever is asked for."""
    host, _, port = target.rpartition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        inner, outer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(reader, outer))
            both.create_task(copy(inner, writer))
        await outer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_server_behind_a_proxy_is_reached(
    tmp_path: Path, document: Document
) -> None:
    cluster = cluster_of(document)
    target = cluster["server"].removeprefix("https://")
    cluster["server"] = "https://api.example:6443"
    cluster["tls-server-name"] = "localhost"
    asked: list[str] = []
    async with tunnel(target, asked) as cluster["proxy-url"]:
        code, said = await ended(write(tmp_path / "kubeconfig", document))

    assert code == 1
    assert "YES=1" in said.splitlines()[-1]
    assert set(asked) == {"CONNECT api.example:6443 HTTP/1.1"}
