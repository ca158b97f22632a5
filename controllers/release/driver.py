"""From what is deployed to what is wanted, a step at a time.

    ┌▶ observe ─▶ plan ─┬─ nothing, or to wait ─▶ settle: conditions, next look
    │                   └─ a step ─▶ Steps.take ─┐
    └────────────────────────────────────────────┘

A step that fails is a fact like others: the plan that follows remediates, waits, or
gives up. Who dies in between leaves a status that says what it was at, and records
that say how far it came.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from controller_runtime import READY, find_condition
from controllers.release import counters, outcomes
from controllers.release.failures import SOON
from controllers.release.locks import Lock, judge
from controllers.release.look import Look
from controllers.release.observe import Observer, Wanted, classify
from controllers.release.orders import timeout_of
from controllers.release.plan import Facts, ReleaseState, Step, plan
from controllers.release.snapshot import Snapshots
from controllers.release.status import Outcome
from controllers.release.steps import Steps
from controllers.release.surroundings import Surroundings
from controllers.release.writer import Writer

log = structlog.get_logger(__name__)

_STEPS = 6
"""Steps of one look. Three make an upgrade that fails and is rolled back."""


class Driver:
    """Drives releases."""

    def __init__(
        self,
        observer: Observer,
        steps: Steps,
        writer: Writer,
        surroundings: Surroundings,
    ) -> None:
        self._observer = observer
        self._steps = steps
        self._writer = writer
        self._around = surroundings
        self._snapshots = Snapshots(observer)

    async def drive(self, look: Look) -> timedelta | None:
        """Go on until nothing is left to do; return when to look again, at the latest.

        Raises:
            SupersededError: The object has changed; what was begun is cancelled.
            ApiError: The API server cannot be asked, so nothing is known.
        """
        for _ in range(_STEPS):
            look.revisions = await self._observer.revisions(look.key)
            lock = self._lock(look)
            state = self._state(look, lock)
            step = plan(state, self._facts(look))
            log.debug("planned", state=state, step=step)
            if step is None or not step.is_action:
                return await self._settle(look, state, step, lock)
            await self._steps.take(look, step, why=lock.reason if lock else "")
        await self._writer.write(look.roost, look.status)
        return SOON

    def _state(self, look: Look, lock: Lock | None) -> ReleaseState:
        status = look.status
        known = status.helm_release if status.operation is None else None
        wanted = Wanted(
            digest=look.desired.digest,
            uid=look.roost.metadata.uid,
            generation=look.generation,
            adopt=look.roost.spec.adopt,
            known_revision=known.revision if known is not None else None,
            last=status.last_attempted,
        )
        return classify(
            look.revisions,
            wanted,
            lock=lock,
            is_owner_alive=self._around.is_owner_alive,
        )

    def _lock(self, look: Look) -> Lock | None:
        newest = look.newest
        if newest is None or not newest.status.is_pending:
            return None
        if look.is_unlocked:
            return Lock(is_abandoned=True, reason="unlock-at asks for it")
        return judge(
            look.status.operation,
            modified=newest.modified,
            timeout=timeout_of(look.roost.spec, Step.UPGRADE),
            ours=self._around.ours,
            is_elected=self._around.options.leads,
            is_alive=self._around.is_process_alive,
            now=self._now(),
        )

    def _facts(self, look: Look) -> Facts:
        spec, status = look.roost.spec, look.status
        due = status.next_retry_time
        return Facts(
            failures=counters.failures_in_a_row(status),
            retries=counters.retries_of(spec, look.revisions),
            is_due=due is None or due <= self._now(),
            is_forced=look.is_forced,
            is_rollback_wanted=look.rollback_to is not None,
            remediation=counters.remediation_of(spec, look.revisions, status),
            remediate_last=spec.upgrade.remediate_last,
        )

    async def _settle(
        self, look: Look, state: ReleaseState, step: Step | None, lock: Lock | None
    ) -> timedelta | None:
        """Say what it came to; return when to look again, at the latest."""
        if step is not Step.WAIT_FOR_LOCK:
            look.update(operation=None)
        if step is not Step.REFUSE:
            await self._snapshots.take(look)
        if step is None and state is not ReleaseState.HELD:
            look.status = counters.succeeded(look.status)
        outcome = self._outcome(look, state, step, lock)
        if outcome is not None:
            look.conclude(outcome, self._now())
        await self._writer.write(look.roost, look.status)
        if step is Step.WAIT_FOR_LOCK:
            return self._until(lock.until if lock is not None else None)
        return self._until(look.status.next_retry_time)

    def _outcome(
        self, look: Look, state: ReleaseState, step: Step | None, lock: Lock | None
    ) -> Outcome | None:
        """Return what it came to; `None` leaves what the status says."""
        match step:
            case None if state is ReleaseState.HELD:
                return outcomes.held(str(look), look.source)
            case None:
                return outcomes.deployed(str(look), look.source)
            case Step.REFUSE:
                return outcomes.refused("ReleaseOwnedByOther", [_owner(look)])
            case Step.WAIT_FOR_LOCK:
                why = lock.reason if lock is not None else ""
                return outcomes.waiting(
                    "Locked", f"an operation on {look.key} is pending: {why}"
                )
            case Step.GIVE_UP:
                return outcomes.exhausted(
                    counters.failures_in_a_row(look.status),
                    look.cause,
                    look.status.next_retry_time,
                )
            case _ if look.last is not None:
                return look.last
            case _ if find_condition(look.status.conditions, READY) is None:
                return outcomes.waiting("WaitingForRetry", look.cause)
            case _:
                return None

    def _until(self, time: datetime | None) -> timedelta | None:
        if time is None:
            return None
        return max(time - self._now(), timedelta(seconds=1))

    def _now(self) -> datetime:
        return self._around.clock.now()


def _owner(look: Look) -> str:
    """Say whose release it is."""
    uid = look.newest.uid if look.newest is not None else ""
    if not uid:
        return (
            f"the release {look.key} is managed by nobody, and spec.adopt is Never: "
            "choose another releaseName, or adopt it"
        )
    return (
        f"the release {look.key} belongs to the ManagedRoost with uid {uid}: choose "
        "another releaseName or namespace"
    )
