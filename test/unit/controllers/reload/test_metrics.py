"""What is counted, and under which names."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from controllers.reload.metrics import ReloadMetrics
from controllers.reload.options import Strategy
from controllers.reload.sources import SourceKind
from controllers.reload.workloads import WorkloadKey

WEB = WorkloadKey("Deployment", "shop", "web")


class Shown:
    """The metrics, and what a scrape sees of them."""

    def __init__(self, *, by_namespace: bool = False) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ReloadMetrics(self.registry, by_namespace=by_namespace)

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
        'reloader_errors_total{type="reload"}',
        "reloader_retries_total",
        'reloader_reload_errors_total{kind="Deployment",namespace="shop",reason="Forbidden"}',
    ):
        assert shown[series] == 1, series


def test_namespaces_are_counted_only_where_that_is_asked_for() -> None:
    shown = Shown()

    shown.metrics.reloaded(WEB, Strategy.ENV_VARS, seconds=0.1, at=7)

    assert b"by_namespace" not in generate_latest(shown.registry)


@pytest.mark.parametrize(
    ("is_news", "series"),
    [
        (
            True,
            (
                'reloader_events_processed_total{event_type="update",'
                'resource_type="secret",result="success"}'
            ),
        ),
        (False, 'reloader_skipped_total{reason="no_data_change"}'),
    ],
)
def test_an_event_of_a_source_is_received_and_then_processed_or_skipped(
    is_news: bool, series: str
) -> None:
    shown = Shown()

    shown.metrics.received(SourceKind.SECRET, "update", is_news=is_news)

    received = (
        'reloader_events_received_total{event_type="update",resource_type="secret"}'
    )
    assert shown[received] == shown[series] == 1


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
