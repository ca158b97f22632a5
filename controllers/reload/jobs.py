"""Jobs that reloads start: each once, whatever fails or dies in between.

    run          of a CronJob   create ─▶ the record, by the `writer`
    start_anew   of a Job       try ─▶ note ─▶ delete ─▶ create ─▶ strike out

The Job that a CronJob runs is named after the CronJob's last reload. If there is one of
that name, another process has run it and could not write the record that it carries.

A Job is gone between two requests. What is to be created is kept here until it is
there, whatever fails, and in the `ledger`, for when this process dies before.
"""

from __future__ import annotations

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
from controllers.reload.batch import Run, has_place, read_run, run_of, started_anew
from controllers.reload.ledger import Ledger, Owed, owe
from controllers.reload.patches import FIELD_MANAGER
from controllers.reload.plan import Plan
from controllers.reload.workloads import Workload, WorkloadKey

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

    async def run(self, cron_job: Workload, plan: Plan) -> Run:
        """Run a CronJob, unless that was done since the reload that it tells of.

        Raises:
            ApiError: The server refuses.
        """
        now = self._clock.now()
        job = run_of(cron_job, plan, now=now)
        run = Run(job["metadata"]["name"], plan.record, now)
        known = self._runs.get(cron_job.key)
        if known is not None and known.name == run.name:
            return known  # and perhaps it is over, and cleaned up
        try:
            await self._client.create(job, field_owner=FIELD_MANAGER)
        except AlreadyExistsError:
            run = await self._run_before(cron_job, run.name) or run
        self._runs[cron_job.key] = run
        return run

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
        owed = owe(job, plan, started_anew(job, plan, now=self._clock.now()))
        await self._try(owed)
        is_first = await self._ledger.note(owed)
        # Owed before it is gone: whether a lost answer was a yes, nobody knows.
        self._owed[job.key] = owed
        try:
            await self._delete(owed, resource_version=job.meta.resource_version)
        except ServerError:
            raise  # neither does the server
        except ApiError:
            if is_first:
                await self._settled(owed)
            else:  # who has noted it may have deleted it: `settle` asks
                self._owed[job.key] = owed._replace(is_recalled=True)
            raise
        return await self._pay(owed)

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
        if current is not None and await self._is_settled(owed, current):
            await self._settled(owed)
            return None
        if not await self._pay(owed):
            return None
        return owed if owed.plan.markers else None

    def owes(self, key: WorkloadKey) -> Owed | None:
        """Return the Job that is to be created again, if one is."""
        return self._owed.get(key)

    def owe(self, owed: Owed) -> None:
        """Take over what another process has left, unless we are at it."""
        self._owed.setdefault(owed.workload.key, owed)

    def forget(self, cron_job: WorkloadKey) -> None:
        """Let go of a CronJob that is no more."""
        self._runs.pop(cron_job, None)

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
            if await self._is_replaced(owed):
                await self._settled(owed)
                return False
            raise ConflictError(
                f"{key} is still being deleted: it is created again when it is gone",
                status=error.status,
                reason=error.reason,
            ) from error
        await self._settled(owed)
        return True

    async def _is_settled(self, owed: Owed, current: Workload) -> bool:
        """Tell whether nothing is owed, now that the cache has a Job of the name."""
        if current.meta.uid != owed.workload.meta.uid:
            return True  # somebody was faster
        # Was it noted, and the process died before it was deleted? The cache may lag
        # behind a process that was here a moment ago.
        return owed.is_recalled and await self._ledger.is_untouched(owed)

    async def _is_replaced(self, owed: Owed) -> bool:
        """Tell if the Job of the name is another; else delete it, if it was not."""
        try:
            await self._delete(owed)
        except ConflictError:
            return True  # what has its name has another uid
        except NotFoundError:
            return False  # gone just now
        return False

    async def _settled(self, owed: Owed) -> None:
        """Owe it no more."""
        self._owed.pop(owed.workload.key, None)
        await self._ledger.strike(owed)

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
