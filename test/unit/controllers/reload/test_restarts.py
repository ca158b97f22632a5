"""Which pods are evicted, and what is written down of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Json, Meta
from controllers.reload.annotations import read_policy
from controllers.reload.options import ReloadOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.record import RECORD, RELOADED_AT
from controllers.reload.rollouts.restarts import (
    RESTARTING,
    Pod,
    Restarting,
    batch_of,
    is_evicted,
    next_step,
    pods_of,
    read_restarting,
    restart_change,
    selector_of,
    youngest,
)
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import begin_restart_patch, record_patch

T0, T1, T2 = (f"2026-01-01T00:00:0{second}Z" for second in range(3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(
    name: str, created: str = T0, *, ready: bool = True, ending: bool = False
) -> Pod:
    return Pod(name, f"uid-{name}", created, is_ready=ready, is_ending=ending)


def workload(
    kind: str = "Deployment",
    spec: Json | None = None,
    annotations: dict[str, str] | None = None,
) -> Workload:
    meta = Meta(
        name="web",
        namespace="shop",
        uid="u",
        resource_version="42",
        annotations=annotations or {},
    )
    raw = {"spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}}}
    raw["spec"].update(spec or {})
    key = WorkloadKey(kind, "shop", "web")
    return Workload(key, meta, PodTemplateSpec(), json.dumps(raw).encode())


def plan(*hashes: str) -> Plan:
    markers = tuple(
        Marker(SourceKey(SourceKind.CONFIG_MAP, "shop", f"c{n}"), "app", "V", h, h)
        for n, h in enumerate(hashes)
    )
    return Plan({"cm/c0": "x"}, markers)


# --- which pods --------------------------------------------------------------------


def test_old_pods_go_as_many_at_a_time_as_may_be_missing() -> None:
    pods = [pod(name) for name in "abcd"]

    step = next_step(pods, older_than=T0, want=4, batch=2)

    assert [one.name for one in step.evict] == ["a", "b"]
    assert not step.is_done


def test_none_goes_before_those_that_came_are_ready() -> None:
    pods = [pod("a"), pod("b"), pod("new", T1, ready=False)]

    assert next_step(pods, older_than=T0, want=3, batch=1).evict == ()


def test_one_that_is_on_its_way_out_counts_as_missing() -> None:
    pods = [pod("a", ending=True), pod("b"), pod("c")]

    assert next_step(pods, older_than=T0, want=3, batch=1).evict == ()


def test_old_pods_that_serve_nobody_go_at_once() -> None:
    pods = [pod("a", ready=False), pod("b"), pod("c", ready=False)]

    step = next_step(pods, older_than=T0, want=3, batch=1)

    assert [one.name for one in step.evict] == ["a", "c"]


def test_pods_that_are_younger_stay() -> None:
    pods = [pod("a", T1), pod("b", T0), pod("c", T2)]

    step = next_step(pods, older_than=T0, want=3, batch=3)

    assert [one.name for one in step.evict] == ["b"]


@pytest.mark.parametrize(
    ("pods", "is_done"),
    [
        ([pod("a", T1), pod("b", T1)], True),
        ([pod("a", T1), pod("b", T1, ready=False)], False),
        ([pod("a", T1)], False),
        ([pod("a", T1), pod("b", T1), pod("old", T0, ending=True)], False),
        ([pod("a", T1), pod("b", T1), pod("more", T1)], True),
    ],
)
def test_it_is_done_when_no_old_pod_is_left_and_all_are_ready(
    pods: list[Pod], is_done: bool
) -> None:
    step = next_step(pods, older_than=T0, want=2, batch=1)

    assert step.is_done is is_done
    assert step.evict == ()


def test_without_pods_there_is_nothing_to_wait_for() -> None:
    assert next_step([], older_than="", want=0, batch=1).is_done
    assert youngest([]) == ""
    assert youngest([pod("a", T1), pod("b", T0)]) == T1


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Deployment", {}, 1),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": 2}}}, 2),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}, 2),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": "10%"}}}, 1),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": "x"}}}, 1),
        ("Deployment", {"strategy": {"type": "Recreate"}}, 1),
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, 1),
        ("DeploymentConfig", {"strategy": {"rollingParams": {"maxUnavailable": 3}}}, 3),
    ],
)
def test_as_many_may_be_missing_as_in_its_own_rollout(
    kind: str, spec: Json, expected: int
) -> None:
    assert batch_of(workload(kind, spec)) == expected


def owned(kind: str, name: str, uid: str = "x", **more: object) -> Json:
    owner = {"kind": kind, "name": name, "uid": uid, "controller": True}
    metadata = {
        "name": "p",
        "uid": "p",
        "creationTimestamp": T0,
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, **more}


@pytest.mark.parametrize(
    ("kind", "document", "is_its"),
    [
        ("Deployment", owned("ReplicaSet", "web-5d8"), True),
        ("Deployment", owned("ReplicaSet", "webshop-5d8"), False),
        ("Deployment", owned("StatefulSet", "web-db"), False),
        ("StatefulSet", owned("StatefulSet", "web", "u"), True),
        ("StatefulSet", owned("StatefulSet", "web", "other"), False),
        ("DeploymentConfig", owned("ReplicationController", "web-1"), True),
        (
            "Deployment",
            owned("ReplicaSet", "web-5d8", status={"phase": "Succeeded"}),
            False,
        ),
        ("Deployment", {"metadata": {"name": "p"}}, False),
    ],
)
def test_pods_of_others_that_the_selector_finds_stay(
    kind: str, document: Json, is_its: bool
) -> None:
    assert bool(pods_of(workload(kind), [document])) is is_its


def test_the_selector_is_that_of_the_kind() -> None:
    assert selector_of(workload()) == "app=web"
    config = workload("DeploymentConfig", {"selector": {"app": "web"}})
    assert selector_of(config) == "app=web"


# --- what is written down ----------------------------------------------------------


def test_a_restart_is_named_by_what_the_pods_are_to_get() -> None:
    assert restart_change(plan("a")) == restart_change(plan("a")._replace(change="x"))
    assert restart_change(plan("a")) != restart_change(plan("b"))
    assert restart_change(None) == restart_change(Plan({"cm/c": "x"})) == ""


def test_what_was_begun_is_read_again() -> None:
    begun = Restarting("abc", T1)

    found = read_restarting(workload(annotations={RESTARTING: begun.text}))

    assert found == begun
    assert read_restarting(workload()) is None


def test_a_restart_in_words_of_others_is_begun_anew() -> None:
    found = read_restarting(workload(annotations={RESTARTING: "soon"}))

    assert found is not None
    assert found.change != restart_change(plan("a"))


def test_a_beginning_touches_neither_template_nor_record() -> None:
    patch = json.loads(begin_restart_patch(workload(), plan("a"), now=NOW).body)

    assert patch == {
        "metadata": {
            "resourceVersion": "42",
            "annotations": {
                RESTARTING: Restarting(restart_change(plan("a"))).text,
                RELOADED_AT: "2026-01-01T00:00:00.000Z",
            },
        }
    }


def test_a_beginning_marks_a_template_that_waits_for_deletions() -> None:
    of = workload("DaemonSet", {"updateStrategy": {"type": "OnDelete"}})

    patch = json.loads(begin_restart_patch(of, plan("a"), now=NOW).body)

    assert RECORD not in patch["metadata"]["annotations"]
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "V", "value": "a"}]


def test_the_record_ends_a_restart() -> None:
    of = workload(annotations={RESTARTING: Restarting("abc").text})

    patch = json.loads(record_patch(of, plan("a")).body)

    assert patch["metadata"]["annotations"][RESTARTING] is None


@pytest.mark.parametrize(
    ("kind", "allowed", "expected"),
    [
        ("Deployment", True, True),
        ("Deployment", False, False),
        ("DaemonSet", True, True),
        ("Rollout", True, False),
        ("CronJob", True, False),
    ],
)
def test_an_annotation_evicts_pods_where_that_is_allowed(
    kind: str, allowed: bool, expected: bool
) -> None:
    wish = {"reloader.stakater.com/rollout-strategy": "restart"}
    policy = read_policy(wish, {}, ReloadOptions(restart_all_kinds=allowed))

    assert is_evicted(WorkloadKey(kind, "shop", "web"), policy) is expected
