"""Jobs that reloads start: each once, whatever fails or dies in between.

    run          of a CronJob   create ─▶ the record, by the `writer`
    start_anew   of a Job       try ─▶ note ─▶ delete ─▶ create ─▶ strike out

The Job that a CronJob runs is named after the CronJob's last reload. If there is one of
that name, another process has run it and could not write the record that it carries;
unless the CronJob has had no record since, where none can be written or its owner takes
all notes away. Then it is one of those before, and the next is named after it.

A Job is gone between two requests. What is to be created is kept here until it is
there, whatever fails, and in the `ledger`, for when this process dies before. Nothing
is deleted but the version that was looked at; whether it was, when the answer is lost
or it is another that has noted it, the server is asked.
"""

from __future__ import annotations

from datetime import datetime

from api.batch.v1 import Job
from controller_runtime import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    Client,
    Clock,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServerError,
)
from controllers.reload.plan import Plan
from controllers.reload.record import RELOADED_AT
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.batch import (
    Run,
    has_place,
    read_run,
    run_of,
    started_anew,
)
from controllers.reload.writing.ledger import Fate, Ledger, Owed
from controllers.reload.writing.patches import FIELD_MANAGER, instant

_NO_DRY_RUN = "does not support dry run"
"""What the API server says of a webhook that has side effects."""


