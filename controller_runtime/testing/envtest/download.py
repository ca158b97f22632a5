"""Fetching a release, and believing it only when its checksum agrees.

    probe ──▶ checksum ──▶ stream to a temporary file, hashing ──▶ compare ──▶ rename

The temporary file lies beside the final one, so the rename is atomic, and it is
gone whichever way this ends. Everything here blocks and belongs in a thread;
`stop` ends it between two chunks when whoever wanted the file has gone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, proxy_bypass, urlopen

from controller_runtime.testing.envtest.binaries import Release, checksum_in
from controller_runtime.testing.envtest.errors import ChecksumError, DownloadError

PROBE_SECONDS = 3.0
"""Longest that all hosts together may take to answer a connection. A machine without
an open network either says so at once or lets packets vanish; this is for those."""

READ_SECONDS = 30.0
"""Longest silence in the middle of a transfer."""

CHUNK = 1 << 18

_DEFAULT_PORTS = {"http": 80, "https": 443}


def download(
    release: Release,
    target: Path,
    *,
    reached: Callable[[float], None],
    stop: threading.Event,
) -> None:
    """Fetch a release and put its program, executable, at `target`.

    Raises:
        ChecksumError: What came is not what was published; do not go on.
        DownloadError: It is not there, or did not come whole.
    """
    expected = checksum_in(_text(release.checksum_url), release.asset)
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary(target) as partial:
        got = _stream(release.url, partial, reached=reached, stop=stop)
        if got != expected:
            raise ChecksumError(release.url, expected=expected, got=got)
        if release.member is None:
            install(partial, target)
        else:
            with temporary(target) as program:
                _extract(partial, release, program)
                install(program, target)


def reachable(urls: Iterable[str], *, seconds: float = PROBE_SECONDS) -> set[str]:
    """Return the hosts, of those in the URLs, that a connection can be made to.

    All are asked at once, each in a daemon thread: looking up a name knows no
    timeout, and a process that wants to end must not wait for it.
    """
    answered: set[str] = set()
    threads = [
        threading.Thread(target=_probe, args=(url, seconds, answered), daemon=True)
        for url in {urlsplit(url).netloc: url for url in urls}.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return set(answered)


def host(url: str) -> str:
    """Return the host, and port if it is named, that a URL leads to."""
    return urlsplit(url).netloc


@contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """Lend a file beside the target that is gone at the end, unless it was moved."""
    number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def install(program: Path, target: Path) -> None:
    """Make a finished file executable and give it its name in one step."""
    program.chmod(0o755)
    program.replace(target)


def _probe(url: str, seconds: float, answered: set[str]) -> None:
    try:
        socket.create_connection(_endpoint(url), seconds).close()
    except OSError:
        return
    answered.add(host(url))


def _endpoint(url: str) -> tuple[str, int]:
    """Where a request for this URL connects to: the host, or the proxy before it."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.netloc):
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 443)


@contextmanager
def _opened(url: str) -> Iterator[HTTPResponse]:
    """Open a URL, and turn whatever goes wrong with it into one error."""
    request = Request(url, headers={"User-Agent": "pilothouse-envtest"})  # noqa: S310 - our URLs
    try:
        with urlopen(request, timeout=READ_SECONDS) as response:  # noqa: S310 - our URLs
            yield cast("HTTPResponse", response)
    except HTTPError as error:
        with error:
            raise DownloadError(f"{url} answers {error.code} {error.reason}") from error
    except URLError as error:
        raise DownloadError(f"{url} cannot be reached: {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} was cut short: {error!r}") from error


def _text(url: str) -> str:
    with _opened(url) as response:
        return response.read().decode(errors="replace")


def _stream(
    url: str, target: Path, *, reached: Callable[[float], None], stop: threading.Event
) -> str:
    """Copy a URL into a file and return the sha256 of what came."""
    digest = hashlib.sha256()
    size = 0
    with _opened(url) as response, target.open("wb") as file:
        promised = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(CHUNK):
            if stop.is_set():
                raise DownloadError(f"{url} is no longer wanted")
            digest.update(chunk)
            file.write(chunk)
            size += len(chunk)
            reached(size / max(promised, size))
    if size < promised:
        raise DownloadError(f"{url} was cut short: {size} of {promised} bytes came")
    return digest.hexdigest()


def _extract(archive: Path, release: Release, target: Path) -> None:
    """Copy one member out, by its exact name: nothing else in there is touched."""
    member = release.member or ""
    try:
        if release.url.endswith(".zip"):
            with zipfile.ZipFile(archive) as pack, pack.open(member) as program:
                _copy(program, target)
        else:
            with tarfile.open(archive) as tar:
                _copy(_member(tar, member), target)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{release.url} does not hold {member}: {error}") from error


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    program = tar.extractfile(name)
    if program is None:
        raise KeyError(f"{name} is not a file")
    return program


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)
