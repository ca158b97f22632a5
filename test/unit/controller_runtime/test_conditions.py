"""Conditions say since when, and about which spec."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller_runtime.conditions import (
    Condition,
    ConditionStatus,
    find_condition,
    is_condition_true,
    remove_condition,
    set_condition,
)

NOW = datetime(2030, 1, 1, 12, 0, 0, 999, tzinfo=UTC)
THEN = datetime(2029, 1, 1, tzinfo=UTC)


def condition(type_: str, status: ConditionStatus = "True") -> Condition:
    return Condition(
        type=type_, status=status, reason="Done", last_transition_time=THEN
    )


def test_a_new_condition_comes_last_with_the_time_in_whole_seconds() -> None:
    ready = condition("Ready")

    conditions = set_condition(
        [ready], "Synced", "False", reason="Held", message="m", generation=3, now=NOW
    )

    assert conditions[0] is ready
    assert conditions[1].model_dump(mode="json", by_alias=True) == {
        "type": "Synced",
        "status": "False",
        "observedGeneration": 3,
        "lastTransitionTime": "2030-01-01T12:00:00Z",
        "reason": "Held",
        "message": "m",
    }


def test_the_time_moves_when_the_status_does() -> None:
    conditions = set_condition(
        [condition("Ready")], "Ready", "False", reason="No", generation=1, now=NOW
    )

    assert conditions[0].last_transition_time == NOW.replace(microsecond=0)


def test_the_time_stays_while_only_the_reason_changes() -> None:
    conditions = set_condition(
        [condition("Ready")], "Ready", "True", reason="Better", generation=2, now=NOW
    )

    assert conditions[0].last_transition_time == THEN
    assert (conditions[0].reason, conditions[0].observed_generation) == ("Better", 2)


def test_setting_what_is_set_changes_nothing() -> None:
    def again(
        conditions: tuple[Condition, ...], now: datetime
    ) -> tuple[Condition, ...]:
        return set_condition(
            conditions, "Ready", "True", reason="Done", generation=1, now=now
        )

    once = again((), NOW)

    assert again(once, NOW + timedelta(hours=1)) == once


def test_the_order_stays() -> None:
    before = [condition("A"), condition("B"), condition("C")]

    after = set_condition(before, "B", "False", reason="No", generation=1, now=NOW)

    assert [it.type for it in after] == ["A", "B", "C"]


def test_a_condition_is_found_by_its_type() -> None:
    conditions = [condition("A"), condition("B")]

    assert find_condition(conditions, "B") is conditions[1]
    assert find_condition(conditions, "C") is None


@pytest.mark.parametrize(
    ("status", "is_true"), [("True", True), ("False", False), ("Unknown", False)]
)
def test_only_true_is_true(status: ConditionStatus, is_true: bool) -> None:
    assert is_condition_true([condition("A", status)], "A") is is_true
    assert is_condition_true([{"type": "A", "status": status}], "A") is is_true
    assert not is_condition_true([], "A")


def test_a_condition_is_removed_by_its_type() -> None:
    conditions = [condition("A"), condition("B")]

    assert remove_condition(conditions, "A") == (conditions[1],)
    assert remove_condition([{"type": "A"}], "A") == ()
