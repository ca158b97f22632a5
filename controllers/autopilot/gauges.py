"""The metrics of the autopilot, and which of them an object has.

What does not apply has no series: an object that users have taken over, excluded or
that is wanted no more is neither compliant nor not. Counters stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controller_runtime import GroupVersionKind

_OBJECT = ("kind", "name", "namespace")
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Target(NamedTuple):
    """An object that is kept, as everything here names it."""

    group: str
    kind: str
    namespace: str
    """Empty for cluster-scoped objects."""
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind}/{place}{self.name}"


class Customization(StrEnum):
    """What users have to say about an object."""

    PATCH = "patch"
    IGNORE = "ignore"
    UNMANAGED = "unmanaged"


class AutopilotMetrics:
    """All of them, in one registry."""

    def __init__(self, registry: CollectorRegistry, *, prefix: str) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{prefix}_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{prefix}_{name}", text, labels, registry=registry)

        self._compliance = gauge(
            "compliance_status", "1 if an object is as wanted, 0 if not.", *_OBJECT
        )
        self._paused = gauge(
            "paused_resources", "1 if an object is paused after an edit war.", *_OBJECT
        )
        self._customization = gauge(
            "customization_info", "What users say about an object.", *_OBJECT, "type"
        )
        self._missing = gauge(
            "missing_dependency",
            "1 if a kind is wanted and not served.",
            "group",
            "version",
            "kind",
        )
        self._tombstones = gauge(
            "tombstone_status",
            "1 if an object that is to go is there, 0 if it is gone, "
            "-1 after an error, -2 if it is not ours.",
            *_OBJECT,
        )
        self._thrashing = counter(
            "thrashing_total", "Edit wars over an object.", *_OBJECT
        )
        self._invalid = counter(
            "invalid_override_total",
            "Annotations of users that cannot be used.",
            *_OBJECT,
            "type",
        )
        self._deletions = counter(
            "tombstone_deletion_total", "Objects that were to go and went.", *_OBJECT
        )
        self._condition_errors = counter(
            "condition_errors_total", "Conditions without an answer.", "asset"
        )
        self._render_errors = counter(
            "render_errors_total", "Templates that failed.", "asset"
        )
        self._requests = counter(
            "api_requests_total",
            "Requests about managed objects.",
            "verb",
            "kind",
            "dry_run",
        )
        self._duration = Histogram(
            f"{prefix}_reconcile_duration_seconds",
            "How long an object takes, from reading it to applying it.",
            _OBJECT,
            buckets=_SECONDS,
            registry=registry,
        )
        self._missing_now: set[GroupVersionKind] = set()

    def compliant(self, target: Target, *, is_so: bool) -> None:
        """Say whether an object is as wanted."""
        self._compliance.labels(*_labels(target)).set(is_so)

    def paused(self, target: Target, *, is_so: bool) -> None:
        """Say whether an object is paused."""
        self._paused.labels(*_labels(target)).set(is_so)

    def incomparable(self, target: Target) -> None:
        """Say nothing more of whether an object is as wanted."""
        self._compliance.remove_by_labels(_by_labels(target))

    def customized(self, target: Target, kinds: Iterable[Customization]) -> None:
        """Say what users have to say about an object, and nothing else."""
        present = frozenset(kinds)
        for kind in Customization:
            if kind in present:
                self._customization.labels(*_labels(target), kind.value).set(1)
            else:
                self._customization.remove_by_labels(
                    _by_labels(target) | {"type": kind.value}
                )

    def gone(self, target: Target) -> None:
        """Drop what is said of an object that is not wanted any more."""
        labels = _by_labels(target)
        for metric in (
            self._compliance,
            self._paused,
            self._customization,
            self._duration,
        ):
            metric.remove_by_labels(labels)

    def took(self, target: Target, seconds: float) -> None:
        """Observe how long an object took."""
        self._duration.labels(*_labels(target)).observe(seconds)

    def war(self, target: Target) -> None:
        """Count an edit war."""
        self._thrashing.labels(*_labels(target)).inc()

    def invalid(self, target: Target, kind: str) -> None:
        """Count an annotation that cannot be used."""
        self._invalid.labels(*_labels(target), kind).inc()

    def missing(self, kinds: Iterable[GroupVersionKind]) -> None:
        """Say which kinds are wanted and not served."""
        now = set(kinds)
        for gvk in self._missing_now - now:
            self._missing.labels(*gvk).set(0)
        for gvk in now:
            self._missing.labels(*gvk).set(1)
        self._missing_now = now

    def tombstone(self, target: Target, status: int) -> None:
        """Say what became of an object that is to go."""
        self._tombstones.labels(*_labels(target)).set(status)

    def buried(self, target: Target) -> None:
        """Count an object that was deleted because it was to go."""
        self._deletions.labels(*_labels(target)).inc()

    def condition_error(self, asset: str) -> None:
        """Count a condition without an answer."""
        self._condition_errors.labels(asset).inc()

    def render_error(self, asset: str) -> None:
        """Count a template that failed."""
        self._render_errors.labels(asset).inc()

    def request(self, verb: str, kind: str, *, dry_run: bool = False) -> None:
        """Count a request about a managed object."""
        self._requests.labels(verb, kind, str(dry_run).lower()).inc()


def _labels(target: Target) -> tuple[str, str, str]:
    return target.kind, target.name, target.namespace


def _by_labels(target: Target) -> dict[str, str]:
    return dict(zip(_OBJECT, _labels(target), strict=True))
