"""Who is who in a control plane: one authority, and what it signs.

    authority ──signs──▶ serving certificate of kube-apiserver
        └────────signs──▶ client certificates: CN = user, O = groups

Keys are elliptic (P-256): making one takes a fraction of a millisecond, while an RSA
key takes a tenth of a second, and a start makes half a dozen.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller_runtime.clock import Clock, SystemClock

AUTHORITY_LIFE = timedelta(days=3650)
"""Ten years, as kubeadm's: a local cluster's folder should outlive a holiday."""

CERTIFICATE_LIFE = timedelta(days=365)

SKEW = timedelta(minutes=5)
"""Certificates begin this much earlier, for clocks that are a little behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key and what is known of it in public, both in PEM."""

    public: bytes
    """A certificate, or a bare public key for service-account tokens."""

    private: bytes = field(repr=False)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `<name>.crt` and `<name>.key`, readable by us alone. Blocks."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        write_private(certificate, self.public)
        write_private(key, self.private)
        return certificate, key


class CertificateAuthority:
    """Signs certificates that the control plane believes."""

    def __init__(self, pair: KeyPair, *, clock: Clock | None = None) -> None:
        self.pair = pair
        self._clock = clock or SystemClock()
        self._certificate = x509.load_pem_x509_certificate(pair.public)
        key = serialization.load_pem_private_key(pair.private, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic one")
        self._key = key

    @classmethod
    def create(cls, *, clock: Clock | None = None) -> CertificateAuthority:
        """Make a new authority."""
        clock = clock or SystemClock()
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("pilothouse-envtest")
        start = clock.now() - SKEW
        builder = _builder(name, key, start, start + AUTHORITY_LIFE)
        certificate = (
            builder.issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(_pair(certificate, key), clock=clock)

    @property
    def pem(self) -> bytes:
        """The certificate that clients and servers are told to believe."""
        return self.pair.public

    def server(self, names: Sequence[str], addresses: Sequence[str]) -> KeyPair:
        """Issue a serving certificate for DNS names and IP addresses."""
        alternatives = x509.SubjectAlternativeName(
            [
                *(x509.DNSName(name) for name in names),
                *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses),
            ]
        )
        purpose = ExtendedKeyUsageOID.SERVER_AUTH
        return self._issue(_name(names[0]), purpose, alternatives=alternatives)

    def client(
        self, user: str, groups: Sequence[str] = (), *, expired: bool = False
    ) -> KeyPair:
        """Issue a certificate that makes its holder `user`, a member of `groups`.

        Args:
            user: The name that RBAC sees.
            groups: Its groups; `system:masters` may do anything.
            expired: End it an hour ago, for tests of what a server refuses.
        """
        subject = _name(user, groups)
        return self._issue(subject, ExtendedKeyUsageOID.CLIENT_AUTH, expired=expired)

    def _issue(
        self,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        *,
        alternatives: x509.SubjectAlternativeName | None = None,
        expired: bool = False,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        start, end = self._life(expired=expired)
        builder = (
            _builder(subject, key, start, end)
            .issuer_name(self._certificate.subject)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        return _pair(builder.sign(self._key, hashes.SHA256()), key)

    def _life(self, *, expired: bool) -> tuple[datetime, datetime]:
        now = self._clock.now()
        if expired:
            return now - timedelta(days=1), now - timedelta(hours=1)
        return now - SKEW, now + CERTIFICATE_LIFE

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._key.public_key()
        )


def signing_keys() -> KeyPair:
    """Make the keys that sign and check service-account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyPair(public=public, private=_private_pem(key))


def load_or_create_authority(
    folder: Path, *, clock: Clock | None = None
) -> CertificateAuthority:
    """Take the authority of a folder, or make it one. Blocks on the disk."""
    if (folder / "ca.key").exists():
        return CertificateAuthority(_read(folder, "ca"), clock=clock)
    authority = CertificateAuthority.create(clock=clock)
    authority.pair.write(folder, "ca")
    return authority


def load_or_create_signing_keys(folder: Path) -> KeyPair:
    """Take the service-account keys of a folder, or make it some. Blocks."""
    if (folder / "sa.key").exists():
        return _read(folder, "sa")
    keys = signing_keys()
    keys.write(folder, "sa")
    return keys


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only we may read; who reads it sees all of it or nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
    fresh.replace(path)


def _read(folder: Path, name: str) -> KeyPair:
    return KeyPair(
        public=(folder / f"{name}.crt").read_bytes(),
        private=(folder / f"{name}.key").read_bytes(),
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return KeyPair(public=pem, private=_private_pem(key))


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(user: str, groups: Sequence[str] = ()) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
            x509.NameAttribute(NameOID.COMMON_NAME, user),
        ]
    )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
