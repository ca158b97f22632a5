"""A row of gates, and what waits at them."""

from __future__ import annotations

from datetime import UTC, datetime

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.gates import Gate, Gates, Hold, HoldReason, Turn
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.workloads import Workload, WorkloadKey

KEY = WorkloadKey("Deployment", "shop", "web")
HELD = Hold(HoldReason.SUSPENDED, "for a test")


class Recording(Gate):
    """Holds when told to, and remembers what it was told."""

    def __init__(self, hold: Hold | None = None) -> None:
        self.hold = hold
        self.heard: list[object] = []

    def ask(self, turn: Turn) -> Hold | None:
        self.heard.append("ask")
        return self.hold

    def begin(self, turn: Turn) -> None:
        self.heard.append("begin")

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        self.heard.append(is_reloaded)

    def forget(self, key: WorkloadKey) -> None:
        self.heard.append(key)


def turn() -> Turn:
    meta = Meta(name=KEY.name, namespace=KEY.namespace)
    workload = Workload(KEY, meta, PodTemplateSpec())
    policy = ReloadPolicy({}, AnnotationKeys())
    return Turn(workload, policy, Plan({}), datetime(2026, 1, 1, tzinfo=UTC), 0.0)


def test_the_first_gate_that_holds_ends_the_row() -> None:
    first, second, third = Recording(), Recording(HELD), Recording()
    gates = Gates([first, second, third])

    assert gates.enter(turn()) == HELD
    assert (first.heard, second.heard, third.heard) == (["ask"], ["ask"], [])
    assert [waiting.hold for waiting in gates] == [HELD]


def test_what_passes_all_is_begun_and_ended_in_all() -> None:
    row = [Recording(), Recording()]
    gates = Gates(row)

    assert gates.enter(turn()) is None
    gates.leave(turn(), is_reloaded=True)
    assert [gate.heard for gate in row] == [["ask", "begin", True]] * 2


def test_what_passes_or_settles_or_is_forgotten_waits_no_more() -> None:
    gate = Recording(HELD)
    gates = Gates([gate])
    gates.enter(turn())
    gate.hold = None
    gates.enter(turn())
    assert len(gates) == 0

    gate.hold = HELD
    gates.enter(turn())
    settled = gates.settle(KEY)
    assert settled is not None
    assert settled.hold == HELD
    assert gates.settle(KEY) is None

    gates.enter(turn())
    gates.forget(KEY)
    assert gates.waiting(KEY) is None
    assert gate.heard[-1] == KEY
