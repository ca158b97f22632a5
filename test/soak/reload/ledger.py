"""Whoever uses the cluster: makes the changes of a plan, and notes what they were.

Each change is tried until the server says yes, and is noted before it is tried: what a
server that is struck down has done of it, nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import assert_never

import yaml

from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    TRANSPORT_ERRORS,
    AlreadyExistsError,
    Client,
    ControllerRuntimeError,
    Json,
    NotFoundError,
    SystemClock,
    merge_patch,
    schema,
)
from soak.reload.plan import (
    Change,
    Delete,
    Rebuild,
    Recreate,
    Relabel,
    Touch,
    Update,
)
from soak.reload.world import KINDS, NAMESPACE, Source, Workload, World

FAILURES: tuple[type[Exception], ...] = (*TRANSPORT_ERRORS, ControllerRuntimeError)
"""What a call to a server in trouble may raise."""

_PATIENCE = 120.0
"""Seconds until a change has to be made."""

_PAUSE = 0.2
"""Seconds between two tries."""


class Ledger:
    """Makes changes; knows every version that a source has had."""

    def __init__(self, client: Client, world: World) -> None:
        """Make one.

        Args:
            client: The way to the server, without a fault on it.
            world: What there is.
        """
        self.versions: dict[Source, list[str]] = {it: [] for it in world.sources}
        """The texts of each source, oldest first."""
        self.written: dict[str, datetime] = {}
        """Text → when it was written, at the earliest."""
        self.made = 0
        """Changes."""
        self._client = client
        self._world = world
        self._clock = SystemClock()
        self._count = 0

    async def begin(self) -> None:
        """Create what there is at the start."""
        await self._client.create(await asyncio.to_thread(_definition))
        for workload in self._world.workloads:
            if not workload.annotations:
                await self._done(lambda it=workload: self._claim(it))  # type: ignore[misc]
        for source in self._world.sources:
            if source not in self._world.absent:
                await self._put(source, self._another(source))
        for workload in self._world.workloads:
            await self._done(lambda it=workload: self._create(it))  # type: ignore[misc]

    async def make(self, change: Change) -> None:
        """Make a change."""
        match change:
            case Update(sources):
                for source in sources:
                    await self._put(source, self._another(source))
            case Recreate(source, is_same):
                known = self.versions[source]
                text = known[-1] if is_same and known else self._another(source)
                await self._put(source, text)
            case Relabel(source):
                await self._label(source.kind, source.name)
            case Touch(workload):
                await self._label(workload.kind, workload.name)
            case Delete(source):
                await self._done(lambda: self._delete(source.kind, source.name))
            case Rebuild(workload):
                await self._done(lambda: self._delete(workload.kind, workload.name))
                await self._done(lambda: self._create(workload))
            case _:
                assert_never(change)
        self.made += 1

    def _another(self, source: Source) -> str:
        """Note a text that no source has had."""
        self._count += 1
        text = f"text-{self._count}"
        self.versions[source].append(text)
        self.written[text] = self._clock.now()
        return text

    async def _put(self, source: Source, text: str) -> None:
        await self._done(lambda: self._write(source, text))

    async def _write(self, source: Source, text: str) -> None:
        body = source.body(text)
        kind = KINDS[source.kind]
        try:
            patch = merge_patch({"data": body["data"]})
            await self._client.patch(kind, source.name, NAMESPACE, patch=patch)
        except NotFoundError:
            await self._client.create(body)

    async def _label(self, kind: str, name: str) -> None:
        self._count += 1
        patch = merge_patch({"metadata": {"labels": {"change": f"{self._count}"}}})

        async def label() -> None:
            with suppress(NotFoundError):  # deleted, or a Job between two lives
                await self._client.patch(KINDS[kind], name, NAMESPACE, patch=patch)

        await self._done(label)

    async def _delete(self, kind: str, name: str) -> None:
        with suppress(NotFoundError):
            await self._client.delete(KINDS[kind], name, NAMESPACE)

    async def _claim(self, workload: Workload) -> None:
        with suppress(AlreadyExistsError):
            await self._client.create(workload.config())

    async def _create(self, workload: Workload) -> None:
        with suppress(AlreadyExistsError):
            await self._client.create(workload.body())

    async def _done(self, act: Callable[[], Awaitable[object]]) -> None:
        """Try until it succeeds."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                with suppress(*FAILURES):
                    await act()
                    return
                await asyncio.sleep(_PAUSE)


def _definition() -> Json:
    """Make the CRD of ReloaderConfigs."""
    (text,) = schema.render([ReloaderConfig]).values()
    definition: Json = yaml.safe_load(text)
    return definition
