"""One reflector per kind, shared by every controller of a manager.

    declare(kind) ─▶ Reflector (store is empty) ─▶ run ─▶ synced ─▶ reads

A kind is watched once however many controllers want it; typed, plain and
metadata reads are views of the same store. Kinds are declared before the cache
runs, with what of them to keep, or appear with the first `informer` call.

The cache owns the task of each reflector. One that ends, because its first list
was refused, leaves the others alone: whoever waits for it is told why, and the
next `informer` call tries again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    AlreadyStartedError,
    CacheNotStartedError,
    ControllerRuntimeError,
)
from controller_runtime.meta import GroupVersionKind, Kind, kind_of
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.transport import Transport
from controller_runtime.watch import ServerTraits

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """What the cache keeps."""

    by_object: Mapping[GroupVersionKind, ReflectorOptions] = field(default_factory=dict)
    """Options of single kinds; they stand in whole for `default`."""

    default: ReflectorOptions = field(default_factory=ReflectorOptions)
    """Options of every other kind."""


class Cache:
    """The stores of a manager, and the reflectors that keep them."""

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        *,
        options: CacheOptions | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._transport = transport
        self._discovery = discovery
        self._options = options or CacheOptions()
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._server = ServerTraits()
        self._reflectors: dict[GroupVersionKind, Reflector] = {}
        self._running: dict[GroupVersionKind, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def __iter__(self) -> Iterator[Reflector]:
        return iter(tuple(self._reflectors.values()))

    def declare(self, kind: Kind, options: ReflectorOptions | None = None) -> Reflector:
        """Return the reflector of a kind; its store fills once the cache runs.

        Raises:
            AlreadyStartedError: The kind was declared with other options.
        """
        gvk = kind_of(kind)
        known = self._reflectors.get(gvk)
        if known is None:
            return self._add(gvk, options)
        if options is not None and options != known.options:
            raise AlreadyStartedError(
                f"{gvk} is cached already with other options; "
                "declare it once, with what all its readers need"
            )
        return known

    async def informer(self, kind: Kind) -> Reflector:
        """Return the running reflector of a kind; does not wait for its first list.

        Raises:
            CacheNotStartedError: The cache does not run.
            NoKindMatchError: The server does not serve the kind.
        """
        reflector = self.declare(kind)
        if self._tasks is None:
            raise CacheNotStartedError(
                f"cannot read {reflector.gvk}: the cache runs with its manager"
            )
        await self._discovery.resource(reflector.gvk)
        self._start(reflector)
        return reflector

    async def synced(self) -> None:
        """Wait for the first list of every kind that is declared now.

        Raises:
            ForbiddenError, UnauthorizedError, NoKindMatchError: One cannot be had.
        """
        for reflector in self:
            await reflector.synced()

    @property
    def unsynced(self) -> list[GroupVersionKind]:
        """The kinds whose first list has not come."""
        return [r.gvk for r in self if not r.is_synced]

    async def run(self) -> None:
        """Keep every declared kind until cancelled.

        Raises:
            AlreadyStartedError: The cache runs already.
        """
        if self._tasks is not None:
            raise AlreadyStartedError("the cache runs already")
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for reflector in self:
                    self._start(reflector)
                await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            self._tasks = None
            self._running.clear()

    def _add(
        self, gvk: GroupVersionKind, options: ReflectorOptions | None
    ) -> Reflector:
        chosen = options or self._options.by_object.get(gvk, self._options.default)
        reflector = Reflector(
            self._transport,
            self._discovery,
            gvk,
            options=chosen,
            randomness=self._random,
            server=self._server,
        )
        self._reflectors[gvk] = reflector
        return reflector

    def _start(self, reflector: Reflector) -> None:
        task = self._running.get(reflector.gvk)
        if self._tasks is None or (task is not None and not task.done()):
            return
        reflector.reset()
        self._running[reflector.gvk] = self._tasks.create_task(
            _run(reflector), name=f"reflector {reflector.gvk}"
        )


async def _run(reflector: Reflector) -> None:
    try:
        await reflector.run()
    except ControllerRuntimeError as error:
        # The reflector has told whoever waits for it; the other kinds go on.
        log.warning("kind cannot be cached", kind=str(reflector.gvk), error=str(error))
