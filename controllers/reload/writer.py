"""What a reload is, by kind: the only place that writes to workloads.

    Deployment StatefulSet DaemonSet DeploymentConfig   patch the template
    Rollout     patch the template, or `restartAt`
    CronJob     run a Job, then patch the record; or patch the template; or the record
    Job         delete it, and create it again

All but the last are one request that takes effect, safe to repeat: patches name the
version that they are for, and the Job of a CronJob the change that it is for.

A Job is gone between its two requests. What is to be created is kept here until it is
there, whatever fails; if the process dies in these milliseconds, it is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from api.argoproj.v1alpha1 import Rollout
from api.batch.v1 import CronJob, Job
from controller_runtime import (
    AlreadyExistsError,
    ApiError,
    Client,
    Clock,
    ConflictError,
    Json,
    NotFoundError,
    Patch,
)
from controllers.reload.annotations import ReloadPolicy
from controllers.reload.batch import idle_reason, is_suspended, run_of, started_anew
from controllers.reload.news import Outcome, Topic
from controllers.reload.options import CronJobStrategy, ReloadOptions
from controllers.reload.patches import patch_for, record_patch, restart_patch
from controllers.reload.rollout import Plan
from controllers.reload.webhook import Notify
from controllers.reload.workloads import Workload, WorkloadKey, waits_for_deletion

_FIELD_MANAGER = "Reloader"
"""Owner of what is written: GitOps tools are told to ignore it by this name."""


RELOADED = Outcome("Reloaded", "reloads")

ON_DELETE = Outcome(
    "Reloaded", "reloads when its pods are deleted: its update strategy is OnDelete"
)


def skipped(why: str) -> Outcome:
    """Say that nothing restarts in spite of a change."""
    return Outcome("ReloadSkipped", f"is left alone: {why}", Topic.SKIPPED)


class Owed(NamedTuple):
    """A Job that was deleted, and is to be created again."""

    workload: Workload
    """What it was."""

    plan: Plan
    """Why it is started anew."""

    document: Json
    """What is to be created."""


class Acts(Protocol):
    """Carries out plans, or does as if."""

    def seen(self, workload: Workload, /) -> Workload:
        """Return a workload as it is to be compared."""
        ...

    async def carry_out(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan, /
    ) -> Outcome:
        """Do what a plan says.

        Raises:
            ConflictError: The workload is not the version that the plan is for.
            ControllerRuntimeError: It cannot be done now.
        """
        ...

    async def settle(
        self, key: WorkloadKey, current: Workload | None, /
    ) -> Owed | None:
        """Finish what was begun under a key; return what has become of it."""
        ...

    def forget(self, key: WorkloadKey, /) -> None:
        """Let go of a workload that is no more."""
        ...


class Writer:
    """Carries out plans; an `Acts`."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        options: ReloadOptions,
        notify: Notify | None = None,
    ) -> None:
        self._client = client
        self._notify = notify
        self._clock = clock
        self._again = options.recreate_finished_jobs
        self._owed: dict[WorkloadKey, Owed] = {}

    def seen(self, workload: Workload) -> Workload:
        """Return a workload as it is to be compared."""
        return workload

    async def carry_out(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan
    ) -> Outcome:
        """Write what a plan says.

        Raises:
            ConflictError: The workload is not the version that the plan is for.
            ApiError: The server refuses.
        """
        if not plan.markers:
            await self._patch(
                workload, patch_for(workload, plan, now=self._clock.now())
            )
            return RELOADED
        if self._notify is not None:
            await self._notify(workload.key, plan)
            await self._patch(workload, record_patch(workload, plan))
            return skipped("the webhook was told instead")
        match workload.key.kind:
            case CronJob.gvk.kind:
                return await self._reload_cron_job(workload, policy, plan)
            case Job.gvk.kind:
                return await self._reload_job(workload, plan)
            case Rollout.gvk.kind if policy.restarts:
                make: Callable[..., Patch] = restart_patch
            case _:
                make = patch_for
        await self._patch(workload, make(workload, plan, now=self._clock.now()))
        return ON_DELETE if waits_for_deletion(workload) else RELOADED

    async def settle(self, key: WorkloadKey, current: Workload | None) -> Owed | None:
        """Create what is owed under a key, if anything is.

        Args:
            key: Of a Job.
            current: What the cache has under this key.

        Returns:
            What was created; what the cache has is then of before.

        Raises:
            ConflictError: The old Job is not gone yet.
            ApiError: The server refuses.
        """
        owed = self._owed.get(key)
        if owed is None:
            return None
        if current is not None and current.meta.uid != owed.workload.meta.uid:
            del self._owed[key]  # somebody was faster
            return None
        await self._pay(owed)
        return owed

    async def _reload_cron_job(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan
    ) -> Outcome:
        outcome, now, reloaded = RELOADED, self._clock.now(), None
        if is_suspended(workload):
            outcome = skipped("it is suspended")
        elif policy.cronjob is CronJobStrategy.IGNORE:
            outcome = skipped("its next run reads what is new")
        elif policy.cronjob is CronJobStrategy.PATCH:
            await self._patch(workload, patch_for(workload, plan, now=now))
            return outcome
        else:
            reloaded = now
            run = run_of(workload, plan, now=now)
            # It exists if the last attempt could not write the record.
            with suppress(AlreadyExistsError):
                await self._client.create(run, field_owner=_FIELD_MANAGER)
        await self._patch(workload, record_patch(workload, plan, reloaded=reloaded))
        return outcome

    async def _reload_job(self, workload: Workload, plan: Plan) -> Outcome:
        if why := idle_reason(workload, again=self._again):
            await self._patch(workload, record_patch(workload, plan))
            return skipped(why)
        document = started_anew(workload, plan, now=self._clock.now())
        # Owed before it is gone: whether a lost answer was a yes, nobody knows.
        self._owed[workload.key] = owed = Owed(workload, plan, document)
        try:
            await self._delete(owed, resource_version=workload.meta.resource_version)
        except ApiError:
            del self._owed[workload.key]
            raise
        await self._pay(owed)
        return RELOADED

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that is no more."""

    async def _pay(self, owed: Owed) -> None:
        key = owed.workload.key
        try:
            await self._client.create(owed.document, field_owner=_FIELD_MANAGER)
        except AlreadyExistsError as error:
            with suppress(NotFoundError, ConflictError):
                await self._delete(owed)  # again, in case that it was not done
            raise ConflictError(
                f"{key} is still being deleted: it is created again when it is gone",
                status=error.status,
                reason=error.reason,
            ) from error
        del self._owed[key]

    async def _delete(self, owed: Owed, *, resource_version: str | None = None) -> None:
        _, namespace, name = owed.workload.key
        await self._client.delete(
            Job,
            name,
            namespace,
            uid=owed.workload.meta.uid,
            resource_version=resource_version,
            propagation_policy="Background",
        )

    async def _patch(self, workload: Workload, patch: Patch) -> None:
        _, namespace, name = workload.key
        await self._client.patch(
            workload.key.gvk,
            name,
            namespace,
            patch=patch,
            field_owner=_FIELD_MANAGER,
        )
