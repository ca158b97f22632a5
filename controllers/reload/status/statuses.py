"""The status of a ReloaderConfig, from what there is: conditions and Events too. Pure.

                       Available              Degraded                 Progressing
    a part is refused  False InvalidSpec      True InvalidSpec         ┐
    a target is absent False TargetNotFound   True TargetNotFound      │ True while
    another config     True                   True InvalidSpec         │ reloads wait or
      decides otherwise                                                │ pods are made
    a reload or its    True                   True ReloadFailed        │ anew for one
      rollout fails,                                                   │
      or that of a canary                                              │
    a source is absent True                   True ResourceNotFound    │
    else               True                   False                    ┘

The first line that fits gives the reason, and all that fit their share of the message.
What is absent is waited for by watching: each condition is as good as the last event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from api.reload.status import (
    MESSAGE_MAX,
    PENDING_MAX,
    PendingReload,
    ReloaderConfigStatus,
    RolloutState,
)
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import Condition, find_condition, set_condition
from controller_runtime.conditions import ConditionStatus
from controller_runtime.recorder import EventType
from controllers.reload.gates import HoldReason
from controllers.reload.status.accounts import Ledger, count

AVAILABLE = "Available"
PROGRESSING = "Progressing"
DEGRADED = "Degraded"

RECONCILED = "Reconciled"
RECONCILING = "Reconciling"
RELOAD_SUCCEEDED = "ReloadSucceeded"
RELOAD_FAILED = "ReloadFailed"
RESOURCE_NOT_FOUND = "ResourceNotFound"
TARGET_NOT_FOUND = "TargetNotFound"
INVALID_SPEC = "InvalidSpec"

_FAILED_CANARY = HoldReason.CANARY_FAILED.value

_NAMED = 5
"""Things that a message names; of more it gives the number."""

_SLACK = timedelta(seconds=2)
"""A moment that has moved by less is the same: it is worked out anew in each look."""


class Sight(NamedTuple):
    """What a config comes to, as the cache has it."""

    ledger: Ledger

    problems: tuple[str, ...] = ()
    """Parts of the spec that are left out, and why."""

    conflicts: tuple[str, ...] = ()
    """What another config has decided otherwise."""

    missing: tuple[str, ...] = ()
    """Names of targets that are not there."""

    pending: tuple[PendingReload, ...] = ()
    """Reloads that wait."""


class Told(NamedTuple):
    """An Event about the config."""

    type: EventType
    reason: str
    note: str


class Statement(NamedTuple):
    """What there is to say."""

    status: ReloaderConfigStatus
    events: tuple[Told, ...]
    """For when the status is written."""


class _Trouble(NamedTuple):
    reason: str
    text: str
    is_outage: bool = False
    """It is not available either."""


def status_of(config: ReloaderConfig, sight: Sight) -> Statement:
    """Say how a config is, from how it was and what there is."""
    before = config.status
    counted = count(before, sight.ledger)
    status = counted.status.model_copy(
        update={
            "observed_generation": config.metadata.generation,
            "pending_count": len(sight.pending),
            "pending": tuple(_pending(before, sight.pending[:PENDING_MAX])),
        }
    )
    troubles = tuple(_troubles(status, sight))
    conditions = before.conditions
    for type_, value, reason, message in (
        _available(status, sight, troubles),
        _progressing(status, sight),
        _degraded(troubles),
    ):
        conditions = set_condition(
            conditions,
            type_,
            value,
            reason=reason,
            message=message[:MESSAGE_MAX],
            generation=config.metadata.generation,
            now=sight.ledger.now,
        )
    status = status.model_copy(update={"conditions": conditions})
    events = _events(before.conditions, conditions, counted.reloaded)
    return Statement(status, tuple(events))


_Said = tuple[str, ConditionStatus, str, str]


def _troubles(status: ReloaderConfigStatus, sight: Sight) -> Iterator[_Trouble]:
    """Yield what is amiss, the worst first."""
    if sight.problems:
        yield _Trouble(INVALID_SPEC, "; ".join(sight.problems), is_outage=True)
    if sight.missing:
        text = f"{_named(sight.missing)} not found"
        yield _Trouble(TARGET_NOT_FOUND, text, is_outage=True)
    if sight.conflicts:
        yield _Trouble(INVALID_SPEC, "; ".join(sight.conflicts))
    failed = [row for row in status.target_status if row.last_error]
    if failed:
        names = _named(f"{row.namespace}/{row.kind}/{row.name}" for row in failed)
        yield _Trouble(RELOAD_FAILED, f"{names}: {failed[0].last_error}")
    if stuck := _rolling(status, RolloutState.FAILED):
        text = f"{_named(stuck)} failed to roll out: see the pods"
        yield _Trouble(RELOAD_FAILED, text)
    if held := _held_by_failure(sight):
        text = f"{_named(one.workload for one in held)} held back: {held[0].message}"
        yield _Trouble(RELOAD_FAILED, text)
    absent = [name for name, hash_ in sight.ledger.sources.items() if hash_ is None]
    if absent:
        yield _Trouble(RESOURCE_NOT_FOUND, f"{_named(absent)} not found")


def _available(
    status: ReloaderConfigStatus, sight: Sight, troubles: tuple[_Trouble, ...]
) -> _Said:
    outages = [trouble for trouble in troubles if trouble.is_outage]
    if outages:
        text = "; ".join(trouble.text for trouble in outages)
        return AVAILABLE, "False", outages[0].reason, text
    targets = len(sight.ledger.targets)
    sources = sum(hash_ is not None for hash_ in sight.ledger.sources.values())
    reason = RELOAD_SUCCEEDED if status.reload_count else RECONCILED
    text = f"{_number(targets, 'target')}, {_number(sources, 'source')}"
    return AVAILABLE, "True", reason, text


def _progressing(status: ReloaderConfigStatus, sight: Sight) -> _Said:
    under_way = _rolling(status, RolloutState.PENDING, RolloutState.PROGRESSING)
    failed = _held_by_failure(sight)
    said = []
    if waiting := [one for one in sight.pending if one.reason != _FAILED_CANARY]:
        names = _named(one.workload for one in waiting)
        said.append(f"{names} held back: {waiting[0].message}")
    if under_way:
        said.append(f"{_named(under_way)} rolling out")
    if said:
        return PROGRESSING, "True", RECONCILING, "; ".join(said)
    if failed:
        text = f"{_named(one.workload for one in failed)} held back"
        return PROGRESSING, "False", RELOAD_FAILED, text
    if stuck := _rolling(status, RolloutState.FAILED):
        return PROGRESSING, "False", RELOAD_FAILED, f"{_named(stuck)} failed"
    reason = RELOAD_SUCCEEDED if status.reload_count else RECONCILED
    return PROGRESSING, "False", reason, ""


def _held_by_failure(sight: Sight) -> list[PendingReload]:
    """Return the reloads that no time brings on: a canary has failed."""
    return [one for one in sight.pending if one.reason == _FAILED_CANARY]


def _rolling(status: ReloaderConfigStatus, *states: RolloutState) -> list[str]:
    """Name the targets that have reloaded, and whose pods are in one of some states."""
    return [
        f"{row.namespace}/{row.kind}/{row.name}"
        for row in status.target_status
        if row.last_reload_time is not None and row.rollout_state in states
    ]


def _degraded(troubles: tuple[_Trouble, ...]) -> _Said:
    if not troubles:
        return DEGRADED, "False", RECONCILED, ""
    text = "; ".join(trouble.text for trouble in troubles)
    return DEGRADED, "True", troubles[0].reason, text


def _pending(
    before: ReloaderConfigStatus, waiting: Iterable[PendingReload]
) -> Iterator[PendingReload]:
    """Yield what waits: since when it does, and moments that have hardly moved."""
    known = {one.workload: one for one in before.pending}
    for one in waiting:
        old = known.get(one.workload)
        if old is None:
            yield one
            continue
        until = one.until
        if until and old.until and abs(until - old.until) <= _SLACK:
            until = old.until
        yield one.model_copy(update={"since": old.since or one.since, "until": until})


def _events(
    before: Iterable[Condition], after: Iterable[Condition], reloaded: tuple[str, ...]
) -> Iterator[Told]:
    """Yield what has changed: one Event of each sort at most."""
    old, new = find_condition(before, DEGRADED), find_condition(after, DEGRADED)
    was = old.reason if old is not None and old.status == "True" else ""
    if new is not None and new.status == "True" and new.reason != was:
        yield Told("Warning", new.reason, new.message)
    elif new is not None and new.status == "False" and was:
        yield Told("Normal", RECONCILED, f"{was} is over")
    if reloaded:
        yield Told("Normal", RELOAD_SUCCEEDED, f"{_named(reloaded)} reloaded")


def _named(names: Iterable[str]) -> str:
    """Name some, and count the others."""
    listed = list(names)
    shown = ", ".join(listed[:_NAMED])
    more = len(listed) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def moment_to_look_again(status: ReloaderConfigStatus) -> datetime | None:
    """Return when the status changes by itself, if it does."""
    moments = (row.paused_until for row in status.target_status)
    return min(filter(None, moments), default=None)
