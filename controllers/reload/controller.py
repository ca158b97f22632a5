"""One look at one workload: fetch, observe, decide, act.

    event of a source ──index──▶ keys ─┐
    event of a workload ───────▶ key ──┴▶ queue ──▶ Reloader.reconcile
                                                      fetch    workload, from the cache
                                                      observe  policy and sources
                                                      decide   `rollout.decide`
                                                      act      `Writer`, and one Event

Reading is free: it never leaves the process. Writing is safe to repeat: a patch names
the version that it was decided for, so while the cache lags behind a write of ours
the server refuses a second one, and the look that follows finds nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta

import structlog

from controller_runtime import (
    LOW_PRIORITY,
    Backoff,
    Clock,
    ConflictError,
    ControllerRuntimeError,
    EventRecorder,
    ExponentialLimiter,
    NotFoundError,
    Result,
    reference,
)
from controllers.reload.annotations import Problem, ReloadPolicy
from controllers.reload.happenings import Happened, Happenings
from controllers.reload.metrics import ReloadMetrics
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.rollout import Plan, decide, describe, problems, read_record
from controllers.reload.sources import Source, SourceKind
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writer import RELOADED, Acts, Outcome

log = structlog.get_logger(__name__)

_CACHE_LAG = Backoff(base=0.02, ceiling=5.0)
"""Seconds until a workload is looked at again that was not what the cache had. A watch
is tens of milliseconds behind, unless it is broken."""


class Reloader:
    """Reconciles workloads of every kind that can reload."""

    def __init__(
        self,
        observer: Observer,
        writer: Acts,
        recorder: Callable[[str], EventRecorder],
        happenings: Happenings,
        *,
        metrics: ReloadMetrics,
        clock: Clock,
        options: ReloadOptions,
    ) -> None:
        self._observer = observer
        self._writer = writer
        self._happenings = happenings
        self._metrics = metrics
        self._clock = clock
        self._recorder = recorder("reloader")
        self._recorders = {kind: recorder(kind.component) for kind in SourceKind}
        self._later = Result(requeue_after=options.resync, priority=LOW_PRIORITY)
        self._conflicts: ExponentialLimiter[WorkloadKey] = ExponentialLimiter(
            _CACHE_LAG
        )
        self._told: dict[WorkloadKey, tuple[Problem, ...]] = {}
        """Problems that an Event was written about, for as long as they last."""
        self._looks_back = options.sync_after_restart
        self._looked: set[WorkloadKey] = set()
        """What this process has looked at, if the first look is special."""

    async def reconcile(self, key: WorkloadKey) -> Result | None:
        workload = self._observer.workload(key)
        try:
            began = _now()
            if (owed := await self._writer.settle(key, workload)) is not None:
                self._tell_of_reload(owed.workload, owed.plan, began)
                return None  # the cache will say what there is now
            if workload is None or not self._is_ours(workload):
                self._forget(key)
                return None
            if not await self._look(self._writer.seen(workload)):
                return None
        except ConflictError:
            # Not the version that was decided for. No failure: the next look will do.
            seconds = self._conflicts.when(key, now=0)
            return Result(requeue_after=timedelta(seconds=seconds))
        self._conflicts.forget(key)
        return self._later

    def _is_ours(self, workload: Workload) -> bool:
        """Tell whether a workload is to be looked at; one that ends is not."""
        is_here = self._observer.is_ours(workload.key.namespace)
        return is_here and not workload.meta.deletion_timestamp

    async def _look(self, workload: Workload) -> bool:
        """Compare and write; tell whether there is anything to look at again."""
        key = workload.key
        policy = self._observer.policy(workload)
        self._tell_of_problems(workload, problems(workload, policy))
        if not policy.rules:
            self._happenings.forget(key)
            return False
        began, result = _now(), "error"
        try:
            is_reloaded = await self._compare(workload, policy)
            result = "success" if is_reloaded else "skipped"
        except ConflictError:
            result = "skipped"
            raise
        finally:
            self._metrics.looked(key, result, seconds=_now() - began)
        return True

    async def _compare(self, workload: Workload, policy: ReloadPolicy) -> bool:
        """Compare, write if there is a difference, and tell whether that reloads."""
        key = workload.key
        sources = tuple(self._observer.sources(workload, policy))
        happened = self._happened(workload, sources)
        plan = decide(workload, policy, sources, happened)
        is_reloaded = False
        if plan is not None:
            is_reloaded = await self._carry_out(workload, policy, plan)
        self._happenings.forget(key, happened)
        if self._looks_back:
            self._looked.add(key)
        return is_reloaded

    def _happened(self, workload: Workload, sources: Iterable[Source]) -> Happened:
        """Return what was noted; at a first look, what may have come before it too."""
        happened = self._happenings.of(workload.key)
        if not self._looks_back or workload.key in self._looked:
            return happened
        if not read_record(workload):
            return happened  # never looked at, by any process
        return happened._replace(appeared=frozenset(source.key for source in sources))

    async def _carry_out(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan
    ) -> bool:
        began = _now()
        try:
            outcome = await self._writer.carry_out(workload, policy, plan)
        except NotFoundError:
            return False  # gone meanwhile, and the cache will say so
        except ConflictError:
            raise
        except ControllerRuntimeError as error:
            if plan.markers:
                self._tell_of_failure(workload, plan, error, began)
            raise
        if not plan.markers:
            log.debug("adopted", sources=len(plan.record))
        elif outcome.reason == RELOADED.reason:
            self._tell_of_reload(workload, plan, began, outcome)
        else:
            self._event(workload, plan, outcome)
        return bool(plan.markers) and outcome.reason == RELOADED.reason

    def _tell_of_reload(
        self,
        workload: Workload,
        plan: Plan,
        began: float,
        outcome: Outcome = RELOADED,
    ) -> None:
        kind, namespace, name = workload.key
        log.info(
            "Successfully triggered reload",
            kind=kind,
            namespace=namespace,
            name=name,
            strategy=plan.strategy.value,
        )
        self._metrics.reloaded(
            workload.key,
            plan.strategy,
            seconds=_now() - began,
            at=self._clock.now().timestamp(),
        )
        self._event(workload, plan, outcome)

    def _tell_of_failure(
        self, workload: Workload, plan: Plan, error: Exception, began: float
    ) -> None:
        reason = type(error).__name__.removesuffix("Error")
        self._metrics.refused(workload.key, reason, seconds=_now() - began)
        outcome = Outcome("ReloadFail", f"cannot be reloaded: {error}")
        self._event(workload, plan, outcome)

    def _event(self, workload: Workload, plan: Plan, outcome: Outcome) -> None:
        self._recorders[plan.markers[0].source.kind].event(
            reference(workload.key.gvk, workload.meta),
            type="Warning" if outcome.reason == "ReloadFail" else "Normal",
            reason=outcome.reason,
            action="Reload",
            note=describe(plan, workload.key, outcome.text),
        )

    def _tell_of_problems(self, workload: Workload, found: tuple[Problem, ...]) -> None:
        """Write an Event about annotations that cannot be read, until they change."""
        if found == self._told.get(workload.key, ()):
            return
        if not found:
            del self._told[workload.key]
            return
        self._told[workload.key] = found
        note = "; ".join(f"{p.annotation}: {p.reason}" for p in found)
        log.warning("annotations cannot be read", problems=note)
        self._recorder.event(
            reference(workload.key.gvk, workload.meta),
            type="Warning",
            reason="InvalidReloadAnnotation",
            action="ReadAnnotations",
            note=note,
        )

    def _forget(self, key: WorkloadKey) -> None:
        self._writer.forget(key)
        self._told.pop(key, None)
        self._looked.discard(key)
        self._conflicts.forget(key)
        self._happenings.forget(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
