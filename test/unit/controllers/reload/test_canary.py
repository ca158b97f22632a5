"""Which workload tries a change first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from random import Random

import pytest
from msgspec.structs import replace

from api.core.v1 import Container, PodSpec, PodTemplateSpec
from controller_runtime import Json, Meta, NamespacedName
from controllers.reload.annotations import read_policy
from controllers.reload.gates import Gates, Hold, HoldReason, Turn
from controllers.reload.options import AnnotationKeys, ReloadOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import PUT_BACK, RELOADED_AT
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.canary import CanaryGate
from controllers.reload.rollouts.order import OrderGate
from controllers.reload.rollouts.restarts import (
    RESTARTING,
    Restarting,
    restart_change,
)
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import DELETED
from controllers.reload.workloads import Workload, WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = AnnotationKeys()
USES = {KEYS.configmap_reload: "c,d"}
FIRST = {**USES, KEYS.canary: "true"}
TEMPLATE = PodTemplateSpec(spec=PodSpec(containers=(Container(name="app"),)))

AVAILABLE = {"type": "Available", "status": "True"}
COMPLETE: Json = {
    "observedGeneration": 1,
    "replicas": 1,
    "readyReplicas": 1,
    "availableReplicas": 1,
    "updatedReplicas": 1,
    "conditions": [
        AVAILABLE,
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ],
}
HALFWAY: Json = {
    **COMPLETE,
    "updatedReplicas": 0,
    "conditions": [
        AVAILABLE,
        {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
    ],
}
LATE: Json = {
    **HALFWAY,
    "conditions": [
        AVAILABLE,
        {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
        },
    ],
}


def key(name: str) -> WorkloadKey:
    kind, _, plain = name.rpartition("/")
    return WorkloadKey(kind or "Deployment", "shop", plain)


def configmap(name: str) -> SourceKey:
    return SourceKey(SourceKind.CONFIG_MAP, "shop", name)


def plan(*sources: str, configs: Iterable[NamespacedName] = ()) -> Plan:
    markers = [
        Marker(configmap(name), "app", "V", "h", "h", configs=tuple(configs))
        for name in sources
    ]
    return Plan({}, tuple(markers))


def known(source: SourceKey) -> Source | None:
    return None if source.name == "d" else Source(source, DELETED, {})


class Row:
    """A row of gates, and workloads as a cache has them."""

    def __init__(self, **annotations: dict[str, str]) -> None:
        self.annotations = {key(name): it for name, it in annotations.items()}
        self.status: dict[WorkloadKey, Json] = {}
        self.meta: dict[WorkloadKey, Meta] = {}
        self.due: dict[WorkloadKey, Plan] = {}
        self.awaited: set[WorkloadKey] = set()
        self.targets: dict[NamespacedName, list[str]] = {}
        self.woken: list[str] = []
        self.rollouts = Rollouts(timeout=600)
        order = OrderGate(
            self.rollouts,
            before=self.before,
            wake=self._wake,
            annotation=KEYS.depends_on,
        )
        canary = CanaryGate(self.rollouts, self, source=known, wake=self._wake)
        self.gates = Gates([order, canary, self.rollouts])

    def _wake(self, one: WorkloadKey) -> None:
        self.woken.append(one.name)

    # --- what an `Observer` says ----------------------------------------------------

    def canaries(
        self, namespace: str, configs: Iterable[NamespacedName], /
    ) -> Iterator[WorkloadKey]:
        for one, said in self.annotations.items():
            if one.namespace == namespace and said.get(KEYS.canary) == "true":
                yield one
        for config in configs:
            yield from map(key, self.targets.get(config, ()))

    def is_awaited(self, one: WorkloadKey, /) -> bool:
        return one in self.awaited

    def workload(self, one: WorkloadKey, /) -> Workload | None:
        if one not in self.annotations:
            return None
        usual = Meta(name=one.name, namespace="shop", uid=one.name, generation=1)
        meta = self.meta.get(one, usual)
        document = {"spec": {"replicas": 1}, "status": self.status.get(one, COMPLETE)}
        return Workload(one, meta, TEMPLATE, json.dumps(document).encode())

    def policy(self, workload: Workload, /) -> ReloadPolicy:
        return read_policy(self.annotations[workload.key], {}, ReloadOptions())

    def before(self, one: WorkloadKey) -> Iterator[WorkloadKey]:
        workload = self.workload(one)
        if workload is not None:
            for kind, name in self.policy(workload).terms.after:
                yield WorkloadKey(kind, "shop", name)

    # --- what happens ---------------------------------------------------------------

    def come(self, name: str, made: Plan | None = None) -> Hold | None:
        of = self.workload(key(name))
        assert of is not None
        made = made or self.due.get(of.key) or plan("c")
        turn = Turn(of, self.policy(of), made, NOW, 0.0, due=self.due.get)
        hold = self.gates.enter(turn)
        if hold is None:
            self.due.pop(of.key, None)
            self.gates.leave(turn, is_reloaded=True)
        return hold

    def look(self, name: str, status: Json, *, generation: int = 2) -> None:
        """Look at a workload whose status has changed."""
        one = key(name)
        self.status[one] = {**status, "observedGeneration": generation}
        self.meta[one] = Meta(
            name=name, namespace="shop", uid=name, generation=generation
        )
        found = self.workload(one)
        assert found is not None
        self.rollouts.look(found, 1.0)
        self.gates.settle(one)

    def restart(self, name: str, for_what: Plan) -> None:
        """Have the pods of a workload evicted, one after the other."""
        begun = Restarting(restart_change(for_what)).text
        usual = Meta(name=name, namespace="shop", uid=name, generation=1)
        self.meta[key(name)] = replace(usual, annotations={RESTARTING: begun})

    def note(self, name: str, **annotations: str) -> None:
        """Annotate a workload."""
        noted = {PUT_BACK: "", **annotations}
        self.meta[key(name)] = Meta(
            name=name, namespace="shop", uid=name, generation=1, annotations=noted
        )


def wait(text: str, seconds: float | None = None) -> Hold:
    whole = f"for its canary Deployment shop/{text}"
    return Hold(HoldReason.CANARY, whole, seconds, is_open=True)


def test_the_canary_itself_does_not_wait() -> None:
    row = Row(web=USES, first=FIRST, second=FIRST)
    for name in ("web", "first", "second"):
        row.due[key(name)] = plan("c")

    assert row.come("first") is None
    assert row.come("second") is None


def test_the_others_wait_until_its_rollout_is_complete() -> None:
    row = Row(web=USES, first=FIRST)
    row.due[key("first")] = plan("c")

    assert row.come("web") == wait("first, which reloads first")
    row.come("first")
    assert row.woken == ["web"]
    assert row.come("web") == wait("first, which rolls out")
    row.look("first", HALFWAY)
    row.look("first", HALFWAY)
    assert row.woken == ["web"], "it is looked at for each step of the canary"
    row.look("first", COMPLETE)
    assert row.woken == ["web", "web"]
    assert row.come("web") is None


def test_the_others_wait_for_all_canaries() -> None:
    row = Row(web=USES, first=FIRST, second=FIRST)
    row.due[key("second")] = plan("c")

    assert row.come("web") == wait("second, which reloads first")


def test_a_canary_that_another_source_concerns_is_not_waited_for() -> None:
    row = Row(web=USES, first={**FIRST, KEYS.configmap_reload: "d"})
    row.due[key("first")] = plan("d")

    assert row.come("web") is None


def test_a_canary_that_has_another_change_before_it_is_waited_for_to_roll_out() -> None:
    row = Row(web=USES, first=FIRST)
    row.due[key("first")] = plan("d")

    assert row.come("web", plan("c")) is None
    row.come("first")
    assert row.come("web", plan("c")) == wait("first, which rolls out")


def test_what_fails_holds_the_others_and_is_told() -> None:
    row = Row(web=USES, first=FIRST)
    row.due[key("first")] = plan("c")
    row.come("web")
    row.come("first")
    row.come("web")
    row.woken.clear()

    row.look("first", LATE)

    assert "web" in row.woken
    hold = row.come("web")
    assert hold is not None
    assert (hold.reason, hold.warning) == (HoldReason.CANARY_FAILED, "CanaryFailed")
    assert hold.text.startswith(
        "for its canary Deployment shop/first, which has failed to roll out: "
    )


def test_one_that_fails_while_its_pods_are_evicted_is_told() -> None:
    row = Row(web=USES, first=FIRST)
    row.come("first")
    row.come("web")
    row.woken.clear()

    found = row.workload(key("first"))
    assert found is not None
    row.rollouts.look(found, 1.0)
    row.rollouts.look(found, 602.0)  # a look that brings on a restart ends there

    assert row.woken == ["web"]


def test_one_whose_pods_are_evicted_for_that_change_is_under_way_and_may_fail() -> None:
    """Its record is written last, so the change is still to be made meanwhile."""
    row = Row(web=USES, first=FIRST)
    row.come("first")
    row.due[key("first")] = plan("c")
    row.restart("first", plan("c"))

    assert row.come("web") == wait("first, which rolls out")

    found = row.workload(key("first"))
    assert found is not None
    row.rollouts.look(found, 1.0)
    row.rollouts.look(found, 602.0)
    hold = row.come("web")
    assert hold is not None
    assert hold.reason is HoldReason.CANARY_FAILED


def test_one_whose_pods_are_evicted_for_another_change_reloads_first() -> None:
    row = Row(web=USES, first=FIRST)
    row.due[key("first")] = plan("c")
    row.restart("first", plan("d"))

    assert row.come("web") == wait("first, which reloads first")


def test_one_whose_pods_another_process_evicts_is_waited_for() -> None:
    row = Row(web=USES, first=FIRST)
    row.due[key("first")] = plan("c")
    row.restart("first", plan("c"))

    assert row.come("web") == wait("first, which rolls out", 30.0)


def test_what_fails_is_told_before_what_is_under_way() -> None:
    row = Row(web=USES, first=FIRST, second=FIRST)
    row.due[key("first")] = plan("c")
    row.status[key("second")] = LATE

    hold = row.come("web")

    assert hold is not None
    assert hold.reason is HoldReason.CANARY_FAILED
    assert "shop/second" in hold.text


def test_another_change_is_tried_again() -> None:
    row = Row(web=USES, first=FIRST)
    row.status[key("first")] = LATE
    row.due[key("first")] = plan("c")

    assert row.come("web") == wait("first, which reloads first")


def test_what_failed_and_is_complete_after_all_lets_the_others_go() -> None:
    row = Row(web=USES, first=FIRST)
    row.come("first")
    row.look("first", LATE)
    assert row.come("web") is not None
    row.woken.clear()

    row.look("first", COMPLETE)

    assert row.woken
    assert row.come("web") is None


def test_one_that_is_no_canary_any_more_lets_the_others_go() -> None:
    row = Row(web=USES, first=FIRST)
    row.come("first")
    row.look("first", LATE)
    row.come("web")
    row.woken.clear()

    row.annotations[key("first")] = USES
    row.gates.settle(key("first"))

    assert row.woken == ["web"]
    assert row.come("web") is None


def test_one_that_is_gone_lets_the_others_go() -> None:
    row = Row(web=USES, first=FIRST)
    row.due[key("first")] = plan("c")
    row.come("web")

    del row.annotations[key("first")], row.due[key("first")]
    row.gates.forget(key("first"))

    assert row.woken == ["web"]
    assert row.come("web") is None


def test_one_that_is_going_is_not_waited_for() -> None:
    row = Row(web=USES, first=FIRST)
    row.meta[key("first")] = Meta(
        name="first", deletion_timestamp="2026-01-01T00:00:00Z"
    )
    row.due[key("first")] = plan("c")

    assert row.come("web") is None


def test_who_waits_no_more_is_not_woken() -> None:
    row = Row(web=USES, api=USES, first=FIRST)
    row.due[key("first")] = plan("c")
    row.come("web")
    row.come("api")

    row.gates.settle(key("web"))  # the change was taken back
    row.gates.forget(key("api"))
    row.come("first")

    assert row.woken == []


# --- after a restart of the manager: the objects are all that is known ---------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(HALFWAY, wait("first, which rolls out", 30.0), id="halfway"),
        pytest.param(
            {**COMPLETE, "observedGeneration": 0},
            wait("first, which rolls out", 30.0),
            id="not begun",
        ),
        pytest.param(COMPLETE, None, id="complete"),
        pytest.param(
            {**COMPLETE, "readyReplicas": 0, "availableReplicas": 0},
            None,
            id="complete, and a pod has gone since",
        ),
    ],
)
def test_how_far_a_canary_is_its_status_says(
    status: Json, expected: Hold | None
) -> None:
    row = Row(web=USES, first=FIRST)
    row.status[key("first")] = status

    assert row.come("web") == expected


def test_a_canary_that_failed_before_holds_the_others() -> None:
    row = Row(web=USES, first=FIRST)
    row.status[key("first")] = LATE

    hold = row.come("web")

    assert hold is not None
    assert hold.reason is HoldReason.CANARY_FAILED


def test_a_canary_that_was_put_back_holds_the_others() -> None:
    row = Row(web=USES, first=FIRST)
    row.note("first", **{RELOADED_AT: "yesterday", PUT_BACK: "yesterday"})

    hold = row.come("web")

    assert hold is not None
    assert hold.reason is HoldReason.CANARY_FAILED
    assert "was put back" in hold.text


def test_a_canary_that_has_reloaded_since_it_was_put_back_is_through() -> None:
    row = Row(web=USES, first=FIRST)
    row.note("first", **{RELOADED_AT: "today", PUT_BACK: "yesterday"})

    assert row.come("web") is None


def test_a_canary_that_was_never_reloaded_before_may_be_put_back() -> None:
    row = Row(web=USES, first=FIRST)
    row.note("first")

    assert row.come("web") is not None


def test_a_canary_that_is_being_read_is_waited_for() -> None:
    row = Row(web=USES)
    row.awaited.add(key("first"))
    config = NamespacedName("shop", "x")
    row.targets[config] = ["first"]

    hold = row.come("web", plan("c", configs=[config]))

    assert hold == wait("first, which is being read", 1.0)


# --- which -------------------------------------------------------------------------


def test_the_canary_of_a_config_is_for_what_that_config_asks_for() -> None:
    row = Row(web=USES, first=USES)
    config, other = NamespacedName("shop", "x"), NamespacedName("shop", "y")
    row.targets[config] = ["first"]
    row.due[key("first")] = plan("c")

    assert row.come("web", plan("c", configs=[other])) is None
    assert row.come("web", plan("c", configs=[config, other])) is not None


def test_what_does_not_roll_out_is_through_when_it_is_written() -> None:
    row = Row(**{"web": USES, "CronJob/first": FIRST})
    row.due[key("CronJob/first")] = plan("c")
    assert row.come("web") is not None

    row.come("CronJob/first")

    assert row.woken == ["web"]
    assert row.come("web") is None


def test_what_the_canary_waits_for_does_not_wait_for_it() -> None:
    row = Row(web=USES, db=USES, first={**FIRST, KEYS.depends_on: "Deployment/db"})
    for name in ("web", "db", "first"):
        row.due[key(name)] = plan("c")

    assert row.come("web") is not None
    assert row.come("first") is not None
    assert row.come("db") is None


def test_orders_that_cross_hold_nobody_for_ever() -> None:
    row = Row(
        a=USES,
        b=USES,
        first={**FIRST, KEYS.depends_on: "Deployment/b"},
        second={**FIRST, KEYS.depends_on: "Deployment/a"},
    )
    for name in ("a", "b", "first", "second"):
        row.due[key(name)] = plan("c")

    assert row.come("a") is None
    assert row.come("b") is None


@pytest.mark.parametrize("seed", range(60))
def test_whoever_waits_for_whom_all_of_them_reload_in_the_end(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - graphs, not keys
    names = [f"w{number}" for number in range(random.randint(2, 6))]
    said: dict[str, dict[str, str]] = {}
    for name in names:
        after = random.sample(names, random.randint(0, 2))
        order = {KEYS.depends_on: ",".join(f"Deployment/{it}" for it in after)}
        said[name] = {**(FIRST if random.random() < 0.4 else USES), **order}
    row = Row(**said)
    row.due = {key(name): plan("c") for name in names}

    for _ in names:
        gone = [name for name in names if key(name) in row.due and not row.come(name)]
        assert gone, f"all that is left waits for ever: {said}"
        for name in gone:
            row.look(name, COMPLETE)
        if not row.due:
            break

    assert row.due == {}
