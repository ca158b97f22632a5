"""Which step follows which observation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.release.plan import (
    PROBE_CEILING,
    RETRY_CEILING,
    Facts,
    ReleaseState,
    Remediation,
    Step,
    pause,
    plan,
)

S = ReleaseState
BACK = Remediation.ROLL_BACK
FAILED = Facts(failures=1, is_due=False)
OVER = Facts(failures=4, is_due=False)


@pytest.mark.parametrize(
    ("state", "facts", "step"),
    [
        pytest.param(S.ABSENT, Facts(), Step.INSTALL, id="nothing is deployed"),
        pytest.param(S.LOCKED, Facts(), Step.WAIT_FOR_LOCK, id="somebody is at it"),
        pytest.param(S.ABANDONED, Facts(), Step.UNLOCK, id="helm was interrupted"),
        pytest.param(S.GOING, Facts(), Step.UNINSTALL, id="half uninstalled"),
        pytest.param(
            S.GOING, FAILED, Step.WAIT_FOR_RETRY, id="did not go a moment ago"
        ),
        pytest.param(S.FOREIGN, Facts(), Step.REFUSE, id="another's"),
        pytest.param(S.OUT_OF_SYNC, Facts(), Step.UPGRADE, id="the spec changed"),
        pytest.param(S.UNCLAIMED, Facts(), Step.CLAIM, id="an object made anew"),
        pytest.param(S.IN_SYNC, Facts(), None, id="all is well"),
        pytest.param(S.HELD, Facts(), None, id="held at another revision"),
        pytest.param(
            S.IN_SYNC, Facts(is_forced=True), Step.UPGRADE, id="forced though well"
        ),
        pytest.param(
            S.HELD, Facts(is_forced=True), Step.UPGRADE, id="forced though held"
        ),
        pytest.param(
            S.IN_SYNC,
            Facts(is_rollback_wanted=True),
            Step.ROLL_BACK,
            id="somebody wants a revision back",
        ),
        pytest.param(
            S.ABSENT,
            Facts(is_rollback_wanted=True),
            Step.INSTALL,
            id="nothing to go back to",
        ),
        pytest.param(
            S.FAILED, Facts(), Step.UPGRADE, id="it failed, with another spec"
        ),
        pytest.param(S.FAILED, FAILED, Step.WAIT_FOR_RETRY, id="it failed just now"),
        pytest.param(
            S.FAILED, Facts(failures=1), Step.UPGRADE, id="it failed a while ago"
        ),
        pytest.param(
            S.FAILED,
            Facts(failures=1, is_due=False, remediation=BACK),
            Step.ROLL_BACK,
            id="a good revision is there",
        ),
        pytest.param(
            S.OUT_OF_SYNC, FAILED, Step.WAIT_FOR_RETRY, id="rolled back, too soon"
        ),
        pytest.param(S.OUT_OF_SYNC, OVER, Step.GIVE_UP, id="no retry is left"),
        pytest.param(
            S.FAILED,
            Facts(failures=4, is_due=False, remediation=BACK),
            Step.ROLL_BACK,
            id="no retry is left, and the last is remediated",
        ),
        pytest.param(
            S.FAILED,
            Facts(failures=4, is_due=False, remediation=BACK, remediate_last=False),
            Step.GIVE_UP,
            id="no retry is left, and the last is to be looked at",
        ),
        pytest.param(S.ABSENT, OVER, Step.GIVE_UP, id="the install failed too often"),
        pytest.param(
            S.ABSENT, Facts(failures=4), Step.INSTALL, id="a probe after that"
        ),
        pytest.param(
            S.FAILED,
            Facts(failures=1, remediation=Remediation.UNINSTALL),
            Step.UNINSTALL,
            id="uninstalled, because that was asked for",
        ),
    ],
)
def test_what_is_seen_decides_the_next_step(
    state: ReleaseState, facts: Facts, step: Step | None
) -> None:
    assert plan(state, facts) is step


@given(st.sampled_from(ReleaseState), st.integers(0, 9), st.booleans(), st.booleans())
def test_without_being_asked_to_nothing_is_uninstalled_that_could_be_kept(
    state: ReleaseState, failures: int, is_due: bool, is_forced: bool
) -> None:
    facts = Facts(failures=failures, is_due=is_due, is_forced=is_forced)

    if plan(state, facts) is Step.UNINSTALL:
        assert state is ReleaseState.GOING


def test_pauses_double_and_end_in_rare_probes() -> None:
    def seconds(failures: int) -> float:
        return pause(
            failures,
            retries=6,
            retry_interval=timedelta(minutes=1),
            interval=timedelta(minutes=5),
        ).total_seconds()

    assert [seconds(it) for it in range(1, 7)] == [60, 120, 240, 480, 900, 900]
    assert seconds(7) == timedelta(minutes=150).total_seconds()


@given(st.integers(1, 10_000), st.integers(0, 100), st.integers(1, 10_000_000))
def test_no_pause_is_longer_than_a_human_would_wait(
    failures: int, retries: int, seconds: int
) -> None:
    span = timedelta(seconds=seconds)

    found = pause(failures, retries=retries, retry_interval=span, interval=span)

    assert found <= max(RETRY_CEILING, PROBE_CEILING)
