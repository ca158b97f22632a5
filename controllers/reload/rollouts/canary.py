"""Which workload tries a change first: a gate that holds the others meanwhile.

    the canary   has a reload to make for the same source   the others wait
                 rolls out, or is paused                    … wait
                 has failed, or was taken back              … wait, and it is told
                 is complete, or is not concerned           … go

Canaries have an annotation, for all in their namespace, or are targets of a
ReloaderConfig that says so, for what that config asks for. Several go at once, and the
others wait for all of them. They wait for no canary themselves.

All of it is read from objects, so a process that starts in the middle decides alike:
that a canary has tried is in its record, and how that went in its status. One whose
template was put back looks complete, with a record that has tried; so it carries a note
(`PUT_BACK`). What does not roll out by itself (CronJobs, Jobs, pods that are replaced
when they are deleted) is through when it is written.

An order (`depends_on`) goes before: what a canary waits for does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from api.apps.v1 import DaemonSet
from controller_runtime import NamespacedName
from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import is_put_back
from controllers.reload.rollout import concerns
from controllers.reload.rollouts import Rollouts, is_followed
from controllers.reload.rollouts.order import after, circle_of
from controllers.reload.rollouts.progress import Stage, rollout_state
from controllers.reload.rollouts.restarts import read_restarting, restart_change
from controllers.reload.sources import Source, SourceKey
from controllers.reload.sources.digest import DELETED
from controllers.reload.workloads import Workload, WorkloadKey

_UNFOLLOWED = 30.0
"""Seconds until another look at what no event tells of."""

_UNREAD = 1.0
"""Seconds until what is being read is there."""

_ADVICE = "it goes on after another change, or when that is no canary any more"


class Sees(Protocol):
    """What the gate asks of an `Observer`."""

    def canaries(
        self, namespace: str, configs: Iterable[NamespacedName], /
    ) -> Iterator[WorkloadKey]:
        """Yield what may go first, of namespaces that are ours; maybe twice."""
        ...

    def is_awaited(self, key: WorkloadKey, /) -> bool:
        """Tell whether a workload is there, and being read."""
        ...

    def workload(self, key: WorkloadKey, /) -> Workload | None:
        """Return a workload, if it is known."""
        ...

    def policy(self, workload: Workload, /) -> ReloadPolicy:
        """Return what is asked for."""
        ...


class _Wait(NamedTuple):
    """Why a canary is not through."""

    text: str
    stage: Stage | None = None
    """Of its rollout, if it is followed."""

    seconds: float | None = None
    has_failed: bool = False


class CanaryGate(Gate):
    """Holds what another workload tries first."""

    def __init__(
        self,
        rollouts: Rollouts,
        sees: Sees,
        *,
        source: Callable[[SourceKey], Source | None],
        wake: Callable[[WorkloadKey], None],
    ) -> None:
        """Make a gate.

        Args:
            rollouts: What is under way.
            sees: Knows workloads, and what they ask for.
            source: Says what is known of a source, if it is there.
            wake: Has a workload looked at again.
        """
        self._rollouts = rollouts
        self._sees = sees
        self._source = source
        self._wake = wake
        self._waiting: dict[WorkloadKey, dict[WorkloadKey, Stage | None]] = {}
        """Canary → who waits for it, and how far it was then."""
        rollouts.subscribe(self._got_on)

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until all canaries are through; tell of what has failed first."""
        waits = {
            key: wait
            for key in self._canaries(turn)
            if (wait := self._why_wait(turn, key)) is not None
        }
        if not waits:
            return None
        self._leave(turn.key)
        for key, wait in waits.items():
            self._waiting.setdefault(key, {})[turn.key] = wait.stage
        key, wait = min(waits.items(), key=lambda it: (not it[1].has_failed, it[0]))
        kind, namespace, name = key
        text = f"for its canary {kind} {namespace}/{name}, which {wait.text}"
        if wait.has_failed:
            return Hold(
                HoldReason.CANARY_FAILED, f"{text}: {_ADVICE}", warning="CanaryFailed"
            )
        return Hold(HoldReason.CANARY, text, wait.seconds, is_open=True)

    def begin(self, turn: Turn) -> None:
        """Wait no more."""
        self._leave(turn.key)

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Have those look that wait for what was written."""
        del is_reloaded
        self._got_on(turn.key)

    def settle(self, key: WorkloadKey) -> None:
        """Wait no more; have those look that wait for it in vain."""
        self._leave(key)
        self._got_on(key)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload, and have those look that wait for it."""
        self._leave(key)
        self._wake_all(self._waiting.pop(key, {}))

    def _canaries(self, turn: Turn) -> Iterator[WorkloadKey]:
        """Yield what goes before a reload, by name."""
        if turn.policy.terms.is_canary:
            return
        found = set(self._sees.canaries(turn.key.namespace, turn.plan.configs))
        found.discard(turn.key)
        if not found:
            return

        circle = circle_of(turn.key, self._before)
        yield from sorted(found.difference(circle))

    def _before(self, key: WorkloadKey) -> Iterator[WorkloadKey]:
        """Yield what a workload may have to wait for, here or by its order."""
        workload = self._sees.workload(key)
        if workload is None:
            return
        policy = self._sees.policy(workload)
        yield from after(key, policy)
        if not policy.terms.is_canary:
            configs = [wish.config for wish in policy.wishes]
            yield from self._sees.canaries(key.namespace, configs)

    def _why_wait(self, turn: Turn, key: WorkloadKey) -> _Wait | None:
        workload = self._sees.workload(key)
        if workload is None:
            if self._sees.is_awaited(key):
                return _Wait("is being read", seconds=_UNREAD)
            return None
        if workload.meta.deletion_timestamp:
            return None
        policy = self._sees.policy(workload)
        changed = {marker.source for marker in turn.plan.markers}
        if not any(self._concerns(workload, policy, source) for source in changed):
            return None
        due = turn.due(key)
        if due is None or changed.isdisjoint(it.source for it in due.markers):
            return self._rolls_out(workload, policy)
        restarting = read_restarting(workload)
        if restarting is None or restarting.change != restart_change(due):
            return _Wait("reloads first")
        # Pods are evicted for just that, and the record is written when all are.
        rolls = self._rolls_out(workload, policy)
        return rolls or _Wait("rolls out", seconds=_UNFOLLOWED)

    def _concerns(
        self, workload: Workload, policy: ReloadPolicy, key: SourceKey
    ) -> bool:
        source = self._source(key) or Source(key, DELETED, {})
        return concerns(workload, policy, source)

    def _rolls_out(self, workload: Workload, policy: ReloadPolicy) -> _Wait | None:
        """Tell what is missing of what a canary has reloaded last."""
        if not is_followed(workload, policy):
            return None
        followed = self._rollouts.stage(workload.key)
        state = rollout_state(workload)
        stage = followed or state.stage
        if stage is Stage.FAILED:
            return _Wait("has failed to roll out", followed, has_failed=True)
        if is_put_back(workload.meta):
            return _Wait("was put back to what it was", followed, has_failed=True)
        if followed is None and (stage is Stage.COMPLETE or _was_complete(workload)):
            return None
        text = "is paused" if stage is Stage.PAUSED else "rolls out"
        seconds = _UNFOLLOWED if followed is None else None
        return _Wait(text, _steady(followed), seconds)

    def _got_on(self, key: WorkloadKey) -> None:
        """Have those look that wait for a canary, if it is not as it was."""
        waiting = self._waiting.get(key)
        if not waiting:
            return
        stage = _steady(self._rollouts.stage(key))
        same = stage is Stage.PROGRESSING
        stay = {one: at for one, at in waiting.items() if same and at is stage}
        self._waiting[key] = stay
        self._wake_all(waiting.keys() - stay.keys())
        if not stay:
            del self._waiting[key]

    def _leave(self, key: WorkloadKey) -> None:
        for canary, waiting in tuple(self._waiting.items()):
            waiting.pop(key, None)
            if not waiting:
                del self._waiting[canary]

    def _wake_all(self, keys: Iterable[WorkloadKey]) -> None:
        for one in sorted(keys):
            self._wake(one)


def _steady(stage: Stage | None) -> Stage | None:
    """Return one stage for all that is under way."""
    return Stage.PROGRESSING if stage is Stage.PENDING else stage


def _was_complete(workload: Workload) -> bool:
    """Tell whether the newest template was complete, and pods went missing later.

    Of a DaemonSet nobody knows.
    """
    if workload.key.kind == DaemonSet.gvk.kind:
        return False
    return rollout_state(workload).has_rolled