class Jobs:
    """Starts them."""

    def __init__(self, client: Client, ledger: Ledger, *, clock: Clock) -> None:
        self._client = client
        self._ledger = ledger
        self._clock = clock
        self._owed: dict[WorkloadKey, Owed] = {}
        self._runs: dict[WorkloadKey, Run] = {}
        """What CronJobs have run last."""
        self._recorded: dict[WorkloadKey, tuple[datetime, str]] = {}
        """When that was which is in the record, and for which version it is."""
        self._begun: dict[WorkloadKey, str] = {}
        """Since when CronJobs have a record that had none."""

    async def run(self, cron_job: Workload, plan: Plan) -> Run:
        """Run a CronJob, unless that was done since the reload that it tells of.

        Raises:
            ApiError: The server refuses.
        """
        after = self._last_reload(cron_job)
        while True:
            now = self._clock.now()
            job = run_of(cron_job, plan, now=now, after=after)
            run = Run(job["metadata"]["name"], plan.record, now)
            known = self._runs.get(cron_job.key)
            if known is not None and known.name == run.name:
                return known  # and perhaps it is over, and cleaned up
            try:
                await self._client.create(job, field_owner=FIELD_MANAGER)
            except AlreadyExistsError:
                before = await self._run_before(cron_job, run.name)
                if before is not None and self._is_past(cron_job, before, after):
                    after = instant(before.at)
                    continue
                run = before or run
            self._runs[cron_job.key] = run
            return run

    def recorded(self, cron_job: Workload, run: Run) -> None:
        """Note that a run is in the record: the next one comes after it.

        Args:
            cron_job: The version that the record was written for.
            run: What it ran.
        """
        self._recorded[cron_job.key] = run.at, cron_job.meta.resource_version

    def begun(self, cron_job: Workload) -> None:
        """Note that the record of a CronJob, which had none, begins now."""
        self._begun[cron_job.key] = instant(self._clock.now())

    def last_run(self, cron_job: Workload) -> datetime | None:
        """Return when a CronJob was reloaded last, unless it knows better itself."""
        at, version = self._recorded.get(cron_job.key, (None, ""))
        noted = cron_job.meta.annotations.get(RELOADED_AT, "")
        if at is None or noted == instant(at):
            return at
        is_lag = version == cron_job.meta.resource_version
        return None if noted or is_lag else at

    def _last_reload(self, cron_job: Workload) -> str:
        """Say when a CronJob was reloaded last, as it does or as is known."""
        at = self.last_run(cron_job)
        noted = cron_job.meta.annotations.get(RELOADED_AT, "")
        return noted if at is None else instant(at)

    def _is_past(self, cron_job: Workload, run: Run, after: str) -> bool:
        """Tell whether a run came before the record began, and says nothing of it."""
        at = instant(run.at)
        return after < at < self._begun.get(cron_job.key, "")

    async def _run_before(self, cron_job: Workload, name: str) -> Run | None:
        """Read the run of a process that could not write the record."""
        try:
            job = await self._ledger.job(cron_job.key.namespace, name)
        except ForbiddenError:
            return None
        return None if job is None else read_run(job, cron_job)

    async def start_anew(self, job: Workload, plan: Plan) -> bool:
        """Delete a Job and create it again.

        Returns:
            Whether it is there again; else another has taken its place.

        Raises:
            ConflictError: It is not the version that the plan is for, or not gone yet.
            ApiError: The server refuses; what it owes then, `owes` tells.
        """
        document = started_anew(job, plan, now=self._clock.now())
        owed = self._ledger.owe(job, plan, document)
        await self._try(owed)
        await self._ledger.note(owed)
        # Owed before it is gone: whether a lost answer was a yes, nobody knows.
        self._owed[job.key] = owed
        try:
            await self._delete(job)
        except ServerError:
            raise  # neither does the server
        except NotFoundError as error:
            await self._not_there(owed, error)
            raise
        except ApiError:
            await self._settled(owed)
            raise
        self._owed[job.key] = owed = owed._replace(is_deleted=True)
        return await self._pay(owed)

    async def settle(self, key: WorkloadKey, current: Workload | None) -> Owed | None:
        """Create what is owed under a key, if anything is.

        Args:
            key: Of a Job.
            current: What the cache has under this key.

        Returns:
            What was created; what the cache has is then of before.

        Raises:
            ConflictError: The old Job is not gone yet, or is as it was.
            ApiError: The server refuses.
        """
        owed = self._owed.get(key)
        if owed is None:
            return None
        if current is not None and _has_come(owed, current):
            await self._settled(owed)
            return None
        if not owed.is_deleted and not await self._is_deleted(owed):
            return None
        if not await self._pay(owed):
            return None
        return owed if owed.plan.markers else None

    def owes(self, key: WorkloadKey) -> Owed | None:
        """Return the Job that is gone and to be created again, if one is."""
        owed = self._owed.get(key)
        return owed if owed is not None and owed.is_deleted else None

    def owe(self, owed: Owed) -> None:
        """Take over what another process has left, unless we are at it."""
        self._owed.setdefault(owed.workload.key, owed)

    async def _not_there(self, owed: Owed, error: ApiError) -> None:
        """Leave a Job alone that somebody has deleted; unless that was one like us.

        Raises:
            ConflictError: It was: it is for us to create, if that one does not.
        """
        other = await self._ledger.of_others(owed)
        await self._settled(owed)
        if other is None:
            return
        self.owe(other)
        raise ConflictError(
            f"{owed.workload.key} is being started anew by another process",
            status=error.status,
            reason=error.reason,
        ) from error

    def forget(self, cron_job: WorkloadKey) -> None:
        """Let go of a CronJob that is no more."""
        self._runs.pop(cron_job, None)
        self._recorded.pop(cron_job, None)
        self._begun.pop(cron_job, None)

    async def _try(self, owed: Owed) -> None:
        """Ask whether a Job would be taken, while there is still the one before.

        The server says that there is one when all others have agreed: admission,
        quotas, validation and webhooks.

        Raises:
            ApiError: It would not be.
        """
        try:
            await self._client.create(
                owed.document, field_owner=FIELD_MANAGER, dry_run=True
            )
        except AlreadyExistsError:
            pass
        except BadRequestError as error:
            if _NO_DRY_RUN not in str(error):
                raise
        except ForbiddenError as error:
            if not has_place(str(error)):
                raise

    async def _pay(self, owed: Owed) -> bool:
        """Create a Job that is owed; return whether it was not there already."""
        key = owed.workload.key
        try:
            await self._client.create(owed.document, field_owner=FIELD_MANAGER)
        except NotFoundError:  # nor is there its namespace any more
            await self._settled(owed)
            return False
        except AlreadyExistsError as error:
            if not await self._is_deleted(owed):
                return False
            raise ConflictError(
                f"{key} is still being deleted: it is created again when it is gone",
                status=error.status,
                reason=error.reason,
            ) from error
        await self._settled(owed)
        return True

    async def _is_deleted(self, owed: Owed) -> bool:
        """Ask whether a Job is gone, or going; else it is not owed any more.

        Raises:
            ConflictError: It is as it was, and to be compared anew.
        """
        fate = await self._ledger.fate(owed)
        if fate in {Fate.GONE, Fate.ENDING}:
            self._owed[owed.workload.key] = owed._replace(is_deleted=True)
            return True
        await self._settled(owed)
        if fate is Fate.REPLACED:
            return False
        raise ConflictError(
            f"{owed.workload.key} was not deleted: it is compared anew",
            status=409,
            reason="Conflict",
        )

    async def _settled(self, owed: Owed) -> None:
        """Owe it no more."""
        self._owed.pop(owed.workload.key, None)
        await self._ledger.strike(owed)

    async def _delete(self, job: Workload) -> None:
        _, namespace, name = job.key
        await self._client.delete(
            Job,
            name,
            namespace,
            uid=job.meta.uid,
            resource_version=job.meta.resource_version,
            propagation_policy="Background",
        )


def _has_come(owed: Owed, current: Workload) -> bool:
    """Tell if somebody was faster, going by the cache.

    It is no witness of what another process has noted: it may lag behind that.
    """
    return not owed.is_recalled and current.meta.uid != owed.workload.meta.uid
