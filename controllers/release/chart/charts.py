"""Where charts come from, for everyone in the process.

    ChartSource ─┬─ oci://   ──▶ RegistryCharts ───┐
                 └─ https:// ──▶ RepositoryCharts ─┴──▶ file by digest ──▶ ResolvedChart

Sources that are equal share what is fetched: one index, one manifest, one archive,
however many releases are made of them. To resolve again costs a HEAD, or an index once
a minute with its ETag, and no archive.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from controller_runtime import Clock
from controllers.oci import RegistryClient, RegistryClientOptions
from controllers.release.chart.registry import RegistryCharts
from controllers.release.chart.repository import RepositoryCharts, RepositoryOptions
from controllers.release.chart.shelf import Shelf
from controllers.release.chart.source import (
    ChartSource,
    Reason,
    ResolvedChart,
    SourceError,
)
from controllers.versions import Constraint, InvalidConstraintError, parse_constraint
from controllers.web import Http, NetworkError, Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartOptions:
    """How charts are fetched and kept."""

    folder: Path
    """Where they are kept; it may vanish between two runs."""

    cache_bytes: int = 1 << 30
    """Of archives, and as much again of indexes."""

    repository: RepositoryOptions = field(default_factory=RepositoryOptions)
    registry: RegistryClientOptions = field(default_factory=RegistryClientOptions)

    allow_plain_http: bool = False
    """Speak HTTP to registries of the open network, too, if a spec wants it."""


class Charts:
    """Resolves charts. It is a runnable, which owns the connections.

    It belongs to a group of the manager that stops after the controllers, such as
    `Group.HTTP`. Whoever asks before it runs waits.
    """

    name = "charts"

    def __init__(
        self, options: ChartOptions, *, clock: Clock, http: Http | None = None
    ) -> None:
        """Prepare; nothing is opened before `run`."""
        self._options = options
        self._http = http or Http()
        self._open = asyncio.Event()
        self._is_over = False
        archives = Shelf(
            options.folder / "charts", limit=options.cache_bytes, clock=clock
        )
        indexes = Shelf(
            options.folder / "indexes", limit=options.cache_bytes, clock=clock
        )
        self._shelves = (archives, indexes)
        self._registries = RegistryCharts(
            RegistryClient(self._http, clock=clock, options=options.registry),
            archives,
            limit=options.repository.chart_bytes,
            timeout=options.repository.timeout,
        )
        self._repositories = RepositoryCharts(
            self._http,
            indexes=indexes,
            archives=archives,
            clock=clock,
            options=options.repository,
        )

    async def run(self) -> None:
        """Keep the connections open until cancelled."""
        try:
            await self._open_shelves()
            async with self._http:
                self._open.set()
                await asyncio.Event().wait()
        finally:
            self._is_over = True
            self._open.set()  # whoever waits for it shall see that it is over

    async def _open_shelves(self) -> None:
        for shelf in self._shelves:
            await shelf.open()

    async def resolve(self, source: ChartSource) -> ResolvedChart:
        """Find the newest chart that fits, and have it here.

        Raises:
            SourceError: It cannot be had; `reason` says why.
        """
        await self._open.wait()
        if self._is_over:
            raise SourceError(
                f"{source}: the manager is stopping",
                reason=Reason.FETCH_FAILED,
                is_transient=True,
            )
        try:
            return await self._resolve(source, _constraint(source))
        except OSError as error:  # of the disk: those of the network are translated
            with suppress(OSError):
                await self._open_shelves()
            raise SourceError(
                f"{source}: cannot be kept in {self._options.folder}: "
                f"{error.strerror}; make room, or set --release-cache",
                reason=Reason.FETCH_FAILED,
                is_transient=True,
            ) from None

    async def _resolve(
        self, source: ChartSource, constraint: Constraint
    ) -> ResolvedChart:
        if not source.is_oci:
            _require_web(source)
            return await self._repositories.resolve(source, constraint)
        await self._require_private(source)
        return await self._registries.resolve(source, constraint)

    async def _require_private(self, source: ChartSource) -> None:
        """Refuse to send a password and fetch a chart in the open, outside."""
        if not source.plain_http or self._options.allow_plain_http:
            return
        host = urlsplit(source.url).hostname or ""
        try:
            reach = await self._http.reach(host)
        except NetworkError as error:
            raise SourceError(
                f"{source}: {error}", reason=Reason.FETCH_FAILED, is_transient=True
            ) from error
        if reach is Reach.PUBLIC:
            raise SourceError(
                f"{source}: plainHTTP is for registries in the cluster; {host} is "
                "outside. Use TLS, or run the manager with --release-allow-plain-http",
                reason=Reason.INVALID,
            )


def _constraint(source: ChartSource) -> Constraint:
    try:
        return parse_constraint(source.version)
    except InvalidConstraintError as error:
        raise SourceError(
            f"{source}: chart.version: {error}", reason=Reason.INVALID
        ) from error


def _require_web(source: ChartSource) -> None:
    scheme = urlsplit(source.url).scheme
    if scheme not in {"http", "https"}:
        raise SourceError(
            f"{source}: sources of the kind {scheme!r} are not supported; use oci:// "
            "or https://",
            reason=Reason.INVALID,
        )
