"""One pass over one bundle: everything is read again, and the first that fits decides.

    deleted ─▶ clean up                              `_clean_up`
    a Job is under way ─▶ follow it to its end       `_observe`
    suspended ─▶ nothing
    spec, release, namespace, account ─▶ may it?     intention, access
    time to ask ─▶ candidate, validated              polling
    values ─▶ fingerprint
        the one that was applied ─▶ synced
        another one ─▶ wait for its turn, or a Job   applying

A bundle has at most one Job. What is to be made is written into the status first, and
the Job's name follows from that, so a manager that dies at any point finds its own
Job again and makes no second one.

A pass sees its own last write even if the cache does not yet; and each write holds for
one version only, so a pass on anything older changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import NamedTuple

from api.batch.v1 import Job
from api.bundle.status import ActiveJob, Phase
from api.bundle.v1alpha1 import WerfBundle
from controller_runtime import (
    ApiError,
    Client,
    Clock,
    ConflictError,
    EventRecorder,
    Finalizers,
    ForbiddenError,
    Informer,
    NamespacedName,
    NotFoundError,
    Request,
    Scheme,
    Unfinished,
)
from controllers.bundle import access, status
from controllers.bundle.applying import Applying
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import (
    GROUP,
    Intention,
    read_intention,
    release_name,
    target_namespace,
    unsupported,
)
from controllers.bundle.jobs import Jobs, created_at, is_for
from controllers.bundle.logs import IN_STATUS, Verdict
from controllers.bundle.options import BundleOptions
from controllers.bundle.outcomes import End, Outcomes, is_over
from controllers.bundle.polling import Polling, take_request
from controllers.bundle.registry import Poller, login
from controllers.bundle.schedule import after_apply, after_block
from controllers.bundle.sources import Sources, resolve
from controllers.bundle.status import Draft
from controllers.bundle.values import RESOLVED as VALUES_RESOLVED

FINALIZER = f"{GROUP}/finalizer"

BY_RELEASE = "release"
"""Index of bundles by the release that they claim."""

_CACHE_LAG = timedelta(milliseconds=200)
"""When to look again at a bundle that was not what the cache had."""

_STARTS = timedelta(seconds=120)
"""How long a pod may take to start before its trouble is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the reconciler acts on."""

    client: Client
    """Reads live."""
    scheme: Scheme
    bundles: Informer
    sources: Sources
    jobs: Jobs
    outcomes: Outcomes
    poller: Poller
    clock: Clock
    randomness: Random


class _Latest(NamedTuple):
    """What was written last, and the versions that it took the place of."""

    bundle: WerfBundle
    superseded: frozenset[str]


class BundleReconciler:
    """Keeps bundles deployed."""

    def __init__(
        self,
        world: World,
        recorder: EventRecorder,
        options: BundleOptions,
    ) -> None:
        self._world = world
        self._recorder = recorder
        self._options = options
        self._finalizers: Finalizers[WerfBundle] = Finalizers(
            {FINALIZER: self._clean_up}
        )
        self._latest: dict[NamespacedName, _Latest] = {}
        self._polling = Polling(world.poller, world.sources, world.randomness, options)
        self._applying = Applying(world.jobs, self._write, options)

    async def reconcile(self, key: Request) -> timedelta | None:
        bundle = self._read(key)
        if bundle is None:
            self._forget(key)
            return None
        try:
            held = await self._finalizers.apply(self._world.client, bundle)
            if held.obj is not bundle:
                self._remember(bundle, held.obj)
            if held.is_deleting:
                return held.after
            return await self._pass(held.obj)
        except ConflictError:
            return _CACHE_LAG
        except NotFoundError:
            return None  # gone meanwhile, and the cache will say so

    async def _pass(self, bundle: WerfBundle) -> timedelta | None:
        draft = Draft(bundle, self._world.clock.now())
        try:
            after = await self._advance(draft)
        except BlockedError as error:
            status.blocked(draft, error)
            after = after_block(
                error.retry_after,
                None if draft.is_overdue else draft.until_poll,
                is_stalled=error.is_stalled,
                otherwise=self._options.preflight_retry * 4,
            )
        await self._write(draft)
        return after

    async def _advance(self, draft: Draft) -> timedelta | None:
        """Do what is to be done, and return when to look again."""
        bundle, spec = draft.bundle, draft.bundle.spec
        ignored = unsupported(spec, bundle.metadata.annotations)
        status.begin(draft, target_namespace(bundle), release_name(bundle), ignored)
        if await self._observe(draft):
            return self._options.job_resync
        if spec.suspend:
            status.suspended(draft)
            return None
        resumed = draft.status.phase == Phase.SUSPENDED
        if resumed:
            draft.tell("Resumed", "Resume", "spec.suspend is not set any more")
            draft.set(phase=Phase.PENDING)
        intention = await self._admitted(draft)
        fresh = take_request(draft) or resumed
        known = await login(bundle, intention, self._world.sources, self._options)
        await self._polling.poll(draft, intention, known, fresh=fresh)
        if not self._polling.has_candidate(draft, intention):
            return draft.until_poll
        values = await resolve(bundle, self._world.sources, self._options)
        draft.condition(VALUES_RESOLVED, "True", "Resolved")
        return await self._applying.bring_about(draft, intention, known, values)

    async def _admitted(self, draft: Draft) -> Intention:
        """Read the spec, and look whether it may be acted on."""
        bundle, options = draft.bundle, self._options
        try:
            intention = read_intention(bundle, options)
        except BlockedError:
            draft.set(next_poll_time=None)  # it waits for another spec, not for a time
            raise
        claim = f"{intention.namespace}/{intention.release}"
        claims = [
            self._world.scheme.decode(WerfBundle, entry.raw)
            for entry in self._world.bundles.by_index(BY_RELEASE, claim)
        ]
        access.check_release(bundle, claims, options)
        await access.check_target(self._world.client, bundle, intention, options)
        draft.condition(access.PASSED, "True", "Passed")
        return intention

    # -- the Job under way

    async def _observe(self, draft: Draft) -> bool:
        """Look at the Job that is under way; return whether it still runs."""
        active = draft.status.active_job
        if active is None:
            return False
        job = await self._world.jobs.find(active.name, active.namespace)
        if job is None:
            if active.created_at is not None:
                await self._take_end(draft, active, _lost())
            return False
        if not is_for(job, active, draft.bundle):
            draft.set(active_job=None, active_job_name="")
            return False
        if is_over(job):
            await self._take_end(draft, active, await self._world.outcomes.end(job))
            return False
        if job.spec.suspend:
            return False  # the Secrets may be missing: `make` goes on with it
        await self._follow(draft, job)
        return True

    async def _follow(self, draft: Draft, job: Job) -> None:
        created = created_at(job, draft.now)
        trouble = ""
        if draft.now - created > _STARTS:
            trouble = await self._world.outcomes.trouble(job)
        status.running(draft, created, trouble)

    async def _take_end(self, draft: Draft, active: ActiveJob, end: End) -> None:
        converge = draft.bundle.spec.converge
        if end.is_success:
            status.succeeded(draft, active, end)
        else:
            is_first_loss = end.verdict is not None and end.verdict.reason == "JobLost"
            wait = after_apply(
                active.attempt, self._options.apply_retries, self._world.randomness
            )
            if is_first_loss and active.attempt == 1:
                wait = timedelta()
            status.failed(draft, active, end, retries=converge.retries, wait=wait)
        if len(end.log.encode()) <= IN_STATUS:
            return
        try:
            place = await self._world.outcomes.keep_log(
                draft.bundle, active.name, end.log, draft.now
            )
        except ApiError as error:
            draft.warn("LogLost", "KeepLog", f"the log of {active.name}: {error}")
        else:
            status.log_kept(draft, place)

    # -- the end, and what is between passes

    async def _clean_up(self, bundle: WerfBundle) -> Unfinished[WerfBundle] | None:
        """Delete the Jobs, whose Secrets go with them; the release stays."""
        jobs, active = self._world.jobs, bundle.status.active_job
        draft = Draft(bundle, self._world.clock.now())
        try:
            left = await jobs.remove_all(bundle.metadata.uid)
            if active is not None:
                await jobs.remove(active.name, active.namespace)
        except ForbiddenError as error:
            status.held(draft, error)
            self._tell(draft)
            after = self._options.preflight_retry * 4
        else:
            if not left:
                return None
            draft.set(phase=Phase.DELETING)
            after = timedelta(seconds=1)
        told = bundle.model_copy(update={"status": draft.status})
        return Unfinished(obj=told, after=after)

    async def _write(self, draft: Draft) -> None:
        """Write the status if it has changed, then tell."""
        patch, before = draft.patch(), draft.bundle
        if patch is not None:
            written = await self._world.client.patch(
                WerfBundle,
                before.metadata.name,
                before.metadata.namespace,
                patch=patch,
                subresource="status",
            )
            self._remember(before, written)
            draft.bundle, draft.status = written, written.status
        self._tell(draft)

    def _tell(self, draft: Draft) -> None:
        for told in draft.told:
            self._recorder.event(
                draft.bundle,
                type=told.type,
                reason=told.reason,
                action=told.action,
                note=told.note,
            )
        draft.told.clear()

    def _read(self, key: Request) -> WerfBundle | None:
        """Return a bundle as the cache has it, or as it was written since."""
        entry, latest = self._world.bundles.get(key), self._latest.get(key)
        if entry is None:
            return None
        if latest is not None:
            is_same = latest.bundle.metadata.uid == entry.meta.uid
            if is_same and entry.meta.resource_version in latest.superseded:
                return latest.bundle
            del self._latest[key]
        return self._world.scheme.decode(WerfBundle, entry.raw)

    def _remember(self, before: WerfBundle, written: WerfBundle) -> None:
        latest = self._latest.get(before.key)
        earlier = latest.superseded if latest is not None else frozenset[str]()
        version = before.metadata.resource_version
        if version != written.metadata.resource_version:
            self._latest[before.key] = _Latest(written, earlier | {version})

    def _forget(self, key: NamespacedName) -> None:
        self._latest.pop(key, None)
        self._applying.forget(key)
        self._polling.forget(key)


def _lost() -> End:
    said = "it was deleted before its end was seen"
    return End(
        is_success=False,
        exit_code=None,
        verdict=Verdict("JobLost", said),
        log="",
        started_at=None,
        finished_at=None,
    )
