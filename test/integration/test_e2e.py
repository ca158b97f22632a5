"""`make test-e2e CLUSTER=existing`, up to the question whether to go on."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from controller_runtime.testing.envtest import Cluster

ROOT = Path(__file__).parents[2]


async def ended(kubeconfig: Path) -> tuple[int, str]:
    """Run it with nobody to ask; return the exit code and what it said."""
    environ = {k: v for k, v in os.environ.items() if k not in {"KUBECONFIG", "YES"}}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hack.e2e"),
        cwd=ROOT,
        env=environ | {"KUBECONFIG": str(kubeconfig)},
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
