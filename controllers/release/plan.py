"""What to do next about a release: one decision, no effects.

    observe ──▶ ReleaseState, Facts ──plan──▶ Step ──▶ act ──▶ observe again

Each pass takes one step and looks again, so a step may fail, be repeated or be
overtaken by an edit without harm. What is tried is tried again after a while
(`retries`), longer with each failure; when no retry is left the object is stalled, and
still tried from time to time: whatever was wrong may have been mended outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto
from typing import assert_never


class ReleaseState(StrEnum):
    """How what is deployed compares with what is wanted."""

    ABSENT = auto()
    """No release in storage."""

    LOCKED = auto()
    """An operation is under way that is not ours, or may be."""

    ABANDONED = auto()
    """An operation was interrupted, and left the release pending."""

    GOING = auto()
    """It is being uninstalled, or was, and its record is still there."""

    FOREIGN = auto()
    """It belongs to another object, or to nobody and is not to be adopted."""

    FAILED = auto()
    """The last operation failed."""

    OUT_OF_SYNC = auto()
    """It is deployed; chart or values differ from what is wanted."""

    UNCLAIMED = auto()
    """What is wanted is deployed; the record names an object that is gone."""

    HELD = auto()
    """Somebody asked for another revision, and nothing has changed since."""

    IN_SYNC = auto()
    """Nothing to do."""


class Step(StrEnum):
    """One thing that moves a release towards its spec."""

    INSTALL = auto()
    UPGRADE = auto()
    ROLL_BACK = auto()
    UNINSTALL = auto()
    UNLOCK = auto()
    CLAIM = auto()

    WAIT_FOR_LOCK = auto()
    WAIT_FOR_RETRY = auto()
    GIVE_UP = auto()
    """No retry is left: only a change, or a rare probe, goes on."""
    REFUSE = auto()
    """It is not ours to touch."""

    @property
    def is_action(self) -> bool:
        """Whether something is done, other than to wait."""
        return self not in _WAITS


_WAITS = frozenset({Step.WAIT_FOR_LOCK, Step.WAIT_FOR_RETRY, Step.GIVE_UP, Step.REFUSE})


class Remediation(StrEnum):
    """What a failure calls for."""

    NONE = auto()
    ROLL_BACK = auto()
    UNINSTALL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What else the decision depends on."""

    failures: int = 0
    """Failed attempts in a row for what is wanted now."""

    retries: int = 3
    """Attempts after the first that the user allows."""

    is_due: bool = True
    """The time of the next attempt has come."""

    is_forced: bool = False
    """Somebody asked for an attempt now."""

    is_rollback_wanted: bool = False
    """Somebody asked for another revision."""

    remediation: Remediation = Remediation.NONE
    """What the last failure calls for, if that has not been done yet."""

    remediate_last: bool = True
    """Remediate also when no retry is left."""


def plan(state: ReleaseState, facts: Facts) -> Step | None:
    """Choose the next step, or `None` when there is nothing to do."""
    match state:
        case ReleaseState.LOCKED:
            return Step.WAIT_FOR_LOCK
        case ReleaseState.ABANDONED:
            return Step.UNLOCK
        case ReleaseState.FOREIGN:
            return Step.REFUSE
        case ReleaseState.GOING:
            is_time = facts.is_due or facts.is_forced
            return Step.UNINSTALL if is_time else Step.WAIT_FOR_RETRY
        case ReleaseState.ABSENT:
            return _attempt(Step.INSTALL, facts)
        case _ if facts.is_rollback_wanted:
            return Step.ROLL_BACK
        case ReleaseState.UNCLAIMED if not facts.is_forced:
            return Step.CLAIM
        case ReleaseState.IN_SYNC | ReleaseState.HELD if not facts.is_forced:
            return None
        case (
            ReleaseState.FAILED
            | ReleaseState.OUT_OF_SYNC
            | ReleaseState.UNCLAIMED
            | ReleaseState.IN_SYNC
            | ReleaseState.HELD
        ):
            return _attempt(Step.UPGRADE, facts)
        case _:
            assert_never(state)


def _attempt(step: Step, facts: Facts) -> Step:
    if facts.is_forced:
        return step
    is_last = facts.failures > facts.retries
    if facts.failures and (facts.remediate_last or not is_last):
        match facts.remediation:
            case Remediation.ROLL_BACK:
                return Step.ROLL_BACK
            case Remediation.UNINSTALL:
                return Step.UNINSTALL
            case Remediation.NONE:
                pass
            case _:
                assert_never(facts.remediation)
    if facts.is_due:
        return step
    return Step.GIVE_UP if is_last else Step.WAIT_FOR_RETRY


RETRY_CEILING = timedelta(minutes=15)
"""Longest pause before a retry."""

PROBE_INTERVALS = 30
PROBE_CEILING = timedelta(hours=6)
"""Longest pause when no retry is left."""


def pause(
    failures: int,
    *,
    retries: int,
    retry_interval: timedelta,
    interval: timedelta,
    spread: float = 1.0,
) -> timedelta:
    """Return how long to wait after a failure.

    Args:
        failures: In a row, this one included.
        retries: Attempts after the first that the user allows.
        retry_interval: Before the first retry; doubles with each.
        interval: Between two looks; when no retry is left, thirty of them.
        spread: Factor around 1, so that what failed together is not tried together.
    """
    if failures > retries:
        return (
            min(PROBE_INTERVALS * min(interval, PROBE_CEILING), PROBE_CEILING) * spread
        )
    factor: int = 2 ** min(max(failures - 1, 0), 20)
    return min(min(retry_interval, RETRY_CEILING) * factor, RETRY_CEILING) * spread
