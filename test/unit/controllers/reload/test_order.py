"""Which workload goes first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.annotations import read_policy
from controllers.reload.gates import Gates, Hold, HoldReason, Turn
from controllers.reload.options import AnnotationKeys, ReloadOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.order import OrderGate, circle_of
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.terms import Dependency, Terms
from controllers.reload.workloads import Workload, WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEPENDS_ON = AnnotationKeys().depends_on


def key(name: str, kind: str = "Deployment") -> WorkloadKey:
    return WorkloadKey(kind, "shop", name)


def named(text: str) -> WorkloadKey:
    """Read `CronJob/name`, or the name of a Deployment."""
    kind, _, name = text.rpartition("/")
    return key(name, kind or "Deployment")


def plan(*sources: str) -> Plan:
    markers = [
        Marker(SourceKey(SourceKind.CONFIG_MAP, "shop", name), "app", "V", "h", "h")
        for name in sources
    ]
    return Plan({}, tuple(markers))


class Row:
    """A row of gates, and workloads with an order."""

    def __init__(self, after: Mapping[str, list[str]]) -> None:
        self.after = after
        self.due: dict[str, Plan] = {}
        self.woken: list[str] = []
        self.rollouts = Rollouts(timeout=600)
        self.order = OrderGate(
            self.rollouts,
            before=lambda one: map(named, after.get(one.name, ())),
            wake=lambda one: self.woken.append(one.name),
            annotation=DEPENDS_ON,
        )
        self.gates = Gates([self.order, self.rollouts])

    def come(
        self, name: str, made: Plan | None = None, kind: str = "Deployment"
    ) -> Hold | None:
        of = Workload(
            key(name, kind),
            Meta(name=name, namespace="shop", uid=name, generation=1),
            PodTemplateSpec(),
            json.dumps({"spec": {}}).encode(),
        )
        turn = Turn(
            of,
            self.policy(name),
            made or plan("c"),
            *(NOW, 0.0),
            due=lambda one: self.due.get(one.name),
        )
        hold = self.gates.enter(turn)
        if hold is None:
            self.due.pop(name, None)
            self.gates.leave(turn, is_reloaded=True)
        return hold

    def policy(self, name: str) -> ReloadPolicy:
        found = map(named, self.after.get(name, ()))
        after = tuple(Dependency(one.kind, one.name) for one in found)
        return ReloadPolicy({}, AnnotationKeys(), terms=Terms(after=after))

    def problems(self, name: str) -> list[str]:
        of = Workload(key(name), Meta(), PodTemplateSpec())
        return [it.reason for it in self.gates.problems(of, self.policy(name))]


def test_one_that_has_the_same_change_before_it_goes_first() -> None:
    row = Row({"web": ["db"]})
    row.due["db"] = plan("c", "d")

    hold = row.come("web")

    assert hold == Hold(HoldReason.ORDER, "for Deployment shop/db, which reloads first")


def test_another_change_is_no_reason_to_wait() -> None:
    row = Row({"web": ["db"]})
    row.due["db"] = plan("other")

    assert row.come("web") is None


def test_the_next_goes_when_the_one_before_it_has_rolled_out() -> None:
    row = Row({"web": ["db"]})
    row.due["db"] = plan("c")
    row.come("web")

    assert row.come("db") is None
    row.gates.settle(key("db"))  # a look while it rolls out finds nothing to do
    assert row.woken == []
    hold = row.come("web")
    assert hold is not None
    assert hold.text == "for Deployment shop/db, which rolls out"
    row.rollouts.finish(key("db"), 1.0)

    assert row.woken == ["web"]
    assert row.come("web") is None


def test_the_next_waits_for_one_that_failed() -> None:
    row = Row({"web": ["db"]})
    row.come("db")
    of = Workload(key("db"), Meta(uid="db", generation=2), PodTemplateSpec(), b"{}")
    assert row.rollouts.look(of, 0) is None
    assert row.rollouts.look(of, 600) is not None

    hold = row.come("web")

    assert hold is not None
    assert hold.text == "for Deployment shop/db, which has failed to roll out"


def test_one_whose_change_is_taken_back_lets_the_next_go() -> None:
    row = Row({"web": ["db"]})
    row.due["db"] = plan("c")
    row.come("web")

    del row.due["db"]
    row.gates.settle(key("db"))

    assert row.woken == ["web"]
    assert row.come("web") is None


def test_one_that_goes_lets_the_next_go() -> None:
    row = Row({"web": ["db"]})
    row.due["db"] = plan("c")
    row.come("web")

    row.gates.forget(key("db"))

    assert row.woken == ["web"]


def test_one_that_does_not_roll_out_lets_the_next_go_when_it_is_written() -> None:
    row = Row({"web": ["CronJob/job"]})
    row.due["job"] = plan("c")
    row.come("web")

    row.come("job", kind="CronJob")

    assert row.woken == ["web"]
    assert row.come("web") is None


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"a": ["b"], "b": ["c"]}, ()),
        ({"a": ["b"], "b": ["a"]}, ("a", "b")),
        ({"a": ["a"]}, ("a",)),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ()),  # leads to a circle, is in none
        ({"a": ["b", "d"], "b": ["c"], "c": ["a"]}, ("a", "b", "c")),
    ],
)
def test_a_circle_has_those_that_wait_for_each_other(
    after: dict[str, list[str]], expected: tuple[str, ...]
) -> None:
    found = circle_of(key("a"), lambda one: map(key, after.get(one.name, ())))

    assert tuple(one.name for one in found) == expected


def test_in_a_circle_names_decide_and_it_is_told() -> None:
    row = Row({"a": ["b"], "b": ["c"], "c": ["a"]})
    for name in "abc":
        row.due[name] = plan("c")

    assert row.come("c") is not None  # waits for a, which comes before it
    assert row.come("b") is None
    assert row.come("a") is None
    (problem,) = row.problems("a")
    assert problem.startswith(
        "goes in a circle: Deployment/a, Deployment/b, Deployment/c;"
    )


def test_outside_of_a_circle_there_is_nothing_to_tell() -> None:
    row = Row({"web": ["a"], "a": ["b"], "b": ["a"]})

    assert row.problems("web") == []
    assert row.problems("other") == []


def test_a_graph_without_end_is_read_to_a_bound() -> None:
    read: list[str] = []

    def before(one: WorkloadKey) -> list[WorkloadKey]:
        read.append(one.name)
        return [key(f"{one.name}x"), key(f"{one.name}y")]

    assert circle_of(key("a"), before) == ()
    assert len(read) <= 100


# --- the annotation ----------------------------------------------------------------


def test_what_goes_first_is_named_by_kind_and_name() -> None:
    text = "Deployment/db, StatefulSet/cache,,Deployment/db"

    policy = read_policy({DEPENDS_ON: text}, {}, ReloadOptions())

    assert policy.terms.after == (
        Dependency("Deployment", "db"),
        Dependency("StatefulSet", "cache"),
    )
    assert policy.problems == ()


@pytest.mark.parametrize("text", ["db", "Deployment/", "Pod/db", "deployment/db"])
def test_what_names_no_workload_is_left_out_and_told(text: str) -> None:
    policy = read_policy({DEPENDS_ON: f"{text},Deployment/ok"}, {}, ReloadOptions())

    assert policy.terms.after == (Dependency("Deployment", "ok"),)
    (problem,) = policy.problems
    assert problem.annotation == DEPENDS_ON
    assert "such as Deployment/db" in problem.reason


def test_there_is_a_limit_to_what_one_may_wait_for() -> None:
    text = ",".join(f"Deployment/d{number}" for number in range(1000))

    policy = read_policy({DEPENDS_ON: text}, {}, ReloadOptions())

    assert len(policy.terms.after) == 64
    assert [it.reason for it in policy.problems] == ["more than 64 workloads"]
