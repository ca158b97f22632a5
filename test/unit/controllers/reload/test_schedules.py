"""When windows are open, in places where clocks change too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from controllers.reload.gates.schedules import (
    Opening,
    next_open,
    parse_window,
    read_window,
)
from controllers.reload.terms import Window

BERLIN = ZoneInfo("Europe/Berlin")
TWO_HOURS = timedelta(hours=2)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def opens(window: Window, moment: datetime) -> datetime:
    return read_window(window).next_open(moment)


def test_a_window_is_open_from_its_time_on_for_its_duration() -> None:
    window = parse_window("0 2 * * 1-5; 2h; Europe/Berlin")

    friday, monday = berlin("2026-11-20T02:00"), berlin("2026-11-23T02:00")
    assert opens(window, friday - timedelta(seconds=1)) == friday
    assert opens(window, friday) == friday
    last = friday + TWO_HOURS - timedelta(seconds=1)
    assert opens(window, last) == last
    assert opens(window, friday + TWO_HOURS) == monday


def test_without_a_zone_the_clock_is_utc() -> None:
    window = parse_window("30 1 * * *;15m")

    at = datetime(2026, 7, 1, 1, 30, tzinfo=UTC)
    assert opens(window, at - timedelta(hours=1)) == at


def test_a_window_in_the_hour_that_is_left_out_in_spring_opens_after_it() -> None:
    window = Window("30 2 * * *", TWO_HOURS, "Europe/Berlin")

    before = berlin("2026-03-29T01:00")
    # At 2:00 it is 3:00.
    assert opens(window, before) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert opens(window, before + timedelta(hours=4)) == berlin("2026-03-30T02:30")


def test_a_window_in_the_hour_that_comes_twice_in_autumn_opens_once() -> None:
    window = Window("30 2 * * *", timedelta(minutes=20), "Europe/Berlin")

    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 2:30 in summer time
    assert opens(window, first - timedelta(hours=1)) == first
    again = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 2:30 once more
    assert opens(window, again) == berlin("2026-10-26T02:30")


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_window_is_open_for_as_long_as_ever_when_clocks_change(day: str) -> None:
    window = Window("0 1 * * *", timedelta(hours=4), "Europe/Berlin")

    opening = berlin(f"{day}T01:00")
    last = opening + timedelta(hours=4) - timedelta(seconds=1)
    assert opens(window, last) == last
    assert opens(window, opening + timedelta(hours=4)) > opening + timedelta(hours=20)


def test_windows_that_overlap_are_one() -> None:
    window = Window("0 * * * *", timedelta(hours=1))

    for minutes in range(0, 300, 7):
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        assert opens(window, moment) == moment


def test_no_windows_are_always_open() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert next_open((), now) == Opening(now)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        pytest.param("0 2 * * *", "is no window", id="no duration"),
        pytest.param("0 2 * * *;1h;UTC;x", "is no window", id="too much"),
        pytest.param("@daily;1h", "five fields", id="a word"),
        pytest.param("0 0 2 * * *;1h", "five fields", id="seconds"),
        pytest.param(f"{'1,' * 500}1 * * * *;1h", "five fields", id="endless"),
        pytest.param("60 2 * * *;1h", "is no schedule", id="a minute too late"),
        pytest.param("0 2 30 2 *;1h", "is no schedule", id="30 February"),
        pytest.param("0 2 * * *;soon", "no duration", id="no time"),
        pytest.param("0 2 * * *;0s", "open for up to", id="never open"),
        pytest.param("0 2 * * *;9000h", "open for up to", id="more than a year"),
        pytest.param("0 2 * * *;1h;Berlin", "no time zone", id="no zone"),
        pytest.param("0 2 * * *;1h;../etc/passwd", "no time zone", id="a path"),
        pytest.param("0 2 * * *;1h;Europe", "no time zone", id="a folder"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_wrong(
    text: str, wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_window(text)
