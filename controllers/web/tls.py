"""Whom we believe and as whom we come, for one server.

The system's authorities always count; a user may add one, present a certificate, or
give up verification. Settings are plain values: the same settings share connections,
changed ones get new connections.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controllers.web.errors import TlsSettingsError

CA_KEY = "ca.crt"
CERTIFICATE_KEY = "tls.crt"
PRIVATE_KEY_KEY = "tls.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Settings for one server. Everything is PEM."""

    ca: bytes = field(default=b"", repr=False)
    """Authorities to believe besides the system's."""

    certificate: bytes = field(default=b"", repr=False)
    """Our certificate, for servers that ask for one, and what leads to its root."""

    key: bytes = field(default=b"", repr=False)
    """The key of our certificate, unencrypted."""

    skip_verify: bool = False
    """Whether to believe whoever answers. Not together with `ca`."""

    def without_certificate(self) -> Tls:
        """Return what another server may know."""
        return Tls(ca=self.ca, skip_verify=self.skip_verify)


SYSTEM = Tls()
"""The system's authorities and nothing else."""


def tls_from_secrets(
    *,
    ca: Mapping[str, bytes] | None = None,
    client: Mapping[str, bytes] | None = None,
    skip_verify: bool = False,
) -> Tls:
    """Read settings from the data of Secrets (`ca.crt`; `tls.crt` and `tls.key`).

    Raises:
        TlsSettingsError: A key is missing; the text names it.
    """
    if ca is not None and skip_verify:
        raise TlsSettingsError(
            "an authority and insecureSkipVerify exclude each other: remove one"
        )
    if ca is not None and not ca.get(CA_KEY):
        raise TlsSettingsError(f"the Secret with the authority has no {CA_KEY}")
    missing = [
        key
        for key in (CERTIFICATE_KEY, PRIVATE_KEY_KEY)
        if client is not None and not client.get(key)
    ]
    if missing:
        raise TlsSettingsError(
            f"the Secret with the client certificate has no {' and no '.join(missing)}"
        )
    return Tls(
        ca=(ca or {}).get(CA_KEY, b""),
        certificate=(client or {}).get(CERTIFICATE_KEY, b""),
        key=(client or {}).get(PRIVATE_KEY_KEY, b""),
        skip_verify=skip_verify,
    )


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Make a client's context: TLS 1.2 or newer. Blocks on the disk.

    Raises:
        TlsSettingsError: A certificate or key cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.ca:
        _believe(context, tls.ca)
    if tls.certificate or tls.key:
        _present(context, tls)
    return context


def _believe(context: ssl.SSLContext, ca: bytes) -> None:
    try:
        context.load_verify_locations(cadata=ca.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise TlsSettingsError(
            f"the authority ({CA_KEY}) holds no certificate in PEM"
        ) from None


def _present(context: ssl.SSLContext, tls: Tls) -> None:
    with tempfile.TemporaryDirectory() as folder:  # `ssl` reads nothing but files
        path = Path(folder) / "pair"
        path.touch(mode=0o600)
        path.write_bytes(tls.certificate + b"\n" + tls.key)
        try:
            # An encrypted key would ask for its password on the terminal.
            context.load_cert_chain(path, password="")
        except (ssl.SSLError, ValueError):
            raise TlsSettingsError(
                f"the client certificate ({CERTIFICATE_KEY}) and its key "
                f"({PRIVATE_KEY_KEY}) are no pair in PEM, or the key is encrypted"
            ) from None
