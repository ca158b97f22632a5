"""Conditions say since when, and about which spec."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller_runtime.conditions import (
    Condition,
    ConditionStatus,
    clear_progress,
    find_condition,
    is_condition_true,
    mark_reconciling,
    mark_stalled,
    remove_condition,
    set_condition,
    summarize_conditions,
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


def test_a_condition_about_an_older_spec_is_not_true_of_this_one() -> None:
    old = condition("Ready").model_copy(update={"observed_generation": 2})
    plain = old.model_dump(mode="json", by_alias=True)

    for it in (old, plain):
        assert is_condition_true([it], "Ready")
        assert is_condition_true([it], "Ready", generation=2)
        assert not is_condition_true([it], "Ready", generation=3)
    assert is_condition_true([condition("Ready")], "Ready", generation=3)


def test_an_object_is_worked_on_or_stalled_or_neither() -> None:
    ready = (condition("Ready"),)

    working = mark_reconciling(ready, reason="Busy", generation=1, now=NOW)
    stalled = mark_stalled(working, reason="Broken", generation=1, now=NOW)
    working_again = mark_reconciling(stalled, reason="Busy", generation=2, now=NOW)

    assert [it.type for it in working] == ["Ready", "Reconciling"]
    assert [it.type for it in stalled] == ["Ready", "Stalled"]
    assert [it.type for it in working_again] == ["Ready", "Reconciling"]
    assert clear_progress(working_again) == ready


def told(type_: str, status: ConditionStatus, generation: int = 3) -> Condition:
    return Condition(
        type=type_,
        status=status,
        reason=f"{type_}{status}",
        message=f"{type_} is {status}",
        observed_generation=generation,
        last_transition_time=THEN,
    )


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        ([told("Released", "True"), told("Healthy", "True")], "True", "Succeeded"),
        ([told("Released", "True")], "Unknown", "Progressing"),
        ([], "Unknown", "Progressing"),
        (
            [told("Released", "False"), told("Healthy", "False")],
            "False",
            "ReleasedFalse",
        ),
        (
            [told("Released", "True"), told("Healthy", "Unknown")],
            "Unknown",
            "HealthyUnknown",
        ),
        (
            [told("Released", "True"), told("Healthy", "True", generation=2)],
            "Unknown",
            "Progressing",
        ),
        (
            [told("Released", "False", generation=2), told("Healthy", "False")],
            "False",
            "HealthyFalse",
        ),
        (
            [
                told("Released", "True"),
                told("Healthy", "True"),
                told("Drifted", "True"),
            ],
            "False",
            "DriftedTrue",
        ),
        (
            [
                told("Released", "True"),
                told("Healthy", "True"),
                told("Drifted", "False"),
            ],
            "True",
            "Succeeded",
        ),
        (
            [
                told("Released", "True"),
                told("Healthy", "True"),
                told("Drifted", "Unknown"),
            ],
            "Unknown",
            "DriftedUnknown",
        ),
        (
            [
                told("Released", "True"),
                told("Healthy", "True"),
                told("Reconciling", "True"),
            ],
            "Unknown",
            "ReconcilingTrue",
        ),
        (
            [told("Released", "False"), told("Reconciling", "True")],
            "False",
            "ReleasedFalse",
        ),
        (
            [told("Released", "False"), told("Stalled", "True")],
            "False",
            "StalledTrue",
        ),
        (
            [told("Released", "True"), told("Stalled", "True", generation=2)],
            "Unknown",
            "Progressing",
        ),
    ],
)
def test_ready_sums_up_the_others(
    given: list[Condition], status: ConditionStatus, reason: str
) -> None:
    conditions = summarize_conditions(
        given, good=["Released", "Healthy"], bad=["Drifted"], generation=3, now=NOW
    )

    ready = find_condition(conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == (status, reason)
    assert ready.observed_generation == 3
    assert conditions[:-1] == tuple(given)


def test_ready_keeps_the_time_of_its_last_change() -> None:
    def summary(
        conditions: tuple[Condition, ...], now: datetime
    ) -> tuple[Condition, ...]:
        return summarize_conditions(
            conditions, good=["Released"], generation=3, now=now, message="all is well"
        )

    first = summary((told("Released", "True"),), THEN)
    second = summary(first, NOW)

    ready = find_condition(second, "Ready")
    assert ready is not None
    assert (ready.last_transition_time, ready.message) == (THEN, "all is well")
