"""Every metric of the process, in one object.

Names, labels and buckets are controller-runtime's and client-go's, so that their
dashboards and alerts work unchanged (`pkg/internal/controller/metrics`,
`pkg/metrics/workqueue.go`). A `Metrics` owns its registry: two managers in one
process do not collide, and a test reads only what it caused.

Hot paths never look a label up: `controller(name)` and `queue(name)` return the
children once, and whoever counts keeps them. Those are `tally`'s, for the loop's thread
alone; the others are prometheus_client's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from controller_runtime.tally import (
    Counter,
    CounterFamily,
    Gauge,
    GaugeFamily,
    Histogram,
    HistogramFamily,
)

_RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6),
    *(7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)
_QUEUE_BUCKETS = tuple(1e-8 * 10**n for n in range(12))
_REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_WEBHOOK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_PRIORITIES_MAX = 25
"""Distinct priority labels of one queue; the rest share one, as in Go."""

_OTHER_PRIORITY = "exceeded_cardinality_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerMetrics:
    """The metrics of one controller, each at 0 from the start."""

    success: Counter
    error: Counter
    requeue: Counter
    requeue_after: Counter
    errors: Counter
    terminal_errors: Counter
    panics: Counter
    timeouts: Counter
    time: Histogram
    active_workers: Gauge
    max_concurrent: Gauge


class QueueMetrics:
    """The metrics of one work queue. Times are in seconds."""

    def __init__(
        self,
        *,
        adds: Counter,
        retries: Counter,
        queue_duration: Histogram,
        work_duration: Histogram,
        unfinished: Gauge,
        longest: Gauge,
        depth: Callable[[str], Gauge],
    ) -> None:
        self.adds = adds
        self.retries = retries
        self.queue_duration = queue_duration
        self.work_duration = work_duration
        self.unfinished = unfinished
        self.longest = longest
        self._new_depth = depth
        self._depths: dict[int, Gauge] = {}
        self.depth(0)

    def depth(self, priority: int) -> Gauge:
        """Return the gauge of the keys that are ready at `priority`."""
        gauge = self._depths.get(priority)
        if gauge is None:
            known = len(self._depths) < _PRIORITIES_MAX
            label = str(priority) if known else _OTHER_PRIORITY
            gauge = self._new_depth(label)
            self._depths[priority] = gauge
        return gauge


class StoreSize(Protocol):
    """How much one store holds."""

    @property
    def kind(self) -> str: ...
    @property
    def view(self) -> str: ...
    @property
    def objects(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def unwatched(self) -> bool: ...


class _Stores(Collector):
    """Sizes of stores, summed over namespaces."""

    def __init__(self, read: Callable[[], Iterable[StoreSize]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Name the metrics without a look at the stores."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        families = self._families()
        sizes: dict[tuple[str, str], list[int]] = {}
        for store in self._read():
            size = sizes.setdefault((store.kind, store.view), [0] * len(families))
            for number, value in enumerate((store.objects, store.bytes)):
                size[number] += value
            size[2] |= store.unwatched
        for labels, size in sizes.items():
            for family, value in zip(families, size, strict=True):
                family.add_metric(labels, value)
        return families

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        labels = ["kind", "view"]
        return (
            GaugeMetricFamily(
                "controller_runtime_cache_objects", "Objects kept.", labels=labels
            ),
            GaugeMetricFamily(
                "controller_runtime_cache_bytes",
                "Size of the kept objects as JSON.",
                labels=labels,
            ),
            GaugeMetricFamily(
                "controller_runtime_cache_unwatched",
                "1 where the server allows lists and no watch.",
                labels=labels,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HookMetrics:
    """The metrics of one webhook."""

    latency: prometheus_client.Histogram
    """Seconds."""

    in_flight: prometheus_client.Gauge

    requests: Callable[[int], prometheus_client.Counter]
    """By code: 200 if there was a decision, else why there was none."""


class WebhookMetrics:
    """The metrics of all webhooks; there are none where none are served."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.panics = prometheus_client.Counter(
            "controller_runtime_webhook_panics_total",
            "Total number of webhook panics.",
            registry=registry,
        )
        self.conversion_panics = prometheus_client.Counter(
            "controller_runtime_conversion_webhook_panics_total",
            "Total number of conversion webhook panics.",
            registry=registry,
        )
        self._latency = prometheus_client.Histogram(
            "controller_runtime_webhook_latency_seconds",
            "Latency of processing webhook requests.",
            ["webhook"],
            buckets=_WEBHOOK_BUCKETS,
            registry=registry,
        )
        self._requests = prometheus_client.Counter(
            "controller_runtime_webhook_requests_total",
            "Webhook requests by code: 200 if there was a decision.",
            ["webhook", "code"],
            registry=registry,
        )
        self._in_flight = prometheus_client.Gauge(
            "controller_runtime_webhook_requests_in_flight",
            "Webhook requests that are being answered.",
            ["webhook"],
            registry=registry,
        )

    def hook(self, path: str) -> HookMetrics:
        """Return the metrics of the webhook at `path`, the usual codes at 0."""

        def requests(code: int) -> prometheus_client.Counter:
            return self._requests.labels(webhook=path, code=str(code))

        for usual in (200, 500):
            requests(usual)
        return HookMetrics(
            latency=self._latency.labels(webhook=path),
            in_flight=self._in_flight.labels(webhook=path),
            requests=requests,
        )


