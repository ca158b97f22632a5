"""Charts in HTTP repositories: an index, and archives that it names.

    index.yaml ──once a minute, with its ETag──▶ file ──▶ Releases ──▶ version
        ──▶ URL ──unless its digest is here──▶ archive, checked

Indexes are kept on disk, for each way to ask for them one: what a server shows to one
account it may not show to another. A password goes to the server that it is for, and to
none that the index names (`passCredentials` says otherwise).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

from controller_runtime import Clock
from controllers.oci.memo import Kept, Memo
from controllers.release.chart.index import IndexFileError, Release, read_entry
from controllers.release.chart.refusals import from_web
from controllers.release.chart.shelf import Shelf, digest_of_file
from controllers.release.chart.source import (
    ChartSource,
    Reason,
    ResolvedChart,
    SourceError,
)
from controllers.versions import Constraint, parse_loose, select
from controllers.web import (
    Http,
    Login,
    NotModified,
    Request,
    Validators,
    WebError,
    download,
    origin_of,
)

_SOURCES = 1000
"""Indexes and archives whose validators are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryOptions:
    """How repositories are asked."""

    index_bytes: int = 100 << 20
    """Largest index, unpacked."""

    chart_bytes: int = 20 << 20
    """Largest archive."""

    index_life: float = 60.0
    """Seconds that an index holds for all who ask the same."""

    timeout: float = 120.0
    """Seconds for an index, and for an archive."""


