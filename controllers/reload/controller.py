"""One look at one workload: fetch, observe, decide, wait or act.

    event of a source ──index──▶ keys ─┐
    event of a workload ───────▶ key ──┴▶ queue ──▶ Reloader.reconcile
                                                      fetch    workload, from the cache
                                                      follow   `Aftermath`
                                                      observe  policy and sources
                                                      decide   `rollout.decide`
                                                      wait     `Gates`, and look again
                                                      act      `Writer`
                                                      tell     each `Listener`
                                                      keep up  `Upkeep`, without a plan

Reading is free: it never leaves the process. Writing is safe to repeat: a patch names
the version that it was decided for, so while the cache lags behind a write of ours
the server refuses a second one, and the look that follows finds nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog

from controller_runtime import (
    LOW_PRIORITY,
    Backoff,
    Clock,
    ConflictError,
    ControllerRuntimeError,
    ExponentialLimiter,
    NotFoundError,
    Result,
)
from controllers.reload.aftermath import Aftermath
from controllers.reload.announcer import Announcer
from controllers.reload.gates import Gates, Hold, HoldReason, Turn, Waiting
from controllers.reload.happenings import Happened, Happenings
from controllers.reload.metrics import ReloadMetrics
from controllers.reload.news import Listener, News, Outcome, Topic
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import parse_record, read_record, recorded_text
from controllers.reload.rollout import concerns, decide, problems, unread
from controllers.reload.sources import Source
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.ledger import Owed
from controllers.reload.writing.memory import Memory
from controllers.reload.writing.patches import record_text
from controllers.reload.writing.rehearsal import Rehearsal
from controllers.reload.writing.strife import Strife
from controllers.reload.writing.upkeep import Upkeep, due
from controllers.reload.writing.writer import RELOADED, Acts

log = structlog.get_logger(__name__)

_CACHE_LAG = Backoff(base=0.02, ceiling=5.0)
"""Seconds until a workload is looked at again that was not what the cache had. A watch
is tens of milliseconds behind, unless it is broken."""

_SOONEST = 0.001
"""Seconds until another look at what is held: clocks are not finer than their loop."""

_BRIEF = 5.0
"""Seconds that what is due besides may wait, to be one write with a reload."""

_SETTLED = Outcome("ReloadSettled", "needs no reload any more", Topic.SETTLED)


class _Compared(NamedTuple):
    """What came of a comparison."""

    again: Result
    """When to look again, if no event comes before."""

    is_written: bool = False
    is_reloaded: bool = False

    is_brief: bool = False
    """It waits for a moment, and what is due goes with it: an overdue pause ends in the
    patch that reloads."""


class Reloader:
    """Reconciles workloads of every kind that can reload."""

    def __init__(
        self,
        observer: Observer,
        writer: Acts,
        gates: Gates,
        announcer: Announcer,
        aftermath: Aftermath,
        happenings: Happenings,
        *,
        metrics: ReloadMetrics,
        clock: Clock,
        options: ReloadOptions,
        memory: Memory | None = None,
        listeners: Sequence[Listener] = (),
        upkeep: Sequence[Upkeep] = (),
    ) -> None:
        self._observer = observer
        self._writer = writer
        self._gates = gates
        self._announcer = announcer
        self._aftermath = aftermath
        self._listeners: tuple[Listener, ...] = (announcer, *listeners)
        self._upkeep = tuple(upkeep)
        self._memory = Memory() if memory is None else memory
        self._strife = Strife()
        self._happenings = happenings
        self._rehearsal = Rehearsal()
        self._metrics = metrics
        self._clock = clock
        self._resync = options.resync
        self._later = Result(requeue_after=options.resync, priority=LOW_PRIORITY)
        self._conflicts: ExponentialLimiter[WorkloadKey] = ExponentialLimiter(
            _CACHE_LAG
        )
        self._looks_back = options.sync_after_restart
        self._looked: set[WorkloadKey] = set()
        """What this process has looked at, if the first look is special."""

    async def reconcile(self, key: WorkloadKey) -> Result | None:
        workload = self._observer.workload(key)
        try:
            if await self._settle(key, workload):
                self._observer.refresh()
                return None  # the cache will say what there is now
            if workload is None and self._observer.is_awaited(key):
                return None  # it comes back when it has been read
            if workload is None or not self._is_ours(workload):
                self._forget(key)
                return None
            workload = self._writer.seen(workload)
            if (news := self._aftermath.look(workload)) is not None:
                self._publish(news)
            result = self._aftermath.no_later(key, await self._look(workload))
        except ConflictError:
            # Not the version that was decided for. No failure: the next look will do.
            self._observer.refresh()
            seconds = self._conflicts.when(key, now=0)
            return Result(requeue_after=timedelta(seconds=seconds))
        self._conflicts.forget(key)
        return result

    def _is_ours(self, workload: Workload) -> bool:
        """Tell whether a workload is to be looked at; one that ends is not."""
        is_here = self._observer.places.is_ours(workload.key.namespace)
        return is_here and not workload.meta.deletion_timestamp

    async def _look(self, workload: Workload) -> Result | None:
        """Compare and write; return when to look again, if ever."""
        key = workload.key
        self._observer.bind(workload)
        policy = self._observer.policy(workload)
        found = (*problems(workload, policy), *self._gates.problems(workload, policy))
        self._announcer.problems(workload, found)
        await self._rehearse(workload, policy)
        if not policy.asks:
            self._happenings.forget(key)
            self._gates.forget(key)
            return await self._keep_up(workload, policy, None)
        began, result = _now(), "error"
        try:
            compared = await self._compare(workload, policy)
            result = "success" if compared.is_reloaded else "skipped"
        except ConflictError:
            result = "skipped"
            raise
        except ControllerRuntimeError:
            await self._keep_up(workload, policy, None)  # it is not what was refused
            raise
        finally:
            self._metrics.looked(key, result, seconds=_now() - began)
        if compared.is_written:
            self._observer.refresh()
        if compared.is_written or compared.is_brief:
            return compared.again  # and sooner, when the cache has what was written
        return await self._keep_up(workload, policy, compared.again)

    async def _keep_up(
        self, workload: Workload, policy: ReloadPolicy, again: Result | None
    ) -> Result | None:
        """Do what is due besides; return when to look again, not after `again`."""
        chore = due(self._upkeep, workload, policy, self._clock.now())
        if chore.patch is not None:
            try:
                if await self._writer.keep_up(workload, chore.patch):
                    self._observer.refresh()
                    self._announcer.upkeep(workload, chore)
            except NotFoundError:
                return None  # gone meanwhile, and the cache will say so
            except ConflictError:
                raise
            except ControllerRuntimeError as error:
                self._announcer.upkeep(workload, chore, error)
                raise
        if chore.seconds is None:
            return again
        after = min(timedelta(seconds=chore.seconds), self._resync)
        if again is not None and again.requeue_after is not None:
            after = min(after, again.requeue_after)
        return Result(requeue_after=after)

    async def _compare(self, workload: Workload, policy: ReloadPolicy) -> _Compared:
        """Compare, and write if there is a difference and nothing holds it."""
        key = workload.key
        plan, happened = self._decide(workload, policy)
        restart = await self._aftermath.go_on(workload, policy, plan)
        if restart.news is not None:
            self._publish(restart.news)
        if restart.is_on:
            return _Compared(self._later)
        is_reloaded = False
        if plan is None or not plan.markers:
            self._tell_settled(key)
        if plan is None:
            self._memory.learn(workload, recorded_text(workload))
            self._strife.is_there(key, _now())
        if plan is not None and plan.markers:
            turn = Turn(workload, policy, plan, self._clock.now(), _now(), self._due)
            if (hold := self._enter(turn)) is not None:
                if (noted := unread(workload, plan, happened)) is not None:
                    await self._adopt(workload, policy, noted)
                    return _Compared(self._again(hold), is_written=True)
                is_brief = hold.seconds is not None and hold.seconds <= _BRIEF
                return _Compared(self._again(hold), is_brief=hold.quiet and is_brief)
            is_reloaded = await self._reload(turn)
        elif plan is not None:
            if left := self._seconds_until_put_back(workload, plan):
                return _Compared(self._after(left))
            await self._adopt(workload, policy, plan)
        self._happenings.forget(key, happened)
        if self._looks_back:
            self._looked.add(key)
        return _Compared(self._later, plan is not None, is_reloaded)

    async def _rehearse(self, workload: Workload, live: ReloadPolicy) -> None:
        """Say what the dry runs of configs would reload, besides what reloads."""
        policy = self._observer.rehearsed(workload)
        if policy is None:
            self._rehearsal.forget(workload.key)
            return
        began, seen = _now(), self._rehearsal.seen(workload)
        sources = [
            source
            for source in self._observer.supply.sources(seen, policy)
            if not concerns(seen, live, source)
        ]
        happened = self.happened(seen, sources)
        if seen is not workload:  # what it is seen with was never put back
            happened = happened._replace(known={})
        plan = decide(seen, policy, sources, happened)
        if plan is not None:
            outcome = await self._rehearsal.carry_out(seen, policy, plan)
            if plan.markers:
                self._tell(seen, plan, outcome, began)

    def _due(self, key: WorkloadKey) -> Plan | None:
        """Return what a workload has to reload for, if it has; that changes nothing."""
        workload = self._observer.workload(key)
        if workload is None or not self._is_ours(workload):
            return None
        workload = self._writer.seen(workload)
        plan, _ = self._decide(workload, self._observer.policy(workload))
        return plan if plan is not None and plan.markers else None

    def _decide(
        self, workload: Workload, policy: ReloadPolicy
    ) -> tuple[Plan | None, Happened]:
        sources = tuple(self._observer.supply.sources(workload, policy))
        happened = self.happened(workload, sources)
        return decide(workload, policy, sources, happened), happened

    def happened(self, workload: Workload, sources: Iterable[Source]) -> Happened:
        """Return what was noted; at a first look, what may have come before it too."""
        happened = self._happenings.of(workload.key)
        text = self._memory.overrides(workload, recorded_text(workload))
        if text is not None:
            happened = happened._replace(known=parse_record(text) or {})
        if not self._looks_back or workload.key in self._looked:
            return happened
        if not read_record(workload):
            return happened  # never looked at, by any process
        return happened._replace(appeared=frozenset(source.key for source in sources))

    def _enter(self, turn: Turn) -> Hold | None:
        """Ask the gates; tell once of what a reload waits for."""
        before = self._gates.waiting(turn.key)
        hold = self._gates.enter(turn)
        if hold is None:
            return None
        if before is None or _cause(before) != _cause(Waiting(turn, hold)):
            reason = hold.warning or "ReloadHeld"
            outcome = Outcome(reason, f"waits {hold.text}", Topic.HELD)
            news = News(turn.workload, turn.plan, outcome, turn.now, hold=hold)
            self._publish(news)
        return hold

    def _again(self, hold: Hold) -> Result:
        """Look when the hold says so, or an event; in any case some time."""
        return self._later if hold.seconds is None else self._after(hold.seconds)

    def _after(self, seconds: float) -> Result:
        after = min(max(seconds, _SOONEST), self._resync.total_seconds())
        return Result(requeue_after=timedelta(seconds=after))

    def _seconds_until_put_back(self, workload: Workload, plan: Plan) -> float:
        """Return how long not to write a record; note that it is written now if 0."""
        if not self._memory.is_latest(workload, record_text(plan.record)):
            return 0.0
        left = self._strife.seconds_left(workload.key, _now())
        if not left:
            self._strife.put_back(workload.key, _now())
        return left

    async def _reload(self, turn: Turn) -> bool:
        """Write what was begun; tell whether it reloads."""
        is_reloaded = False
        began = since = _now()
        try:
            plan = turn.plan._replace(notes=self._gates.notes(turn))
            outcome = await self._writer.carry_out(turn.workload, turn.policy, plan)
            is_reloaded = outcome.topic is Topic.RELOADED
        except NotFoundError:
            return False  # gone meanwhile, and the cache will say so
        except ConflictError:
            raise
        except ControllerRuntimeError as error:
            self._tell_failure(turn.workload, turn.plan, began, error)
            raise
        finally:
            since = self._gates.leave(turn, is_reloaded=is_reloaded)
        self._tell(turn.workload, turn.plan, outcome, began, since=since)
        return is_reloaded

    async def _settle(self, key: WorkloadKey, current: Workload | None) -> bool:
        """Finish what was begun under a key; tell whether anything was."""
        began = _now()
        try:
            owed = await self._writer.settle(key, current)
        except ConflictError:
            raise
        except ControllerRuntimeError as error:
            if (still := self._writer.owes(key)) is not None:
                self._tell_failure(still.workload, still.plan, began, error)
            raise
        if owed is not None:
            self._settled(owed, began)
        return owed is not None

    def _settled(self, owed: Owed, began: float) -> None:
        """Note a reload that was begun in an earlier look, or by another process."""
        workload, plan = owed.workload, owed.plan
        policy = self._observer.policy(workload)
        turn = Turn(workload, policy, plan, self._clock.now(), _now())
        since = self._gates.leave(turn, is_reloaded=True)
        waited_for = None if owed.is_recalled else since
        self._tell(workload, plan, RELOADED, began, since=waited_for)

    async def _adopt(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan
    ) -> None:
        """Write the record alone."""
        try:
            await self._writer.carry_out(workload, policy, plan)
        except NotFoundError:
            return  # gone meanwhile, and the cache will say so
        log.debug("adopted", sources=len(plan.record))

    def _tell_settled(self, key: WorkloadKey) -> None:
        if (waited := self._gates.settle(key)) is not None:
            workload, _, plan, *_ = waited.turn
            self._publish(News(workload, plan, _SETTLED, self._clock.now()))

    def _tell_failure(
        self, workload: Workload, plan: Plan, began: float, error: Exception
    ) -> None:
        text = f"cannot be reloaded: {error}"
        if self._writer.owes(workload.key) is not None:
            text = (
                f"was deleted to be created anew, and that is refused: {error}; it is "
                "tried until there is one of this name, which may be yours"
            )
        self._tell(
            workload, plan, Outcome("ReloadFail", text, Topic.FAILED), began, error
        )

    def _tell(
        self,
        workload: Workload,
        plan: Plan,
        outcome: Outcome,
        began: float,
        error: Exception | None = None,
        *,
        since: float | None = None,
    ) -> None:
        at, now = _now(), self._clock.now()
        waited = None if since is None else at - since
        self._publish(
            News(workload, plan, outcome, now, at - began, error, waited=waited)
        )

    def _publish(self, news: News) -> None:
        for listener in self._listeners:
            listener(news)

    def _forget(self, key: WorkloadKey) -> None:
        self._writer.forget(key)
        self._rehearsal.forget(key)
        self._observer.release(key)
        self._memory.forget(key)
        self._strife.forget(key)
        for upkeep in self._upkeep:
            upkeep.forget(key)
        self._gates.forget(key)
        self._announcer.forget(key)
        self._aftermath.forget(key)
        self._looked.discard(key)
        self._conflicts.forget(key)
        self._happenings.forget(key)


def _cause(waiting: Waiting) -> tuple[HoldReason, bool, str]:
    return waiting.hold.reason, waiting.hold.quiet, waiting.turn.plan.change


def _now() -> float:
    return asyncio.get_running_loop().time()
