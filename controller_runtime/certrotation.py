"""When certificates of our own are made anew, and what is kept of the old ones.

    nothing, or no authority ─▶ new authority ─▶ certificate          (all at once)
    certificate nears its end ─▶ certificate                    (the same authority)
    authority nears its end ─▶ authority, the old one stays in the bundle
                                  └─(settled)─▶ certificate of the new one
    an authority has ended ─▶ it leaves the bundle

The bundle is what clients are told to believe: the authority that signs now, then
those before it. Nothing outlives the authority that signed it, so that whatever is
still valid is believed. A new authority signs only after the bundle with it has had
time to reach every client. So no moment is without a certificate that clients accept.

`decide` is pure; `Rotation` does what it says, to plain bytes. What is kept has the
keys of a Secret: `ca.crt` (the bundle), `ca.key`, `tls.crt`, `tls.key`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from controller_runtime.certificates import (
    SKEW,
    CertificateAuthority,
    ServingNames,
    belongs,
    is_signed_by,
    read_certificates,
    serving_names,
    write_certificates,
)
from controller_runtime.clock import Clock
from controller_runtime.tls import KeyPair

CA_CERTIFICATE, CA_KEY = "ca.crt", "ca.key"
CERTIFICATE, KEY = "tls.crt", "tls.key"


class Step(StrEnum):
    """What is done to what is kept."""

    NEW_AUTHORITY = "new authority"
    """There is none that could sign: whoever believes us must be told first."""
    REPLACE_AUTHORITY = "replace authority"
    RENEW = "renew certificate"
    PRUNE = "forget authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the decision is made on."""

    authority_start: datetime | None = None
    """When the authority that signs began; `None` if none can."""
    authority_end: datetime | None = None
    certificate_end: datetime | None = None
    """`None` if there is no certificate that could be served."""
    is_current: bool = False
    """The certificate is from the authority that signs now."""
    is_named: bool = False
    """The certificate is for all names that are wanted."""
    has_ended: bool = False
    """The bundle has an authority in it that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How long things last."""

    authority_life: timedelta
    certificate_life: timedelta
    renew_before: timedelta
    settle: timedelta


def decide(facts: Facts, rules: Rules, now: datetime) -> Step | None:
    """Return what to do first; `None` when all is as it should be."""
    start, end = facts.authority_start, facts.authority_end
    if start is None or end is None or end <= now:
        return Step.NEW_AUTHORITY
    if facts.certificate_end is None or facts.certificate_end <= now:
        return Step.RENEW
    if not facts.is_named:
        return Step.RENEW
    if now + rules.certificate_life > end:
        return Step.REPLACE_AUTHORITY
    is_due = facts.certificate_end <= now + rules.renew_before
    if (is_due or not facts.is_current) and start + rules.settle <= now:
        return Step.RENEW
    return Step.PRUNE if facts.has_ended else None


