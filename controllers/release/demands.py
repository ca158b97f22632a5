"""Annotations that ask for something once: pure.

    roost.birb.party/reconcile-at: TOKEN          look now
                    /force-at: TOKEN              upgrade, needed or not
                    /reset-at: TOKEN              forget failures, so try again
                    /unlock-at: TOKEN             the pending operation is dead
                    /rollback-to: "REVISION@TOKEN"
                    /deletion-policy: Orphan      leave the release when this goes

A token is any text, best the time. It is acted on when it differs from the one in
`status.lastHandled`, which then remembers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.release.status import LastHandled
from api.release.v1alpha1 import GROUP

RECONCILE_AT = f"{GROUP}/reconcile-at"
FORCE_AT = f"{GROUP}/force-at"
RESET_AT = f"{GROUP}/reset-at"
UNLOCK_AT = f"{GROUP}/unlock-at"
ROLLBACK_TO = f"{GROUP}/rollback-to"
DELETION_POLICY = f"{GROUP}/deletion-policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What is asked for and was not done yet."""

    is_forced: bool = False
    is_reset: bool = False
    is_unlocked: bool = False
    rollback_to: int | None = None
    """Revision that somebody wants back."""
    handled: LastHandled | None = None
    """What to remember when all of it is done; `None` if nothing ever was."""
    problem: str = ""
    """Why an annotation cannot be read."""


def read_demands(
    annotations: Mapping[str, str], handled: LastHandled | None
) -> Demands:
    """Return what annotations ask for that was not handled."""
    done = handled or LastHandled()
    rollback, problem = _rollback(annotations.get(ROLLBACK_TO, ""), done.rollback_at)
    new = LastHandled(
        reconcile_at=annotations.get(RECONCILE_AT, done.reconcile_at),
        force_at=annotations.get(FORCE_AT, done.force_at),
        reset_at=annotations.get(RESET_AT, done.reset_at),
        rollback_at=annotations.get(ROLLBACK_TO, done.rollback_at),
        unlock_at=annotations.get(UNLOCK_AT, done.unlock_at),
    )
    return Demands(
        is_forced=new.force_at != done.force_at,
        is_reset=new.reset_at != done.reset_at,
        is_unlocked=new.unlock_at != done.unlock_at,
        rollback_to=rollback,
        handled=handled if new == done else new,
        problem=problem,
    )


def is_orphan(annotations: Mapping[str, str]) -> bool:
    """Tell whether the release is to stay when the object goes."""
    return annotations.get(DELETION_POLICY, "") == "Orphan"


def _rollback(text: str, done: str) -> tuple[int | None, str]:
    if not text or text == done:
        return None, ""
    number, separator, token = text.partition("@")
    if not (number.isdecimal() and separator and token):
        return None, (
            f"the annotation {ROLLBACK_TO} is {text!r}: write REVISION@TOKEN, such as "
            '"3@2026-01-31"'
        )
    return int(number), ""
