"""Conditions of a status (`metav1.Condition`): find, set, remove, sum up.

A condition says since when it has its status, so setting one keeps that time unless
the status changes, and `observedGeneration` tells which spec it speaks about. All
functions are pure: the conditions they get stay as they are, and so does the order.
Rules: `SetStatusCondition` of apimachinery's `api/meta`.

What tools look at that know nothing of a kind (kstatus, `kubectl wait`), and which a
controller of ours therefore writes beside its own:

    mark_reconciling      there is work, and it goes on     Reconciling=True
    mark_stalled          it needs a human or another spec  Stalled=True
    clear_progress        neither: both are absent, not False
    summarize_conditions  Ready: True, False or Unknown, from all of them

and `status.observedGeneration`, the generation that all of that speaks about: without
it the moment between a change of the spec and its first reconcile looks like success.
`kstatus` is the reader of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

from controller_runtime.meta import ApiModel

ConditionStatus: TypeAlias = Literal["True", "False", "Unknown"]

READY = "Ready"
"""What was asked for has come about: the summary of all other conditions."""

RECONCILING = "Reconciling"
"""There is work, and it goes on; absent otherwise."""

STALLED = "Stalled"
"""Nothing goes on until a human acts or the spec changes; absent otherwise."""

_OBSERVED = "observed_generation"


class Condition(ApiModel):
    """One aspect of an object's state."""

    type: str
    status: ConditionStatus
    observed_generation: int | None = None
    """`metadata.generation` that this speaks about."""
    last_transition_time: datetime
    """When the status last changed, in whole seconds."""
    reason: str
    """Why, in one CamelCase word."""
    message: str = ""
    """Why, for humans."""


C = TypeVar("C", bound=Condition | Mapping[str, object])


def find_condition(conditions: Iterable[C], type_: str) -> C | None:
    """Return the condition of a type; foreign ones may be plain mappings."""
    return next((it for it in conditions if _field(it, "type") == type_), None)


def is_condition_true(
    conditions: Iterable[Condition | Mapping[str, object]],
    type_: str,
    *,
    generation: int | None = None,
) -> bool:
    """Tell whether a condition is there and `True`; `Unknown` is not.

    Args:
        conditions: Where to look.
        type_: Which one.
        generation: `metadata.generation` of the object, to count what speaks about an
            older spec as not `True`.
    """
    found = find_condition(conditions, type_)
    if found is None or _field(found, "status") != "True":
        return False
    return not _is_outdated(found, generation)


def set_condition(
    conditions: Iterable[Condition],
    type_: str,
    status: ConditionStatus,
    *,
    reason: str,
    message: str = "",
    generation: int | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return `conditions` with one of them set.

    Args:
        conditions: At most one of a type.
        type_: Of the condition to set.
        status: Its new status.
        reason: Why, in one CamelCase word; the API server refuses an empty one.
        message: Why, for humans.
        generation: `metadata.generation` of the spec that was looked at.
        now: Becomes the transition time if the status is another one.
    """
    kept = tuple(conditions)
    old = find_condition(kept, type_)
    # metav1.Time has no fractions: what is written must equal what is read.
    since = now.replace(microsecond=0)
    if old is not None and old.status == status:
        since = old.last_transition_time
    new = Condition(
        type=type_,
        status=status,
        observed_generation=generation,
        last_transition_time=since,
        reason=reason,
        message=message,
    )
    if old is None:
        return (*kept, new)
    return tuple(new if it is old else it for it in kept)


def remove_condition(conditions: Iterable[C], type_: str) -> tuple[C, ...]:
    """Return `conditions` without those of a type."""
    return tuple(it for it in conditions if _field(it, "type") != type_)


def mark_reconciling(
    conditions: Iterable[Condition],
    *,
    reason: str,
    message: str = "",
    generation: int | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return `conditions` of an object that is being worked on, so is not stalled.

    Arguments as of `set_condition`.
    """
    return set_condition(
        remove_condition(conditions, STALLED),
        RECONCILING,
        "True",
        reason=reason,
        message=message,
        generation=generation,
        now=now,
    )


def mark_stalled(
    conditions: Iterable[Condition],
    *,
    reason: str,
    message: str = "",
    generation: int | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return `conditions` of an object that no retry helps, so is not worked on.

    Arguments as of `set_condition`.
    """
    return set_condition(
        remove_condition(conditions, RECONCILING),
        STALLED,
        "True",
        reason=reason,
        message=message,
        generation=generation,
        now=now,
    )


def clear_progress(conditions: Iterable[C]) -> tuple[C, ...]:
    """Return `conditions` of an object that is neither worked on nor stalled."""
    return remove_condition(remove_condition(conditions, RECONCILING), STALLED)


def summarize_conditions(
    conditions: Iterable[Condition],
    *,
    good: Sequence[str],
    bad: Sequence[str] = (),
    generation: int,
    now: datetime,
    message: str = "",
) -> tuple[Condition, ...]:
    """Return `conditions` with the `Ready` that follows from the others.

    The first that fits decides, and gives its reason and message:

        Stalled=True                                            False
        one of `good` is False, or one of `bad` True            False
        Reconciling=True                                        Unknown
        one of `good` is absent, Unknown, of an older spec      Unknown
        one of `bad` is Unknown or of an older spec             Unknown
        else, with the reason `Succeeded` and `message`         True

    What is of an older spec says nothing about this one, for good or bad.

    Args:
        conditions: All of the object.
        good: Types that are `True` when all is well, the most telling first.
        bad: Types that are absent or `False` when all is well, likewise.
        generation: `metadata.generation` of the spec that was looked at.
        now: See `set_condition`.
        message: For humans, when the object is ready.
    """
    kept = tuple(conditions)
    status, reason, text = _summary(kept, good, bad, generation)
    return set_condition(
        kept,
        READY,
        status,
        reason=reason,
        message=text if status != "True" else message,
        generation=generation,
        now=now,
    )


def _summary(
    conditions: Sequence[Condition],
    good: Sequence[str],
    bad: Sequence[str],
    generation: int,
) -> tuple[ConditionStatus, str, str]:
    def current(type_: str) -> Condition | None:
        found = find_condition(conditions, type_)
        return None if found is None or _is_outdated(found, generation) else found

    wrong = [(STALLED, "True"), *((it, "False") for it in good)]
    for type_, status in [*wrong, *((it, "True") for it in bad)]:
        found = current(type_)
        if found is not None and found.status == status:
            return "False", found.reason, found.message
    found = current(RECONCILING)
    if found is not None and found.status == "True":
        return "Unknown", found.reason, found.message
    for type_ in (*good, *(it for it in bad if find_condition(conditions, it))):
        found = current(type_)
        if found is None:
            return "Unknown", "Progressing", f"{type_} is not known yet"
        if found.status == "Unknown":
            return "Unknown", found.reason, found.message
    return "True", "Succeeded", ""


def _is_outdated(
    condition: Condition | Mapping[str, object], generation: int | None
) -> bool:
    """Whether a condition speaks about an older spec; who does not say does not."""
    name = "observedGeneration" if isinstance(condition, Mapping) else _OBSERVED
    observed = _field(condition, name)
    return (
        generation is not None and isinstance(observed, int) and observed < generation
    )


def _field(condition: Condition | Mapping[str, object], name: str) -> object:
    if isinstance(condition, Mapping):
        return condition.get(name)
    return getattr(condition, name)
