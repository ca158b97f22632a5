"""What to do about an operation that failed: pure, a line for each kind.

EngineError.failure ─▶ Disposition: does it count, is it hopeless, when again?
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto
from typing import assert_never

from controllers.release.helm.engine import Failure


class Again(StrEnum):
    """When what failed is tried again."""

    RETRY = auto()
    """After `retryInterval`, doubled with each failure."""

    INTERVAL = auto()
    """With the next regular look: a human has to act, and may."""

    SOON = auto()
    """In seconds: it was nobody's fault, or things are not as they were thought."""

    CHANGE = auto()
    """When something changes; a rare probe besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """What follows from a failure."""

    again: Again
    counts: bool = False
    """It uses up a retry, and calls for remediation."""
    reason: str = ""
    """Of Ready; empty for that of the step, such as `UpgradeFailed`."""
    is_warning: bool = True
    """It is worth an Event."""

    @property
    def is_stalled(self) -> bool:
        """Whether no retry helps."""
        return self.again is Again.CHANGE


SOON = timedelta(seconds=5)


def disposition(failure: Failure, *, is_repeated: bool = False) -> Disposition:
    """Return what follows from a failure of the engine.

    Args:
        failure: Which.
        is_repeated: Whether it is not the first for what is wanted now: a worker that
            dies twice dies of the chart, or cannot be started at all.
    """
    match failure:
        case Failure.ENGINE if is_repeated:
            return Disposition(again=Again.RETRY, counts=True, reason="EngineFailed")
        case Failure.INVALID:
            return Disposition(again=Again.CHANGE, reason="ValuesInvalid")
        case Failure.TOO_LARGE:
            return Disposition(again=Again.CHANGE, reason="ReleaseTooLarge")
        case Failure.TIMEOUT | Failure.FAILED:
            return Disposition(again=Again.RETRY, counts=True)
        case Failure.FORBIDDEN:
            return Disposition(again=Again.INTERVAL, reason="Forbidden")
        case Failure.OWNERSHIP:
            return Disposition(again=Again.INTERVAL, reason="OwnedByOther")
        case Failure.TLS:
            return Disposition(again=Again.INTERVAL, reason="TLSFailed")
        case Failure.AUTH:
            return Disposition(again=Again.RETRY, reason="Unauthorized")
        case Failure.TRANSIENT:
            return Disposition(
                again=Again.SOON, reason="ClusterUnavailable", is_warning=False
            )
        case Failure.LOCKED | Failure.NAME_IN_USE | Failure.NOT_DEPLOYED:
            return Disposition(again=Again.SOON, reason="Changing", is_warning=False)
        case Failure.CANCELLED:
            return Disposition(again=Again.SOON, reason="Cancelled", is_warning=False)
        case Failure.ENGINE:
            return Disposition(again=Again.SOON, reason="EngineFailed")
        case _:
            assert_never(failure)
