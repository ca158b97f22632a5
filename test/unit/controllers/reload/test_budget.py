"""How many rollouts are under way at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta, NamespacedName
from controllers.reload.gates import Gate, Gates, Hold, HoldReason, Turn
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.budget import BudgetGate
from controllers.reload.terms import Limit, Terms
from controllers.reload.workloads import Workload, WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = NamespacedName("shop", "config")


class Closed(Gate):
    """Holds whom it is told to."""

    def __init__(self) -> None:
        self.holds: dict[str, Hold] = {}

    def ask(self, turn: Turn) -> Hold | None:
        return self.holds.get(turn.key.name)


class Row:
    """A row of gates, and reloads that come to it."""

    def __init__(self, *, cluster: int = 0, namespace: int = 0) -> None:
        self.woken: list[str] = []
        self.rollouts = Rollouts(timeout=600)
        self.closed = Closed()
        budget = BudgetGate(
            self.rollouts,
            cluster=cluster,
            namespace=namespace,
            wake=lambda key: self.woken.append(key.name),
        )
        self.gates = Gates([self.closed, budget, self.rollouts])

    def come(
        self,
        name: str,
        namespace: str = "shop",
        *,
        kind: str = "Deployment",
        most: int = 0,
        is_refused: bool = False,
    ) -> Hold | None:
        """Try a reload; it is written at once if nothing holds it."""
        key = WorkloadKey(kind, namespace, name)
        meta = Meta(name=name, namespace=namespace, uid=name, generation=1)
        raw = json.dumps({"spec": {}}).encode()
        terms = Terms(max_concurrent=(Limit(CONFIG, most),) if most else ())
        turn = Turn(
            Workload(key, meta, PodTemplateSpec(), raw),
            ReloadPolicy({}, AnnotationKeys(), terms=terms),
            Plan({}),
            NOW,
            0.0,
        )
        hold = self.gates.enter(turn)
        if hold is None:
            self.gates.leave(turn, is_reloaded=not is_refused)
        return hold

    def over(self, name: str, namespace: str = "shop") -> None:
        self.rollouts.finish(WorkloadKey("Deployment", namespace, name), 1.0)

    def settle(self, name: str, namespace: str = "shop") -> None:
        self.gates.settle(WorkloadKey("Deployment", namespace, name))


def test_one_too_many_waits_and_goes_when_another_is_over() -> None:
    row = Row(cluster=2)

    assert row.come("a") is None
    assert row.come("b") is None
    hold = row.come("c")
    assert hold == Hold(
        HoldReason.BUDGET, "for one of 2 rollouts in the cluster to end"
    )
    assert row.woken == []
    row.over("a")

    assert row.woken == ["c"]
    assert row.come("c") is None


def test_as_many_are_woken_as_there_are_places_oldest_first() -> None:
    row = Row(cluster=2)
    for name in ("a", "b", "z", "y", "x"):
        row.come(name)

    row.over("b")
    row.over("a")

    assert row.woken == ["z", "y"]


def test_nobody_overtakes_one_that_was_called() -> None:
    row = Row(cluster=1)
    row.come("a")
    row.come("b")
    row.over("a")

    assert row.come("late") is not None
    assert row.come("b") is None
    row.over("b")

    assert row.woken == ["b", "late"]


def test_one_that_looks_again_keeps_its_place_in_the_line() -> None:
    row = Row(cluster=1)
    for name in ("a", "b", "c", "b"):
        row.come(name)

    row.over("a")

    assert row.woken == ["b"]


def test_one_that_is_called_and_needs_nothing_lets_the_next_go() -> None:
    row = Row(cluster=1)
    for name in ("a", "b", "c"):
        row.come(name)
    row.over("a")

    row.settle("b")

    assert row.woken == ["b", "c"]


def test_one_that_is_called_and_held_elsewhere_lets_the_next_go() -> None:
    row = Row(cluster=1)
    for name in ("a", "b", "c"):
        row.come(name)
    row.over("a")

    row.closed.holds["b"] = Hold(HoldReason.SUSPENDED, "for a test")
    row.come("b")

    assert row.woken == ["b", "c"]


def test_one_that_another_gate_holds_for_a_moment_keeps_its_place() -> None:
    row = Row(cluster=1)
    for name in ("a", "b", "c"):
        row.come(name)
    row.over("a")

    row.closed.holds["b"] = Hold(HoldReason.SUSPENDED, "for a test", seconds=0.5)
    row.come("b")
    row.closed.holds.clear()

    assert row.woken == ["b"]
    assert row.come("c") is not None
    assert row.come("b") is None


def test_a_reload_that_is_refused_lets_the_next_go() -> None:
    row = Row(cluster=1)
    row.come("a")
    row.come("b")
    row.come("c")
    row.over("a")

    row.come("b", is_refused=True)

    assert row.woken == ["b", "c"]


def test_a_workload_that_rolls_out_already_needs_no_other_place() -> None:
    row = Row(cluster=1)
    row.come("a")

    assert row.come("a") is None
    assert row.rollouts.taken(("cluster",)) == 1


def test_kinds_that_do_not_roll_out_need_no_place() -> None:
    row = Row(cluster=1)
    row.come("a")

    assert row.come("job", kind="CronJob") is None


def test_each_namespace_has_places_of_its_own() -> None:
    row = Row(namespace=1)
    row.come("a")

    hold = row.come("b")
    assert hold is not None
    assert hold.text == "for one of 1 rollout in namespace shop to end"
    assert row.come("c", "blog") is None


def test_a_place_goes_to_the_oldest_that_can_use_it() -> None:
    row = Row(cluster=2, namespace=1)
    row.come("a")
    row.come("x", "blog")
    row.come("b")
    row.come("y", "blog")

    row.over("x", "blog")

    assert row.woken == ["y"]


def test_a_config_has_places_for_its_own_targets() -> None:
    row = Row()

    assert row.come("a", most=1) is None
    hold = row.come("b", most=1)
    assert hold is not None
    assert hold.text == "for one of 1 rollout of ReloaderConfig shop/config to end"
    assert row.come("c") is None
    row.over("a")

    assert row.woken == ["b"]


@pytest.mark.parametrize("limits", [{"cluster": 0}, {"cluster": 0, "namespace": 0}])
def test_without_a_limit_nothing_waits(limits: dict[str, int]) -> None:
    row = Row(**limits)

    assert [row.come(str(number)) for number in range(100)] == [None] * 100