@dataclass(slots=True)
class _Index:
    """An index here, and what has been read of it."""

    path: Path
    entries: dict[str, Sequence[Release]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Archive:
    """An archive without a digest in the index, as it was when it was fetched."""

    validators: Validators
    digest: str


_NOTHING = _Archive(Validators(), "")


class RepositoryCharts:
    """Resolves charts of `https://` and `http://` repositories."""

    def __init__(
        self,
        http: Http,
        *,
        indexes: Shelf,
        archives: Shelf,
        clock: Clock,
        options: RepositoryOptions | None = None,
    ) -> None:
        """Fetch with `http` into the two shelves."""
        self._http = http
        self._indexes = indexes
        self._archives = archives
        self._clock = clock
        self._options = options or RepositoryOptions()
        self._fresh: Memo[str, _Index] = Memo(_SOURCES)
        self._fetching: Memo[tuple[str, str], tuple[str, Path]] = Memo(1)
        self._unnamed: dict[tuple[str, str], _Archive] = {}

    async def resolve(
        self, source: ChartSource, constraint: Constraint
    ) -> ResolvedChart:
        """Find the chart and have it here.

        Raises:
            SourceError: It cannot be had.
        """
        try:
            index = await self._index(source)
            releases = await self._releases(index, source)
            release = _choose(source, constraint, releases)
            digest, path = await self._archive(source, release)
        except WebError as error:
            raise from_web(source, error) from error
        _compare(source, release, digest)
        return ResolvedChart(
            name=source.name, version=release.version, digest=digest, path=path
        )

    async def _index(self, source: ChartSource) -> _Index:
        key = _key(source)

        async def ask() -> Kept[_Index]:
            index = _Index(await self._fetch_index(source, key))
            return Kept(index, self._options.index_life)

        return await self._fresh.get(key, ask)

    async def _fetch_index(self, source: ChartSource, key: str) -> Path:
        about, name = f"{key}.json", f"{key}.yaml"
        kept = await self._indexes.take(name)
        known = Validators()
        if kept is not None:
            known = await self._validators(about)
        raw = self._indexes.unfinished(name)
        found = await download(
            self._http,
            Request(
                url=f"{source.url.rstrip('/')}/index.yaml",
                login=_login(source),
                tls=source.tls,
                compressed=True,
            ),
            raw,
            limit=self._options.index_bytes,
            timeout=self._options.timeout,
            clock=self._clock,
            known=known,
        )
        if isinstance(found, NotModified):
            assert kept is not None  # noqa: S101 - nothing else was asked
            return kept
        # Validators after the index they belong to: a crash in between asks for all.
        path = await self._indexes.put(name, raw)
        await self._remember(about, found.validators)
        return path

    async def _validators(self, about: str) -> Validators:
        path = await self._indexes.take(about)
        if path is None:
            return Validators()
        return await asyncio.to_thread(_read_validators, path)

    async def _remember(self, about: str, validators: Validators) -> None:
        raw = self._indexes.unfinished(about)
        text = json.dumps([validators.etag, validators.last_modified])
        await asyncio.to_thread(raw.write_text, text)
        await self._indexes.put(about, raw)

    async def _releases(self, index: _Index, source: ChartSource) -> Sequence[Release]:
        if source.name not in index.entries:
            try:
                found = await asyncio.to_thread(read_entry, index.path, source.name)
            except FileNotFoundError:
                self._fresh.drop(_key(source))
                raise SourceError(
                    f"{source}: the index was cleared away; it will be fetched again",
                    reason=Reason.FETCH_FAILED,
                    is_transient=True,
                ) from None
            except IndexFileError as error:
                raise SourceError(
                    f"{source}: index.yaml cannot be used: {error}",
                    reason=Reason.FETCH_FAILED,
                ) from None
            index.entries[source.name] = found
        return index.entries[source.name]

    async def _archive(self, source: ChartSource, release: Release) -> tuple[str, Path]:
        """Return the digest and the path of an archive."""
        url = urljoin(f"{source.url.rstrip('/')}/", release.urls[0])

        async def fetch() -> Kept[tuple[str, Path]]:
            if digest := release.digest:
                here = await self._archives.take(_file(digest), digest=digest)
                if here is not None:
                    return Kept((digest, here), 0)
            return Kept(await self._fetch_archive(source, release, url), 0)

        return await self._fetching.get((_key(source), url), fetch)

    async def _fetch_archive(
        self, source: ChartSource, release: Release, url: str
    ) -> tuple[str, Path]:
        known, here = await self._known(source, url)
        # Nobody else writes there: one fetch at a time for each key and URL.
        name = hashlib.sha256(f"{_key(source)} {url}".encode()).hexdigest()
        raw = self._archives.unfinished(name)
        found = await download(
            self._http,
            _request(source, url),
            raw,
            limit=self._options.chart_bytes,
            timeout=self._options.timeout,
            clock=self._clock,
            known=known.validators,
        )
        if isinstance(found, NotModified):
            assert here is not None  # noqa: S101 - nothing else was asked
            return known.digest, here
        digest = await asyncio.to_thread(digest_of_file, raw)
        if release.digest and digest != release.digest:
            await asyncio.to_thread(raw.unlink)
            raise SourceError(
                f"{source}: {release.version} is {digest}, and the index says "
                f"{release.digest}: the repository has to be put right",
                reason=Reason.FETCH_FAILED,
            )
        if not release.digest:
            self._keep((_key(source), url), _Archive(found.validators, digest))
        return digest, await self._archives.put(_file(digest), raw)

    async def _known(
        self, source: ChartSource, url: str
    ) -> tuple[_Archive, Path | None]:
        """Return what we have of an archive that has no digest in the index."""
        known = self._unnamed.get((_key(source), url), _NOTHING)
        if not known.digest:
            return _NOTHING, None
        here = await self._archives.take(_file(known.digest), digest=known.digest)
        return (known, here) if here is not None else (_NOTHING, None)

    def _keep(self, key: tuple[str, str], archive: _Archive) -> None:
        self._unnamed.pop(key, None)
        self._unnamed[key] = archive
        if len(self._unnamed) > _SOURCES:
            del self._unnamed[next(iter(self._unnamed))]


def _choose(
    source: ChartSource, constraint: Constraint, releases: Sequence[Release]
) -> Release:
    if not releases:
        raise SourceError(
            f"{source}: the index has no such chart", reason=Reason.NOT_FOUND
        )
    for release in releases:
        if release.version == source.version:
            return release
    selection = select(
        [release.version for release in releases], constraint, parse=parse_loose
    )
    for release in releases:
        if selection.version is not None and release.version == selection.tag:
            return release
    newest = ", ".join(release.version for release in releases[:3])
    raise SourceError(
        f"{source}: none of {len(releases)} versions fits {source.version!r}; the "
        f"index begins with {newest}",
        reason=Reason.NOT_FOUND,
    )


def _request(source: ChartSource, url: str) -> Request:
    here, there = origin_of(source.url), origin_of(url)
    if (here.scheme, there.scheme) == ("https", "http"):
        raise SourceError(
            f"{source}: the index leads from https to http, where anybody can change "
            "the chart",
            reason=Reason.FETCH_FAILED,
        )
    foreign = here != there and not source.pass_credentials
    tls = source.tls.without_certificate() if foreign else source.tls
    return Request(url=url, login=_login(source), tls=tls)


def _login(source: ChartSource) -> Login | None:
    credential, everywhere = source.credential, source.pass_credentials
    if credential.registry_token:
        return Login.bearer(
            source.url, credential.registry_token, everywhere=everywhere
        )
    if credential.has_password:
        return Login.basic(
            source.url, credential.username, credential.password, everywhere=everywhere
        )
    return None


def _compare(source: ChartSource, release: Release, digest: str) -> None:
    if source.digest and source.digest != digest:
        raise SourceError(
            f"{source}: {release.version} is {digest}, and chart.digest wants "
            f"{source.digest}",
            reason=Reason.DIGEST_MISMATCH,
        )


def _key(source: ChartSource) -> str:
    """Return the name of one way to ask a repository; it gives no secret away."""
    login = _login(source)
    parts = [
        source.url.rstrip("/").encode(),
        login.header.encode() if login is not None else b"",
        source.tls.ca,
        source.tls.certificate,
        source.tls.key,
        b"skip" if source.tls.skip_verify else b"",
        b"pass" if source.pass_credentials else b"",
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _file(digest: str) -> str:
    return f"{digest.replace(':', '-')}.tgz"


def _read_validators(path: Path) -> Validators:
    try:
        etag, last_modified = json.loads(path.read_text())
        return Validators(etag=str(etag), last_modified=str(last_modified))
    except (OSError, ValueError, TypeError):
        return Validators()