class Metrics:
    """All metrics of one manager."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._controllers: dict[str, ControllerMetrics] = {}
        self._queues: dict[str, QueueMetrics] = {}
        self._webhooks: WebhookMetrics | None = None
        self._reconcile_metrics()
        self._queue_metrics()
        self._client_metrics()
        self._events_written = prometheus_client.Counter(
            "controller_runtime_events_written_total",
            "Writes of Events, and of how often they happened, per controller.",
            ["controller"],
            registry=self.registry,
        )
        self._events_dropped = prometheus_client.Counter(
            "controller_runtime_events_dropped_total",
            "Events that were not written, by reason.",
            ["controller", "reason"],
            registry=self.registry,
        )
        self.loop_lag = prometheus_client.Gauge(
            "controller_runtime_loop_lag_seconds",
            "How long the event loop took to answer when it was last asked.",
            registry=self.registry,
        )
        self.loop_stalls = prometheus_client.Counter(
            "controller_runtime_loop_stalls_total",
            "Times that the event loop was blocked for too long.",
            registry=self.registry,
        )
        self._leader = prometheus_client.Gauge(
            "leader_election_master_status",
            "Whether this process leads: 1 if so, 0 if it stands by.",
            ["name"],
            registry=self.registry,
        )
        self._parts = prometheus_client.Gauge(
            "controller_runtime_part_state",
            "What a part of the manager is: 1 for one of its states, else 0.",
            ["part", "state"],
            registry=self.registry,
        )
        self._stale_reads = prometheus_client.Counter(
            "controller_runtime_cache_stale_reads_total",
            "Reads that the cache could not answer in time after a write, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.certificate_reads = prometheus_client.Counter(
            "certwatcher_read_certificate_total",
            "Looks at certificate files.",
            registry=self.registry,
        )
        self.certificate_read_errors = prometheus_client.Counter(
            "certwatcher_read_certificate_errors_total",
            "Looks at certificate files that found no usable pair.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def controller(self, name: str) -> ControllerMetrics:
        """Return the metrics of the controller `name`."""
        if name not in self._controllers:
            self._controllers[name] = self._new_controller(name)
        return self._controllers[name]

    def queue(self, name: str) -> QueueMetrics:
        """Return the metrics of the queue of the controller `name`."""
        if name not in self._queues:
            self._queues[name] = self._new_queue(name)
        return self._queues[name]

    def webhooks(self) -> WebhookMetrics:
        """Return the metrics of webhooks, which are there from the first call on."""
        if self._webhooks is None:
            self._webhooks = WebhookMetrics(self.registry)
        return self._webhooks

    def leader(self, name: str) -> prometheus_client.Gauge:
        """Return whether this process leads in the election `name`; 0 at first."""
        return self._leader.labels(name=name)

    def part(self, name: str, state: str) -> prometheus_client.Gauge:
        """Return whether the part `name` of the manager is in a state; 0 at first."""
        return self._parts.labels(part=name, state=state)

    def requests(self, code: int | str, method: str, host: str) -> None:
        """Count a request to the API server; `code` is `<error>` without an answer."""
        self._requests.labels(code=str(code), method=method, host=host).inc()

    def request_duration(self, verb: str, host: str, seconds: float) -> None:
        """Observe how long a request took until its body was read."""
        self._request_duration.labels(verb=verb, host=host).observe(seconds)

    def stale_read(self, kind: str) -> None:
        """Count a read that went to the server, because the cache lagged too long."""
        self._stale_reads.labels(kind=kind).inc()

    def event_written(self, controller: str) -> None:
        """Count an Event that was created, or of which the count was told."""
        self._events_written.labels(controller=controller).inc()

    def event_dropped(self, controller: str, reason: str) -> None:
        """Count an Event, or a count, that the server was not told."""
        self._events_dropped.labels(controller=controller, reason=reason).inc()

    def stores(self, read: Callable[[], Iterable[StoreSize]]) -> None:
        """Report the sizes of stores; `read` is called whenever somebody looks."""
        self.registry.register(_Stores(read))

    def exposition(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _reconcile_metrics(self) -> None:
        def counter(name: str, text: str, *labels: str) -> CounterFamily:
            labels = ("controller", *labels)
            full = f"controller_runtime_{name}"
            return CounterFamily(full, text, labels, registry=self.registry)

        def gauge(name: str, text: str) -> GaugeFamily:
            full = f"controller_runtime_{name}"
            return GaugeFamily(full, text, ["controller"], registry=self.registry)

        self._reconciles = counter(
            "reconcile_total", "Reconciliations per controller.", "result"
        )
        self._errors = counter(
            "reconcile_errors_total", "Reconciliation errors per controller."
        )
        self._terminal = counter(
            "terminal_reconcile_errors_total",
            "Terminal reconciliation errors per controller.",
        )
        self._panics = counter(
            "reconcile_panics_total", "Reconciliation panics per controller."
        )
        self._timeouts = counter(
            "reconcile_timeouts_total", "Reconciliation timeouts per controller."
        )
        self._time = HistogramFamily(
            "controller_runtime_reconcile_time_seconds",
            "Length of time per reconciliation per controller.",
            ["controller"],
            bounds=_RECONCILE_BUCKETS,
            registry=self.registry,
        )
        self._max_concurrent = gauge(
            "max_concurrent_reconciles", "Reconciles that may run at once."
        )
        self._active = gauge("active_workers", "Workers that reconcile right now.")

    def _new_controller(self, name: str) -> ControllerMetrics:
        def result(value: str) -> Counter:
            return self._reconciles.labels(controller=name, result=value)

        return ControllerMetrics(
            success=result("success"),
            error=result("error"),
            requeue=result("requeue"),
            requeue_after=result("requeue_after"),
            errors=self._errors.labels(controller=name),
            terminal_errors=self._terminal.labels(controller=name),
            panics=self._panics.labels(controller=name),
            timeouts=self._timeouts.labels(controller=name),
            time=self._time.labels(controller=name),
            active_workers=self._active.labels(controller=name),
            max_concurrent=self._max_concurrent.labels(controller=name),
        )

    def _queue_metrics(self) -> None:
        labels = ["name", "controller"]

        def histogram(name: str, text: str) -> HistogramFamily:
            full = f"workqueue_{name}"
            return HistogramFamily(
                full, text, labels, bounds=_QUEUE_BUCKETS, registry=self.registry
            )

        def gauge(name: str, text: str, *more: str) -> GaugeFamily:
            full = f"workqueue_{name}"
            return GaugeFamily(full, text, [*labels, *more], registry=self.registry)

        self._depth = gauge("depth", "Keys that wait for a worker.", "priority")
        self._adds = CounterFamily(
            "workqueue_adds_total", "Keys added.", labels, registry=self.registry
        )
        self._retries = CounterFamily(
            "workqueue_retries_total", "Keys delayed.", labels, registry=self.registry
        )
        self._queue_duration = histogram(
            "queue_duration_seconds", "How long a key waits for a worker."
        )
        self._work_duration = histogram(
            "work_duration_seconds", "How long a worker holds a key."
        )
        self._unfinished = gauge(
            "unfinished_work_seconds", "Seconds of work in progress, summed."
        )
        self._longest = gauge(
            "longest_running_processor_seconds", "Age of the oldest work in progress."
        )

    def _new_queue(self, name: str) -> QueueMetrics:
        labels = {"name": name, "controller": name}
        return QueueMetrics(
            adds=self._adds.labels(**labels),
            retries=self._retries.labels(**labels),
            queue_duration=self._queue_duration.labels(**labels),
            work_duration=self._work_duration.labels(**labels),
            unfinished=self._unfinished.labels(**labels),
            longest=self._longest.labels(**labels),
            depth=lambda priority: self._depth.labels(**labels, priority=priority),
        )

    def _client_metrics(self) -> None:
        self._requests = prometheus_client.Counter(
            "rest_client_requests_total",
            "Requests to the API server by status code, method and host.",
            ["code", "method", "host"],
            registry=self.registry,
        )
        self._request_duration = prometheus_client.Histogram(
            "rest_client_request_duration_seconds",
            "Request latency in seconds by verb and host.",
            ["verb", "host"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
