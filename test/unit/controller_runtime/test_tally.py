"""Cheap metrics say what prometheus_client's own say."""

from __future__ import annotations

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from controller_runtime.tally import CounterFamily, GaugeFamily, HistogramFamily

BOUNDS = (0.005, 0.1, 1.0, 60)


def without_times(registry: CollectorRegistry) -> list[str]:
    """Return the lines but for `_created`, which Go's clients do not know either."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS), max_size=20))
def test_a_histogram_is_written_as_prometheus_client_writes_it(
    amounts: list[float],
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = HistogramFamily("took", "Time.", ["who"], bounds=BOUNDS, registry=ours)
    other = prometheus_client.Histogram(
        "took", "Time.", ["who"], buckets=BOUNDS, registry=theirs
    )

    for amount in amounts:
        mine.labels(who="a").observe(amount)
        other.labels(who="a").observe(amount)

    assert without_times(ours) == without_times(theirs)


def test_counters_and_gauges_are_written_as_prometheus_client_writes_them() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counter = CounterFamily("adds_total", "Adds.", ["who"], registry=ours)
    gauge = GaugeFamily("depth", "Depth.", ["who"], registry=ours)
    other = prometheus_client.Counter("adds_total", "Adds.", ["who"], registry=theirs)
    level = prometheus_client.Gauge("depth", "Depth.", ["who"], registry=theirs)

    for it in (counter.labels(who="a"), other.labels(who="a")):
        it.inc()
    for up in (gauge.labels(who="b"), level.labels(who="b")):
        up.set(2.5)
        up.inc()
        up.dec()

    assert without_times(ours) == without_times(theirs)


def test_one_registry_has_a_name_once() -> None:
    registry = CollectorRegistry()
    GaugeFamily("depth", "Depth.", ["who"], registry=registry)

    with pytest.raises(ValueError, match="Duplicated"):
        GaugeFamily("depth", "Depth.", ["who"], registry=registry)
