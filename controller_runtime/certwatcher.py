"""Certificates in files, taken up when the files change.

    every ten seconds: changed? ─▶ read ─▶ same content? ─▶ usable? ─▶ served, told
                          ▲                                    │ no
                          └─── the old pair is served ◀────────┘ counted, read again

The files are whoever's: cert-manager's in a mounted Secret, say. A pair is taken up
whole: bytes are read, checked together, and only then served, so that a file that is
half written, or already the next one's, changes nothing. Files that are gone, renamed
or links to elsewhere are no special case.

As controller-runtime's `pkg/certwatcher`, with its metrics, but without inotify: a look
costs three `stat`s, and a mounted Secret is late by a minute anyway. Every replica
needs one, leader or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from controller_runtime.errors import ConfigError
from controller_runtime.metrics import Metrics
from controller_runtime.tls import KeyPair, ServerTls

log = structlog.get_logger(__name__)


class Stamp(NamedTuple):
    """What changes of a file when its content does, nearly always."""

    inode: int
    modified: int
    """Nanoseconds."""
    size: int


class CertWatcher:
    """Serves the certificate that its files have."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        client_ca: Path | None = None,
        interval: timedelta = timedelta(seconds=10),
        metrics: Metrics | None = None,
        offload: Callable[..., Awaitable[object]] = asyncio.to_thread,
    ) -> None:
        """Describe it; nothing is read yet.

        Args:
            certificate: PEM of the certificate and those that lead to its authority.
            key: PEM of its key, without a password.
            client_ca: PEM of the authorities that clients must be from; with it, TLS
                is mutual.
            interval: Between two looks at the files; controller-runtime's.
            metrics: Where looks are counted.
            offload: Calls what blocks on the disk.
        """
        self._paths = {"certificate": certificate, "key": key}
        if client_ca is not None:
            self._paths["client CA"] = client_ca
        self._interval = interval.total_seconds()
        self._metrics = metrics or Metrics()
        self._offload = offload
        self._tls = ServerTls(verify_clients=client_ca is not None)
        self._callbacks: list[Callable[[KeyPair], object]] = []
        self._stamps: Mapping[str, Stamp] = {}
        self._digest = b""
        self._pair: KeyPair | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What a server is given, once; handshakes fail until the first look."""
        return self._tls.context

    @property
    def pair(self) -> KeyPair | None:
        """What is served now."""
        return self._pair

    def on_change(self, callback: Callable[[KeyPair], object]) -> None:
        """Call `callback` with what is served now, if anything, and with each change.

        Its errors are its own: it must not raise.
        """
        self._callbacks.append(callback)
        if self._pair is not None:
            callback(self._pair)

    async def load(self) -> None:
        """Take up the files for the first time, so that a mistake shows at the start.

        Raises:
            ConfigError: They are not there, or cannot be served.
        """
        try:
            await self._look()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no certificate can be served from {self._where}: {error}"
            ) from error

    async def run(self) -> None:
        """Follow the files until cancelled.

        Raises:
            ConfigError: The first look finds nothing to serve. Later ones go on with
                what there was.
        """
        if self._pair is None:
            await self.load()
        while True:
            await asyncio.sleep(self._interval)
            await self.check()

    async def check(self) -> None:
        """Look at the files now; whatever is wrong with them is logged and counted."""
        try:
            await self._look()
        except (OSError, ValueError) as error:
            log.warning(
                "the certificate files cannot be used, the old ones are served",
                files=self._where,
                error=str(error),
            )

    @property
    def _where(self) -> str:
        return ", ".join(f"{what} {path}" for what, path in self._paths.items())

    async def _look(self) -> None:
        self._metrics.certificate_reads.inc()
        try:
            pair = await self._offloaded_update()
        except (OSError, ValueError):
            # Counted at every look until it is mended: that is what alerts look at.
            self._stamps = {}
            self._metrics.certificate_read_errors.inc()
            raise
        if pair is not None:
            self._pair = pair
            log.info("certificate loaded", certificate=pair.fingerprint)
            for callback in self._callbacks:
                callback(pair)

    async def _offloaded_update(self) -> KeyPair | None:
        found: list[KeyPair | None] = []
        await self._offload(lambda: found.append(self._update()))
        return found[0]

    def _update(self) -> KeyPair | None:
        """Serve what the files have and return it; `None` if it is what was served."""
        stamps = {what: _stamp(path) for what, path in self._paths.items()}
        if stamps == self._stamps:
            return None
        contents = {what: path.read_bytes() for what, path in self._paths.items()}
        digest = _digest(contents)
        pair = None
        if digest != self._digest:
            pair = KeyPair(public=contents["certificate"], private=contents["key"])
            self._tls.replace(pair, client_ca=contents.get("client CA"))
            self._digest = digest
        # Those from before the reading: what is written since will be seen.
        self._stamps = stamps
        return pair


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


def _digest(contents: Mapping[str, bytes]) -> bytes:
    parts = (hashlib.sha256(content).digest() for content in contents.values())
    return hashlib.sha256(b"".join(parts)).digest()
