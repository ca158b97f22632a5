"""Workloads of every kind, seen as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from controller_runtime import GroupVersionKind, NamespacedName, RawObject
from controller_runtime.meta import read_meta
from controllers.reload.workloads import (
    OPTIONAL_WORKLOADS,
    WORKLOADS,
    ExtraWorkload,
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


# --- kinds from outside ------------------------------------------------------------

KNATIVE = GroupVersionKind("serving.knative.dev", "v1", "Service")


@pytest.mark.parametrize(
    ("text", "gvk", "path"),
    [
        (
            "serving.knative.dev/v1/Service:.spec.template",
            KNATIVE,
            ("spec", "template"),
        ),
        (
            "v1/ReplicationController:.spec.template",
            GroupVersionKind("", "v1", "ReplicationController"),
            ("spec", "template"),
        ),
        (
            "ray.io/v1/RayCluster:.spec.headGroupSpec.template",
            GroupVersionKind("ray.io", "v1", "RayCluster"),
            ("spec", "headGroupSpec", "template"),
        ),
        (
            "ops.example.com/v1beta2/Deployment:.spec.pod",
            GroupVersionKind("ops.example.com", "v1beta2", "Deployment"),
            ("spec", "pod"),
        ),
    ],
)
def test_a_kind_from_outside_is_named_with_the_path_to_its_template(
    text: str, gvk: GroupVersionKind, path: tuple[str, ...]
) -> None:
    """#493, #1057."""
    extra = ExtraWorkload.parse(text)

    assert extra == (gvk, path)
    assert WorkloadKey(extra.kind, "shop", "web").gvk == gvk
    assert extra.kind not in ALL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Service:.spec.template",
        "serving.knative.dev/v1/Service",
        "serving.knative.dev/v1/Service:spec.template",
        "serving.knative.dev/v1/Service:.",
        "serving.knative.dev/v1/Service:.spec.containers[0]",
        "serving.knative.dev/v1/services:.spec.template",
        "a/b/v1/Service:.spec.template",
    ],
)
def test_what_is_no_kind_with_a_path_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as serving\.knative\.dev/v1/Service"):
        ExtraWorkload.parse(text)


@pytest.mark.parametrize("group", ["apps", "argoproj.io"])
def test_a_kind_that_reloads_anyway_is_refused(group: str) -> None:
    kind = {"apps": "Deployment", "argoproj.io": "Rollout"}[group]

    with pytest.raises(ValueError, match="reloads anyway; leave it out"):
        ExtraWorkload.parse(f"{group}/v1/{kind}:.spec.template")


@pytest.mark.parametrize(
    "path", [("spec", "nothing"), ("spec", "template", "spec", "containers"), ("kind",)]
)
def test_a_path_to_no_template_reads_as_an_empty_one(path: tuple[str, ...]) -> None:
    workload = read_workload("Service.v1.serving.knative.dev", entry(), path)

    assert workload.template.spec.containers == ()
    assert workload.path == path
