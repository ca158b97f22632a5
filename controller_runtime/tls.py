"""A certificate with its key, and a TLS server that can change both while it serves.

    new handshake ─▶ front ─(server name callback)─▶ the context of the newest pair
    connections that are open stay with what they began with

The front is what a server is given, once; it has no certificate of its own. A pair
gets a context of its own too, so that nothing of the one before is left in it: a
context that is loaded a second time keeps its old certificate beside a new one with
another kind of key, and its old client authorities beside the new ones.

Sessions are not resumed. That would skip the check of a client's certificate, and so
the change of whom to believe; API servers never ask for it.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_SHOWN = 16
"""Hexadecimal digits of a fingerprint: enough to tell certificates apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key and what is known of it in public, both in PEM."""

    public: bytes
    """A certificate with those that lead to its authority, or a bare public key."""

    private: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """The start of the SHA-256 of what is public, for logs and comparisons."""
        return hashlib.sha256(self.public).hexdigest()[:_SHOWN]

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `<name>.crt` and `<name>.key`, readable by us alone. Blocks."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        write_private(certificate, self.public)
        write_private(key, self.private)
        return certificate, key


class ServerTls:
    """The TLS settings of a server whose certificate changes.

    Args:
        verify_clients: Serve only clients that show a certificate of an authority
            that `replace` is given.
    """

    def __init__(self, *, verify_clients: bool = False) -> None:
        self.context = _new_context(verify_clients=verify_clients)
        """What a server is given. Until the first `replace` handshakes fail."""
        self._verify_clients = verify_clients
        self._newest: ssl.SSLContext | None = None
        self.context.sni_callback = self._choose

    @property
    def is_ready(self) -> bool:
        """There is a certificate to show."""
        return self._newest is not None

    def replace(self, pair: KeyPair, *, client_ca: bytes | None = None) -> None:
        """Show `pair` in every handshake from now on. Blocks on the disk.

        Args:
            pair: The certificate and its key, without a password.
            client_ca: PEM of the authorities that clients' certificates are from.

        Raises:
            ssl.SSLError: They cannot be used, and nothing has changed. The text has
                nothing of the key.
            ValueError: Whether clients are verified is settled when this is made.
        """
        if (client_ca is not None) != self._verify_clients:
            raise ValueError("a client CA belongs to `verify_clients`, and to it alone")
        context = _new_context(verify_clients=self._verify_clients)
        load_pair(context, pair)
        if client_ca is not None:
            _trust(context, client_ca)
        self._newest = context

    def _choose(
        self, connection: ssl.SSLObject, _name: str, _front: ssl.SSLContext
    ) -> int | None:
        """Called in every handshake, whether the client names a server or not."""
        if self._newest is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._newest
        return None


def load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Let a context show a certificate. Blocks on the disk.

    Raises:
        ssl.SSLError: They do not belong together, cannot be read or need a password.
    """
    with _as_file(pair.public + b"\n" + pair.private) as path:
        # Without a password function, OpenSSL asks for one on the terminal.
        context.load_cert_chain(path, password=lambda: b"")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only we may read; who reads it sees all of it or nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
    fresh.replace(path)


def _new_context(*, verify_clients: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if verify_clients:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _trust(context: ssl.SSLContext, client_ca: bytes) -> None:
    try:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
    except (UnicodeDecodeError, ValueError) as error:
        raise ssl.SSLError("the client CA is not PEM") from error


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Lend a file with mode 0600: `ssl` reads certificates from nothing else.

    Where the kernel can, it is one of memory: keys stay off disks, and a container
    whose file system is read-only needs no volume for it.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        number = os.memfd_create("pair", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb") as memory:
            memory.write(content)
            memory.flush()
            yield f"/proc/self/fd/{number}"
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
