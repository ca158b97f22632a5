"""Patterns of strangers cost a bounded part of everybody's time."""

from __future__ import annotations

from contextlib import suppress

import pytest

from controllers.reload.patterns import (
    PATTERNS_MAX,
    STEPS_MAX,
    Pattern,
    PatternReader,
)

SLOW = "(?:[a-z0-9]?){500}(?:[a-y]?){400}x"
"""Takes a name of 253 characters 2.5 ms."""


def test_a_pattern_is_for_whole_names() -> None:
    pattern = Pattern("shop-.*|db")

    names = ["shop-", "shop-cert", "db", "dbx", "my-shop-cert", ""]
    assert [pattern.fullmatch(name) for name in names] == [
        *(True, True, True),
        *(False, False, False),
    ]


def test_the_same_question_has_the_same_answer_after_many_others() -> None:
    pattern = Pattern("n[0-9]*5")
    names = [f"n{number}" for number in range(10_000)]

    for _ in range(2):
        assert [n for n in names if pattern.fullmatch(n)] == names[5::10]


def test_all_patterns_of_one_stranger_share_their_steps() -> None:
    reader = PatternReader()
    fitting = STEPS_MAX // Pattern(f"{SLOW}1").steps

    for number in range(fitting):
        reader.read(f"{SLOW}{number}")

    assert 0 < fitting < PATTERNS_MAX
    with pytest.raises(ValueError, match="too slow together") as caught:
        reader.read(f"{SLOW}{fitting}")
    assert len(str(caught.value)) < 300


def test_one_that_is_too_slow_leaves_the_others_at_work() -> None:
    reader = PatternReader()
    reader.read(f"{SLOW}1")

    with pytest.raises(ValueError, match="too slow together"):
        reader.read(f"{SLOW}2")

    assert reader.read("shop-.*").fullmatch("shop-cert")


def test_patterns_as_people_write_them_fit() -> None:
    reader = PatternReader()

    patterns = [
        reader.read(rf"team-{number}-(?:db|cert)-[a-z0-9]+\.v\d+")
        for number in range(PATTERNS_MAX)
    ]

    assert patterns[7].fullmatch("team-7-db-x1.v2")
    assert reader.is_full
    with pytest.raises(ValueError, match="more than 100 patterns"):
        reader.read("one-more")


@pytest.mark.parametrize("text", ["(", "a{2000}", "(?=a)", r"(a)\1", "x" * 1025])
def test_what_is_no_pattern_is_refused_in_short(text: str) -> None:
    with pytest.raises(ValueError, match="pattern") as caught:
        Pattern(text)

    assert len(str(caught.value)) < 200


def test_what_is_refused_is_one_of_so_many() -> None:
    """Or thousands of them would take seconds, to be refused one by one."""
    reader = PatternReader()

    for number in range(PATTERNS_MAX):
        with suppress(ValueError):
            reader.read(f"{SLOW}{number}")

    assert reader.is_full
