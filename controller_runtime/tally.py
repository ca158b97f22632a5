"""Counters, gauges and histograms that cost next to nothing to change.

    CounterFamily ─labels─▶ Counter     what is counted with these labels
                  ◀─────────collect     whenever somebody looks

A reconcile changes ten of them, and prometheus_client's take a lock and check their
labels each time, which is longer than the rest of a reconcile that finds nothing to do.
These are plain numbers: change them on one thread, that of the event loop. What they
are called, and how they are written down, is left to prometheus_client.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Counter:
    """Something that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self) -> None:
        self.value += 1


class Gauge:
    """Something that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self) -> None:
        self.value += 1

    def dec(self) -> None:
        self.value -= 1

    def set(self, value: float, /) -> None:
        self.value = value


class Histogram:
    """How often something was at most so much, by upper bounds in ascending order."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, amount: float, /) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount

    def buckets(self) -> Sequence[tuple[str, int]]:
        """Return each bound and how often it was not exceeded."""
        bounds = (*self._bounds, float("inf"))
        counts = accumulate(self._counts)
        texts = map(floatToGoString, bounds)
        return list(zip(texts, counts, strict=True))


C = TypeVar("C", Counter, Gauge, Histogram)


class _Family(Collector, Generic[C]):
    """What goes by one name, by the values of its labels."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        new: Callable[[], C],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._new: Callable[[], C] = new
        self._children: dict[tuple[str, ...], C] = {}
        registry.register(self)

    def labels(self, **values: str) -> C:
        """Return the one with these labels, at 0 at first: look it up once, keep it."""
        key = tuple(values[label] for label in self._labels)
        if key not in self._children:
            self._children[key] = self._new()
        return self._children[key]

    def describe(self) -> Iterable[Metric]:
        """Name what there is, without a look at it."""
        return [self._metric([])]

    def collect(self) -> Iterable[Metric]:
        return [self._metric(self._children.items())]

    @abstractmethod
    def _metric(self, children: Iterable[tuple[tuple[str, ...], C]]) -> Metric: ...


class CounterFamily(_Family[Counter]):
    """Counters of one name, which ends in `_total`."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(name, text, labels, new=Counter, registry=registry)

    def _metric(self, children: Iterable[tuple[tuple[str, ...], Counter]]) -> Metric:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for key, counter in children:
            family.add_metric(key, counter.value)
        return family


class GaugeFamily(_Family[Gauge]):
    """Gauges of one name."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(name, text, labels, new=Gauge, registry=registry)

    def _metric(self, children: Iterable[tuple[tuple[str, ...], Gauge]]) -> Metric:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for key, gauge in children:
            family.add_metric(key, gauge.value)
        return family


class HistogramFamily(_Family[Histogram]):
    """Histograms of one name, with the same bounds."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        def new() -> Histogram:
            return Histogram(bounds)

        super().__init__(name, text, labels, new=new, registry=registry)

    def _metric(self, children: Iterable[tuple[tuple[str, ...], Histogram]]) -> Metric:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for key, histogram in children:
            family.add_metric(key, histogram.buckets(), histogram.sum)
        return family
