"""An authority of our own, and what it signs.

    authority ──signs──▶ serving certificates: DNS names, IP addresses
        └────────signs──▶ client certificates: CN = user, O = groups

Keys are elliptic (P-256): making one takes a fraction of a millisecond, an RSA key a
tenth of a second. This needs `cryptography`, so whoever can do without imports it
when it is time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller_runtime.clock import Clock, SystemClock
from controller_runtime.tls import KeyPair

AUTHORITY_LIFE = timedelta(days=3650)
"""Ten years, as kubeadm's: a local cluster's folder should outlive a holiday."""

CERTIFICATE_LIFE = timedelta(days=365)

SKEW = timedelta(minutes=5)
"""Certificates begin this much earlier, for clocks that are a little behind."""

_COMMON_NAME_MAX = 64
"""Characters (RFC 5280, ub-common-name); who checks names reads the others anyway."""


class CertificateAuthority:
    """Signs certificates."""

    def __init__(self, pair: KeyPair, *, clock: Clock | None = None) -> None:
        """Take up an authority.

        Args:
            pair: Its certificate, the first if there are several, and its key.
            clock: Tells when what it signs begins.

        Raises:
            ValueError: They cannot be read, or do not belong together.
            TypeError: The key is not an elliptic one.
        """
        self.pair = pair
        self._clock = clock or SystemClock()
        self.certificate = x509.load_pem_x509_certificate(pair.public)
        self._key = _elliptic(pair.private)
        if self.certificate.public_key() != self._key.public_key():
            raise ValueError("the authority's key is not that of its certificate")

    @classmethod
    def create(
        cls,
        *,
        clock: Clock | None = None,
        name: str = "pilothouse-envtest",
        life: timedelta = AUTHORITY_LIFE,
    ) -> CertificateAuthority:
        """Make a new authority."""
        clock = clock or SystemClock()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        start = clock.now() - SKEW
        builder = _builder(subject, key, start, clock.now() + life)
        certificate = (
            builder.issuer_name(subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(_pair(certificate, key), clock=clock)

    @property
    def pem(self) -> bytes:
        """The certificate that clients and servers are told to believe."""
        return self.pair.public

    def server(
        self,
        names: Sequence[str],
        addresses: Sequence[str],
        *,
        life: timedelta = CERTIFICATE_LIFE,
    ) -> KeyPair:
        """Issue a serving certificate for DNS names and IP addresses."""
        alternatives = x509.SubjectAlternativeName(
            [
                *(x509.DNSName(name) for name in names),
                *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses),
            ]
        )
        subject = _name([*names, *addresses][0][:_COMMON_NAME_MAX])
        purpose = ExtendedKeyUsageOID.SERVER_AUTH
        end = self._clock.now() + life
        return self._issue(subject, purpose, end=end, alternatives=alternatives)

    def client(
        self, user: str, groups: Sequence[str] = (), *, expired: bool = False
    ) -> KeyPair:
        """Issue a certificate that makes its holder `user`, a member of `groups`.

        Args:
            user: The name that RBAC sees.
            groups: Its groups; `system:masters` may do anything.
            expired: End it an hour ago, for tests of what a server refuses.
        """
        subject, now = _name(user, groups), self._clock.now()
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH
        if expired:
            start, end = now - timedelta(days=1), now - timedelta(hours=1)
            return self._issue(subject, purpose, start=start, end=end)
        return self._issue(subject, purpose, end=now + CERTIFICATE_LIFE)

    def has_signed(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is from this authority."""
        return is_signed_by(certificate, [self.certificate])

    def _issue(
        self,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        *,
        end: datetime,
        start: datetime | None = None,
        alternatives: x509.SubjectAlternativeName | None = None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        # What outlived its authority would be refused before its own end.
        end = min(end, self.certificate.not_valid_after_utc)
        builder = (
            _builder(subject, key, start or self._clock.now() - SKEW, end)
            .issuer_name(self.certificate.subject)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        return _pair(builder.sign(self._key, hashes.SHA256()), key)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._key.public_key()
        )


class ServingNames(NamedTuple):
    """What a server calls itself."""

    dns: frozenset[str]
    addresses: frozenset[str]


def serving_names(certificate: x509.Certificate) -> ServingNames:
    """Return the names that a certificate is for; none if it says nothing of them."""
    try:
        extension = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return ServingNames(frozenset(), frozenset())
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return ServingNames(frozenset(names), frozenset(map(str, addresses)))


def is_signed_by(
    certificate: x509.Certificate, authorities: Iterable[x509.Certificate]
) -> bool:
    """Whether one of the authorities has signed a certificate."""
    return any(_has_signed(each, certificate) for each in authorities)


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """Read a bundle, in its order; what cannot be read is an empty one."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def write_certificates(certificates: Iterable[x509.Certificate]) -> bytes:
    """Write a bundle, in its order."""
    return b"".join(
        each.public_bytes(serialization.Encoding.PEM) for each in certificates
    )


def belongs(pair: KeyPair) -> bool:
    """Whether a key is that of its certificate, and both can be read."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.public)
        return certificate.public_key() == _elliptic(pair.private).public_key()
    except (ValueError, TypeError):
        return False


def signing_keys() -> KeyPair:
    """Make the keys that sign and check service-account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyPair(public=public, private=_private_pem(key))


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def _elliptic(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not an elliptic one")
    return key


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
