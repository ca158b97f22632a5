"""How often an object is corrected, and what a war is."""

from __future__ import annotations

from controllers.autopilot.throttle import Throttle, ThrottleOptions, Turn


def turns(throttle: Throttle[str], now: float, *, foreign: bool = True) -> Turn:
    return throttle.turn("a", now, is_foreign=foreign)


def test_a_burst_has_five_turns_and_then_one_every_twelve_seconds() -> None:
    """Scenario 21."""
    throttle = Throttle[str]()

    assert [turns(throttle, 0, foreign=False) for _ in range(6)] == [
        *[Turn.GO] * 5,
        Turn.WAIT,
    ]
    assert throttle.due("a", 0) == 12
    assert turns(throttle, 11.9, foreign=False) is Turn.WAIT
    assert turns(throttle, 12.1, foreign=False) is Turn.GO
    assert turns(throttle, 12.2, foreign=False) is Turn.WAIT
    assert [turns(throttle, 100, foreign=False) for _ in range(6)].count(Turn.GO) == 5


def test_keys_have_buckets_of_their_own() -> None:
    """Scenario 22."""
    throttle = Throttle[str](ThrottleOptions(capacity=1))
    assert throttle.turn("a", 0, is_foreign=True) is Turn.GO
    assert throttle.turn("a", 0, is_foreign=True) is Turn.WAIT

    assert throttle.turn("b", 0, is_foreign=True) is Turn.GO


def test_a_sustained_war_is_declared_after_three_spaced_throttles() -> None:
    """Scenario 23: within a minute, after at most ten corrections."""
    throttle = Throttle[str]()
    corrected, now, end = 0, 0.0, None
    while end is None and now < 60:
        match turns(throttle, now):
            case Turn.GO:
                corrected += 1
            case Turn.WAR:
                end = now
            case Turn.WAIT:
                pass
        now += 0.25

    assert end is not None
    assert 40 <= end <= 50
    assert corrected <= 10
    assert throttle.is_at_threshold("a")


def test_a_burst_that_stops_is_no_war() -> None:
    """Scenario 24: eleven quick edits."""
    throttle = Throttle[str]()

    assert Turn.WAR not in {turns(throttle, n / 5) for n in range(11)}
    assert throttle.count("a") == 1


def test_our_own_retries_do_not_count() -> None:
    throttle = Throttle[str]()

    assert Turn.WAR not in {turns(throttle, n, foreign=False) for n in range(600)}
    assert throttle.count("a") == 0


def test_a_window_without_drift_ends_the_count_and_a_moment_does_not() -> None:
    throttle = Throttle[str]()
    for now in (0, 1, 2, 3, 4, 5):
        turns(throttle, now)
    assert throttle.count("a") == 1

    throttle.clean("a", 6)
    turns(throttle, 7)
    assert throttle.count("a") == 1

    throttle.clean("a", 8)
    throttle.clean("a", 69)
    assert throttle.count("a") == 0


def test_a_quiet_time_that_ends_with_drift_counts_as_well() -> None:
    throttle = Throttle[str]()
    for now in (0, 1, 2, 3, 4, 5):
        turns(throttle, now)
    throttle.clean("a", 6)

    assert turns(throttle, 70) is Turn.GO
    assert throttle.count("a") == 0


def test_a_reset_begins_with_a_full_bucket() -> None:
    """Scenario 26."""
    throttle = Throttle[str](ThrottleOptions(threshold=1))
    assert [turns(throttle, 0) for _ in range(6)][-1] is Turn.WAR

    throttle.reset("a")

    assert not throttle.is_at_threshold("a")
    assert [turns(throttle, 1) for _ in range(5)] == [Turn.GO] * 5


def test_many_keys_at_one_time_have_one_counted_throttle_each() -> None:
    """Scenario 29: a hundred records, for one key and for a hundred."""
    throttle = Throttle[str]()
    for key in ("a", *map(str, range(100))):
        for _ in range(100):
            throttle.turn(key, 0, is_foreign=True)

    assert {throttle.count(key) for key in ("a", "0", "99")} == {1}
    assert min(throttle.tokens(0).values()) >= 0


def test_keys_of_which_nothing_is_heard_are_forgotten() -> None:
    throttle = Throttle[str]()
    throttle.turn("old", 0, is_foreign=True)
    throttle.turn("a", 4000, is_foreign=True)
    throttle.turn("a", 8000, is_foreign=True)

    assert len(throttle) == 1
