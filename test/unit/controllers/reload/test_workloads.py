"""Workloads of every kind, seen as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from controller_runtime import NamespacedName, RawObject
from controller_runtime.meta import read_meta
from controllers.reload.workloads import (
    OPTIONAL_WORKLOADS,
    WORKLOADS,
    WorkloadKey,
    is_bare,
    is_run_of_cron_job,
    read_workload,
    reducer,
    waits_for_deletion,
)

ALL = {**WORKLOADS, **OPTIONAL_WORKLOADS}


def document(kind: str = "Deployment", **metadata: object) -> bytes:
    template = {
        "metadata": {"creationTimestamp": None, "annotations": {"on": "template"}},
        "spec": {"containers": [{"name": "app", "image": "x"}]},
    }
    spec: dict[str, object] = {"template": template}
    return json.dumps(
        {
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "uid": "u",
                "resourceVersion": "9",
                "generation": 3,
                "annotations": {"on": "workload"},
                "managedFields": [{"manager": "kubectl"}],
                **metadata,
            },
            "spec": {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec,
        }
    ).encode()


def entry(kind: str = "Deployment", **metadata: object) -> RawObject:
    raw = document(kind, **metadata)
    return RawObject(read_meta(raw), raw)


def reduced(reduce: Callable[[bytes], bytes], **metadata: object) -> RawObject:
    raw = reduce(document("Job", **metadata))
    return RawObject(read_meta(raw), raw)


OWNER = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "name": "c",
    "uid": "u",
    "controller": True,
}


@pytest.mark.parametrize("kind", ALL)
def test_a_workload_of_any_kind_has_a_key_and_a_template(kind: str) -> None:
    workload = read_workload(kind, entry(kind))

    assert workload.key == WorkloadKey(kind, "shop", "web")
    assert workload.meta.resource_version == "9"
    assert workload.meta.annotations == {"on": "workload"}
    assert workload.template.metadata.annotations == {"on": "template"}
    assert [c.name for c in workload.template.spec.containers] == ["app"]


def test_workloads_of_one_name_have_keys_of_their_own() -> None:
    keys = {read_workload(kind, entry(kind)).key for kind in ALL}

    assert len(keys) == len(ALL)
    assert {str(key) for key in keys} >= {"Deployment/shop/web"}


def test_of_a_workload_that_never_reloads_a_key_and_labels_are_kept() -> None:
    raw = document(labels={"team": "a"}, ownerReferences=[OWNER | {"kind": "App"}])

    kept = json.loads(reducer([b"reloader.stakater.com/auto"])(raw))

    assert kept == {
        "is_bare": True,
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": "9",
            "generation": 3,
            "labels": {"team": "a"},
        },
    }


def test_a_workload_that_is_claimed_is_kept_whole() -> None:
    asked: list[object] = []

    def covers(place: NamespacedName, labels: Mapping[str, str]) -> bool:
        asked.append((place, labels))
        return labels == {"team": "a"}

    reduce = reducer([b"reloader.stakater.com/auto"], covers)

    assert not is_bare(reduced(reduce, labels={"team": "a"}))
    assert is_bare(reduced(reduce))
    assert asked == [(("shop", "web"), {"team": "a"}), (("shop", "web"), {})]


def test_what_is_left_of_a_job_says_that_a_cron_job_runs_it() -> None:
    reduce = reducer([b"reloader.stakater.com/auto"])

    assert is_run_of_cron_job("Job", reduced(reduce, ownerReferences=[OWNER]))


@pytest.mark.parametrize("words", [[b'"on"'], []])
def test_a_workload_that_may_reload_is_kept_but_for_its_managers(
    words: list[bytes],
) -> None:
    kept = json.loads(reducer(words)(document()))

    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == json.loads(document())["spec"]


def test_a_job_that_a_cron_job_runs_is_told_from_others() -> None:
    assert is_run_of_cron_job("Job", entry("Job", ownerReferences=[OWNER]))
    assert not is_run_of_cron_job("Job", entry("Job"))
    assert not is_run_of_cron_job(
        "Job", entry("Job", ownerReferences=[OWNER | {"controller": False}])
    )
    assert not is_run_of_cron_job("Deployment", entry(ownerReferences=[OWNER]))


@pytest.mark.parametrize(
    ("kind", "strategy", "waits"),
    [
        ("StatefulSet", {"type": "OnDelete"}, True),
        ("DaemonSet", {"type": "OnDelete"}, True),
        ("DaemonSet", {"type": "RollingUpdate"}, False),
        ("StatefulSet", None, False),
        ("Deployment", {"type": "OnDelete"}, False),
    ],
)
def test_a_workload_may_wait_until_its_pods_are_deleted(
    kind: str, strategy: dict[str, str] | None, waits: bool
) -> None:
    body = json.loads(document(kind))
    body["spec"]["updateStrategy"] = strategy
    raw = json.dumps(body).encode()

    workload = read_workload(kind, RawObject(read_meta(raw), raw))

    assert waits_for_deletion(workload) is waits
