"""Conditions of a status (`metav1.Condition`): find, set, remove.

A condition says since when it has its status, so setting one keeps that time unless
the status changes, and `observedGeneration` tells which spec it speaks about. All
functions are pure: the conditions they get stay as they are, and so does the order.
Rules: `SetStatusCondition` of apimachinery's `api/meta`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

from controller_runtime.meta import ApiModel

ConditionStatus: TypeAlias = Literal["True", "False", "Unknown"]


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
    conditions: Iterable[Condition | Mapping[str, object]], type_: str
) -> bool:
    """Tell whether a condition is there and `True`; `Unknown` is not."""
    found = find_condition(conditions, type_)
    return found is not None and _field(found, "status") == "True"


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


def _field(condition: Condition | Mapping[str, object], name: str) -> object:
    if isinstance(condition, Mapping):
        return condition.get(name)
    return getattr(condition, name)
