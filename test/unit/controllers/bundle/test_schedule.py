"""Waits: none sooner than was asked for, and none for ever."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from controllers.bundle.schedule import (
    FAILED_FROM,
    after_apply,
    after_failure,
    counts,
    next_poll,
)
from controllers.oci import Reason

QUARTER = timedelta(minutes=15)


class Middle(Random):
    """Draws the middle, which is no jitter."""

    def random(self) -> float:
        return 0.5


def dice(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - the same draws each time


def wait(reason: Reason, failures: int, **more: timedelta) -> timedelta:
    return after_failure(
        reason,
        failures,
        interval=QUARTER,
        first=timedelta(seconds=30),
        randomness=Middle(),
        **more,
    )


def test_polls_are_spread_over_a_fifth_of_the_interval() -> None:
    """Scenario 18."""
    randomness = dice(1)
    samples = [next_poll(QUARTER, randomness) for _ in range(1000)]

    assert all(QUARTER <= it < timedelta(minutes=18) for it in samples)
    assert len(set(samples)) >= 10
    mean = sum(samples, timedelta()) / len(samples)
    assert abs(mean - timedelta(minutes=16.5)) < timedelta(seconds=10)


@pytest.mark.parametrize("interval", [timedelta(), timedelta(minutes=-1)])
def test_no_interval_makes_a_loop(interval: timedelta) -> None:
    """Scenario 18."""
    assert next_poll(interval, dice(1)) >= timedelta(seconds=1)


def test_a_hundred_bundles_do_not_ask_in_the_same_second() -> None:
    """Scenario 19: they started together, and this is their next look."""
    randomness = dice(7)
    seconds = [int(next_poll(QUARTER, randomness).total_seconds()) for _ in range(100)]

    assert max(seconds.count(second) for second in seconds) <= 4
    assert max(seconds) - min(seconds) > 120


def test_failures_wait_longer_each_time_up_to_half_an_hour() -> None:
    """Scenario 16."""
    minutes = [
        wait(Reason.SERVER_ERROR, failures) / timedelta(minutes=1)
        for failures in range(1, 9)
    ]

    assert minutes == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert FAILED_FROM == 5


@pytest.mark.parametrize(
    ("reason", "minutes"),
    [
        (Reason.AUTHENTICATION_FAILED, [5, 10, 20, 30, 30]),
        (Reason.FORBIDDEN, [5, 10, 20, 30, 30]),
        (Reason.REPOSITORY_NOT_FOUND, [15, 15]),
        (Reason.TLS_VERIFICATION_FAILED, [5, 5]),
        (Reason.RATE_LIMITED, [1, 1]),
    ],
)
def test_each_kind_of_failure_has_its_own_wait(
    reason: Reason, minutes: list[int]
) -> None:
    waits = [wait(reason, number + 1) for number in range(len(minutes))]

    assert waits == [timedelta(minutes=it) for it in minutes]


def test_the_registry_decides_when_it_says_when() -> None:
    asked = timedelta(minutes=7)

    assert wait(Reason.RATE_LIMITED, 1, retry_after=asked) == asked
    assert wait(Reason.SERVER_ERROR, 1, retry_after=asked) == asked


def test_being_told_to_wait_is_no_failure_of_the_bundle() -> None:
    assert not counts(Reason.RATE_LIMITED)
    assert counts(Reason.NETWORK_ERROR)


def test_failed_applies_wait_one_five_and_fifteen_minutes() -> None:
    """Scenario 46."""
    waits = [timedelta(minutes=it) for it in (1, 5, 15)]

    found = [after_apply(attempt, waits, Middle()) for attempt in (1, 2, 3, 4)]

    assert found == [timedelta(minutes=it) for it in (1, 5, 15, 15)]


def test_jitter_is_a_tenth() -> None:
    randomness = dice(3)
    waits = [
        after_apply(1, [timedelta(seconds=60)], randomness).total_seconds()
        for _ in range(500)
    ]

    assert 54 <= min(waits) < 55
    assert 65 < max(waits) <= 66