class Kept:
    """What is kept, as far as it can be read."""

    def __init__(self, data: Mapping[str, bytes], *, clock: Clock) -> None:
        self.bundle = read_certificates(data.get(CA_CERTIFICATE, b""))
        self.authority = _authority(data, clock) if self.bundle else None
        pair = KeyPair(public=data.get(CERTIFICATE, b""), private=data.get(KEY, b""))
        self.pair = pair if belongs(pair) else None
        self.certificate: x509.Certificate | None = None
        if self.pair is not None:
            found = x509.load_pem_x509_certificate(self.pair.public)
            # One that nobody believes is as good as none.
            self.certificate = found if is_signed_by(found, self.bundle) else None

    @property
    def names(self) -> ServingNames:
        """What the certificate is for."""
        if self.certificate is None:
            return ServingNames(frozenset(), frozenset())
        return serving_names(self.certificate)

    def data(self) -> Mapping[str, bytes]:
        """Return all of it, with the keys of a Secret."""
        assert self.authority is not None  # noqa: S101 - `Rotation` has seen to it
        assert self.pair is not None  # noqa: S101 - likewise
        return {
            CA_CERTIFICATE: write_certificates(self.bundle),
            CA_KEY: self.authority.pair.private,
            CERTIFICATE: self.pair.public,
            KEY: self.pair.private,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a look at it came to."""

    data: Mapping[str, bytes] = field(repr=False)
    """What is to be kept now."""
    steps: Sequence[Step]
    """What was done; nothing if it is as it was."""


class Rotation:
    """Keeps an authority and a serving certificate in order."""

    def __init__(
        self, names: ServingNames, rules: Rules, *, name: str, clock: Clock
    ) -> None:
        """Say what is wanted.

        Args:
            names: What the server is called.
            rules: How long things last.
            name: What authorities are called; the time of birth is appended.
            clock: What time it is.
        """
        self._names = names
        self._rules = rules
        self._name = name
        self._clock = clock

    def advance(self, data: Mapping[str, bytes]) -> Rotated:
        """Do all that is due. A tenth of a millisecond, or some if keys are made."""
        kept, steps = Kept(data, clock=self._clock), list[Step]()
        while step := decide(self._facts(kept), self._rules, self._clock.now()):
            self._take(step, kept)
            steps.append(step)
        return Rotated(data=kept.data() if steps else data, steps=steps)

    def _facts(self, kept: Kept) -> Facts:
        authority, certificate = kept.authority, kept.certificate
        now = self._clock.now()
        return Facts(
            authority_start=(
                authority.certificate.not_valid_before_utc + SKEW if authority else None
            ),
            authority_end=authority.certificate.not_valid_after_utc
            if authority
            else None,
            certificate_end=certificate.not_valid_after_utc if certificate else None,
            is_current=bool(
                authority and certificate and authority.has_signed(certificate)
            ),
            is_named=(
                self._names.dns <= kept.names.dns
                and self._names.addresses <= kept.names.addresses
            ),
            has_ended=any(each.not_valid_after_utc <= now for each in kept.bundle),
        )

    def _take(self, step: Step, kept: Kept) -> None:
        match step:
            case Step.NEW_AUTHORITY | Step.REPLACE_AUTHORITY:
                kept.authority = self._new_authority()
                kept.bundle.insert(0, kept.authority.certificate)
            case Step.RENEW:
                self._renew(kept)
            case Step.PRUNE:
                now = self._clock.now()
                kept.bundle = [c for c in kept.bundle if c.not_valid_after_utc > now]

    def _new_authority(self) -> CertificateAuthority:
        return CertificateAuthority.create(
            clock=self._clock,
            # Clients that look an issuer up by its name find one, not several.
            name=f"{self._name}@{self._clock.now().timestamp():.0f}",
            life=self._rules.authority_life,
        )

    def _renew(self, kept: Kept) -> None:
        assert kept.authority is not None  # noqa: S101 - `decide` says so
        names = self._names
        if kept.certificate is not None and not self._is_over(kept.certificate):
            # Two versions of a server, in the middle of an update, may want different
            # names: taking each other's away they would never come to an end.
            names = ServingNames(
                names.dns | kept.names.dns, names.addresses | kept.names.addresses
            )
        kept.pair = kept.authority.server(
            sorted(names.dns),
            sorted(names.addresses),
            life=self._rules.certificate_life,
        )
        kept.certificate = x509.load_pem_x509_certificate(kept.pair.public)

    def _is_over(self, certificate: x509.Certificate) -> bool:
        end = certificate.not_valid_after_utc
        return end <= self._clock.now() + self._rules.renew_before


def _authority(data: Mapping[str, bytes], clock: Clock) -> CertificateAuthority | None:
    pair = KeyPair(public=data.get(CA_CERTIFICATE, b""), private=data.get(CA_KEY, b""))
    try:
        return CertificateAuthority(pair, clock=clock)
    except (ValueError, TypeError):
        return None
