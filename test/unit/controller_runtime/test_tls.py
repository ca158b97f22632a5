"""A server's certificate changes while it serves."""

from __future__ import annotations

import ssl
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from conformance.handshake import HOST, Connection, client_context, serving, shown_by
from controller_runtime.certificates import CertificateAuthority
from controller_runtime.clock import SystemClock
from controller_runtime.tls import KeyPair, ServerTls, write_private


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create()


@pytest.fixture(scope="module")
def other() -> CertificateAuthority:
    return CertificateAuthority.create()


def rsa_pair() -> KeyPair:
    """Return a certificate with a key of another kind, signed by itself."""
    key = rsa.generate_private_key(65537, 2048)
    now: datetime = SystemClock().now()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        public=certificate.public_bytes(serialization.Encoding.PEM),
        private=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def with_password(pair: KeyPair) -> KeyPair:
    key = serialization.load_pem_private_key(pair.private, password=None)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    return KeyPair(public=pair.public, private=private)


@pytest.mark.behaviour("W6")
def test_a_new_handshake_gets_the_new_pair_and_an_open_connection_goes_on(
    authority: CertificateAuthority,
) -> None:
    tls, first, second = ServerTls(), serving(authority), serving(authority)
    tls.replace(first)
    before = Connection(tls.context, client_context(authority.pem))

    tls.replace(second)
    after = Connection(tls.context, client_context(authority.pem))

    assert before.fingerprint == first.fingerprint
    assert after.fingerprint == second.fingerprint
    assert before.says(b"still here") == b"still here"


def test_nobody_is_served_before_there_is_a_certificate(
    authority: CertificateAuthority,
) -> None:
    tls = ServerTls()

    assert not tls.is_ready
    with pytest.raises(ssl.SSLError):
        Connection(tls.context, client_context(authority.pem))


def test_a_certificate_with_another_kind_of_key_takes_the_place_of_the_old_one(
    authority: CertificateAuthority,
) -> None:
    tls, before, after = ServerTls(), serving(authority), rsa_pair()
    tls.replace(before)

    tls.replace(after)

    assert shown_by(tls.context, after.public) == after.fingerprint
    with pytest.raises(ssl.SSLCertVerificationError):
        shown_by(tls.context, authority.pem)


@pytest.mark.behaviour("W6")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda pair, other: KeyPair(public=pair.public, private=other.private),
        lambda pair, _: KeyPair(public=pair.public[:200], private=pair.private),
        lambda pair, _: KeyPair(public=pair.public, private=pair.private[:100]),
        lambda pair, _: KeyPair(public=b"", private=b""),
        lambda pair, _: KeyPair(public=b"\xff\x00", private=pair.private),
        lambda pair, _: with_password(pair),
    ],
    ids=["another's key", "half", "half a key", "empty", "not PEM", "password"],
)
def test_a_pair_that_cannot_be_used_changes_nothing(
    authority: CertificateAuthority, spoil: object
) -> None:
    assert callable(spoil)
    tls, good, other = ServerTls(), serving(authority), serving(authority)
    tls.replace(good)

    with pytest.raises(ssl.SSLError) as caught:
        tls.replace(spoil(other, good))

    assert shown_by(tls.context, authority.pem) == good.fingerprint
    assert "PRIVATE" not in repr(caught.value)
    assert not any(line in repr(caught.value) for line in keys(good, other))


def keys(*pairs: KeyPair) -> list[str]:
    """Return the lines that must not be seen anywhere."""
    lines = [line for pair in pairs for line in pair.private.decode().splitlines()]
    return [line for line in lines if "-----" not in line]


@pytest.mark.behaviour("W6")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_needs_a_certificate_of_the_authority_it_is_asked_for(
    authority: CertificateAuthority,
    other: CertificateAuthority,
    version: ssl.TLSVersion,
) -> None:
    tls = ServerTls(verify_clients=True)
    tls.replace(serving(authority), client_ca=authority.pem)
    ours, theirs = authority.client("ann"), other.client("eve")

    known = client_context(authority.pem, pair=ours, newest=version)
    stranger = client_context(authority.pem, pair=theirs, newest=version)
    nobody = client_context(authority.pem, newest=version)

    assert Connection(tls.context, known).says(b"hello") == b"hello"
    for client in (stranger, nobody):
        with pytest.raises(ssl.SSLError):
            Connection(tls.context, client)


@pytest.mark.behaviour("W6")
def test_a_client_authority_that_is_replaced_counts_no_more(
    authority: CertificateAuthority, other: CertificateAuthority
) -> None:
    tls, pair = ServerTls(verify_clients=True), serving(authority)
    tls.replace(pair, client_ca=authority.pem)
    old = client_context(authority.pem, pair=authority.client("ann"))
    Connection(tls.context, old).says(b"hello")

    tls.replace(pair, client_ca=other.pem)

    new = client_context(authority.pem, pair=other.client("ann"))
    assert Connection(tls.context, new).says(b"hello") == b"hello"
    with pytest.raises(ssl.SSLError):
        Connection(tls.context, old)


@pytest.mark.parametrize("ca", [b"", b"nonsense", b"\xff"])
def test_a_client_authority_that_cannot_be_read_changes_nothing(
    authority: CertificateAuthority, ca: bytes
) -> None:
    tls, pair = ServerTls(verify_clients=True), serving(authority)
    tls.replace(pair, client_ca=authority.pem)

    with pytest.raises(ssl.SSLError):
        tls.replace(serving(authority), client_ca=ca)

    client = client_context(authority.pem, pair=authority.client("ann"))
    assert Connection(tls.context, client).fingerprint == pair.fingerprint


def test_whether_clients_are_verified_cannot_change(
    authority: CertificateAuthority,
) -> None:
    with pytest.raises(ValueError, match="verify_clients"):
        ServerTls(verify_clients=True).replace(serving(authority))
    with pytest.raises(ValueError, match="verify_clients"):
        ServerTls().replace(serving(authority), client_ca=authority.pem)


@pytest.mark.behaviour("W6")
def test_old_versions_of_tls_are_not_spoken(authority: CertificateAuthority) -> None:
    assert ServerTls().context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_session_is_not_resumed(authority: CertificateAuthority) -> None:
    tls = ServerTls()
    tls.replace(serving(authority))
    newest = client_context(authority.pem, newest=ssl.TLSVersion.TLSv1_2)

    first = Connection(tls.context, newest)

    assert first.client.session is None or not first.client.session.has_ticket


def test_a_private_file_is_ours_alone_and_never_half_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tls.key"
    write_private(path, b"old")

    with path.open("rb") as reader:
        write_private(path, b"new")
        assert reader.read() == b"old"

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["tls.key"]
