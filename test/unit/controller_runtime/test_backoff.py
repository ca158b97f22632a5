"""Delays after failures, in seconds, to the last digit."""

from __future__ import annotations

import random

import pytest

from controller_runtime.backoff import (
    Backoff,
    BucketLimiter,
    ExponentialLimiter,
    FastSlowLimiter,
    Limiter,
    MaxOfLimiter,
    TokenBucket,
    WithMaxWaitLimiter,
)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - jitter, no secret


def delays(limiter: Limiter[str], times: int, key: str = "a") -> list[float]:
    return [limiter.when(key, now=0) for _ in range(times)]


@pytest.mark.behaviour("Q7")
def test_a_delay_doubles_from_5_ms_up_to_1000_s_which_the_nineteenth_reaches() -> None:
    rule = Backoff()

    assert [rule.delay(n) for n in range(4)] == [0.005, 0.01, 0.02, 0.04]
    assert rule.delay(17) == pytest.approx(655.36)
    assert rule.delay(18) == 1000


def test_a_delay_stays_at_its_ceiling_beyond_what_a_float_can_hold() -> None:
    assert Backoff(base=1, ceiling=7).delay(100_000) == 7


@pytest.mark.behaviour("Q7")
def test_each_key_waits_for_its_own_failures_since_it_was_forgotten() -> None:
    limiter: ExponentialLimiter[str] = ExponentialLimiter()

    assert delays(limiter, 3, "a") == [0.005, 0.01, 0.02]
    assert delays(limiter, 1, "b") == [0.005]
    assert limiter.num_requeues("a") == 3

    limiter.forget("a")

    assert limiter.num_requeues("a") == 0
    assert delays(limiter, 1, "a") == [0.005]
    assert limiter.num_requeues("b") == 1


def test_forgetting_a_key_that_never_failed_is_fine() -> None:
    limiters: list[Limiter[str]] = [
        ExponentialLimiter(),
        FastSlowLimiter(fast=1, slow=2, max_fast=1),
        BucketLimiter(),
    ]

    for limiter in limiters:
        limiter.forget("a")
        assert limiter.num_requeues("a") == 0


def test_jitter_spreads_a_delay_by_a_tenth_either_way_even_at_the_ceiling() -> None:
    limiter: ExponentialLimiter[int] = ExponentialLimiter(
        Backoff(base=100, ceiling=100), jitter=0.1, randomness=seeded(1)
    )

    spread = [limiter.when(key, now=0) for key in range(1000)]

    assert 90 <= min(spread) < 91
    assert 109 < max(spread) <= 110


def test_the_same_randomness_gives_the_same_jitter() -> None:
    one, other = (
        ExponentialLimiter[str](jitter=0.1, randomness=seeded(7)) for _ in range(2)
    )

    assert delays(one, 5) == delays(other, 5)


@pytest.mark.behaviour("Q9")
def test_the_first_failures_wait_briefly_and_the_later_ones_long() -> None:
    limiter: FastSlowLimiter[str] = FastSlowLimiter(fast=0.1, slow=60, max_fast=2)

    assert delays(limiter, 4) == [0.1, 0.1, 60, 60]
    assert limiter.num_requeues("a") == 4

    limiter.forget("a")

    assert delays(limiter, 1) == [0.1]


@pytest.mark.behaviour("Q8")
def test_the_101st_key_at_once_waits_100_ms_and_the_next_200() -> None:
    limiter = BucketLimiter()

    waits = [limiter.when(key, now=50) for key in range(102)]

    assert waits == pytest.approx([0] * 100 + [0.1, 0.2])


@pytest.mark.behaviour("Q8")
def test_a_bucket_fills_with_time_but_never_beyond_its_burst() -> None:
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.reserve(0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])

    # After one second the debt of one turn is paid and one more turn is there.
    assert [bucket.reserve(1) for _ in range(2)] == pytest.approx([0, 0.5])

    assert [bucket.reserve(1000) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])


@pytest.mark.behaviour("Q9")
def test_of_several_limiters_the_one_that_asks_for_most_decides() -> None:
    limiter: MaxOfLimiter[str] = MaxOfLimiter(
        ExponentialLimiter(Backoff(base=1, ceiling=100)),
        BucketLimiter(TokenBucket(rate=0.1, burst=1)),
    )

    assert delays(limiter, 3) == [1, 10, 20], "the bucket asks for 0, 10, 20"
    assert limiter.num_requeues("a") == 3

    limiter.forget("a")

    assert limiter.num_requeues("a") == 0
    assert delays(limiter, 1) == [30], "the bucket does not forget"


def test_no_key_waits_longer_than_the_longest_wait() -> None:
    inner: ExponentialLimiter[str] = ExponentialLimiter(Backoff(base=1, ceiling=100))
    limiter = WithMaxWaitLimiter(inner, max_wait=5)

    assert delays(limiter, 5) == [1, 2, 4, 5, 5]
    assert limiter.num_requeues("a") == 5

    limiter.forget("a")

    assert delays(limiter, 1) == [1]


def test_the_longest_wait_is_a_limit_on_what_is_asked_at_the_time() -> None:
    bucket = BucketLimiter(TokenBucket(rate=1, burst=1))
    limiter = WithMaxWaitLimiter[str](bucket, max_wait=2)

    assert delays(limiter, 4) == [0, 1, 2, 2]
    assert limiter.when("a", now=3) == 1, "the debt went on growing, and was paid"
