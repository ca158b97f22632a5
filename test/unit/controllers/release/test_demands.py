"""Annotations that ask for something once."""

from __future__ import annotations

import pytest

from api.release.status import LastHandled
from controllers.release import demands
from controllers.release.demands import Demands, is_orphan, read_demands


def test_nothing_asked_is_nothing_to_do() -> None:
    assert read_demands({}, None) == Demands()


@pytest.mark.parametrize(
    ("annotation", "field"),
    [
        (demands.FORCE_AT, "is_forced"),
        (demands.RESET_AT, "is_reset"),
        (demands.UNLOCK_AT, "is_unlocked"),
    ],
)
def test_a_token_counts_once(annotation: str, field: str) -> None:
    asked = read_demands({annotation: "1"}, None)
    assert getattr(asked, field)

    assert not getattr(read_demands({annotation: "1"}, asked.handled), field)
    assert getattr(read_demands({annotation: "2"}, asked.handled), field)


def test_a_revision_is_asked_for_with_a_token() -> None:
    asked = read_demands({demands.ROLLBACK_TO: "3@today"}, None)
    again = read_demands({demands.ROLLBACK_TO: "3@today"}, asked.handled)

    assert (asked.rollback_to, again.rollback_to) == (3, None)


@pytest.mark.parametrize("text", ["3", "x@t", "@t", "3@", "-1@t"])
def test_a_revision_that_cannot_be_read_is_told(text: str) -> None:
    asked = read_demands({demands.ROLLBACK_TO: text}, None)

    assert asked.rollback_to is None
    assert "REVISION@TOKEN" in asked.problem


def test_an_annotation_that_goes_is_no_new_token() -> None:
    assert read_demands({}, LastHandled(force_at="1")) == Demands(
        handled=LastHandled(force_at="1")
    )


def test_only_the_word_orphan_leaves_a_release() -> None:
    assert is_orphan({demands.DELETION_POLICY: "Orphan"})
    assert not is_orphan({demands.DELETION_POLICY: "orphan?"})
