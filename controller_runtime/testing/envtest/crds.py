"""Installing CRDs, in one call that returns when they are served.

As Go's envtest `InstallCRDs`: files, folders and objects, and models besides; every
object of another kind in those files is left out; a CRD counts when discovery shows its
kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from controller_runtime.errors import NotFoundError
from controller_runtime.meta import KubeObject
from controller_runtime.schema import crds_for
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.errors import ControlPlaneError
from controller_runtime.testing.envtest.webhooks import WebhookHost, rewritten_crd

SECONDS = 10.0
"""Longest to wait for a CRD to be served: Go's envtest has the same."""

POLL = 0.1
"""Seconds between two looks: Go's envtest has the same."""

_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


CrdSource: TypeAlias = Path | Mapping[str, Any] | type[KubeObject]
"""A file, a folder (its `.yaml`, `.yml` and `.json`), a CRD, or a model that makes one
(`controller_runtime.schema`); of a kind with several versions, all of its models."""


async def install_crds(
    api: Api,
    *sources: CrdSource,
    seconds: float = SECONDS,
    webhooks: WebhookHost | None = None,
) -> list[str]:
    """Apply CRDs and wait until the server serves them; return their names.

    Args:
        api: The server, asked as someone who may create CRDs.
        sources: See `CrdSource`.
        seconds: Longest to wait for all of them together.
        webhooks: Where the test serves the conversion webhooks, if it does.

    Raises:
        ControlPlaneError: One was not served in time.
        ApiError: The server refused one.
    """
    crds = [crd async for crd in _crds(sources)]
    if webhooks is not None:
        crds = [rewritten_crd(crd, host=webhooks) for crd in crds]
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
    sources: Sequence[CrdSource],
) -> AsyncIterator[Mapping[str, Any]]:
    for source in sources:
        if isinstance(source, Path):
            for document in await asyncio.to_thread(_documents, source):
                yield document
        elif isinstance(source, Mapping):
            yield source
    models = [each for each in sources if isinstance(each, type)]
    # The descriptions of fields are read from the source files.
    for crd in await asyncio.to_thread(crds_for, models):
        yield crd


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
