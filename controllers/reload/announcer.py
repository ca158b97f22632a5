"""The first listener: what became of a reload as an Event, a log line and numbers.

Events are written about the workload, and reported by the component that stakater's
Reloader names for the kind of the first source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from controller_runtime import EventRecorder, reference
from controllers.reload.gates import Hold, HoldReason
from controllers.reload.metrics import ReloadMetrics
from controllers.reload.news import News, Topic
from controllers.reload.plan import describe
from controllers.reload.policy import Problem
from controllers.reload.record import read_record
from controllers.reload.sources import SourceKind
from controllers.reload.status.traces import source_name
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.upkeep import Chore

log = structlog.get_logger(__name__)


_BAD = frozenset({Topic.FAILED, Topic.STUCK})

_GOES_ON = frozenset({Topic.FAILED, Topic.ROLLED_OUT, Topic.STUCK})
"""What leaves a reload waiting that waits; a rollout is one of the reload before."""


_LINES: Mapping[Topic, str] = {
    Topic.RELOADED: "Successfully triggered reload",
    Topic.FAILED: "reload refused",
    Topic.HELD: "reload waits",
    Topic.PLANNED: "would reload",
    Topic.SKIPPED: "nothing to restart",
    Topic.ROLLED_OUT: "rollout complete",
    Topic.STUCK: "rollout failed",
}
"""What the log says besides each Event."""

_CHANGES: Mapping[SourceKind, str] = {
    SourceKind.CONFIG_MAP: "ConfigMap data changed",
    SourceKind.SECRET: "Secret data changed",
    SourceKind.SECRET_PROVIDER_CLASS: "SecretProviderClass data changed",
}
"""What it says of each source of a reload; as the ReloaderConfig operator does."""


class Announcer:
    """Tells the world; a `Listener`, for `News` and for what cannot be read."""

    def __init__(
        self, recorder: Callable[[str], EventRecorder], metrics: ReloadMetrics
    ) -> None:
        self._recorder = recorder("reloader")
        self._recorders = {kind: recorder(kind.component) for kind in SourceKind}
        self._metrics = metrics
        self._told: dict[WorkloadKey, tuple[Problem, ...]] = {}
        """Problems that an Event was written about, for as long as they last."""
        self._held: dict[WorkloadKey, frozenset[HoldReason]] = {}
        """What reloads have waited for, as far as it was told."""
        self._episodes: dict[WorkloadKey, float] = {}
        """What holds were a part of, of which it was told last."""

    def __call__(self, news: News) -> None:
        """Tell what became of a reload."""
        self._count(news)
        if news.hold is not None:
            if self._is_to_tell(news.workload.key, news.hold):
                self._event(news)
            return
        if news.topic not in _GOES_ON:
            self._held.pop(news.workload.key, None)
        if news.topic is not Topic.SETTLED:
            self._event(news)

    def problems(self, workload: Workload, found: tuple[Problem, ...]) -> None:
        """Write an Event about annotations that cannot be read, until they change."""
        if found == self._told.get(workload.key, ()):
            return
        if not found:
            del self._told[workload.key]
            return
        self._told[workload.key] = found
        for reason in dict.fromkeys(problem.event for problem in found):
            same = [problem for problem in found if problem.event == reason]
            note = "; ".join(f"{p.annotation}: {p.reason}" for p in same)
            log.warning("annotations cannot be read", problems=note)
            self._recorder.event(
                reference(workload.key.gvk, workload.meta),
                type="Warning",
                reason=reason,
                action="ReadAnnotations",
                note=note,
            )

    def upkeep(
        self, workload: Workload, chore: Chore, error: Exception | None = None
    ) -> None:
        """Tell of a chore that was done, or was refused, if it is worth an Event."""
        if not chore.reason:
            return
        kind, namespace, name = workload.key
        note = f"'{name}' of type '{kind}' in namespace '{namespace}' {chore.text}"
        if error is None:
            log.info(
                "upkeep", kind=kind, namespace=namespace, name=name, did=chore.text
            )
        is_warning = error is not None or chore.is_warning
        self._recorder.event(
            reference(workload.key.gvk, workload.meta),
            type="Warning" if is_warning else "Normal",
            reason=chore.reason if error is None else "UpkeepFail",
            action="Upkeep",
            note=note if error is None else f"{note}; that was refused: {error}",
        )

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._told.pop(key, None)
        self._held.pop(key, None)
        self._episodes.pop(key, None)

    def _is_to_tell(self, key: WorkloadKey, hold: Hold) -> bool:
        """Tell whether an Event is due: one for each reload and reason, or episode.

        A source that changes again while a reload is held is no other reload. But a
        canary that tries that, and fails with it, has failed once more.
        """
        told = self._held.get(key, frozenset())
        if hold.reason is HoldReason.CANARY:
            told -= {HoldReason.CANARY_FAILED}
            self._held[key] = told
        if hold.quiet or hold.reason in told:
            return False
        self._held[key] = told | {hold.reason}
        if hold.reason is HoldReason.THROTTLED:
            self._metrics.throttled(key)
        if hold.episode is None:
            return True
        is_known = self._episodes.get(key) == hold.episode
        self._episodes[key] = hold.episode
        return not is_known

    def _count(self, news: News) -> None:
        key = news.workload.key
        if news.topic is Topic.RELOADED:
            self._metrics.reloaded(
                key,
                news.plan.strategy,
                seconds=news.seconds,
                at=news.now.timestamp(),
                waited=news.waited,
            )
            for marker in news.plan.markers:
                self._metrics.reloaded_for(key, marker.source)
        elif news.topic is Topic.ROLLED_OUT:
            self._metrics.rolled_out(key, "complete", seconds=news.seconds)
        elif news.topic is Topic.STUCK:
            self._metrics.rolled_out(key, "failed", seconds=news.seconds)
        elif news.topic is Topic.FAILED:
            reason = type(news.error).__name__.removesuffix("Error")
            self._metrics.refused(key, reason, seconds=news.seconds)
        elif news.topic is Topic.SKIPPED:
            self._metrics.left_alone()

    def _event(self, news: News) -> None:
        workload = news.workload
        is_warning = news.hold is not None and bool(news.hold.warning)
        is_warning |= news.topic in _BAD
        _log(news, is_warning=is_warning)
        recorder = self._recorder
        if news.plan.markers:
            recorder = self._recorders[news.plan.markers[0].source.kind]
        recorder.event(
            reference(workload.key.gvk, workload.meta),
            type="Warning" if is_warning else "Normal",
            reason=news.outcome.reason,
            action="Reload",
            note=describe(news.plan, workload.key, news.outcome.text),
        )


def _log(news: News, *, is_warning: bool) -> None:
    """Write the line that goes with an Event; hashes are those that workloads show."""
    kind, namespace, name = news.workload.key
    if news.topic is Topic.RELOADED:
        before = read_record(news.workload) or {}
        for marker in news.plan.markers:
            recorded = marker.source.recorded_in(namespace)
            log.info(
                _CHANGES[marker.source.kind],
                namespace=marker.source.namespace,
                source=marker.source.name,
                oldHash=before.get(recorded, ""),
                newHash=news.plan.record.get(recorded, ""),
            )
    told: dict[str, object] = {"kind": kind, "namespace": namespace, "name": name}
    if news.plan.markers:
        told["sources"] = [source_name(marker.source) for marker in news.plan.markers]
    if news.topic is Topic.RELOADED:
        told["strategy"] = news.plan.strategy.value
    else:
        told["why"] = news.outcome.text
    write = log.warning if is_warning else log.info
    write(_LINES[news.topic], **told)
