"""Which workload goes first: a gate that holds what comes after another one.

    web after db:   db has a reload to make for the same source   web waits
                    db rolls out, or has failed to                web waits
                    db is complete, or is not concerned           web goes

Whether another workload has a reload to make is decided as it would be for itself, from
the cache: it may not have been looked at yet. Who waits is looked at again when the one
before it gets on: its rollout is over, its reload was written or is needed no more.

Workloads that wait for each other in a circle would wait for ever. So inside of a
circle the names decide: only what comes before by kind and name is waited for. That is
told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.policy import Problem, ReloadPolicy
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.progress import Stage
from controllers.reload.workloads import Workload, WorkloadKey

_REACH = 100
"""Workloads that are searched for a circle, each of which is read for it. A longer
circle is not found."""


class OrderGate(Gate):
    """Holds what comes after another workload."""

    def __init__(
        self,
        rollouts: Rollouts,
        *,
        before: Callable[[WorkloadKey], Iterable[WorkloadKey]],
        wake: Callable[[WorkloadKey], None],
        annotation: str,
    ) -> None:
        """Make a gate.

        Args:
            rollouts: What is under way.
            before: Says which workloads come before one.
            wake: Has a workload looked at again.
            annotation: Where users say it, for messages.
        """
        self._rollouts = rollouts
        self._before = before
        self._wake = wake
        self._annotation = annotation
        self._waiting: defaultdict[WorkloadKey, set[WorkloadKey]] = defaultdict(set)
        """Who is waited for → by whom."""
        rollouts.subscribe(self._got_on)

    def ask(self, turn: Turn) -> Hold | None:
        """Hold what another workload comes before."""
        for other in self._honoured(turn.key, turn.policy):
            if (why := self._why_wait(turn, other)) is not None:
                self._waiting[other].add(turn.key)
                kind, namespace, name = other
                text = f"for {kind} {namespace}/{name}, which {why}"
                return Hold(HoldReason.ORDER, text)
        return None

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Let others go if no rollout follows."""
        if is_reloaded:
            self._got_on(turn.key)

    def settle(self, key: WorkloadKey) -> None:
        """Have those look again that wait for it in vain."""
        self._got_on(key)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload, and have those look that wait for it."""
        self._got_on(key)

    def problems(self, workload: Workload, policy: ReloadPolicy) -> Iterator[Problem]:
        """Tell of a circle."""
        circle = self._circle(workload.key, policy)
        if circle:
            names = ", ".join(f"{kind}/{name}" for kind, _, name in circle)
            reason = f"goes in a circle: {names}; inside of it, names decide"
            yield Problem(self._annotation, reason)

    def _honoured(
        self, key: WorkloadKey, policy: ReloadPolicy
    ) -> Iterator[WorkloadKey]:
        circle = frozenset(self._circle(key, policy))
        for other in after(key, policy):
            if other not in circle or other < key:
                yield other

    def _circle(
        self, key: WorkloadKey, policy: ReloadPolicy
    ) -> tuple[WorkloadKey, ...]:
        if not policy.terms.after:
            return ()
        return circle_of(key, self._before)

    def _why_wait(self, turn: Turn, other: WorkloadKey) -> str | None:
        if (stage := self._rollouts.stage(other)) is not None:
            return "has failed to roll out" if stage is Stage.FAILED else "rolls out"
        due = turn.due(other)
        if due is None:
            return None
        changed = {marker.source for marker in turn.plan.markers}
        if changed.isdisjoint(marker.source for marker in due.markers):
            return None
        return "reloads first"

    def _got_on(self, key: WorkloadKey) -> None:
        """Have those look that wait for a workload, unless they would wait on."""
        if key in self._rollouts:
            return
        for waiting in sorted(self._waiting.pop(key, ())):
            self._wake(waiting)


def after(key: WorkloadKey, policy: ReloadPolicy) -> Iterator[WorkloadKey]:
    """Yield the workloads that one comes after."""
    for kind, name in policy.terms.after:
        yield WorkloadKey(kind, key.namespace, name)


def circle_of(
    key: WorkloadKey, before: Callable[[WorkloadKey], Iterable[WorkloadKey]]
) -> tuple[WorkloadKey, ...]:
    """Return the workloads that wait for one and that it waits for, by name.

    Args:
        key: Of one.
        before: The workloads that come before any.

    Returns:
        The workload itself among them; empty if it is in no circle.
    """
    known: dict[WorkloadKey, tuple[WorkloadKey, ...]] = {}

    def remembered(one: WorkloadKey) -> tuple[WorkloadKey, ...]:
        if one not in known:
            known[one] = tuple(before(one))
        return known[one]

    reached = _reached(key, remembered)
    if key not in reached:
        return ()
    return tuple(sorted(one for one in reached if key in _reached(one, remembered)))


def _reached(
    key: WorkloadKey, before: Callable[[WorkloadKey], Iterable[WorkloadKey]]
) -> set[WorkloadKey]:
    """Return all that a workload waits for, directly or not."""
    found: set[WorkloadKey] = set()
    left = [key]
    while left and len(found) < _REACH:
        for one in before(left.pop()):
            if one not in found:
                found.add(one)
                left.append(one)
    return found
