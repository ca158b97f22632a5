"""What is counted of reloads: the original's names, and ours.

The original's keep their names and labels, so that dashboards go on. What they count
is counted once: there, a success counts twice in `reconcile_total`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from controller_runtime import QueueMetrics
from controllers.reload.options import Strategy
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey

_ROLLOUT_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""Seconds; what takes longer has a limit of its own."""

_LOOK_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ACTION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds; both are the original's."""

_FAILURE = "handler_error"
"""The original's word for a reload that fails."""

_RESOURCES: Mapping[SourceKind, str] = {
    SourceKind.CONFIG_MAP: "configmaps",
    SourceKind.SECRET: "secrets",
    SourceKind.SECRET_PROVIDER_CLASS: "secretproviderclasspodstatuses",
}
"""What is watched, in the original's words."""

_SUCCESS = {True: "true", False: "false"}
_RESULT = {True: "success", False: "error"}

_WAITS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)
"""Seconds: from a reload at once to one that waits for a nightly window."""


class SkipReason(StrEnum):
    """Why nothing restarts; the original's words."""

    NO_DATA_CHANGE = "no_data_change"
    """Other metadata of a source changed."""

    IGNORED = "ignored_or_not_selected"
    """The source says so, or its namespace is not ours."""

    STRATEGY_NOT_UPDATED = "strategy_not_updated"
    """There is nothing to restart: a Job that has ended, a suspended CronJob."""


class _Queue(Collector):
    """The work queue's numbers, under the original's names."""

    def __init__(self, queue: QueueMetrics) -> None:
        self._queue = queue

    def collect(self) -> Iterable[Metric]:
        adds = CounterMetricFamily(
            "reloader_workqueue_adds_total",
            "Times that a workload was put up for a look.",
            value=self._queue.adds.value,
        )
        latency = HistogramMetricFamily(
            "reloader_workqueue_latency_seconds",
            "Time that a workload waits for a look.",
            buckets=self._queue.queue_duration.buckets(),
            sum_value=self._queue.queue_duration.sum,
        )
        return adds, latency


