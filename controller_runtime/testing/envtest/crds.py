"""Installing CRDs, in one call that returns when they are served.

As Go's envtest `InstallCRDs`: files, folders and objects; every object of another kind
in those files is left out; a CRD counts when discovery shows its kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from controller_runtime.errors import NotFoundError
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.errors import ControlPlaneError

SECONDS = 10.0
"""Longest to wait for a CRD to be served: Go's envtest has the same."""

POLL = 0.1
"""Seconds between two looks: Go's envtest has the same."""

_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def install_crds(
    api: Api,
    *sources: Path | Mapping[str, Any],
    seconds: float = SECONDS,
) -> list[str]:
    """Apply CRDs and wait until the server serves them; return their names.

    Args:
        api: The server, asked as someone who may create CRDs.
        sources: Files, folders (their `.yaml`, `.yml` and `.json`), or CRDs.
        seconds: Longest to wait for all of them together.

    Raises:
        ControlPlaneError: One was not served in time.
        ApiError: The server refused one.
    """
    crds = [crd async for crd in _crds(sources)]
    for crd in crds:
        await api.apply(f"{_PATH}/{crd['metadata']['name']}", crd)
    try:
        async with asyncio.timeout(seconds):
            for crd in crds:
                await _served(api, crd)
    except TimeoutError:
        names = ", ".join(crd["metadata"]["name"] for crd in crds)
        raise ControlPlaneError(f"not served after {seconds:g} s: {names}") from None
    return [crd["metadata"]["name"] for crd in crds]


async def uninstall_crds(api: Api, names: Iterable[str]) -> None:
    """Delete CRDs, and with them all their objects, without waiting for the end."""
    for name in names:
        await api.delete(f"{_PATH}/{name}")


async def _crds(
    sources: Iterable[Path | Mapping[str, Any]],
) -> AsyncIterator[Mapping[str, Any]]:
    for source in sources:
        if isinstance(source, Path):
            for document in await asyncio.to_thread(_documents, source):
                yield document
        else:
            yield source


def _documents(source: Path) -> list[Mapping[str, Any]]:
    if not source.exists():
        raise FileNotFoundError(f"there are no CRDs at {source}")
    suffixes = {".yaml", ".yml", ".json"}
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return [
        document
        for file in files
        if file.suffix in suffixes
        for document in yaml.safe_load_all(file.read_bytes())
        if document and document.get("kind") == "CustomResourceDefinition"
    ]


async def _served(api: Api, crd: Mapping[str, Any]) -> None:
    spec = crd["spec"]
    wanted = spec["names"]["plural"]
    for version in (each["name"] for each in spec["versions"] if each["served"]):
        path = f"/apis/{spec['group']}/{version}"
        while wanted not in await _plurals(api, path):  # noqa: ASYNC110 - no watch here
            await asyncio.sleep(POLL)


async def _plurals(api: Api, path: str) -> set[str]:
    try:
        served: Mapping[str, Any] = await api.get(path)
    except NotFoundError:
        return set()
    return {resource["name"] for resource in served["resources"]}
