"""What follows a reload, as looks see it: a rollout to its end, a restart step by step.

Each look first asks whether a rollout is over. Then, if the workload restarts by
eviction, it brings the restart on instead of deciding about a reload:

    the same change, not done   `Restarter` makes the next step
    the same change, done       the record is written, the annotation taken away
    another change              begun anew, through the gates
    no change any more          begun anew for that, at once
    not wanted any more         the annotation is taken away
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

from controller_runtime import Clock, NotFoundError, Result
from controllers.reload.news import News, Outcome, Topic
from controllers.reload.observe import Observer
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.restarter import Restarter
from controllers.reload.rollouts import Ended, Rollouts, describe_end
from controllers.reload.rollouts.progress import Stage
from controllers.reload.rollouts.restarts import (
    is_evicted,
    read_restarting,
    restart_change,
)
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.writer import Acts

_SOONEST = 0.001
"""Seconds until another look: a timer is no finer."""


class Aftermath:
    """Brings on what reloads have begun."""

    def __init__(
        self,
        observer: Observer,
        writer: Acts,
        rollouts: Rollouts,
        restarter: Restarter,
        *,
        clock: Clock,
    ) -> None:
        self._observer = observer
        self._writer = writer
        self._rollouts = rollouts
        self._restarter = restarter
        self._clock = clock
        self._inherited: set[str] = set()
        """Kinds of which all that another process began is known."""

    def look(self, workload: Workload) -> News | None:
        """Compare a workload with its rollout; return what is to be told."""
        self._inherit()
        ended = self._rollouts.look(workload, _now())
        return None if ended is None else self._news(workload, ended)

    def no_later(self, key: WorkloadKey, result: Result | None) -> Result | None:
        """Have a workload looked at when its rollout would have taken too long."""
        left = self._rollouts.seconds_left(key, _now())
        if left is None:
            return result
        after = timedelta(seconds=max(left, _SOONEST))
        is_sooner = (
            result is not None
            and result.requeue_after is not None
            and result.requeue_after <= after
        )
        return result if is_sooner else Result(requeue_after=after)

    async def go_on(
        self, workload: Workload, policy: ReloadPolicy, plan: Plan | None
    ) -> Restart:
        """Bring on the restart of a workload, if it is in one.

        Raises:
            ConflictError: The workload is not the version that was looked at.
            ApiError: The server refuses.
        """
        restarting = read_restarting(workload)
        if restarting is None:
            return NO_RESTART
        has_change = plan is not None and bool(plan.markers)
        is_wanted = is_evicted(workload.key, policy)
        is_same = restarting.change == restart_change(plan)
        if has_change and not (is_wanted and is_same):
            return NO_RESTART  # the reload that follows ends it, or begins another
        try:
            if not is_wanted:
                self._rollouts.forget(workload.key)
                await self._writer.end_restart(workload, plan)
            elif not is_same:
                await self._writer.begin_restart(workload, plan)
            elif self._restarter.go_on(workload.key, restarting):
                await self._writer.end_restart(workload, plan)
                return Restart(is_on=True, news=self._finish(workload))
        except NotFoundError:
            pass  # gone meanwhile, and the cache will say so
        return Restart(is_on=True)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that is no more."""
        self._restarter.forget(key)

    def _finish(self, workload: Workload) -> News | None:
        self._restarter.forget(workload.key)
        ended = self._rollouts.finish(workload.key, _now())
        return None if ended is None else self._news(workload, ended)

    def _inherit(self) -> None:
        """Take over what another process began, before anything begins here."""
        for kind in self._observer.workload_kinds:
            if kind in self._inherited:
                continue
            self._inherited.add(kind)
            for workload in self._observer.reloaded(kind):
                policy = self._observer.policy(workload)
                self._rollouts.inherit(workload, policy, _now())

    def _news(self, workload: Workload, ended: Ended) -> News:
        is_complete = ended.stage is Stage.COMPLETE
        outcome = Outcome(
            "RolloutComplete" if is_complete else "RolloutFailed",
            describe_end(ended),
            Topic.ROLLED_OUT if is_complete else Topic.STUCK,
        )
        return News(
            *(workload, ended.plan, outcome, self._clock.now(), ended.seconds),
            claimants=ended.claimants,
        )


class Restart(NamedTuple):
    """What came of bringing on a restart."""

    is_on: bool
    """There is one, and it needs no reload."""

    news: News | None = None


NO_RESTART = Restart(is_on=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