class ReloadMetrics:
    """Counts what the controller does."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        by_namespace: bool,
        by_workload: bool = False,
    ) -> None:
        """Register the metrics.

        Args:
            registry: Where they are shown.
            by_namespace: Count reloads for each namespace as well.
            by_workload: Count them for each workload and source as well, which makes
                as many series as there are pairs of these.
        """
        self._registry = registry
        self._by_namespace = by_namespace
        self._by_workload = by_workload
        self._of_original()
        self._reloads = self._counter(
            "reloads_total", "Reloads of workloads.", "namespace", "kind", "strategy"
        )
        self._reload_errors = self._counter(
            "reload_errors_total",
            "Reloads that were refused.",
            *("namespace", "kind", "reason"),
        )
        self._last = Gauge(
            "reloader_last_reload_timestamp",
            "When a workload of a kind was last reloaded, in seconds since 1970.",
            ["namespace", "kind", *(["name"] if by_workload else [])],
            registry=self._registry,
        )
        self._by_source = Counter(
            "reloader_workload_reloads_total",
            "Reloads, by workload and source.",
            ["namespace", "kind", "name", "source_kind", "source"],
            registry=self._registry if by_workload else None,
        )
        self._alerts = self._counter(
            "alerts_total", "Alerts, by what became of them.", "sink", "result"
        )
        self._rollouts = Histogram(
            "reloader_rollout_duration_seconds",
            "Time from a reload until all pods are new, or it is given up.",
            ["kind", "outcome"],
            buckets=_ROLLOUT_BUCKETS,
            registry=self._registry,
        )
        self._rolling = Gauge(
            "reloader_rollouts",
            "Rollouts under way that reloads began.",
            registry=self._registry,
        )
        self._watched = Gauge(
            "reloader_watched_resources",
            "ConfigMaps and Secrets that are watched.",
            ["kind"],
            registry=self._registry,
        )

        self._pending = Gauge(
            "reloader_pending_reloads",
            "Workloads that have a change to reload for and wait, by what for.",
            ["reason"],
            registry=self._registry,
        )
        self._throttled = self._counter(
            "throttled_total",
            "Reloads that the storm brake held back.",
            *("namespace", "kind"),
        )
        self._waited = Histogram(
            "reloader_change_to_reload_seconds",
            "Time from the first sight of a change to the reload for it.",
            ["kind"],
            buckets=_WAITS,
            registry=self._registry,
        )

    def reloaded(
        self,
        key: WorkloadKey,
        strategy: Strategy,
        *,
        seconds: float,
        at: float,
        waited: float | None = None,
    ) -> None:
        """Count a reload.

        Args:
            key: Of what.
            strategy: How.
            seconds: How long the write took.
            at: Wall-clock time, in seconds since 1970.
            waited: Seconds since the change was first seen, if that is known.
        """
        if waited is not None:
            self._waited.labels(key.kind).observe(waited)
        self._acted(key, seconds=seconds, is_success=True)
        self._reloads.labels(key.namespace, key.kind, strategy.value).inc()
        name = (key.name,) if self._by_workload else ()
        self._last.labels(key.namespace, key.kind, *name).set(at)

    def reloaded_for(self, key: WorkloadKey, source: SourceKey) -> None:
        """Count a source that a workload reloaded for, if that is asked for."""
        if self._by_workload:
            self._by_source.labels(
                *(key.namespace, key.kind, key.name),
                *(source.kind.type_name, source.name),
            ).inc()

    def left_alone(self) -> None:
        """Count a change for which nothing restarts."""
        self._skipped.labels(SkipReason.STRATEGY_NOT_UPDATED).inc()

    def refused(self, key: WorkloadKey, reason: str, *, seconds: float) -> None:
        """Count a reload that the server refuses; `reason` is one of a few words."""
        self._acted(key, seconds=seconds, is_success=False)
        self._reload_errors.labels(key.namespace, key.kind, reason).inc()
        self._errors.labels(_FAILURE).inc()
        self._retries.inc()

    def rolled_out(self, key: WorkloadKey, outcome: str, *, seconds: float) -> None:
        """Count a rollout that is over: `complete` or `failed`."""
        self._rollouts.labels(key.kind, outcome).observe(seconds)

    def looked(self, key: WorkloadKey, result: str, *, seconds: float) -> None:
        """Count a look: `success` if it reloaded, else `error` or `skipped`."""
        self._scanned.labels(key.kind).inc()
        if result != "skipped":
            self._matched.labels(key.kind).inc()
        self._looks.labels(result).inc()
        self._look_seconds.labels(result).observe(seconds)

    def throttled(self, key: WorkloadKey) -> None:
        """Count a reload that the storm brake holds back."""
        self._throttled.labels(key.namespace, key.kind).inc()

    def watch_pending(self, reason: str, count: Callable[[], float]) -> None:
        """Show how many workloads wait for a reason."""
        self._pending.labels(reason).set_function(count)

    def received(
        self, kind: SourceKind, event: str, *, skipped: SkipReason | None = None
    ) -> None:
        """Count an event of a source.

        Args:
            kind: Of the source.
            event: `add`, `update` or `delete`.
            skipped: Why no workload looks for it; `None` if they do.
        """
        result = "success" if skipped is None else "skipped"
        resource = _RESOURCES[kind]
        self._received.labels(event, resource).inc()
        self._processed.labels(event, resource, result).inc()
        if skipped is not None:
            self._skipped.labels(skipped).inc()

    def alerted(self, sink: str, result: str, *, times: int) -> None:
        """Count alerts: `sent`, `failed`, or `dropped` since too many waited."""
        self._alerts.labels(sink, result).inc(times)

    def watch_queue(self, queue: QueueMetrics) -> None:
        """Show what the framework counts of the queue under the original's names."""
        self._registry.register(_Queue(queue))

    def watch_depth(self, depth: Callable[[], float]) -> None:
        """Show how many workloads wait for a look."""
        self._depth.set_function(depth)

    def watch_rollouts(self, count: Callable[[], float]) -> None:
        """Show how many rollouts are under way."""
        self._rolling.set_function(count)

    def watch_sources(self, kind: SourceKind, count: Callable[[], float]) -> None:
        """Show how many sources of a kind there are."""
        self._watched.labels(kind.type_name).set_function(count)

    def _acted(self, key: WorkloadKey, *, seconds: float, is_success: bool) -> None:
        success = _SUCCESS[is_success]
        self._executed.labels(success).inc()
        if self._by_namespace:
            self._executed_there.labels(success, key.namespace).inc()
        self._actions.labels(key.kind, _RESULT[is_success]).inc()
        self._action_seconds.labels(key.kind).observe(seconds)

    def _of_original(self) -> None:
        counter = self._counter
        self._executed = counter(
            "reload_executed_total", "Reloads, by whether they went well.", "success"
        )
        for success in _SUCCESS.values():
            self._executed.labels(success)
        # No counter: a counter of this name would get `_total` at its end, too.
        self._executed_there = Gauge(
            "reloader_reload_executed_total_by_namespace",
            "Reloads, by whether they went well, and where.",
            ["success", "namespace"],
            registry=self._registry if self._by_namespace else None,
        )
        self._looks = counter("reconcile_total", "Looks, by their result.", "result")
        self._look_seconds = self._histogram(
            "reconcile_duration_seconds",
            "Length of a look.",
            "result",
            buckets=_LOOK_BUCKETS,
        )
        self._actions = counter(
            "action_total", "Writes that reload.", "workload_kind", "result"
        )
        self._action_seconds = self._histogram(
            "action_latency_seconds",
            "Length of such a write.",
            "workload_kind",
            buckets=_ACTION_BUCKETS,
        )
        self._skipped = counter(
            "skipped_total", "Events and changes that restart nothing.", "reason"
        )
        for reason in SkipReason:
            self._skipped.labels(reason)
        self._errors = counter("errors_total", "Failures, by type.", "type")
        self._retries = counter("retries_total", "Reloads that are tried again.")
        self._received = counter(
            "events_received_total",
            "Events of sources, but for those of the start.",
            *("event_type", "resource_type"),
        )
        self._processed = counter(
            "events_processed_total",
            "Events of sources, by whether workloads were looked at for them.",
            *("event_type", "resource_type", "result"),
        )
        self._scanned = counter("workloads_scanned_total", "Looks.", "kind")
        self._matched = counter(
            "workloads_matched_total", "Looks that found a change.", "kind"
        )
        self._depth = Gauge(
            "reloader_workqueue_depth",
            "Workloads that wait for a look.",
            registry=self._registry,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"reloader_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(
            f"reloader_{name}", text, labels, buckets=buckets, registry=self._registry
        )
