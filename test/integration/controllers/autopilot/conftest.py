"""Platforms for the autopilot, each in a namespace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from conformance.platforms import Lend, Platform, config_map, write_catalog
from controller_runtime import RestConfig, load_restconfig


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Write no traceback of a failure that is meant: it would read source files."""
    with capture_logs():
        yield


@pytest.fixture
def lend(config: RestConfig, namespace: str, tmp_path: Path) -> Lend:
    """Lend platforms with assets that make ConfigMaps."""

    @asynccontextmanager
    async def lending(
        templates: dict[str, str] | None = None, **more: Any
    ) -> AsyncIterator[Platform]:
        wanted = templates or {"a": config_map("a", k="v", interval="60")}
        annotations = more.pop("annotations", {})
        catalog = await asyncio.to_thread(
            write_catalog, tmp_path / "catalog", namespace, wanted, **more
        )
        async with Platform.on(config, namespace, catalog, **annotations) as platform:
            yield platform

    return lending
