"""What certificates say of their holders."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller_runtime.testing.clock import FakeClock
from controller_runtime.testing.envtest.certificates import (
    CertificateAuthority,
    KeyPair,
    load_or_create_authority,
    load_or_create_signing_keys,
)


def parsed(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.public)


def test_a_client_is_its_user_and_a_member_of_its_groups() -> None:
    certificate = parsed(CertificateAuthority.create().client("eve", ["a", "b"]))

    subject = certificate.subject
    users = [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert users == ["eve"]
    assert {group.value for group in groups} == {"a", "b"}
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_certificate_is_signed_by_its_authority_and_by_no_other() -> None:
    authority = CertificateAuthority.create()
    issued = parsed(authority.client("eve"))

    issued.verify_directly_issued_by(parsed(authority.pair))

    ours = issued.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    other = parsed(CertificateAuthority.create().pair)
    theirs = other.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert ours.value.key_identifier != theirs.value.digest


def test_an_expired_certificate_is_expired_and_any_other_is_not() -> None:
    clock = FakeClock()
    authority = CertificateAuthority.create(clock=clock)

    good = parsed(authority.client("eve"))
    expired = parsed(authority.client("eve", expired=True))

    assert good.not_valid_before_utc < clock.now() < good.not_valid_after_utc
    assert expired.not_valid_before_utc < expired.not_valid_after_utc < clock.now()


def test_an_authority_outlives_what_it_signs() -> None:
    clock = FakeClock()
    authority = CertificateAuthority.create(clock=clock)

    clock.advance(timedelta(days=1000))

    issued = parsed(authority.client("eve"))
    assert issued.not_valid_after_utc < parsed(authority.pair).not_valid_after_utc


def test_a_server_is_known_by_its_names_and_addresses() -> None:
    authority = CertificateAuthority.create()

    certificate = parsed(authority.server(["localhost", "kubernetes"], ["127.0.0.1"]))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "kubernetes"]
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["127.0.0.1"]


def test_an_authority_and_the_token_keys_survive_in_their_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pki"

    first = load_or_create_authority(folder), load_or_create_signing_keys(folder)
    second = load_or_create_authority(folder), load_or_create_signing_keys(folder)

    assert first[0].pair == second[0].pair
    assert first[1] == second[1]


def test_nobody_else_can_read_what_is_written(tmp_path: Path) -> None:
    load_or_create_authority(tmp_path / "pki")

    files = list((tmp_path / "pki").iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700


def test_a_key_is_not_shown_when_its_pair_is() -> None:
    pair = CertificateAuthority.create().client("eve")

    assert "PRIVATE" not in repr(pair)
