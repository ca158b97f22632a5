"""The end of a certificate, as the library that knows all of X.509 reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller_runtime.validity import not_after


def certificate(until: datetime, *, organisation: str = "o") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=1))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


@pytest.mark.parametrize("year", [1987, 2026, 2049, 2050, 2345])
@pytest.mark.parametrize("organisation", ["o", "o" * 64])
def test_the_end_is_the_one_that_was_written(year: int, organisation: str) -> None:
    until = datetime(year, 11, 21, 13, 5, 59, tzinfo=UTC)

    assert not_after(certificate(until, organisation=organisation)) == until


def test_of_a_chain_the_first_counts() -> None:
    leaf = datetime(2027, 1, 1, tzinfo=UTC)
    chain = b"# mine\n" + certificate(leaf) + certificate(leaf + timedelta(days=999))

    assert not_after(chain) == leaf


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no certificate",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_a_value_error(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        not_after(pem)
