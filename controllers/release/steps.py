"""One step: announced in the status, taken, and noted with what came of it.

status.operation written ─▶ action ─┬─ done ──▶ Released, an Event
                                    └─ failed ▶ a failure more, when to try again
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

import structlog

from api.release.status import Operation
from controller_runtime import ConflictError
from controllers.release import counters, outcomes
from controllers.release.actions import Action, Work
from controllers.release.failures import SOON, Again, Disposition, disposition
from controllers.release.helm.engine import EngineError, Failure
from controllers.release.history import last_good
from controllers.release.identity import release_labels
from controllers.release.look import Look
from controllers.release.observe import ROLLBACK_TO
from controllers.release.operations import Operations, SupersededError
from controllers.release.orders import account, order_for, timeout_of
from controllers.release.plan import Step, pause
from controllers.release.status import RELEASED, REMEDIATED, Aspect
from controllers.release.surroundings import Surroundings
from controllers.release.writer import Writer

log = structlog.get_logger(__name__)

DONE = {
    Step.INSTALL: "ReleaseInstalled",
    Step.UPGRADE: "ReleaseUpgraded",
    Step.ROLL_BACK: "RolledBack",
    Step.UNINSTALL: "Uninstalled",
    Step.UNLOCK: "ReleaseUnlocked",
    Step.CLAIM: "ReleaseClaimed",
}
"""Step → reason of the Event that tells of it."""

_DEPLOYS = frozenset({Step.INSTALL, Step.UPGRADE})


class Steps:
    """Takes steps, one at a time for each release."""

    def __init__(
        self,
        actions: Mapping[Step, Action],
        operations: Operations,
        writer: Writer,
        surroundings: Surroundings,
    ) -> None:
        self._actions = actions
        self._operations = operations
        self._writer = writer
        self._around = surroundings

    async def take(self, look: Look, step: Step, *, why: str = "") -> None:
        """Take a step, and note in the look what came of it.

        Args:
            look: What is known; its status is written before the step is taken.
            step: One that is an action.
            why: What an unlock is justified with.

        Raises:
            SupersededError: The object has changed; what was begun is cancelled.
            ReleaseBusyError: Another object is at the release; nothing was written.
            ApiError: The API server refused the action, or the status.
        """
        revision = _target(look) if step is Step.ROLL_BACK else 0
        if step is Step.ROLL_BACK and not _has(look, revision):
            self._refuse_rollback(look, revision)
            return
        self._operations.require_free(look.key)
        operation = self.announce(look, step)
        look.roost = await self._writer.write(look.roost, look.status)
        work = self._work(look, step, operation.id, revision=revision, why=why)
        loop = asyncio.get_running_loop()
        started = loop.time()
        error: Exception | None = None
        try:
            await self._operations.run(
                look.roost.key,
                look.key,
                operation=operation.id,
                generation=look.generation,
                work=lambda: self._actions[step].run(work),
            )
        except EngineError as refusal:
            if refusal.failure is Failure.CANCELLED:
                raise SupersededError("the manager is stopping") from None
            error = refusal
        except ConflictError as refusal:
            error = refusal
        self._note(look, step, loop.time() - started, is_done=error is None)
        if error is None:
            self._done(look, step, revision=revision, why=why)
        else:
            self._failed(look, step, error)

    def announce(self, look: Look, step: Step) -> Operation:
        """Have the status say what is about to be done, and by whom."""
        now = self._around.clock.now().replace(microsecond=0)
        patience = 2 * timeout_of(look.roost.spec, step) + timedelta(seconds=30)
        operation = Operation(
            id=self._around.new_id(),
            action=step.value,
            holder=str(self._around.ours),
            started_at=now,
            deadline=now + patience,
            attempt=counters.failures_in_a_row(look.status) + 1,
        )
        look.update(operation=operation)
        look.conclude(outcomes.working(step, str(look), look.source), now)
        return operation

    def _work(
        self, look: Look, step: Step, operation: str, *, revision: int, why: str
    ) -> Work:
        order = order_for(
            look.roost,
            step,
            operation=operation,
            options=self._around.options,
            desired=look.desired,
        )
        return Work(
            order=order,
            newest=look.newest,
            revision=revision,
            labels=release_labels(look.roost, look.desired.digest),
            reason=why,
        )

    def _note(self, look: Look, step: Step, seconds: float, *, is_done: bool) -> None:
        """Remember what was tried; what only mends a record is no attempt."""
        if step in {Step.UNLOCK, Step.CLAIM}:
            return
        # One that failed holds nothing: what is deployed is no revision of a wish.
        is_wish = is_done and look.rollback_to is not None and step is Step.ROLL_BACK
        look.status = counters.attempted(
            look.status,
            ROLLBACK_TO if is_wish else step.value,
            look.desired,
            generation=look.generation,
            seconds=seconds,
        )

    def _done(self, look: Look, step: Step, *, revision: int, why: str) -> None:
        message = str(look)
        match step:
            case Step.INSTALL | Step.UPGRADE:
                look.is_forced, look.last = False, None
                look.status = counters.succeeded(look.status)
                look.aspects |= {
                    RELEASED: outcomes.succeeded(step, message),
                    REMEDIATED: None,
                }
            case Step.ROLL_BACK:
                message = f"{look.key} is back at what revision {revision} was"
                if look.rollback_to is not None:
                    look.rollback_to = None
                    look.aspects[RELEASED] = outcomes.succeeded(step, message)
                else:
                    look.last = outcomes.rolled_back(revision, look.cause)
                    look.aspects |= look.last.aspects
            case Step.UNINSTALL:
                message = f"{look.key} is gone"
                look.aspects[REMEDIATED] = outcomes.succeeded(step, message)
            case Step.UNLOCK:
                message = (
                    f"the pending operation on {look.key} is taken for dead: {why}"
                )
            case _:
                pass
        log.info(DONE[step], release=str(look.key))
        self._writer.tell(
            look.roost,
            DONE[step],
            outcomes.VERBS[step],
            message,
            bad=step is Step.UNLOCK,
        )

    def _failed(self, look: Look, step: Step, error: Exception) -> None:
        means = _meaning(look, error)
        counts = means.counts and step in _DEPLOYS
        look.status = counters.failed(look.status, step, counts=counts)
        look.is_forced = False
        now = self._around.clock.now().replace(microsecond=0)
        due = look.status.next_retry_time
        # A remediation changes nothing about when the next attempt is due.
        if step in _DEPLOYS or due is None or due <= now:
            look.update(next_retry_time=now + self._pause(look, means))
        message = f"{step.value.replace('_', ' ')} of {look}: {error}"
        is_own = not account(look.roost, self._around.options)
        if means.reason == "Forbidden" and is_own:
            message += "; set spec.serviceAccountName to an account that may"
        look.last = outcomes.failed(step, means, message)
        look.aspects |= look.last.aspects
        if step is Step.ROLL_BACK:
            look.rollback_to = None
            look.aspects[REMEDIATED] = Aspect("False", "RollbackFailed", message)
        log.warning(
            "operation failed",
            release=str(look.key),
            step=step.value,
            reason=look.last.ready.reason,
            error=str(error),
        )
        if means.is_warning:
            verb = outcomes.VERBS[step]
            self._writer.tell(look.roost, f"{verb}Failed", verb, message, bad=True)

    def _pause(self, look: Look, means: Disposition) -> timedelta:
        spec = look.roost.spec
        retries = counters.retries_of(spec, look.revisions)
        failures = counters.failures_in_a_row(look.status)
        match means.again:
            case Again.SOON:
                return SOON
            case Again.INTERVAL:
                return spec.interval
            case Again.CHANGE:
                failures = retries + 1
            case Again.RETRY:
                failures = max(failures, 1)
            case _:
                assert_never(means.again)
        return pause(
            failures,
            retries=retries,
            retry_interval=spec.retry_interval,
            interval=spec.interval,
            spread=self._around.randomness.uniform(0.9, 1.1),
        )

    def _refuse_rollback(self, look: Look, revision: int) -> None:
        look.rollback_to = None
        there = ", ".join(str(it.number) for it in look.revisions)
        note = f"Helm has no revision {revision} of {look.key}, only {there}"
        self._writer.tell(look.roost, "RollbackRefused", "Rollback", note, bad=True)


def _target(look: Look) -> int:
    """Return the revision that a rollback goes back to."""
    if look.rollback_to is not None:
        return look.rollback_to
    good = last_good(look.revisions)
    return good.number if good is not None else 0


def _has(look: Look, revision: int) -> bool:
    return any(it.number == revision for it in look.revisions)


def _meaning(look: Look, error: Exception) -> Disposition:
    """Return what a failure means."""
    if not isinstance(error, EngineError):
        return Disposition(again=Again.SOON, reason="Changing", is_warning=False)
    failures = look.status.failures
    is_repeated = failures is not None and failures.total > 0
    return disposition(error.failure, is_repeated=is_repeated)
