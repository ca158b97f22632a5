"""What the pool counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_QUEUE = (0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900)


class EngineMetrics:
    """The metrics of one pool of workers, each at 0 from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; one pool a registry."""
        self.workers = Gauge(
            "roost_keeper_engine_workers",
            "Helm's worker processes, by what they do.",
            ["state"],
            registry=registry,
        )
        self.recycles = Counter(
            "roost_keeper_engine_worker_recycles_total",
            "Workers that ended, by why.",
            ["reason"],
            registry=registry,
        )
        self.rss = Gauge(
            "roost_keeper_engine_worker_rss_bytes",
            "Memory of all workers together, each as of its last answer.",
            registry=registry,
        )
        self.queue = Histogram(
            "roost_keeper_engine_queue_seconds",
            "How long operations waited for a worker.",
            buckets=_QUEUE,
            registry=registry,
        )
        for state in ("idle", "busy"):
            self.workers.labels(state)
