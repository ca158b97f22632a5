"""Events: short, distinct, and not too often."""

from __future__ import annotations

from typing import Any

import pytest

from controller_runtime import GroupVersionKind, ObjectReference
from controllers.autopilot.notices import Notices, Reason, cut_note, first_few
from controllers.autopilot.round import Round

SOURCE = ObjectReference(GroupVersionKind("", "v1", "X"), "shop", "source", "u", "7")
TARGET = ObjectReference(GroupVersionKind("", "v1", "Y"), "shop", "target")


class Recorder:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, regarding: ObjectReference, **fields: Any) -> None:
        self.events.append({"regarding": regarding, **fields})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notices(recorder: Recorder, clock: Clock) -> Notices:
    made = Notices(recorder, clock)  # type: ignore[arg-type]  # a recorder's one method
    made.about(SOURCE)
    return made


def test_an_event_is_about_the_source_and_the_target(
    notices: Notices, recorder: Recorder
) -> None:
    notices.tell(Reason.ASSET_APPLIED, "applied", what="Y/shop/target", target=TARGET)

    about = [event["regarding"] for event in recorder.events]
    assert about == [SOURCE._replace(resource_version=""), TARGET]
    assert {event["type"] for event in recorder.events} == {"Normal"}
    assert recorder.events[0]["action"] == "AssetApplied Y/shop/target"


def test_two_causes_are_two_actions_and_each_is_told_once_in_ten_minutes(
    notices: Notices, recorder: Recorder, clock: Clock
) -> None:
    """Scenario 70."""
    for note in ("one", "two", "one"):
        notices.tell(Reason.INVALID_PATCH, note, what="Y/target")
    assert [event["note"] for event in recorder.events] == ["one", "two"]
    assert len({event["action"] for event in recorder.events}) == 2

    clock.now = 599
    assert not notices.tell(Reason.INVALID_PATCH, "one", what="Y/target")
    clock.now = 600
    assert notices.tell(Reason.INVALID_PATCH, "one", what="Y/target")


def test_what_is_forgotten_is_told_again(notices: Notices) -> None:
    notices.tell(Reason.THROTTLED, "wait", what="a")
    notices.tell(Reason.THROTTLED, "wait", what="b")

    notices.forget("a", Reason.THROTTLED)

    assert notices.tell(Reason.THROTTLED, "wait", what="a")
    assert not notices.tell(Reason.THROTTLED, "wait", what="b")


def test_a_note_fits_and_ends_with_a_whole_character() -> None:
    """Scenario 70."""
    cut = cut_note("é" * 5000)

    assert 990 < len(cut.encode()) <= 1000
    assert set(cut) == {"é", "…"}


def test_an_action_fits_however_long_a_name_is(
    notices: Notices, recorder: Recorder
) -> None:
    for end in "ab":
        notices.tell(Reason.APPLY_FAILED, "no", what="x" * 300 + end)

    actions = [event["action"] for event in recorder.events]
    assert all(len(action.encode()) <= 128 for action in actions)
    assert len(set(actions)) == 2


def test_of_an_annotation_full_of_mistakes_a_few_are_told() -> None:
    problems = [f"problem {n}" for n in range(1000)]

    assert first_few(problems[:5]) == problems[:5]
    assert first_few(problems) == [*problems[:5], "and 995 more problems"]


def test_a_round_is_told_when_its_last_asset_has_been_tried() -> None:
    """Scenarios 42 and 43, as words."""
    tried = Round()
    tried.begin(["a", "b", "c"])
    assert tried.settle("a", applied=True) is None
    assert tried.settle("b", failure="no such field") is None
    assert tried.settle("b", failure="again") is None

    report = tried.settle("c")

    assert report is not None
    assert str(report) == "failed 1/3 [b: no such field]"
    assert report.is_news


def test_a_round_that_went_as_the_one_before_is_no_news() -> None:
    tried = Round()
    tried.begin(["a"])
    first = tried.settle("a")
    assert first is not None
    assert (str(first), first.is_news) == ("applied 0/1", True)

    tried.begin(["a"])
    second = tried.settle("a")

    assert second is not None
    assert not second.is_news


def test_only_some_of_many_causes_are_named() -> None:
    tried = Round()
    names = [f"a{n}" for n in range(9)]
    tried.begin(names)

    reports = [tried.settle(name, failure="no") for name in names]

    assert str(reports[-1]).endswith("and 4 more")
