"""Everything that a look at a release can come to, in words for people: pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from api.release.status import Phase
from controllers.release.failures import Disposition
from controllers.release.plan import Step
from controllers.release.status import (
    RELEASED,
    REMEDIATED,
    SOURCE_READY,
    TEARDOWN_BLOCKED,
    Aspect,
    Outcome,
    Progress,
)

VERBS = {
    Step.INSTALL: "Install",
    Step.UPGRADE: "Upgrade",
    Step.ROLL_BACK: "Rollback",
    Step.UNINSTALL: "Uninstall",
    Step.UNLOCK: "Unlock",
    Step.CLAIM: "Claim",
}
"""Step → the word that reasons and Events begin with."""

PHASES = {
    Step.INSTALL: Phase.DEPLOYING,
    Step.UPGRADE: Phase.UPGRADING,
    Step.ROLL_BACK: Phase.ROLLING_BACK,
    Step.UNINSTALL: Phase.TEARING_DOWN,
}
"""Step → the phase while it is taken."""


UNREADABLE = "RecordUnreadable"
"""Reason where Helm's own record of the release cannot be read."""


def refused(reason: str, problems: Sequence[object]) -> Outcome:
    """The spec, or what it leads to, cannot be used until it changes."""
    return Outcome(
        phase=Phase.FAILED,
        ready=Aspect("False", reason, "; ".join(map(str, problems))),
        progress=Progress.STALLED,
    )


def suspended() -> Outcome:
    """Nothing is to be done."""
    return Outcome(
        phase=Phase.SUSPENDED,
        ready=Aspect("Unknown", "Suspended", "spec.suspend is true"),
    )


def waiting(reason: str, message: str, *, phase: Phase | None = None) -> Outcome:
    """Somebody else has to act first, and probably will."""
    return Outcome(
        phase=phase,
        ready=Aspect("False", reason, message),
        progress=Progress.WORKING,
    )


def source_failed(reason: str, message: str, *, is_stalled: bool = False) -> Outcome:
    """The chart could not be had. What is deployed stays."""
    aspect = Aspect("False", reason, message)
    return Outcome(
        phase=Phase.FAILED,
        ready=aspect,
        progress=Progress.STALLED if is_stalled else Progress.WORKING,
        aspects={SOURCE_READY: aspect},
    )


def source_ready(name: str, version: str, digest: str) -> Aspect:
    """The chart is here."""
    return Aspect("True", "Resolved", f"{name} {version} ({digest[:19]})")


def values_failed(reason: str, message: str, *, is_stalled: bool) -> Outcome:
    """Values could not be had, or not be used."""
    return Outcome(
        phase=Phase.FAILED,
        ready=Aspect("False", reason, message),
        progress=Progress.STALLED if is_stalled else Progress.WORKING,
    )


def working(step: Step, what: str, source: Aspect) -> Outcome:
    """A step is about to be taken."""
    verb = VERBS[step]
    return Outcome(
        phase=PHASES.get(step),
        ready=Aspect("Unknown", f"{verb}InProgress", f"{verb} of {what}"),
        progress=Progress.WORKING,
        aspects={SOURCE_READY: source},
    )


def deployed(what: str, source: Aspect) -> Outcome:
    """What is wanted is there."""
    return Outcome(
        phase=Phase.READY,
        ready=Aspect("True", "Succeeded", f"{what} is deployed"),
        aspects={SOURCE_READY: source, REMEDIATED: None},
    )


def held(what: str, source: Aspect) -> Outcome:
    """Another revision was asked for, and is there."""
    return Outcome(
        phase=Phase.READY,
        ready=Aspect(
            "False",
            "RolledBack",
            f"{what} was asked for with rollback-to; change the spec or force-at to "
            "go on",
        ),
        aspects={SOURCE_READY: source},
    )


def succeeded(step: Step, message: str) -> Aspect:
    """What Released says after a step."""
    return Aspect("True", f"{VERBS[step]}Succeeded", message)


def failed(step: Step, disposition: Disposition, message: str) -> Outcome:
    """A step was taken in vain."""
    reason = disposition.reason or f"{VERBS[step]}Failed"
    is_stalled = disposition.is_stalled
    return Outcome(
        phase=Phase.FAILED,
        ready=Aspect("False", reason, message),
        progress=Progress.STALLED if is_stalled else Progress.WORKING,
        aspects={RELEASED: Aspect("False", f"{VERBS[step]}Failed", message)},
    )


def rolled_back(revision: int, cause: str) -> Outcome:
    """The last good revision is back, and what is wanted is not there."""
    return Outcome(
        phase=Phase.FAILED,
        ready=Aspect("False", "RolledBack", cause),
        progress=Progress.WORKING,
        aspects={
            REMEDIATED: Aspect(
                "True", "RollbackSucceeded", f"back at what revision {revision} was"
            )
        },
    )


def exhausted(attempts: int, cause: str, until: datetime | None) -> Outcome:
    """No retry is left."""
    again = f"; next attempt at {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
    message = f"gave up after {attempts} attempts{again}: {cause}"
    return Outcome(
        phase=Phase.FAILED,
        ready=Aspect("False", "RetriesExceeded", message),
        progress=Progress.STALLED,
    )


def tearing_down(message: str) -> Outcome:
    """The release goes."""
    return Outcome(
        phase=Phase.TEARING_DOWN,
        ready=Aspect("False", "Uninstalling", message),
        progress=Progress.WORKING,
        aspects={TEARDOWN_BLOCKED: None},
    )


def teardown_failed(reason: str, message: str) -> Outcome:
    """The release does not go."""
    return Outcome(
        phase=Phase.TEARING_DOWN,
        ready=Aspect("False", reason, message),
        progress=Progress.WORKING,
    )


def teardown_blocked(message: str) -> Outcome:
    """The release must not go."""
    aspect = Aspect("True", "DataPreservation", message)
    return Outcome(
        phase=Phase.TEARING_DOWN,
        ready=Aspect("False", "TeardownBlocked", message),
        progress=Progress.STALLED,
        aspects={TEARDOWN_BLOCKED: aspect},
    )
