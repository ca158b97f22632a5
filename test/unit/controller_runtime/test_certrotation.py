"""When an authority and a certificate are made anew, over the years."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from controller_runtime.certificates import (
    CertificateAuthority,
    ServingNames,
    is_signed_by,
    read_certificates,
    serving_names,
)
from controller_runtime.certrotation import Facts, Rotation, Rules, Step, decide
from controller_runtime.testing.clock import FakeClock

DAY = timedelta(days=1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
RULES = Rules(
    authority_life=3650 * DAY,
    certificate_life=365 * DAY,
    renew_before=90 * DAY,
    settle=timedelta(minutes=15),
)
NAMES = ServingNames(frozenset({"web.shop.svc"}), frozenset({"127.0.0.1"}))
HEALTHY = Facts(
    authority_start=NOW - 100 * DAY,
    authority_end=NOW + 3000 * DAY,
    certificate_end=NOW + 265 * DAY,
    is_current=True,
    is_named=True,
)


def facts(**changes: object) -> Facts:
    fields = {name: getattr(HEALTHY, name) for name in Facts.__slots__}
    return Facts(**{**fields, **changes})


@pytest.mark.parametrize(
    ("given", "step"),
    [
        (Facts(), Step.NEW_AUTHORITY),
        (HEALTHY, None),
        (facts(authority_end=NOW), Step.NEW_AUTHORITY),
        (facts(authority_end=NOW + DAY, certificate_end=NOW), Step.RENEW),
        (facts(certificate_end=None), Step.RENEW),
        (facts(is_named=False), Step.RENEW),
        (facts(certificate_end=NOW + 91 * DAY), None),
        (facts(certificate_end=NOW + 90 * DAY), Step.RENEW),
        (facts(authority_end=NOW + 365 * DAY), None),
        (facts(authority_end=NOW + 364 * DAY), Step.REPLACE_AUTHORITY),
        (facts(is_current=False), Step.RENEW),
        (facts(is_current=False, authority_start=NOW), None),
        (facts(certificate_end=NOW + DAY, authority_start=NOW), None),
        (facts(certificate_end=NOW, authority_start=NOW), Step.RENEW),
        (facts(has_ended=True), Step.PRUNE),
    ],
)
def test_what_is_due_is_decided_by_ends_and_beginnings(
    given: Facts, step: Step | None
) -> None:
    assert decide(given, RULES, NOW) is step


def rotation(
    clock: FakeClock, names: ServingNames = NAMES, rules: Rules = RULES
) -> Rotation:
    return Rotation(names, rules, name="ca", clock=clock)


def certificate(data: Mapping[str, bytes]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(data["tls.crt"])


def is_believed(data: Mapping[str, bytes], bundle: bytes, now: datetime) -> bool:
    """Whether a client with that bundle accepts what is served."""
    served = certificate(data)
    trusted = [c for c in read_certificates(bundle) if c.not_valid_after_utc > now]
    in_time = served.not_valid_before_utc <= now < served.not_valid_after_utc
    return in_time and is_signed_by(served, trusted)


def test_the_first_look_makes_everything_and_the_second_nothing() -> None:
    clock = FakeClock()

    made = rotation(clock).advance({})
    again = rotation(clock).advance(made.data)

    assert made.steps == [Step.NEW_AUTHORITY, Step.RENEW]
    assert again.steps == []
    assert again.data is made.data
    assert serving_names(certificate(made.data)) == NAMES
    assert is_believed(made.data, made.data["ca.crt"], clock.now())


def test_nothing_private_is_shown_of_what_was_made() -> None:
    made = rotation(FakeClock()).advance({})

    assert "PRIVATE" not in repr(made)


def test_for_thirty_years_a_client_that_is_behind_believes_what_is_served() -> None:
    clock = FakeClock()
    data = rotation(clock).advance({}).data
    steps: list[Step] = []
    sizes = set()

    for _ in range(30 * 365 // 5):
        clock.advance(5 * DAY)
        behind = data["ca.crt"]
        rotated = rotation(clock).advance(data)
        steps += rotated.steps
        assert is_believed(rotated.data, behind, clock.now())
        assert is_believed(rotated.data, rotated.data["ca.crt"], clock.now())
        data = rotated.data
        sizes.add(len(read_certificates(data["ca.crt"])))

    assert steps.count(Step.REPLACE_AUTHORITY) == steps.count(Step.PRUNE) == 3
    assert steps.count(Step.RENEW) >= 30 * 365 // 275
    assert Step.NEW_AUTHORITY not in steps
    assert sizes == {1, 2}


def test_a_new_authority_signs_only_after_it_has_settled() -> None:
    clock = FakeClock()
    data = rotation(clock).advance({}).data
    clock.advance(RULES.authority_life - RULES.certificate_life + DAY)
    before = rotation(clock).advance({**data}).data  # a certificate that is in time

    clock.advance(timedelta(minutes=14))
    waiting = rotation(clock).advance(before)
    clock.advance(timedelta(minutes=1))
    moved = rotation(clock).advance(before)

    newest, old = read_certificates(before["ca.crt"])
    assert is_signed_by(certificate(before), [old])
    assert waiting.steps == []
    assert moved.steps == [Step.RENEW]
    assert is_signed_by(certificate(moved.data), [newest])


def test_an_authority_leaves_the_bundle_when_nothing_of_it_is_valid() -> None:
    clock = FakeClock()
    data = rotation(clock).advance({}).data
    (first,) = read_certificates(data["ca.crt"])

    while first in read_certificates(data["ca.crt"]):
        leaf = certificate(data)
        if is_signed_by(leaf, [first]):
            assert leaf.not_valid_after_utc <= first.not_valid_after_utc
        clock.advance(5 * DAY)
        data = rotation(clock).advance(data).data

    assert first.not_valid_after_utc <= clock.now()
    assert clock.now() - first.not_valid_after_utc <= 5 * DAY


def test_after_years_of_absence_there_is_a_certificate_at_once() -> None:
    clock = FakeClock()
    data = rotation(clock).advance({}).data
    behind = data["ca.crt"]

    clock.advance(3600 * DAY)
    late = rotation(clock).advance(data)
    clock.advance(100 * DAY)
    too_late = rotation(clock).advance(data)

    assert late.steps == [Step.RENEW, Step.REPLACE_AUTHORITY]
    assert is_believed(late.data, behind, clock.now() - 100 * DAY)
    assert too_late.steps == [Step.NEW_AUTHORITY, Step.RENEW, Step.PRUNE]
    assert is_believed(too_late.data, too_late.data["ca.crt"], clock.now())


def test_names_are_added_at_once_and_old_ones_go_with_the_next_renewal() -> None:
    clock = FakeClock()
    other = ServingNames(frozenset({"api.shop.svc"}), frozenset())
    data = rotation(clock).advance({}).data

    both = rotation(clock, other).advance(data)
    undisturbed = rotation(clock).advance(both.data)
    clock.advance(275 * DAY)
    renewed = rotation(clock, other).advance(both.data)

    assert both.steps == [Step.RENEW]
    assert serving_names(certificate(both.data)).dns == NAMES.dns | other.dns
    assert undisturbed.steps == []
    assert serving_names(certificate(renewed.data)) == other


@pytest.mark.parametrize("key", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\xff"])
def test_what_is_damaged_is_made_anew_and_what_is_whole_stays_believed(
    key: str, damage: bytes
) -> None:
    clock = FakeClock()
    data = rotation(clock).advance({}).data

    mended = rotation(clock).advance({**data, key: damage})

    assert mended.steps
    assert is_believed(mended.data, mended.data["ca.crt"], clock.now())
    if key != "ca.crt":
        kept = read_certificates(data["ca.crt"])[0]
        assert kept in read_certificates(mended.data["ca.crt"])


def test_keys_that_were_mixed_up_are_not_served() -> None:
    clock = FakeClock()
    data, other = rotation(clock).advance({}).data, rotation(clock).advance({}).data

    leaf = rotation(clock).advance({**data, "tls.key": other["tls.key"]})
    authority = rotation(clock).advance({**data, "ca.key": other["ca.key"]})
    stranger = rotation(clock).advance(
        {**data, "tls.crt": other["tls.crt"], "tls.key": other["tls.key"]}
    )

    assert leaf.steps == stranger.steps == [Step.RENEW]
    assert authority.steps == [Step.NEW_AUTHORITY]


def test_a_long_name_is_no_obstacle() -> None:
    long = ServingNames(frozenset({f"{'x' * 60}.{'y' * 60}.svc"}), frozenset())

    made = rotation(FakeClock(), long).advance({})

    assert serving_names(certificate(made.data)) == long


def test_a_certificate_does_not_outlive_its_authority() -> None:
    clock = FakeClock()
    authority = CertificateAuthority.create(clock=clock, life=10 * DAY)

    issued = x509.load_pem_x509_certificate(authority.server(["a"], []).public)

    assert issued.not_valid_after_utc == authority.certificate.not_valid_after_utc
