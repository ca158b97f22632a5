"""The budget of rollouts, in any order of things."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.gates import Gate, Gates, Hold, HoldReason, Turn
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.budget import BudgetGate
from controllers.reload.workloads import Workload, WorkloadKey

CLUSTER, NAMESPACE = 2, 1
KEYS = [
    WorkloadKey("Deployment", namespace, name)
    for namespace, name in (*(("shop", name) for name in "abc"), ("blog", "a"))
]
keys = st.sampled_from(KEYS)


class Door(Gate):
    """Holds some of them."""

    def __init__(self) -> None:
        self.closed: set[WorkloadKey] = set()

    def ask(self, turn: Turn) -> Hold | None:
        is_closed = turn.key in self.closed
        return Hold(HoldReason.SUSPENDED, "for a test") if is_closed else None


class Budget(RuleBasedStateMachine):
    """Workloads come when they want to reload or are woken, and end at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts = Rollouts(timeout=600)
        self.door = Door()
        self.woken: set[WorkloadKey] = set()
        budget = BudgetGate(
            self.rollouts, cluster=CLUSTER, namespace=NAMESPACE, wake=self.woken.add
        )
        self.gates = Gates([self.door, budget, self.rollouts])
        self.wanting: set[WorkloadKey] = set()

    @initialize(order=st.permutations(KEYS))
    def change_all(self, order: list[WorkloadKey]) -> None:
        for key in order:
            self.wanting.add(key)
            self._look(key)

    @rule(key=keys, is_refused=st.booleans())
    def change(self, key: WorkloadKey, *, is_refused: bool) -> None:
        self.wanting.add(key)
        self._look(key, is_refused=is_refused)

    @rule(key=keys)
    def take_back(self, key: WorkloadKey) -> None:
        self.wanting.discard(key)
        self._look(key)

    @rule(key=keys)
    def end(self, key: WorkloadKey) -> None:
        self.rollouts.finish(key, 1.0)

    @rule(key=keys)
    def go(self, key: WorkloadKey) -> None:
        self.wanting.discard(key)
        self.gates.forget(key)

    @rule(key=keys)
    def close(self, key: WorkloadKey) -> None:
        self.door.closed.symmetric_difference_update({key})
        self._look(key)

    @precondition(lambda self: self.woken)
    @rule(data=st.data(), is_wanted=st.booleans())
    def look(self, data: st.DataObject, *, is_wanted: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.woken)))
        if not is_wanted:
            self.wanting.discard(key)
        self._look(key)

    @invariant()
    def there_are_never_too_many(self) -> None:
        under_way = [key for key in KEYS if self.rollouts.has_place(key)]
        assert len(under_way) <= CLUSTER
        for namespace in ("blog", "shop"):
            assert sum(key.namespace == namespace for key in under_way) <= NAMESPACE

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Once all who were woken have looked, who waits has no place to take."""
        if self.woken:
            return
        total = len(self.rollouts)
        for waiting in self.gates:
            if waiting.hold.reason is HoldReason.BUDGET:
                scope = ("namespace", waiting.turn.key.namespace)
                is_full = self.rollouts.taken(scope) >= NAMESPACE
                assert is_full or total >= CLUSTER

    def _look(self, key: WorkloadKey, *, is_refused: bool = False) -> None:
        self.woken.discard(key)
        if key not in self.wanting:
            self.gates.settle(key)
            return
        turn = _turn(key)
        if self.gates.enter(turn) is None:
            self.gates.leave(turn, is_reloaded=not is_refused)
            if not is_refused:
                self.wanting.discard(key)
            else:
                self.woken.add(key)  # it is tried again


def _turn(key: WorkloadKey) -> Turn:
    meta = Meta(name=key.name, namespace=key.namespace, uid=str(key), generation=1)
    of = Workload(key, meta, PodTemplateSpec(), json.dumps({"spec": {}}).encode())
    policy = ReloadPolicy({}, AnnotationKeys())
    return Turn(of, policy, Plan({}), datetime(2026, 1, 1, tzinfo=UTC), 0.0)


TestBudget = Budget.TestCase
