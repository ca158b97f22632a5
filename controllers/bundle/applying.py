"""From a candidate and its values to a Job: is one due, may it start, start it.

what was applied            ─▶ synced
a Job that is half made     ─▶ go on with it, or drop it if it is not wanted any more
tries used up               ─▶ RetriesExhausted
a try that waits            ─▶ Retrying
values that still change    ─▶ Settling
too many Jobs               ─▶ Queued
otherwise                   ─▶ say in the status what will be made, then make it
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from api.bundle.status import ActiveJob, Trigger
from controller_runtime import (
    ForbiddenError,
    InvalidError,
    NamespacedName,
    NotFoundError,
)
from controllers.bundle import status
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import Intention
from controllers.bundle.job import Apply
from controllers.bundle.jobs import Jobs, created_at
from controllers.bundle.options import BundleOptions
from controllers.bundle.outcomes import is_over
from controllers.bundle.registry import Login
from controllers.bundle.schedule import sooner
from controllers.bundle.status import Draft
from controllers.bundle.values import Values

_SOON = timedelta(milliseconds=100)


class _Change(NamedTuple):
    """Values that are not applied yet."""

    hash: str
    since: float
    """When they became what they are, by the loop's clock."""
    first: float
    """When they first differed from what is applied."""


class Applying:
    """Has Jobs made for what is to be applied."""

    def __init__(
        self,
        jobs: Jobs,
        write: Callable[[Draft], Awaitable[None]],
        options: BundleOptions,
    ) -> None:
        """Make Jobs.

        Args:
            jobs: Makes them.
            write: Writes a status, which comes before what it announces.
            options: When, and how many.
        """
        self._jobs = jobs
        self._write = write
        self._options = options
        self._changing: dict[NamespacedName, _Change] = {}

    def forget(self, key: NamespacedName) -> None:
        """Forget a bundle that is gone."""
        self._changing.pop(key, None)

    async def bring_about(
        self, draft: Draft, intention: Intention, known: Login, values: Values
    ) -> timedelta | None:
        """Compare what is wanted to what was applied, and apply what differs."""
        candidate, last = draft.status.observed, draft.status.last_job
        assert candidate is not None  # noqa: S101 - `_has_candidate`
        apply = Apply(
            bundle=draft.bundle,
            intention=intention,
            candidate=candidate,
            values=values,
            login=known,
            attempt=1,
            trigger=status.cause(
                draft,
                tag=candidate.tag,
                digest=candidate.digest,
                values_hash=values.hash,
            ),
            salt=f"{last.name if last else ''}/{draft.status.handled_reconcile_at}",
        )
        active = draft.status.active_job
        if active is not None and _continued(apply, active).name != active.name:
            # It never ran, and is not what is wanted any more.
            await self._guarded(self._jobs.remove, active.name, active.namespace)
            draft.set(active_job=None, active_job_name="")
        if draft.status.last_applied_fingerprint == apply.fingerprint:
            self._changing.pop(draft.bundle.key, None)
            status.synced(draft)
            return draft.until_poll
        status.out_of_date(draft)
        return await self._apply(draft, apply)

    async def _apply(self, draft: Draft, apply: Apply) -> timedelta | None:
        """Start a Job when its time has come, or go on starting it."""
        active = draft.status.active_job
        if active is not None:
            apply = _continued(apply, active)
        else:
            wait = self._must_wait(draft, apply)
            if wait is not None:
                return sooner(wait, draft.until_poll)
            attempt = draft.status.apply_attempts + 1
            trigger = Trigger.RETRY if attempt > 1 else apply.trigger
            apply = replace(apply, attempt=attempt, trigger=trigger)
            _refuse_client_certificate(apply)
            # No await since `running` was looked at: nobody else takes the place.
            self._jobs.begin(apply.name, apply.intention.namespace)
            status.intended(draft, apply)
            try:
                await self._write(draft)
            except BaseException:
                # Perhaps another one is wanted next, and nobody asks for this again.
                self._jobs.drop(apply.name, apply.intention.namespace)
                raise
        job = await self._guarded(self._jobs.make, apply)
        if job is None:  # the name is taken: the next attempt has another
            draft.set(active_job=None, active_job_name="")
            return _SOON
        self._changing.pop(draft.bundle.key, None)
        status.running(draft, created_at(job, draft.now), "")
        return _SOON if is_over(job) else self._options.job_resync

    def _must_wait(self, draft: Draft, apply: Apply) -> timedelta | None:
        """Return for how long nothing may be started; `None` if it may be."""
        seen = draft.status
        if seen.last_attempted_fingerprint != apply.fingerprint:
            draft.set(apply_attempts=0, next_retry_time=None)
        elif seen.apply_attempts > apply.converge.retries:
            status.exhausted(draft)
            return draft.until_poll or self._options.job_resync
        elif seen.next_retry_time is not None and draft.now < seen.next_retry_time:
            status.retrying(draft)
            return seen.next_retry_time - draft.now
        if apply.trigger is Trigger.VALUES_CHANGED and draft.status.apply_attempts == 0:
            wait = self._unsettled(draft.bundle.key, apply.values.hash)
            if wait > timedelta():
                status.waiting(draft, "Settling", "values have changed a moment ago")
                return wait
        if self._jobs.running >= self._options.max_active_jobs:
            note = f"{self._options.max_active_jobs} Jobs of other bundles are running"
            status.waiting(draft, "Queued", note)
            return self._options.preflight_retry
        return None

    def _unsettled(self, key: NamespacedName, values_hash: str) -> timedelta:
        """Return how long values have yet to be still."""
        now, seen = asyncio.get_running_loop().time(), self._changing.get(key)
        if seen is None or seen.hash != values_hash:
            seen = _Change(values_hash, now, seen.first if seen else now)
            self._changing[key] = seen
        still = seen.since + self._options.debounce.total_seconds()
        last = seen.first + self._options.debounce_max.total_seconds()
        return timedelta(seconds=max(min(still, last) - now, 0))

    async def _guarded(self, act: Callable[..., Any], *arguments: object) -> Any:
        """Act on Jobs; what the server refuses is told in the status."""
        try:
            return await act(*arguments)
        except ForbiddenError as error:
            raise BlockedError(
                f"the API server does not let the manager make the Job: {error}; see "
                "its role (pilothouse rbac), or the namespace's quota",
                reason="ManagerForbidden",
                retry_after=self._options.preflight_retry * 4,
            ) from None
        except NotFoundError as error:
            raise BlockedError(
                f"the Job cannot be made: {error}; is its namespace there?",
                reason="NamespaceNotFound",
                retry_after=self._options.preflight_retry,
            ) from None
        except InvalidError as error:
            raise BlockedError(
                f"the API server refuses the Job: {error}; change spec.converge",
                reason="InvalidJob",
                is_stalled=True,
            ) from None


def _continued(apply: Apply, active: ActiveJob) -> Apply:
    """Return the try that was begun; it has another name if something has changed."""
    trigger = active.trigger
    known = trigger if isinstance(trigger, Trigger) else Trigger.RETRY
    return replace(apply, attempt=active.attempt, trigger=known)


def _refuse_client_certificate(apply: Apply) -> None:
    if apply.login.tls.certificate:
        raise BlockedError(
            "Job cannot use client certificates: werf has none, so a registry that "
            "wants one can be polled and not deployed from; "
            "remove spec.registry.tlsConfig.clientCertSecretRef",
            reason="ClientCertificate",
            is_stalled=True,
        )
