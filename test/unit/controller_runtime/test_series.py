"""Which Events are one series, how many are kept in mind, and what is due when."""

from __future__ import annotations

import pytest

from controller_runtime.meta import Json
from controller_runtime.series import IDLE, REFRESH, Outbox, Write, series_key


def event(action: str = "Restart", **changes: object) -> Json:
    about = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "n", "name": "web"}
    return {
        "type": "Normal",
        "action": action,
        "reason": "Changed",
        "reportingController": "reload",
        "reportingInstance": "host",
        "regarding": about,
        "note": "once",
        "eventTime": "2030-01-01T00:00:00.000000Z",
        **changes,
    }


def taken(outbox: Outbox) -> Write:
    write = outbox.take()
    assert write is not None
    return write


def write_all(outbox: Outbox, now: float) -> list[tuple[str, int]]:
    """Write all that is due; return actions and counts."""
    done = []
    while write := outbox.take():
        outbox.settle(write, now, is_written=True)
        done.append((write.event["action"], write.times))
    return done


@pytest.mark.behaviour("E3")
@pytest.mark.parametrize(
    "name",
    ["type", "action", "reason", "reportingController", "reportingInstance"],
)
def test_what_differs_in_a_word_is_another_series(name: str) -> None:
    assert series_key(event()) != series_key({**event(), name: "other"})


@pytest.mark.behaviour("E3")
def test_what_is_about_other_objects_is_another_series() -> None:
    other = event()["regarding"] | {"name": "other"}

    assert series_key(event()) != series_key(event(regarding=other))
    assert series_key(event()) != series_key(event(related=other))


@pytest.mark.behaviour("E3")
def test_note_and_time_do_not_make_a_series() -> None:
    assert series_key(event()) == series_key(event(note="twice", eventTime=""))


@pytest.mark.behaviour("E2")
def test_a_new_event_is_refused_while_too_many_wait() -> None:
    outbox = Outbox(limit=2)

    assert [outbox.record(event(a), 0) for a in "abc"] == [True, True, False]
    taken(outbox)
    assert outbox.record(event("c"), 0)
    assert len(outbox) == 3


def test_more_of_a_series_is_counted_however_many_wait() -> None:
    outbox = Outbox(limit=1)
    outbox.record(event("a"), 0)

    assert outbox.record(event("a"), 0)
    assert write_all(outbox, 0) == [("a", 2)]


def test_pauses_count_as_waiting() -> None:
    outbox = Outbox(limit=1)
    outbox.record(event("a"), 0)
    outbox.postpone(taken(outbox), 0, until=10)

    assert not outbox.record(event("b"), 1)


def test_of_too_many_series_the_one_silent_for_longest_ends() -> None:
    outbox = Outbox(remembered=2)
    for action in "abab":
        outbox.record(event(action), 0)
    write_all(outbox, 0)
    for _ in range(3):
        outbox.record(event("a"), 1)  # 5 of them, of which the server knows 2
    outbox.record(event("b"), 2)

    outbox.record(event("c"), 3)

    assert outbox.remembered == 2
    assert write_all(outbox, 3) == [("c", 1), ("a", 5)]


def test_a_last_count_that_the_server_has_is_not_written_again() -> None:
    outbox = Outbox()
    outbox.record(event(), 0)
    outbox.record(event(), 0)
    write_all(outbox, 0)

    outbox.advance(IDLE)

    assert outbox.remembered == 0
    assert len(outbox) == 0
    assert outbox.next_due() is None


def test_a_series_that_ends_in_flight_has_its_last_word_after_it() -> None:
    outbox = Outbox()
    outbox.record(event(), 0)
    outbox.record(event(), 0)
    write = taken(outbox)
    outbox.record(event(), 1)

    outbox.advance(1 + IDLE)
    assert outbox.take() is None
    outbox.settle(write, 2 + IDLE, is_written=True)

    assert write_all(outbox, 2 + IDLE) == [("Restart", 3)]
    assert outbox.next_due() is None


def test_the_next_thing_due_is_a_pause_a_refresh_or_a_silence() -> None:
    outbox = Outbox()
    assert outbox.next_due() is None
    outbox.record(event(), 0)
    assert outbox.next_due() == IDLE
    outbox.postpone(taken(outbox), 0, until=10)
    assert outbox.next_due() == 10
    outbox.advance(10)
    outbox.record(event(), 10)
    assert write_all(outbox, 10) == [("Restart", 2)]
    for minute in range(1, 30):
        outbox.record(event(), minute * 60)
    assert outbox.next_due() == 10 + REFRESH

    outbox.advance(10 + REFRESH)

    assert write_all(outbox, 10 + REFRESH) == [("Restart", 31)]


@pytest.mark.behaviour("E3")
def test_each_series_is_told_again_half_an_hour_after_it_was_told() -> None:
    outbox, told = Outbox(), []
    for moment in range(0, 4000, 10):
        for action in "ab":
            if moment >= 100 or action == "a":
                outbox.record(event(action), moment)
        told += [(moment, action) for action, _ in write_all(outbox, moment)]

    assert told == [
        *[(0, "a"), (10, "a"), (100, "b"), (110, "b")],
        *[(1810, "a"), (1910, "b"), (3610, "a"), (3710, "b")],
    ]


def test_a_write_is_given_up_at_the_twelfth_failure() -> None:
    outbox = Outbox()
    outbox.record(event(), 0)

    for _ in range(11):
        assert outbox.postpone(taken(outbox), 0, until=0)
        outbox.advance(0)
    assert not outbox.postpone(taken(outbox), 0, until=0)

    assert len(outbox) == 0
    outbox.record(event(), 0)
    assert taken(outbox).times == 2


def test_the_end_leaves_nobody_waiting_for_his_time() -> None:
    outbox = Outbox()
    outbox.record(event("a"), 0)
    outbox.postpone(taken(outbox), 0, until=10)
    outbox.record(event("b"), 0)
    write_all(outbox, 0)
    outbox.record(event("b"), 0)
    write_all(outbox, 0)
    outbox.record(event("b"), 0)

    outbox.close()

    assert write_all(outbox, 1) == [("b", 3), ("a", 1)]
    assert outbox.remembered == 0
