"""What a reload is, by kind: the only place that writes to workloads.

    Deployment StatefulSet DaemonSet DeploymentConfig   patch the template
    Rollout     patch the template, or `restartAt`
    CronJob     run a Job, then patch the record; or patch the template; or the record
    Job         try whether it could be created, delete it, and create it again

All but the last are one request that takes effect, safe to repeat: patches name the
version that they are for, and the Job of a CronJob the reload that it comes after. How
that and the last are made once is told in `jobs`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from api.argoproj.v1alpha1 import Rollout
from api.batch.v1 import CronJob, Job
from controller_runtime import (
    ApiError,
    Client,
    Clock,
    ConflictError,
    ForbiddenError,
    Patch,
    ServerError,
)
from controllers.reload.news import Outcome, Topic
from controllers.reload.options import CronJobStrategy, ReloadOptions
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import RECORD, read_record
from controllers.reload.rollouts.restarts import is_evicted
from controllers.reload.workloads import Workload, WorkloadKey, waits_for_deletion
from controllers.reload.writing.batch import Run, idle_reason, is_suspended
from controllers.reload.writing.jobs import Jobs
from controllers.reload.writing.ledger import Ledger, Owed
from controllers.reload.writing.memory import Memory
from controllers.reload.writing.patches import (
    FIELD_MANAGER,
    begin_restart_patch,
    patch_for,
    record_patch,
    record_text,
    restart_patch,
)
from controllers.reload.writing.pause import pause_of_reload
from controllers.reload.writing.unwritten import Unwritten
from controllers.reload.writing.webhook import Notify

RELOADED = Outcome("Reloaded", "reloads")

RESTARTED = Outcome("Reloaded", "restarts: its pods are evicted, a few at a time")

ON_DELETE = Outcome(
    "Reloaded", "reloads when its pods are deleted: its update strategy is OnDelete"
)


def skipped(why: str) -> Outcome:
    """Say that nothing restarts in spite of a change."""
    return Outcome("ReloadSkipped", f"is left alone: {why}", Topic.SKIPPED)


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

    async def keep_up(self, workload: Workload, patch: Patch, /) -> bool:
        """Write what a chore says; tell whether it is written.

        Raises:
            ConflictError: The workload is not the version that the patch is for.
            ControllerRuntimeError: It cannot be done now.
        """
        ...

    async def settle(
        self, key: WorkloadKey, current: Workload | None, /
    ) -> Owed | None:
        """Finish what was begun under a key; return what has become of it."""
        ...

    def owes(self, key: WorkloadKey, /) -> Owed | None:
        """Return what was begun under a key, and is not finished."""
        ...

    async def begin_restart(self, workload: Workload, plan: Plan | None, /) -> None:
        """Begin a restart that goes on by itself."""
        ...

    async def end_restart(self, workload: Workload, plan: Plan | None, /) -> None:
        """End it, with the record that the plan has."""
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
        ledger: Ledger,
        notify: Notify | None = None,
        memory: Memory | None = None,
        unwritten: Unwritten | None = None,
    ) -> None:
        self._client = client
        self._memory = Memory() if memory is None else memory
        self._notify = notify
        self._clock = clock
        self._again = options.recreate_finished_jobs
        self._unwritten = Unwritten() if unwritten is None else unwritten
        self._done: dict[WorkloadKey, str] = {}
        """Changes that a webhook was told of, and are not in the record yet."""
        self._jobs = Jobs(client, ledger, clock=clock)

    def seen(self, workload: Workload) -> Workload:
        """Return a workload as it is to be compared."""
        return self._unwritten.seen(workload)

    async def carry_out(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan
    ) -> Outcome:
        """Write what a plan says.

        Raises:
            ConflictError: The workload is not the version that the plan is for.
            ApiError: The server refuses.
        """
        if not plan.markers:
            await self._adopt(workload, plan)
            return RELOADED
        if self._notify is not None:
            await self._once(workload, plan, partial(self._notify, workload.key, plan))
            await self._write(workload, record_patch(workload, plan), plan)
            return skipped("the webhook was told instead")
        match workload.key.kind:
            case CronJob.gvk.kind:
                return await self._reload_cron_job(workload, policy, plan)
            case Job.gvk.kind:
                return await self._reload_job(workload, plan)
            case _ if is_evicted(workload.key, policy):
                await self.begin_restart(workload, plan)
                return RESTARTED
            case _:
                patch = self._patch_of(workload, policy, plan)
                await self._write(workload, patch, plan)
        return ON_DELETE if waits_for_deletion(workload) else RELOADED

    async def keep_up(self, workload: Workload, patch: Patch) -> bool:
        """Write what a chore says.

        Raises:
            ConflictError: The workload is not the version that the patch is for.
            ApiError: The server refuses.
        """
        try:
            await self._patch(workload, patch)
        except ForbiddenError as error:
            if not self._keep(workload, patch, error):
                raise
        else:
            self._unwritten.forget(workload.key)
        return True

    async def settle(self, key: WorkloadKey, current: Workload | None) -> Owed | None:
        """Create what is owed under a key, if anything is; see `Jobs.settle`.

        Raises:
            ConflictError: The old Job is not gone yet, or is as it was.
            ApiError: The server refuses.
        """
        return await self._jobs.settle(key, current)

    def owes(self, key: WorkloadKey) -> Owed | None:
        """Return the Job that is gone and to be created again, if one is."""
        return self._jobs.owes(key)

    def owe(self, owed: Owed) -> None:
        """Take over what another process has left, unless we are at it."""
        self._jobs.owe(owed)

    def _patch_of(self, workload: Workload, policy: ReloadPolicy, plan: Plan) -> Patch:
        now = self._clock.now()
        if workload.key.kind == Rollout.gvk.kind and policy.restarts:
            return restart_patch(workload, plan, now=now)
        pausing = pause_of_reload(workload, policy, now)
        return patch_for(workload, plan, now=now, pausing=pausing)

    async def begin_restart(self, workload: Workload, plan: Plan | None) -> None:
        """Write down that the pods of a workload are to go; see `restarts`.

        Raises:
            ConflictError: The workload is not the version that the plan is for.
            ApiError: The server refuses.
        """
        now = self._clock.now()
        await self._patch(workload, begin_restart_patch(workload, plan, now=now))

    async def end_restart(self, workload: Workload, plan: Plan | None) -> None:
        """Write the record of a restart that is over, or not wanted any more.

        Raises:
            ConflictError: The workload is not the version that the plan is for.
            ApiError: The server refuses.
        """
        plan = plan or Plan(read_record(workload) or {})
        await self._write(workload, record_patch(workload, plan), plan)

    async def _adopt(self, workload: Workload, plan: Plan) -> None:
        """Write the record alone; and what a CronJob's run is named after."""
        if workload.key.kind != CronJob.gvk.kind:
            patch = patch_for(workload, plan, now=self._clock.now())
            await self._write(workload, patch, plan)
            return
        at = self._jobs.last_run(workload)
        await self._write(workload, record_patch(workload, plan, reloaded=at), plan)
        if RECORD not in workload.meta.annotations:
            self._jobs.begun(workload)

    async def _reload_cron_job(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan
    ) -> Outcome:
        if is_suspended(workload):
            outcome = skipped("it is suspended")
        elif policy.cronjob is CronJobStrategy.IGNORE:
            outcome = skipped("its next run reads what is new")
        elif policy.cronjob is CronJobStrategy.PATCH:
            patch = patch_for(workload, plan, now=self._clock.now())
            await self._write(workload, patch, plan)
            return RELOADED
        else:
            run = await self._jobs.run(workload, plan)
            await self._record_run(workload, plan, run)
            return RELOADED
        await self._write(workload, record_patch(workload, plan), plan)
        return outcome

    async def _once(
        self, workload: Workload, plan: Plan, act: Callable[[], Awaitable[None]]
    ) -> None:
        """Act on a change, unless that was done and its record could not be written."""
        if self._done.get(workload.key) != plan.change:
            await act()
            self._done[workload.key] = plan.change

    async def _record_run(self, cron_job: Workload, plan: Plan, run: Run) -> None:
        """Write what a CronJob has run with.

        Raises:
            ConflictError: It ran before the changes of the plan, which are left to the
                next look; or it is not the version that the plan is for.
        """
        record = {**(read_record(cron_job) or {}), **run.record}
        ran = Plan(record, notes=plan.notes)
        await self._write(cron_job, record_patch(cron_job, ran, reloaded=run.at), ran)
        self._jobs.recorded(cron_job, run)
        if run.covers(plan, cron_job.key.namespace):
            return
        text = f"{cron_job.key} has run as {run.name} for an earlier change"
        raise ConflictError(f"{text}: what changed since is compared anew", status=409)

    async def _reload_job(self, workload: Workload, plan: Plan) -> Outcome:
        if why := idle_reason(workload, again=self._again):
            await self._write(workload, record_patch(workload, plan), plan)
            return skipped(why)
        if not await self._jobs.start_anew(workload, plan):
            return skipped("another has taken its place meanwhile")
        return RELOADED

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that is no more."""
        self._done.pop(key, None)
        self._unwritten.forget(key)
        self._jobs.forget(key)

    async def _write(self, workload: Workload, patch: Patch, plan: Plan) -> None:
        """Write the record of a plan, and what goes with it."""
        text = record_text(plan.record)
        is_first = not plan.markers and RECORD not in workload.meta.annotations
        if is_first:  # it counts from now on, written or not
            self._memory.learn(workload, text)
        take_back = self._memory.doubt(workload)
        try:
            version = await self._patch(workload, patch)
        except ServerError:
            if is_first:
                take_back()
            raise  # and perhaps it was written
        except ApiError as error:
            take_back()
            if not self._keep(workload, patch, error):
                raise
        else:
            self._unwritten.forget(workload.key)
            self._memory.learn(workload, text, version)
        self._done.pop(workload.key, None)

    def _keep(self, workload: Workload, patch: Patch, error: ApiError) -> bool:
        """Keep what may not be written; tell whether that is as good."""
        if not isinstance(error, ForbiddenError):
            return False
        is_kept = self._unwritten.keep(workload, patch, error, self._clock.now())
        if is_kept:  # of the same version, which memory tells records apart by
            self._memory.forget(workload.key)
        return is_kept

    async def _patch(self, workload: Workload, patch: Patch) -> str:
        """Patch a workload; return its resource version from then on."""
        _, namespace, name = workload.key
        answer = await self._client.patch(
            workload.key.gvk,
            name,
            namespace,
            patch=patch,
            field_owner=FIELD_MANAGER,
        )
        return str(answer["metadata"]["resourceVersion"])
