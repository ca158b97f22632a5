"""One look at one ManagedRoost: fetch, observe, decide, act, write.

    event, interval, retry ─▶ reconcile
      deleted?   ─▶ Ending     uninstall, then let go
      gates      ─▶            invalid, suspended, waiting for others
      desired    ─▶ Desirer    chart and values, as they are now
      drive      ─▶ Driver     steps, until what is deployed is what is desired

What is about to be done is in the status before it begins, so whoever comes after a
crash knows who was at it. What was done is read from Helm's records and never taken
from a reply. Nothing about a release is remembered in this process.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    Backoff,
    Client,
    ConflictError,
    DecodeError,
    ExponentialLimiter,
    ForbiddenError,
    NotFoundError,
    Request,
    Result,
    is_deleting,
)
from controllers.release import counters, outcomes
from controllers.release.demands import Demands, read_demands
from controllers.release.dependencies import Dependencies
from controllers.release.desired import Desirer
from controllers.release.driver import Driver
from controllers.release.ending import Ending
from controllers.release.failures import SOON, Again
from controllers.release.look import Look
from controllers.release.operations import ReleaseBusyError, SupersededError
from controllers.release.sources import DesireError
from controllers.release.standing import Standing
from controllers.release.status import Outcome, conclude
from controllers.release.surroundings import Surroundings
from controllers.release.unsupported import unsupported_fields
from controllers.release.validation import validate
from controllers.release.writer import Writer

log = structlog.get_logger(__name__)

_JITTER = 0.1
"""Part of an interval by which it may be longer or shorter."""

_SOURCE = Backoff(base=5.0, ceiling=300.0)
"""Seconds until a repository that does not answer is asked again."""

_AT_ONCE = timedelta(milliseconds=10)


class Releaser:
    """Reconciles ManagedRoosts."""

    def __init__(
        self,
        client: Client,
        *,
        dependencies: Dependencies,
        desirer: Desirer,
        driver: Driver,
        ending: Ending,
        standing: Standing,
        writer: Writer,
        surroundings: Surroundings,
    ) -> None:
        self._client = client
        self._dependencies = dependencies
        self._desirer = desirer
        self._driver = driver
        self._ending = ending
        self._standing = standing
        self._writer = writer
        self._around = surroundings
        self._unreachable: ExponentialLimiter[Request] = ExponentialLimiter(_SOURCE)

    async def reconcile(self, request: Request) -> Result | None:
        try:
            roost = await self._client.get(
                ManagedRoost, request.name, request.namespace
            )
        except NotFoundError:
            self._unreachable.forget(request)
            return None
        try:
            if is_deleting(roost):
                return await self._ending.reconcile(roost)
            return await self._reconcile(await self._ending.hold(roost))
        except SupersededError as error:
            log.info("operation superseded", why=str(error))
        except ConflictError:
            log.debug("the cache is late")
        except ReleaseBusyError:
            return Result(requeue_after=SOON)
        return Result(requeue_after=_AT_ONCE)

    async def _reconcile(self, roost: ManagedRoost) -> Result | None:
        self._warn(roost)
        if (gate := await self._gate(roost)) is not None:
            outcome, after = gate
            await self._say(roost, outcome)
            return None if after is None else Result(requeue_after=after)
        demands = read_demands(roost.metadata.annotations, roost.status.last_handled)
        status = counters.begun(roost, is_reset=demands.is_reset)
        try:
            desired = await self._desirer.desired(roost)
        except DesireError as error:
            await self._say(roost, _undesired(error))
            return Result(requeue_after=self._again(roost, error))
        self._unreachable.forget(roost.key)
        chart = desired.chart
        look = Look(
            roost=roost,
            status=counters.compared(status, desired.digest),
            desired=desired,
            source=outcomes.source_ready(chart.name, chart.version, chart.digest),
            is_forced=demands.is_forced,
            is_unlocked=demands.is_unlocked,
            rollback_to=demands.rollback_to,
        )
        look.update(
            last_handled=demands.handled,
            unsupported_fields=unsupported_fields(roost.spec),
        )
        self._complain(roost, demands)
        try:
            after = await self._driver.drive(look)
        except ForbiddenError as error:
            # Our own account, not the one that Helm acts as.
            await self._say(look.roost, outcomes.waiting("Forbidden", str(error)))
            after = None
        except DecodeError as error:
            await self._say(look.roost, outcomes.refused(outcomes.UNREADABLE, [error]))
            after = None
        interval = self._interval(roost)
        return Result(requeue_after=interval if after is None else min(after, interval))

    async def _gate(
        self, roost: ManagedRoost
    ) -> tuple[Outcome, timedelta | None] | None:
        """Return why nothing is to be done now, and when to look again."""
        if problems := validate(roost, self._around.options):
            return outcomes.refused("InvalidSpec", problems), None
        if roost.spec.suspend:
            return outcomes.suspended(), None
        if objection := await self._standing.objection(roost):
            return outcomes.waiting("Forbidden", objection), self._interval(roost)
        blocked = await self._dependencies.check(roost)
        if blocked is None:
            return None
        if blocked.is_cycle:
            outcome = outcomes.refused("DependencyCycle", [blocked.message])
        else:
            outcome = outcomes.waiting("DependencyNotReady", blocked.message)
        # No event of ours tells what becomes of another object, nor of the cycle.
        return outcome, self._around.options.requeue_dependency

    async def _say(self, roost: ManagedRoost, outcome: Outcome) -> None:
        """Write what a look came to that never got as far as the release."""
        status = conclude(
            counters.at_rest(
                counters.begun(roost, is_reset=False), str(self._around.ours)
            ).model_copy(update={"unsupported_fields": unsupported_fields(roost.spec)}),
            outcome,
            generation=roost.metadata.generation,
            now=self._around.clock.now(),
        )
        await self._writer.write(roost, status)

    def _again(self, roost: ManagedRoost, error: DesireError) -> timedelta:
        """Return when to try again to have chart and values."""
        interval = self._interval(roost)
        match error.again:
            case Again.SOON:
                return SOON
            case Again.RETRY:
                seconds = self._unreachable.when(roost.key, now=0)
                return min(timedelta(seconds=seconds), interval)
            case _:
                return interval

    def _interval(self, roost: ManagedRoost) -> timedelta:
        spread = self._around.randomness.uniform(1 - _JITTER, 1 + _JITTER)
        return roost.spec.interval * spread

    def _warn(self, roost: ManagedRoost) -> None:
        """Tell of what is dubious in a spec, once for each generation."""
        if roost.status.observed_generation == roost.metadata.generation:
            return
        for reason, note in _warnings(roost):
            self._writer.tell(roost, reason, "ReadSpec", note, bad=True)

    def _complain(self, roost: ManagedRoost, demands: Demands) -> None:
        if demands.problem:
            self._writer.tell(
                roost, "InvalidAnnotation", "ReadAnnotations", demands.problem, bad=True
            )


def _undesired(error: DesireError) -> Outcome:
    is_stalled = error.again is Again.CHANGE
    if error.is_source:
        return outcomes.source_failed(error.reason, str(error), is_stalled=is_stalled)
    return outcomes.values_failed(error.reason, str(error), is_stalled=is_stalled)


def _warnings(roost: ManagedRoost) -> list[tuple[str, str]]:
    """Return reason and note of what is dubious: pure."""
    found = []
    spec = roost.spec
    if paths := unsupported_fields(spec):
        found.append(("UnsupportedField", f"not acted on: {', '.join(paths)}"))
    repository = spec.chart.repository
    scheme = repository.url.partition("://")[0]
    meant = {"https": "http", "git+https": "git"}.get(scheme, scheme)
    if repository.type is not None and repository.type != meant:
        note = (
            f"spec.chart.repository.type is {repository.type!r}, and the URL begins "
            f"with {scheme}://, which decides: remove the type"
        )
        found.append(("RepositoryTypeIgnored", note))
    auth = repository.auth
    if auth is not None and (auth.password or auth.token):
        note = "spec.chart.repository.auth has a secret: move it to a Secret"
        found.append(("InlineCredentials", note))
    return found
