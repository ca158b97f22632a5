"""What is told of a bundle: outcomes in, status, conditions and Events out. Pure.

    Draft       the status as it was read, what a pass has changed, what it has to tell
    blocked …   one function for each thing that may come of a pass
    settle      phase and Ready, which follow from the rest

    phase       Pending ─▶ Syncing ─▶ Synced
                   any of them ─▶ Failed ─▶ Syncing, Synced
                   any ─▶ Suspended, Deleting

A status is written once a pass, or not at all if nothing has changed; Events are told
after it is written, so that none is told of what was not kept.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from api.bundle.status import (
    MESSAGE_MAX,
    ActiveJob,
    BundleStatus,
    HistoryEntry,
    JobResult,
    LastJob,
    Phase,
    Trigger,
)
from api.bundle.v1alpha1 import WerfBundle
from controller_runtime import (
    READY,
    RECONCILING,
    STALLED,
    ForbiddenError,
    Json,
    Patch,
    find_condition,
    is_condition_true,
    mark_reconciling,
    mark_stalled,
    merge_patch_from,
    remove_condition,
    set_condition,
)
from controller_runtime.conditions import Condition, ConditionStatus
from controller_runtime.recorder import EventType
from controllers.bundle.errors import BlockedError
from controllers.bundle.job import Apply
from controllers.bundle.logs import IN_STATUS
from controllers.bundle.outcomes import End
from controllers.bundle.registry import REACHABLE
from controllers.bundle.schedule import FAILED_FROM
from controllers.oci import RegistryError

SYNCED = "Synced"
FAILED = "Failed"
UNSUPPORTED = "Unsupported"

_SOON = timedelta(milliseconds=100)

HISTORY = 10
"""Entries of the history."""


class Told(NamedTuple):
    """An Event."""

    type: EventType
    reason: str
    action: str
    note: str


class Draft:
    """A status in the making. Everything else of the bundle stays as it was read."""

    def __init__(self, bundle: WerfBundle, now: datetime) -> None:
        self.bundle = bundle
        """As the server has it."""
        self.status = bundle.status
        self.now = now.replace(microsecond=0)
        self.told: list[Told] = []
        """Events for when the status is written."""

    @property
    def generation(self) -> int:
        """What of the spec this speaks about."""
        return self.bundle.metadata.generation

    @property
    def until_poll(self) -> timedelta | None:
        """How long it is until the registry is to be asked; `None` if it is not."""
        at = self.status.next_poll_time
        return None if at is None else max(at - self.now, _SOON)

    @property
    def is_overdue(self) -> bool:
        """Whether the time to ask the registry has come and it was not asked."""
        at = self.status.next_poll_time
        return at is not None and at <= self.now

    def set(self, **changes: object) -> None:
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def condition(
        self, type_: str, status: ConditionStatus, reason: str, message: str = ""
    ) -> None:
        """Set a condition."""
        self.set(
            conditions=set_condition(
                self.status.conditions,
                type_,
                status,
                reason=reason,
                message=message[:MESSAGE_MAX],
                generation=self.generation,
                now=self.now,
            )
        )

    def drop(self, *types: str) -> None:
        """Remove conditions."""
        for type_ in types:
            self.set(conditions=remove_condition(self.status.conditions, type_))

    def find(self, type_: str) -> Condition | None:
        """Return a condition."""
        return find_condition(self.status.conditions, type_)

    def is_true(self, type_: str) -> bool:
        """Tell whether a condition is True."""
        return is_condition_true(self.status.conditions, type_)

    def reconciling(self, reason: str, message: str) -> None:
        """Say that there is work, and that it goes on."""
        self._progress(mark_reconciling, reason, message)

    def stalled(self, reason: str, message: str) -> None:
        """Say that it takes a human."""
        self._progress(mark_stalled, reason, message)

    def _progress(self, mark: Any, reason: str, message: str) -> None:
        marked = mark(
            self.status.conditions,
            reason=reason,
            message=message[:MESSAGE_MAX],
            generation=self.generation,
            now=self.now,
        )
        self.set(conditions=marked)

    def tell(self, reason: str, action: str, note: str) -> None:
        """Have an Event written."""
        self.told.append(Told("Normal", reason, action, note))

    def warn(self, reason: str, action: str, note: str) -> None:
        """Have an Event of the type Warning written."""
        self.told.append(Told("Warning", reason, action, note))

    def patch(self) -> Patch | None:
        """Return what is to be written; `None` if nothing is."""
        before, after = _written(self.bundle.status), _written(self.status)
        if before == after:
            return None
        head = {"resourceVersion": self.bundle.metadata.resource_version}
        return merge_patch_from(
            {"metadata": head, "status": before},
            {"metadata": head, "status": after},
            optimistic_lock=True,
        )


def _written(status: BundleStatus) -> Json:
    return status.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )


def begin(draft: Draft, namespace: str, release: str, ignored: tuple[str, ...]) -> None:
    """Say what every pass says."""
    draft.set(
        observed_generation=draft.generation,
        resolved_target_namespace=namespace,
        target_namespace=namespace,
        resolved_release_name=release,
    )
    if draft.status.phase is None:
        draft.set(phase=Phase.PENDING)
    if not ignored:
        draft.drop(UNSUPPORTED)
        return
    message = f"accepted and not acted on by this version: {', '.join(ignored)}"
    known = draft.find(UNSUPPORTED)
    if known is None or known.message != message:
        draft.warn("Unsupported", "ReadSpec", message)
    draft.condition(UNSUPPORTED, "True", "NotImplemented", message)


def reached(draft: Draft, *, is_unchanged: bool) -> None:
    """The registry has answered."""
    draft.set(consecutive_failures=0)
    reason = "NotModified" if is_unchanged else "Polled"
    draft.condition(REACHABLE, "True", reason)


def unreached(draft: Draft, error: RegistryError, *, counts: bool) -> None:
    """The registry has not answered, or not with what was asked for."""
    failures = draft.status.consecutive_failures + counts
    message = str(error)[:MESSAGE_MAX]
    known = draft.find(REACHABLE)
    is_another = known is None or known.reason != error.reason
    if failures in {1, FAILED_FROM} if counts else is_another:
        draft.warn(_event_of(error), "Poll", message)
    draft.set(
        consecutive_failures=failures,
        last_error_message=message,
        last_error_time=draft.now,
    )
    draft.condition(REACHABLE, "False", error.reason, message)
    draft.drop(STALLED)  # whatever it was, it has let us come this far
    if failures >= FAILED_FROM:
        draft.set(phase=Phase.FAILED)
        draft.condition(FAILED, "True", error.reason, message)
        _ready(draft, "False", error.reason, message)
    elif not draft.is_true(READY):
        _ready(draft, "False", error.reason, message)


def _event_of(error: RegistryError) -> str:
    own = {"AuthenticationFailed", "RateLimited"}
    return str(error.reason) if error.reason in own else "PollFailed"


def blocked(draft: Draft, error: BlockedError) -> None:
    """A pass has ended early."""
    message = str(error)[:MESSAGE_MAX]
    known = draft.find(error.condition or READY)
    is_news = known is None or (known.reason, known.message) != (error.reason, message)
    if error.condition:
        draft.condition(error.condition, "False", error.reason, message)
    if error.is_stalled:
        draft.stalled(error.reason, message)
    else:
        draft.drop(STALLED)
        if draft.status.active_job is None:
            draft.drop(RECONCILING)
    draft.set(phase=Phase.FAILED, last_error_message=message)
    if is_news:
        draft.set(last_error_time=draft.now)
        draft.warn(_blocked_event(error), "Check", message)
    _ready(draft, "False", error.reason, message)


def _blocked_event(error: BlockedError) -> str:
    events = {
        "PreflightPassed": "PreflightFailed",
        "ValuesResolved": "ValuesFailed",
        "ArtifactValid": "InvalidArtifact",
    }
    return events.get(error.condition, error.reason)


def intended(draft: Draft, apply: Apply) -> None:
    """A Job is about to be made: this is written before it is."""
    draft.set(
        phase=Phase.SYNCING,
        active_job=ActiveJob(
            name=apply.name,
            namespace=apply.intention.namespace,
            trigger=apply.trigger,
            tag=apply.candidate.tag,
            digest=apply.candidate.digest,
            chart_version=apply.candidate.chart_version,
            fingerprint=apply.fingerprint,
            values_hash=apply.values.hash,
            attempt=apply.attempt,
        ),
        active_job_name=apply.name,
        last_attempted_fingerprint=apply.fingerprint,
        apply_attempts=apply.attempt,
        next_retry_time=None,
        last_job_status=JobResult.RUNNING,
    )
    note = f"{apply.candidate.tag} is being applied by Job {apply.name}"
    draft.reconciling("Syncing", note)
    _ready(draft, "False", "Progressing", note)


def running(draft: Draft, created_at: datetime, trouble: str) -> None:
    """The Job is there."""
    active = draft.status.active_job
    if active is None:
        return
    if active.created_at is None:
        note = f"Job {active.name} applies {active.tag} ({active.trigger})"
        draft.tell("JobCreated", "Apply", note)
        created = active.model_copy(update={"created_at": created_at})
        draft.set(active_job=created)
    draft.set(last_job_status=JobResult.RUNNING, phase=Phase.SYNCING)
    note = f"{active.tag} is being applied by Job {active.name}"
    if trouble:
        note = f"{note}, whose pod does not start: {trouble}"
    draft.reconciling("Syncing", note)
    _ready(draft, "False", "Progressing", note)


def succeeded(draft: Draft, active: ActiveJob, end: End) -> None:
    """The Job has applied what it was made for."""
    at = end.finished_at or draft.now
    entry = HistoryEntry(
        version=active.tag,
        digest=active.digest,
        chart_version=active.chart_version,
        deployed_at=at,
        job_name=active.name,
        trigger=active.trigger,
        values_hash=active.values_hash,
    )
    _ended(draft, active, end, JobResult.SUCCEEDED, reason="")
    draft.set(
        last_applied_tag=active.tag,
        last_applied_digest=active.digest,
        last_applied_fingerprint=active.fingerprint,
        last_applied_values_hash=active.values_hash,
        last_sync_time=at,
        last_error_message="",
        apply_attempts=0,
        next_retry_time=None,
        version_history=(entry, *draft.status.version_history)[:HISTORY],
    )
    draft.condition(FAILED, "False", "Succeeded")
    draft.drop(STALLED, RECONCILING)
    draft.tell("Synced", "Apply", f"{active.tag} is applied ({active.trigger})")


def failed(
    draft: Draft, active: ActiveJob, end: End, *, retries: int, wait: timedelta
) -> None:
    """The Job has failed, or is gone; it is tried again, or not."""
    verdict = end.verdict
    reason = verdict.reason if verdict else "JobFailed"
    said = verdict.message if verdict else "it failed"
    message = f"Job {active.name} failed: {said}"[:MESSAGE_MAX]
    _ended(draft, active, end, JobResult.FAILED, reason=reason)
    draft.set(last_error_message=message, last_error_time=draft.now)
    draft.condition(FAILED, "True", reason, message)
    draft.warn("JobLost" if reason == "JobLost" else "JobFailed", "Apply", message)
    if active.attempt <= retries:
        due = draft.now + timedelta(seconds=round(wait.total_seconds()))
        draft.set(next_retry_time=due, phase=Phase.SYNCING)
        retrying(draft)
    else:
        draft.set(next_retry_time=None)
        exhausted(draft)


def retrying(draft: Draft) -> None:
    """A failed apply waits for its next try."""
    due = draft.status.next_retry_time
    failure = draft.find(FAILED)
    note = f"again at {due:%H:%M:%S} UTC: {failure.message if failure else ''}"
    draft.set(phase=Phase.SYNCING)
    draft.reconciling("Retrying", note)
    _ready(draft, "False", failure.reason if failure else "Retrying", note)


def exhausted(draft: Draft) -> None:
    """All tries have failed."""
    failure = draft.find(FAILED)
    message = (
        f"{draft.status.apply_attempts} tries have failed; change the bundle, or set "
        f"the annotation werf.io/reconcile-requested-at: "
        f"{failure.message if failure else ''}"
    )
    draft.set(phase=Phase.FAILED)
    draft.stalled("RetriesExhausted", message)
    _ready(draft, "False", "RetriesExhausted", message)


def waiting(draft: Draft, reason: str, note: str) -> None:
    """An apply is due and waits for its turn."""
    draft.reconciling(reason, note)
    _ready(draft, "False", "Progressing", note)


def suspended(draft: Draft) -> None:
    """Nothing is done until the spec says so; Ready keeps what it was."""
    if draft.status.phase != Phase.SUSPENDED:
        draft.tell("Suspended", "Suspend", "spec.suspend is set")
    draft.set(phase=Phase.SUSPENDED, next_poll_time=None)
    draft.drop(STALLED)
    if draft.status.active_job is None:
        draft.drop(RECONCILING)


def held(draft: Draft, error: ForbiddenError) -> None:
    """A bundle that is deleted cannot go: its Jobs may not be deleted."""
    message = (
        f"the manager may not delete the bundle's Jobs: {error}; give its account the "
        "verb delete on jobs there (pilothouse rbac)"
    )[:MESSAGE_MAX]
    if draft.status.last_error_message != message:
        draft.warn("DeletionBlocked", "CleanUp", message)
        draft.set(last_error_message=message, last_error_time=draft.now)
    draft.set(phase=Phase.DELETING)
    _ready(draft, "False", "DeletionBlocked", message)


def synced(draft: Draft) -> None:
    """What is wanted is what was applied."""
    draft.set(phase=Phase.SYNCED, next_retry_time=None)
    draft.drop(STALLED, RECONCILING)
    draft.condition(SYNCED, "True", "Applied", f"{draft.status.last_applied_tag} runs")
    draft.condition(FAILED, "False", "Succeeded")
    _ready(draft, "True", "Succeeded", f"{draft.status.last_applied_tag} is applied")


def out_of_date(draft: Draft) -> None:
    """What is wanted was not applied yet."""
    reason = "OutOfDate" if draft.status.last_applied_tag else "NeverApplied"
    draft.condition(SYNCED, "False", reason)


def _ended(
    draft: Draft, active: ActiveJob, end: End, result: JobResult, *, reason: str
) -> None:
    logs = end.log if len(end.log.encode()) <= IN_STATUS else ""
    draft.set(
        active_job=None,
        active_job_name="",
        last_job_status=result,
        last_job_logs=logs,
        last_job=LastJob(
            name=active.name,
            exit_code=end.exit_code,
            reason=reason,
            started_at=end.started_at,
            finished_at=end.finished_at,
        ),
    )


def log_kept(draft: Draft, place: str) -> None:
    """The log of the last Job is in a ConfigMap."""
    last = draft.status.last_job
    if last is None:
        return
    kept = last.model_copy(update={"logs_config_map": place})
    draft.set(last_job=kept, last_job_logs=f"See ConfigMap {place}")


def cause(draft: Draft, *, tag: str, digest: str, values_hash: str) -> Trigger:
    """Say why something is to be applied."""
    status = draft.status
    if status.last_applied_tag != tag:
        return Trigger.NEW_VERSION
    if status.last_applied_digest != digest:
        return Trigger.DIGEST_CHANGED
    if status.last_applied_values_hash != values_hash:
        return Trigger.VALUES_CHANGED
    return Trigger.SPEC_CHANGED


def _ready(draft: Draft, status: ConditionStatus, reason: str, message: str) -> None:
    draft.condition(READY, status, reason, message)
