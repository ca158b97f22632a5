"""Outcome of a look at a release → status: pure.

    Outcome ──conclude──▶ phase, conditions, observedGeneration

An outcome says everything at once, so no two places of a status can tell different
stories: phase, Ready with its reason, whether work goes on or needs a human
(Reconciling, Stalled), and the aspects that it knows about. Other aspects stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, auto
from typing import NamedTuple

from api.release.status import Health, ManagedRoostStatus, Phase
from controller_runtime import (
    READY,
    Condition,
    clear_progress,
    mark_reconciling,
    mark_stalled,
    remove_condition,
    set_condition,
)
from controller_runtime.conditions import ConditionStatus

RELEASED = "Released"
SOURCE_READY = "SourceReady"
REMEDIATED = "Remediated"
TEARDOWN_BLOCKED = "TeardownBlocked"
PROGRESSING = "Progressing"
DEGRADED = "Degraded"

MAX_MESSAGE = 1024
"""Characters of a message: Helm quotes whole objects now and then."""


class Progress(StrEnum):
    """Whether there is more to do."""

    SETTLED = auto()
    WORKING = auto()
    STALLED = auto()


class Aspect(NamedTuple):
    """What one condition says."""

    status: ConditionStatus
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a look at a release came to."""

    phase: Phase | None = None
    """`None` leaves it."""
    ready: Aspect
    progress: Progress = Progress.SETTLED
    aspects: Mapping[str, Aspect | None] = field(default_factory=dict)
    """Type → what it says now; `None` removes it."""


def conclude(
    status: ManagedRoostStatus, outcome: Outcome, *, generation: int, now: datetime
) -> ManagedRoostStatus:
    """Return the status that says what came out.

    Args:
        status: As it was.
        outcome: What came out.
        generation: `metadata.generation` of the spec that was looked at.
        now: The time, for conditions that change.
    """
    conditions: tuple[Condition, ...] = status.conditions
    for type_, aspect in {**outcome.aspects, **_mirrors(outcome)}.items():
        if aspect is None:
            conditions = remove_condition(conditions, type_)
        else:
            conditions = _set(conditions, type_, aspect, generation, now)
    conditions = _progress(conditions, outcome, generation, now)
    conditions = _set(conditions, READY, outcome.ready, generation, now)
    return status.model_copy(
        update={
            "conditions": conditions,
            "phase": outcome.phase or status.phase,
            "health": status.health or Health.UNKNOWN,
            "observed_generation": generation,
        }
    )


def _mirrors(outcome: Outcome) -> Mapping[str, Aspect | None]:
    """Say it in roost-keeper's words, too."""
    reason = outcome.ready.reason
    is_working = outcome.progress is Progress.WORKING
    return {
        PROGRESSING: Aspect("True" if is_working else "False", reason),
        DEGRADED: Aspect(
            "True" if outcome.ready.status == "False" else "False", reason
        ),
    }


def _progress(
    conditions: Sequence[Condition], outcome: Outcome, generation: int, now: datetime
) -> tuple[Condition, ...]:
    if outcome.progress is Progress.SETTLED:
        return clear_progress(conditions)
    is_working = outcome.progress is Progress.WORKING
    mark = mark_reconciling if is_working else mark_stalled
    return mark(
        conditions,
        reason=outcome.ready.reason,
        message=_short(outcome.ready.message),
        generation=generation,
        now=now,
    )


def _set(
    conditions: Sequence[Condition],
    type_: str,
    aspect: Aspect,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    return set_condition(
        conditions,
        type_,
        aspect.status,
        reason=aspect.reason,
        message=_short(aspect.message),
        generation=generation,
        now=now,
    )


def _short(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
