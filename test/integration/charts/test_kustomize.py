"""`config/`, built by kustomize itself and shown to a real API server.

`make setup-envtest` gets kustomize. Where it is missing these tests fail, and are not
skipped.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import yaml

from controller_runtime import (
    Client,
    HttpTransport,
    Json,
    Scheme,
    load_restconfig,
)
from controller_runtime.testing.envtest import (
    Assets,
    AssetsOptions,
    Cluster,
    QuietProgress,
)
from controller_runtime.testing.envtest.binaries import KUSTOMIZE
from rendering import ROOT
from rendering.kustomize import build

CONFIG = ROOT / "config"
FOLDERS = sorted(path.parent.name for path in CONFIG.glob("*/kustomization.yaml"))


@pytest.fixture
async def kustomize() -> Path:
    options = AssetsOptions.from_environ(os.environ, download=False, build=False)
    found = await Assets(options, progress=QuietProgress()).find([KUSTOMIZE])
    return found["kustomize"]


async def built(kustomize: Path, folder: str) -> list[Json]:
    process = await asyncio.create_subprocess_exec(
        *(str(kustomize), "build", str(CONFIG / folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    text, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    assert complaint == b""
    return [it for it in yaml.safe_load_all(text) if it]


def by_name(objects: list[Json]) -> dict[tuple[str, str, str], Json]:
    """Key the objects by kind, namespace and name; each is there once."""
    found = {
        (
            it["kind"],
            it["metadata"].get("namespace", ""),
            it["metadata"]["name"],
        ): it
        for it in objects
    }
    assert len(found) == len(objects)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
async def test_kustomize_builds_what_the_unit_tests_read(
    kustomize: Path, folder: str
) -> None:
    objects = await built(kustomize, folder)
    read = await asyncio.to_thread(build, CONFIG / folder)

    assert by_name(objects) == by_name(read)


async def test_the_server_takes_every_object_and_knows_every_field(
    kustomize: Path, control_plane: Cluster, kubeconfig: Path, tmp_path: Path
) -> None:
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=kubeconfig, environ={}, home=tmp_path
    )
    objects = await built(kustomize, "default")
    objects += await built(kustomize, "network-policy")
    async with HttpTransport(config) as transport:
        client = Client(transport, scheme=Scheme())
        namespaces = [it for it in objects if it["kind"] == "Namespace"]
        for namespace in namespaces:
            await client.apply(namespace)
        dry = client.with_defaults(dry_run=True)
        for obj in objects:
            await dry.apply(obj, force=True)
