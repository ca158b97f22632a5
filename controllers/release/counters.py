"""What a status remembers between looks, so that a restart changes nothing: pure.

new generation, new chart or values, reset-at ─▶ failures are forgotten
a failure that counts                         ─▶ one more, and a time to try again
"""

from __future__ import annotations

from collections.abc import Sequence

from api.release.status import Failures, LastAttempted, ManagedRoostStatus
from api.release.v1alpha1 import ManagedRoost, ManagedRoostSpec
from controllers.release.desired import Desired
from controllers.release.history import last_good
from controllers.release.plan import Remediation, Step
from controllers.release.records import HelmStatus, Revision

_FORGET: dict[str, None] = {"failures": None, "next_retry_time": None}


def begun(roost: ManagedRoost, *, is_reset: bool) -> ManagedRoostStatus:
    """Return the status to start from: a new spec has not failed yet."""
    status = roost.status
    if is_reset or status.observed_generation != roost.metadata.generation:
        return status.model_copy(update=_FORGET)
    return status


def at_rest(status: ManagedRoostStatus, holder: str) -> ManagedRoostStatus:
    """Return the status of an object for which this process does nothing now.

    What it was at and is no more, it forgets: else whatever a human does to the
    release later would be taken for it, and for dead. The newest revision is forgotten
    with it, since that may be of the operation.

    Args:
        status: As it was.
        holder: This process, as the status names it.
    """
    if status.operation is None or status.operation.holder != holder:
        return status
    return status.model_copy(update={"operation": None, "helm_release": None})


def compared(status: ManagedRoostStatus, digest: str) -> ManagedRoostStatus:
    """Return the status without failures that were of another chart or values."""
    last = status.last_attempted
    if last is None or last.config_digest in {"", digest}:
        return status
    return status.model_copy(update=_FORGET)


def attempted(
    status: ManagedRoostStatus,
    action: str,
    desired: Desired,
    *,
    generation: int,
    seconds: float,
) -> ManagedRoostStatus:
    """Return the status that knows what was tried last."""
    last = LastAttempted(
        action=action,
        generation=generation,
        chart_version=desired.chart.version,
        chart_digest=desired.chart.digest,
        config_digest=desired.digest,
        duration=f"{seconds:.1f}s",
    )
    return status.model_copy(update={"last_attempted": last})


def succeeded(status: ManagedRoostStatus) -> ManagedRoostStatus:
    """Return the status of an object whose release is what it should be."""
    return status.model_copy(update=_FORGET)


def failed(
    status: ManagedRoostStatus, step: Step, *, counts: bool
) -> ManagedRoostStatus:
    """Return the status that knows of a failure.

    Args:
        status: As it was.
        step: What failed.
        counts: Whether it uses up a retry; else it is only among the total.
    """
    failures = status.failures or Failures()
    name = step.value if step in {Step.INSTALL, Step.UNINSTALL} else "upgrade"
    counted = {name: getattr(failures, name) + 1} if counts else {}
    more = {**counted, "total": failures.total + 1}
    return status.model_copy(update={"failures": failures.model_copy(update=more)})


def failures_in_a_row(status: ManagedRoostStatus) -> int:
    """Return how often what is wanted was tried in vain."""
    failures = status.failures or Failures()
    return failures.install + failures.upgrade


def retries_of(spec: ManagedRoostSpec, revisions: Sequence[Revision]) -> int:
    """Return how often the user wants it tried again."""
    return (spec.upgrade if last_good(revisions) else spec.install).retries


def remediation_of(
    spec: ManagedRoostSpec, revisions: Sequence[Revision], status: ManagedRoostStatus
) -> Remediation:
    """Return what the last failure calls for, if that has not been tried yet."""
    last = status.last_attempted
    is_fresh = last is not None and last.action in {Step.INSTALL, Step.UPGRADE}
    if not (is_fresh and revisions and revisions[0].status is HelmStatus.FAILED):
        return Remediation.NONE
    if last_good(revisions) is None:
        wants = spec.install.remediation == "uninstall"
        return Remediation.UNINSTALL if wants else Remediation.NONE
    wants = spec.upgrade.remediation == "rollback" and spec.chart.upgrade_policy.atomic
    return Remediation.ROLL_BACK if wants else Remediation.NONE
