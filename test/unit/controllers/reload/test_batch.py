"""Jobs that a reload starts, or starts anew."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from controller_runtime import Json, RawObject
from controller_runtime.meta import read_meta
from controllers.reload.options import Strategy
from controllers.reload.plan import Marker, Plan
from controllers.reload.record import LAST_RELOADED_FROM, RECORD, RELOADED_AT
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import Workload, read_workload
from controllers.reload.writing.batch import (
    Run,
    has_place,
    idle_reason,
    is_suspended,
    read_run,
    run_of,
    started_anew,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOURCE = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")
PLAN = Plan(
    {"cm/c": "new"},
    (Marker(SOURCE, "app", "STAKATER_C_CONFIGMAP", "abc", "abc"),),
    change="1",
)
TIES = {
    "batch.kubernetes.io/controller-uid": "u",
    "controller-uid": "u",
    "batch.kubernetes.io/job-name": "report",
    "job-name": "report",
}


def template(**labels: str) -> Json:
    containers = [{"name": "app", "image": "x"}, {"name": "proxy", "image": "y"}]
    spec = {"restartPolicy": "Never", "containers": containers}
    return {"metadata": {"labels": labels}, "spec": spec}


def read(kind: str, name: str, spec: Json, **other: object) -> Workload:
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "9",
        "annotations": {"a": "b"},
        "labels": {"app": name, **(TIES if kind == "Job" else {})},
    }
    raw = json.dumps({"metadata": metadata, "spec": spec, **other}).encode()
    return read_workload(kind, RawObject(read_meta(raw), raw))


def cron_job(name: str = "report", **spec: object) -> Workload:
    made = {
        "metadata": {"labels": {"l": "1"}, "annotations": {"a": "1"}},
        "spec": {"backoffLimit": 3, "template": template(app="report")},
    }
    return read("CronJob", name, {"schedule": "@daily", "jobTemplate": made, **spec})


def job(*conditions: str, **spec: object) -> Workload:
    status = {"conditions": [{"type": c, "status": "True"} for c in conditions]}
    body = {
        "selector": {"matchLabels": {"controller-uid": "u"}},
        "template": template(app="report", **TIES),
        **spec,
    }
    return read("Job", "report", body, status=status)


def test_a_cron_job_runs_a_job_of_its_own_with_the_marker() -> None:
    """Scenario 31: TestCreateJobFromCronjob."""
    made = run_of(cron_job(), PLAN, now=NOW)

    metadata = made["metadata"]
    assert metadata["name"].startswith("report-")
    assert metadata["labels"] == {"l": "1"}
    assert metadata["annotations"] == {
        "a": "1",
        "cronjob.kubernetes.io/instantiate": "manual",
        RECORD: '{"cm/c":"new"}',
        RELOADED_AT: "2026-11-21T12:00:00.000Z",
    }
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("CronJob", "u", True)
    assert made["spec"]["backoffLimit"] == 3
    app, proxy = made["spec"]["template"]["spec"]["containers"]
    assert app["env"] == [{"name": "STAKATER_C_CONFIGMAP", "value": "abc"}]
    assert "env" not in proxy


def test_a_run_has_one_name_until_a_reload_is_on_record() -> None:
    first = run_of(cron_job(), PLAN, now=NOW)
    again = run_of(cron_job(), PLAN._replace(change="2"), now=NOW)
    later = {RELOADED_AT: "2026-11-21T12:00:00.000Z"}
    meta = msgspec.structs.replace(cron_job().meta, annotations=later)
    other = run_of(cron_job()._replace(meta=meta), PLAN, now=NOW)

    assert first["metadata"]["name"] == again["metadata"]["name"]
    assert first["metadata"]["name"] != other["metadata"]["name"]


def test_a_run_tells_what_the_cron_job_runs_with_since_then() -> None:
    made = run_of(cron_job(), PLAN, now=NOW)

    run = read_run(made, cron_job())

    assert run == Run(made["metadata"]["name"], {"cm/c": "new"}, NOW)
    assert run.covers(PLAN, "shop")
    assert not run.covers(PLAN._replace(record={"cm/c": "newer"}), "shop")


@pytest.mark.parametrize(
    ("used", "limited", "answer"), [(1, 1, True), (1, 0, False), (7, 10, True)]
)
def test_a_quota_that_one_job_fills_has_a_place_for_the_one_that_replaces_it(
    used: int, limited: int, answer: bool
) -> None:
    refusal = (
        'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch='
        f"1, used: count/jobs.batch={used}, limited: count/jobs.batch={limited}"
    )

    assert has_place(refusal) is answer
    assert not has_place(f"{refusal} and more")
    assert not has_place("jobs.batch is forbidden")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ownerReferences", []),
        ("annotations", {RECORD: "{}"}),
        ("annotations", {RECORD: "{}", RELOADED_AT: "2026-11-21T12:00:00"}),
        ("annotations", {RELOADED_AT: "2026-11-21T12:00:00Z"}),
    ],
)
def test_another_job_is_not_read_as_a_run(field: str, value: object) -> None:
    made = run_of(cron_job(), PLAN, now=NOW)
    made["metadata"][field] = value

    assert read_run(made, cron_job()) is None


def test_a_run_of_a_cron_job_with_a_long_name_has_a_name_that_fits() -> None:
    made = run_of(cron_job("a" * 51 + "-b"), PLAN, now=NOW)

    assert len(made["metadata"]["name"]) <= 63
    assert "--" not in made["metadata"]["name"]


def test_under_the_annotations_strategy_the_marker_is_an_annotation() -> None:
    plan = PLAN._replace(strategy=Strategy.ANNOTATIONS)

    made = run_of(cron_job(), plan, now=NOW)

    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations[LAST_RELOADED_FROM])["name"] == "c"


def test_a_suspended_cron_job_is_told_from_others() -> None:
    assert is_suspended(cron_job(suspend=True))
    assert not is_suspended(cron_job())


def test_a_job_that_is_started_anew_lacks_what_tied_it_to_its_pods() -> None:
    """Scenario 31: TestReCreateJobFromJob."""
    made = started_anew(job(), PLAN, now=NOW)

    assert made["metadata"] == {
        "name": "report",
        "namespace": "shop",
        "labels": {"app": "report"},
        "annotations": {
            "a": "b",
            RECORD: '{"cm/c":"new"}',
            RELOADED_AT: "2026-11-21T12:00:00.000Z",
        },
    }
    assert "selector" not in made["spec"]
    assert "status" not in made
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "report"}
    app, _ = made["spec"]["template"]["spec"]["containers"]
    assert app["env"] == [{"name": "STAKATER_C_CONFIGMAP", "value": "abc"}]


def test_a_job_with_a_selector_of_its_own_keeps_it() -> None:
    made = started_anew(job(manualSelector=True), PLAN, now=NOW)

    assert made["spec"]["selector"]


@pytest.mark.parametrize(
    ("of", "again", "reason"),
    [
        (job(), False, ""),
        (job("Complete"), False, "ended"),
        (job("Failed"), False, "ended"),
        (job("SuccessCriteriaMet"), False, ""),
        (job("Complete"), True, ""),
        (job(suspend=True), True, "suspended"),
    ],
)
def test_a_job_is_started_anew_while_it_is_at_work(
    of: Workload, again: bool, reason: str
) -> None:
    found = idle_reason(of, again=again)

    assert reason in found
    assert bool(found) is bool(reason)
