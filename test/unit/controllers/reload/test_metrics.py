"""What is counted, and under which names."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from controller_runtime import Metrics
from controllers.reload.metrics import ReloadMetrics, SkipReason
from controllers.reload.options import Strategy
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey

WEB = WorkloadKey("Deployment", "shop", "web")


class Shown:
    """The metrics, and what a scrape sees of them."""

    def __init__(
        self, *, by_namespace: bool = False, by_workload: bool = False
    ) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ReloadMetrics(
            self.registry, by_namespace=by_namespace, by_workload=by_workload
        )

    def __getitem__(self, series: str) -> float | None:
        for line in generate_latest(self.registry).decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return None


def test_reloads_are_there_at_zero_from_the_start() -> None:
    shown = Shown()

    for success in ("true", "false"):
        assert shown[f'reloader_reload_executed_total{{success="{success}"}}'] == 0


def test_a_reload_is_counted_once_under_the_names_of_the_original_and_of_ours() -> None:
    shown = Shown(by_namespace=True)

    shown.metrics.reloaded(WEB, Strategy.ENV_VARS, seconds=0.1, at=7)

    for series in (
        'reloader_reload_executed_total{success="true"}',
        'reloader_reload_executed_total_by_namespace{namespace="shop",success="true"}',
        'reloader_action_total{result="success",workload_kind="Deployment"}',
        'reloader_action_latency_seconds_count{workload_kind="Deployment"}',
        'reloader_reloads_total{kind="Deployment",namespace="shop",strategy="env-vars"}',
    ):
        assert shown[series] == 1, series
    last = 'reloader_last_reload_timestamp{kind="Deployment",namespace="shop"}'
    assert shown[last] == 7


def test_a_refused_reload_is_an_error_and_will_be_tried_again() -> None:
    shown = Shown()

    shown.metrics.refused(WEB, "Forbidden", seconds=0.1)

    for series in (
        'reloader_reload_executed_total{success="false"}',
        'reloader_action_total{result="error",workload_kind="Deployment"}',
        'reloader_errors_total{type="handler_error"}',
        "reloader_retries_total",
        'reloader_reload_errors_total{kind="Deployment",namespace="shop",reason="Forbidden"}',
    ):
        assert shown[series] == 1, series


def test_namespaces_are_counted_only_where_that_is_asked_for() -> None:
    shown = Shown()

    shown.metrics.reloaded(WEB, Strategy.ENV_VARS, seconds=0.1, at=7)

    assert b"by_namespace" not in generate_latest(shown.registry)


@pytest.mark.parametrize(
    ("skipped", "result"),
    [
        (None, "success"),
        (SkipReason.NO_DATA_CHANGE, "skipped"),
        (SkipReason.IGNORED, "skipped"),
    ],
)
def test_an_event_of_a_source_is_received_and_then_processed_or_skipped(
    skipped: SkipReason | None, result: str
) -> None:
    shown = Shown()

    shown.metrics.received(SourceKind.SECRET, "add", skipped=skipped)

    labels = 'event_type="add",resource_type="secrets"'
    assert shown[f"reloader_events_received_total{{{labels}}}"] == 1
    processed = f'reloader_events_processed_total{{{labels},result="{result}"}}'
    assert shown[processed] == 1
    counts = {
        reason: shown[f'reloader_skipped_total{{reason="{reason}"}}']
        for reason in SkipReason
    }
    assert counts == {reason: float(reason is skipped) for reason in SkipReason}


def test_durations_are_in_the_buckets_of_the_original() -> None:
    shown = Shown()

    shown.metrics.reloaded(WEB, Strategy.ENV_VARS, seconds=0.1, at=7)
    shown.metrics.looked(WEB, "success", seconds=0.001)

    kind = 'workload_kind="Deployment"'
    assert shown[f'reloader_action_latency_seconds_bucket{{le="0.05",{kind}}}'] == 0
    assert shown[f'reloader_action_latency_seconds_bucket{{le="60.0",{kind}}}'] == 1
    looks = "reloader_reconcile_duration_seconds_bucket"
    assert shown[f'{looks}{{le="0.001",result="success"}}'] == 1


def test_reloads_are_counted_by_workload_and_source_where_that_is_asked_for() -> None:
    source = SourceKey(SourceKind.SECRET, "shop", "db")
    usual, asked = Shown(), Shown(by_workload=True)

    for shown in (usual, asked):
        shown.metrics.reloaded(WEB, Strategy.ENV_VARS, seconds=0.1, at=7)
        shown.metrics.reloaded_for(WEB, source)

    workload = 'kind="Deployment",name="web",namespace="shop"'
    series = (
        f'reloader_workload_reloads_total{{{workload},source="db",'
        'source_kind="SECRET"}'
    )
    assert (usual[series], asked[series]) == (None, 1)
    last = f"reloader_last_reload_timestamp{{{workload}}}"
    assert (usual[last], asked[last]) == (None, 7)


def test_alerts_are_counted_by_what_became_of_them() -> None:
    shown = Shown()

    shown.metrics.alerted("slack", "sent", times=3)

    assert shown['reloader_alerts_total{result="sent",sink="slack"}'] == 3


def test_the_queue_has_the_names_of_the_original_too() -> None:
    shown = Shown()
    queue = Metrics().queue("reload")
    shown.metrics.watch_queue(queue)

    queue.adds.inc()
    queue.queue_duration.observe(0.5)

    assert shown["reloader_workqueue_adds_total"] == 1
    assert shown["reloader_workqueue_latency_seconds_sum"] == 0.5
    assert shown["reloader_workqueue_latency_seconds_count"] == 1


def test_looks_are_counted_by_result() -> None:
    shown = Shown()

    for result in ("success", "skipped", "skipped"):
        shown.metrics.looked(WEB, result, seconds=0.1)

    assert shown['reloader_reconcile_total{result="skipped"}'] == 2
    assert shown['reloader_workloads_scanned_total{kind="Deployment"}'] == 3
    assert shown['reloader_workloads_matched_total{kind="Deployment"}'] == 1


def test_what_waits_and_what_is_watched_is_read_when_it_is_asked_for() -> None:
    shown = Shown()
    waiting = [1]
    shown.metrics.watch_depth(lambda: len(waiting))
    shown.metrics.watch_sources(SourceKind.SECRET, lambda: 3)

    waiting.append(2)

    assert shown["reloader_workqueue_depth"] == 2
    assert shown['reloader_watched_resources{kind="SECRET"}'] == 3
