"""Metrics that others rely on: the page about them, dashboard and alert rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from controller_runtime import HttpTransport, Metrics, RestConfig
from controllers.reloader.command import compose
from controllers.reloader.settings import read

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "reload-alerts.md"
RULES = ROOT / "config" / "prometheus" / "reload.rules.yaml"
CASES = ROOT / "test" / "data" / "prometheus" / "reload.test.yaml"
DASHBOARD = ROOT / "config" / "grafana" / "reload.json"

_PREFIXES = "reloader|rest_client|process|leader_election|workqueue"

NAME = re.compile(rf"\b(?:{_PREFIXES})_[a-z_]+\b")

SERIES = re.compile(rf"`((?:{_PREFIXES})_[a-z_]+)(?:{{([a-z_,]*)}})?`")
"""A metric on the page, and its labels."""


def registry(*flags: str, **environ: str) -> CollectorRegistry:
    """Return what a manager with the reload controller counts."""
    nowhere = HttpTransport(RestConfig(server="https://nowhere.invalid"))
    metrics = Metrics()
    compose(read(flags, environ), nowhere, metrics)
    return metrics.registry


@pytest.fixture(scope="module")
def everything() -> CollectorRegistry:
    return registry("--metrics-by-workload", METRICS_COUNT_BY_NAMESPACE="enabled")


def names(found: CollectorRegistry) -> set[str]:
    """Name what is registered, as queries do: without the ends of histograms."""
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in found.collect()
    }


def queries() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_every_metric_of_the_page_is_counted(everything: CollectorRegistry) -> None:
    listed = {name for name, _ in SERIES.findall(PAGE.read_text())}

    assert len(listed) > 25
    assert listed <= names(everything)


def test_every_metric_of_ours_is_on_the_page(everything: CollectorRegistry) -> None:
    listed = {name for name, _ in SERIES.findall(PAGE.read_text())}
    ours = {name for name in names(everything) if name.startswith("reloader_")}

    assert ours <= listed


def test_labels_are_those_of_the_page() -> None:
    listed = {
        name: set(filter(None, labels.split(",")))
        for name, labels in SERIES.findall(PAGE.read_text())
    }
    collectors = registry(METRICS_COUNT_BY_NAMESPACE="enabled")._collector_to_names

    checked = set()
    for collector in collectors:
        for name in names_of(collector):
            if name in listed:
                assert set(getattr(collector, "_labelnames", ())) == listed[name], name
                checked.add(name)
    assert len(checked) > 20


def names_of(collector: object) -> Iterator[str]:
    """Name a metric of prometheus_client."""
    name = getattr(collector, "_name", "")
    yield from (name, f"{name}_total")


def test_queries_name_what_is_counted(everything: CollectorRegistry) -> None:
    asked = {
        re.sub("_(bucket|count|sum)$", "", name)
        for query in queries()
        for name in NAME.findall(query)
    }

    assert len(asked) > 15
    assert asked <= names(everything)


def test_what_nobody_asked_for_is_not_counted_by_workload() -> None:
    usual = registry()

    assert "reloader_workload_reloads_total" not in names(usual)
    assert "reloader_reload_executed_total_by_namespace" not in names(usual)


def test_what_is_shown_can_be_read(everything: CollectorRegistry) -> None:
    metrics = Metrics()
    metrics.registry = everything

    shown = list(text_string_to_metric_families(metrics.exposition().decode()))

    assert {it.name for it in shown} >= {"reloader_workqueue_latency_seconds"}


def test_every_alert_rule_is_on_the_page_and_has_tests_that_fire_and_do_not() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    cases = [
        case
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]

    for alert in alerts:
        assert f"| {alert} |" in PAGE.read_text()
        fires = [bool(it.get("exp_alerts")) for it in cases if it["alertname"] == alert]
        assert fires[0] is False, f"{alert}: silent before its time"
        assert fires[-1] is False, f"{alert}: over when its cause is"
        assert True in fires


def test_every_rule_says_what_it_means_and_how_bad_it_is() -> None:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "description"}
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
