"""When to ask again: all waits of the controller, as pure functions. Jitter is given.

poll ok      interval · [1, 1.2)                     never sooner than was asked for
poll failed  30 s, 1, 2, 4, 8, 16, 30 min, …  ± 10 %  Failed is said from the 5th on
401, 403     5, 10, 20, 30 min: no account is locked by asking
429          as the host says; it is not the bundle's failure
apply failed 1, 5, 15, 15, … min ± 10 %
blocked      as the fault asks for, and never because a poll is overdue
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from controllers.oci import Reason

FAILED_FROM = 5
"""Failures in a row from which on a bundle is called Failed. Polling goes on."""

_CEILING = timedelta(minutes=30)

_LOGIN = timedelta(minutes=5)

_RATE_LIMITED = timedelta(minutes=1)

_LATER = timedelta(minutes=5)
"""What rarely mends itself: a missing repository, an unknown authority."""

_LOGINS = frozenset({Reason.AUTHENTICATION_FAILED, Reason.FORBIDDEN})


def next_poll(interval: timedelta, randomness: Random) -> timedelta:
    """Return the time until the next look after a good one."""
    return max(interval, timedelta(seconds=1)) * (1 + 0.2 * randomness.random())


def after_failure(
    reason: Reason,
    failures: int,
    *,
    interval: timedelta,
    first: timedelta,
    randomness: Random,
    retry_after: timedelta | None = None,
) -> timedelta:
    """Return the time until the next look after a bad one.

    Args:
        reason: What was wrong.
        failures: How many in a row, this one included.
        interval: Between good looks.
        first: Wait after the first failure of a kind that may pass.
        randomness: For the jitter.
        retry_after: What the registry asked for.
    """
    if reason is Reason.RATE_LIMITED:
        return retry_after or _RATE_LIMITED
    if reason is Reason.TAG_NOT_FOUND:
        return next_poll(interval, randomness)
    wait = _jittered(_wait(reason, failures, interval, first), randomness)
    return max(wait, retry_after or timedelta())


def _wait(
    reason: Reason, failures: int, interval: timedelta, first: timedelta
) -> timedelta:
    if reason in _LOGINS:
        return _doubled(_LOGIN, failures)
    if reason is Reason.REPOSITORY_NOT_FOUND:
        return max(interval, _LATER)
    if reason is Reason.TLS_VERIFICATION_FAILED:
        return _LATER
    return _doubled(first, failures)


def counts(reason: Reason) -> bool:
    """Tell whether a failure brings the bundle nearer to being called Failed."""
    return reason is not Reason.RATE_LIMITED


def after_apply(
    attempt: int, waits: Sequence[timedelta], randomness: Random
) -> timedelta:
    """Return the time until the next try after a failed apply.

    Args:
        attempt: Which one it was, from 1.
        waits: After the first, the second and so on; the last repeats.
        randomness: For the jitter.
    """
    return _jittered(waits[min(attempt, len(waits)) - 1], randomness)


def after_block(
    retry_after: timedelta | None,
    until_poll: timedelta | None,
    *,
    is_stalled: bool,
    otherwise: timedelta,
) -> timedelta | None:
    """Return the time until the next look at what could not go on.

    Args:
        retry_after: What the fault itself asks for.
        until_poll: `None` if none is planned, or one is overdue: it waits for the fault
            to be mended, and must not have it looked at all the time.
        is_stalled: Whether it takes another spec, which is an event.
        otherwise: For a fault that is mended where nobody watches.
    """
    after = sooner(retry_after, until_poll)
    return otherwise if after is None and not is_stalled else after


def whole(at: datetime) -> datetime:
    """Round up to whole seconds."""
    return at.replace(microsecond=0) + timedelta(seconds=bool(at.microsecond))


def sooner(*waits: timedelta | None) -> timedelta | None:
    """Return the shortest wait that there is."""
    return min((wait for wait in waits if wait is not None), default=None)


def _doubled(first: timedelta, failures: int) -> timedelta:
    exponent = min(max(failures, 1) - 1, 20)  # far beyond the ceiling
    return min(first * (1 << exponent), _CEILING)


def _jittered(wait: timedelta, randomness: Random) -> timedelta:
    return wait * (0.9 + 0.2 * randomness.random())
