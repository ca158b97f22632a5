"""How many rollouts are under way at once: a gate with as many places, and a line.

    ask ──a place in each scope──▶ begin ─▶ … rollout ends ─▶ place is free
     └──no──▶ line, oldest first ◀── called: the place is kept ──┘

Scopes are the cluster, the namespace, and each ReloaderConfig that sets a limit. What
is under way is known by `rollouts`. When places come free, as many of the line are
called as there are places, in the order in which they came; those alone look again,
and nobody overtakes them. One that is called and does not come, since it has nothing
to reload any more or another gate holds it, gives its place to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.rollouts import CLUSTER, Rollouts, Scope, is_followed
from controllers.reload.workloads import WorkloadKey

_PATIENCE = 10.0
"""Seconds that a place is kept for one that another gate holds."""


class BudgetGate(Gate):
    """Holds what would be one rollout too many."""

    def __init__(
        self,
        rollouts: Rollouts,
        *,
        cluster: int = 0,
        namespace: int = 0,
        wake: Callable[[WorkloadKey], None],
    ) -> None:
        """Make a gate.

        Args:
            rollouts: What is under way.
            cluster: Rollouts at once; 0 is any number.
            namespace: Rollouts at once in each namespace; 0 is any number.
            wake: Has a workload looked at again.
        """
        self._rollouts = rollouts
        self._cluster = cluster
        self._namespace = namespace
        self._wake = wake
        self._line: dict[WorkloadKey, dict[Scope, int]] = {}
        """Who waits, oldest first → the limits that count."""
        self._called: dict[WorkloadKey, dict[Scope, int]] = {}
        self._kept: Counter[Scope] = Counter()
        rollouts.subscribe(self._freed)

    def ask(self, turn: Turn) -> Hold | None:
        """Hold where no place is left."""
        key = turn.key
        limits = self._limits(turn)
        has_one = key in self._called or self._rollouts.has_place(key)
        if has_one or not is_followed(turn.workload, turn.policy):
            return None
        full = next(
            (s for s, limit in limits.items() if self._left(s, limit) < 1), None
        )
        if full is None:
            return None
        self._line[key] = limits
        text = f"for one of {_amount(limits[full], full)} to end"
        return Hold(HoldReason.BUDGET, text)

    def begin(self, turn: Turn) -> None:
        """Leave the line: `rollouts` counts it from now on."""
        self._line.pop(turn.key, None)
        self._uncall(turn.key)

    def withdraw(self, key: WorkloadKey, hold: Hold) -> None:
        """Give a place that was kept to the next, unless it will be asked for soon."""
        if hold.seconds is None or hold.seconds > _PATIENCE:
            self.settle(key)

    def settle(self, key: WorkloadKey) -> None:
        """Leave the line; give a place that was kept to the next."""
        self._line.pop(key, None)
        if self._uncall(key):
            self._call()

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload; its rollout, if any, frees its place by itself."""
        self.settle(key)

    def _limits(self, turn: Turn) -> dict[Scope, int]:
        own: dict[Scope, int] = {
            ("config", *limit.config): limit.most
            for limit in turn.policy.terms.max_concurrent
        }
        limits: dict[Scope, int] = {
            CLUSTER: self._cluster,
            ("namespace", turn.key.namespace): self._namespace,
            **own,
        }
        return {scope: limit for scope, limit in limits.items() if limit > 0}

    def _left(self, scope: Scope, limit: int) -> int:
        return limit - self._rollouts.taken(scope) - self._kept[scope]

    def _freed(self, key: WorkloadKey) -> None:
        del key
        self._call()

    def _call(self) -> None:
        """Keep what is free for the oldest, and have them look."""
        for key, limits in tuple(self._line.items()):
            if self._is_full():
                return
            if all(self._left(scope, limit) > 0 for scope, limit in limits.items()):
                del self._line[key]
                self._called[key] = limits
                self._kept.update(limits.keys())
                self._wake(key)

    def _is_full(self) -> bool:
        return self._cluster > 0 and self._left(CLUSTER, self._cluster) < 1

    def _uncall(self, key: WorkloadKey) -> bool:
        """Keep a place no longer; tell whether one was kept."""
        limits = self._called.pop(key, None)
        if limits is None:
            return False
        self._kept.subtract(limits.keys())
        return True


def _amount(limit: int, scope: Scope) -> str:
    noun = "rollout" if limit == 1 else "rollouts"
    match scope:
        case ("namespace", namespace):
            return f"{limit} {noun} in namespace {namespace}"
        case ("config", namespace, name):
            return f"{limit} {noun} of ReloaderConfig {namespace}/{name}"
        case _:
            return f"{limit} {noun} in the cluster"
