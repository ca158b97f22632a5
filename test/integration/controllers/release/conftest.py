"""What tests of releases start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.engines import Bench
from controller_runtime import Client, RestConfig, load_restconfig


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=Path("/"))


@pytest.fixture
async def bench(client: Client, namespace: str, tmp_path: Path) -> Bench:
    return Bench(client, namespace, tmp_path)
