"""The finalizer: an object stays until its release is gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from api.release.v1alpha1 import (
    FINALIZER,
    ROOST_KEEPER_FINALIZER,
    ManagedRoost,
)
from controller_runtime import (
    Client,
    DecodeError,
    NotFoundError,
    Result,
    add_finalizer,
    finalizers_of,
    has_finalizer,
    merge_patch,
    remove_finalizer,
)
from controllers.release import counters, outcomes
from controllers.release.actions import Action, Work
from controllers.release.demands import DELETION_POLICY, is_orphan
from controllers.release.failures import SOON, Again, disposition
from controllers.release.helm.engine import EngineError
from controllers.release.identity import release_key
from controllers.release.inventory import Item, from_status
from controllers.release.observe import Observer
from controllers.release.operations import Operations
from controllers.release.orders import order_for
from controllers.release.plan import Step, pause
from controllers.release.records import Revision
from controllers.release.status import Outcome, conclude
from controllers.release.surroundings import Surroundings
from controllers.release.teardown import Decision, Farewell, Inspector, decide
from controllers.release.writer import Writer

log = structlog.get_logger(__name__)


class Ending:
    """Holds objects, and lets them go."""

    def __init__(
        self,
        client: Client,
        observer: Observer,
        inspector: Inspector,
        uninstall: Action,
        operations: Operations,
        writer: Writer,
        surroundings: Surroundings,
    ) -> None:
        self._client = client
        self._observer = observer
        self._inspector = inspector
        self._uninstall = uninstall
        self._operations = operations
        self._writer = writer
        self._around = surroundings

    async def hold(self, roost: ManagedRoost) -> ManagedRoost:
        """Put our finalizer on an object, before anything is made for it."""
        if has_finalizer(roost, FINALIZER):
            return roost
        return await self._patch(roost, finalizers_of(add_finalizer(roost, FINALIZER)))

    async def reconcile(self, roost: ManagedRoost) -> Result | None:
        """Bring the release of an object that goes to its end."""
        if not _holds(roost):
            return None
        try:
            return await self._finish(roost)
        except DecodeError as error:
            message = (
                f"{error}. To leave the release, set the annotation "
                f"{DELETION_POLICY}=Orphan"
            )
            await self._say(
                roost, outcomes.teardown_failed(outcomes.UNREADABLE, message)
            )
            return Result(requeue_after=roost.spec.interval)

    async def _finish(self, roost: ManagedRoost) -> Result | None:
        impediment = await self._inspector.impediment(roost)
        key = release_key(roost)
        is_left = impediment or is_orphan(roost.metadata.annotations)
        revisions = () if is_left else await self._observer.revisions(key)
        decision = decide(roost, revisions, impediment=impediment)
        log.debug("ending", release=str(key), farewell=decision.farewell)
        match decision.farewell:
            case Farewell.SKIP:
                await self._skip(roost, decision)
                return None
            case Farewell.BLOCKED:
                await self._say(roost, outcomes.teardown_blocked(decision.reason))
                return Result(requeue_after=roost.spec.interval)
            case Farewell.UNINSTALL:
                return await self._end(roost, revisions)
            case Farewell.VERIFY:
                return await self._verify(roost, from_status(roost.status.inventory))

    async def _skip(self, roost: ManagedRoost, decision: Decision) -> None:
        note = f"{release_key(roost)} is left as it is: {decision.reason}"
        self._writer.tell(roost, "UninstallSkipped", "Uninstall", note, bad=True)
        await self._let_go(roost)

    async def _end(
        self, roost: ManagedRoost, revisions: Sequence[Revision]
    ) -> Result | None:
        key = release_key(roost)
        payload = await self._observer.payload(revisions[0])
        items = await self._observer.items(payload, key)
        roost = await self._say(roost, outcomes.tearing_down(f"uninstalling {key}"))
        operation = self._around.new_id()
        order = order_for(
            roost,
            Step.UNINSTALL,
            operation=operation,
            options=self._around.options,
            keep_history=roost.spec.uninstall.keep_history,
        )
        try:
            await self._operations.run(
                roost.key,
                key,
                operation=operation,
                generation=roost.metadata.generation,
                work=lambda: self._uninstall.run(Work(order=order, labels={})),
            )
        except EngineError as error:
            return await self._failed(roost, error)
        return await self._verify(roost, items, has_ended=True)

    async def _verify(
        self, roost: ManagedRoost, items: Sequence[Item], *, has_ended: bool = False
    ) -> Result | None:
        key = release_key(roost)
        left = await self._inspector.remaining(items, key)
        if left:
            names = ", ".join(str(item) for item in left[:5])
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            message = f"{key} is uninstalled; still there: {names}{more}"
            await self._say(roost, outcomes.tearing_down(message))
            return Result(requeue_after=SOON)
        if has_ended or roost.status.helm_release is not None:
            self._writer.tell(
                roost, "Uninstalled", "Uninstall", f"{key} is gone", bad=False
            )
        log.info("Uninstalled", release=str(key))
        await self._let_go(roost)
        return None

    async def _failed(self, roost: ManagedRoost, error: EngineError) -> Result:
        spec = roost.spec
        before = roost.status.failures
        is_repeated = before is not None and before.total > 0
        means = disposition(error.failure, is_repeated=is_repeated)
        status = counters.failed(roost.status, Step.UNINSTALL, counts=means.counts)
        message = f"uninstall of {release_key(roost)}: {error}"
        outcome = outcomes.teardown_failed(means.reason or "UninstallFailed", message)
        log.warning("operation failed", step="uninstall", error=str(error))
        if means.is_warning:
            self._writer.tell(roost, "UninstallFailed", "Uninstall", message, bad=True)
        roost = roost.model_copy(update={"status": roost.status})
        await self._say(roost, outcome, failures=status.failures)
        if means.again is Again.SOON:
            return Result(requeue_after=SOON)
        failures = status.failures.uninstall if status.failures is not None else 1
        wait = pause(
            max(failures, 1),
            retries=failures,
            retry_interval=spec.retry_interval,
            interval=spec.interval,
            spread=self._around.randomness.uniform(0.9, 1.1),
        )
        return Result(requeue_after=min(wait, max(spec.interval, timedelta(seconds=5))))

    async def _say(
        self, roost: ManagedRoost, outcome: Outcome, **changes: object
    ) -> ManagedRoost:
        status = conclude(
            roost.status.model_copy(update={"operation": None, **changes}),
            outcome,
            generation=roost.metadata.generation,
            now=self._around.clock.now(),
        )
        return await self._writer.write(roost, status)

    async def _let_go(self, roost: ManagedRoost) -> None:
        """Remove our finalizer, and roost-keeper's."""
        free = remove_finalizer(
            remove_finalizer(roost, FINALIZER), ROOST_KEEPER_FINALIZER
        )
        try:
            await self._patch(roost, finalizers_of(free))
        except NotFoundError:
            return

    async def _patch(
        self, roost: ManagedRoost, finalizers: Sequence[str]
    ) -> ManagedRoost:
        """Write finalizers, if nobody has changed the object meanwhile."""
        metadata = roost.metadata
        change = {"finalizers": list(finalizers), "uid": metadata.uid}
        if metadata.resource_version:
            change["resourceVersion"] = metadata.resource_version
        return await self._client.patch(
            ManagedRoost,
            metadata.name,
            metadata.namespace,
            patch=merge_patch({"metadata": change}),
        )


def _holds(roost: ManagedRoost) -> bool:
    return has_finalizer(roost, FINALIZER) or has_finalizer(
        roost, ROOST_KEEPER_FINALIZER
    )
