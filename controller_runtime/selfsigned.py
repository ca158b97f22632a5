"""A certificate of our own making, for servers that nobody knows by name.

It is made in memory when the server starts and goes with the process. It keeps out who
only listens; who must be sure whom it talks to needs a certificate from somebody that
both trust. controller-runtime's metrics server does the same when it is given none.
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path

from controller_runtime.clock import Clock

_LIFE = timedelta(days=3650)
"""Longer than a process: nobody renews it."""

_SKEW = timedelta(minutes=5)
"""It begins this much earlier, for clocks that are behind."""


def server_context() -> ssl.SSLContext:
    """Return TLS settings for a server; load a certificate into it before it serves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_self_signed(context: ssl.SSLContext, *, clock: Clock) -> None:
    """Make a certificate for `localhost`, and let `context` show it. Blocks on disk."""
    pem = self_signed(clock=clock)
    with tempfile.TemporaryDirectory() as folder:  # `ssl` reads nothing but files
        path = Path(folder) / "pair"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path)


def self_signed(*, clock: Clock) -> bytes:
    """Return a new certificate and its key, in PEM."""
    # Here, because it is a large library that others do without.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    hosts = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    start = clock.now() - _SKEW
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LIFE)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
