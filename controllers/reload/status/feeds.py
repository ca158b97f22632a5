"""What makes a status be looked at: all that it speaks of.

    the config      it comes or goes, or its spec changes
    a workload      it is a target: any change, of its status too
    a source        the config may watch it: it comes, goes, or has other content
    a namespace     it has other labels: it may be selected now
    the journal     there is news of a reload

Keys are worked on half a second after the first event. A burst is one look, and a
rollout that moves all the time makes two a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from controller_runtime import (
    CacheView,
    Controller,
    Event,
    Kind,
    KindSource,
    NamespacedName,
    RawObject,
    Request,
    Watching,
    WorkQueue,
    kind_of,
    label_changed,
    mapped,
)
from controllers.reload.configs import Configs
from controllers.reload.feeds.optional import Guest
from controllers.reload.options import ReloadOptions, optional_workloads
from controllers.reload.sources import SourceKind, is_news, source_key
from controllers.reload.views import NAMESPACE, Views
from controllers.reload.workloads import (
    WORKLOADS,
    is_run_of_cron_job,
    workload_key,
)

DELAY = timedelta(seconds=1)
"""Between an event and the look that it leads to: longer than reloads gather changes,
so that a change and its reload are one write."""


class Wakes:
    """A `Source` of the configs that somebody wakes: `ConfigFeed`, or the journal."""

    def __init__(self) -> None:
        self._queue: WorkQueue[Request] | None = None
        self._early: dict[Request, None] = {}
        """Those that were woken before there was a queue."""

    def __call__(self, config: NamespacedName) -> None:
        """Have a config looked at soon."""
        if self._queue is None:
            self._early[config] = None
        else:
            self._queue.add_after(config, DELAY.total_seconds(), cause="told")

    def describe(self) -> str:
        """Say what this is a source of."""
        return "ReloaderConfigs and reloads"

    async def start(self, queue: WorkQueue[Request], /) -> None:
        """Begin to fill a queue."""
        self._queue = queue
        for config in self._early:
            self(config)
        self._early.clear()

    async def synced(self) -> None:
        """Return: there is nothing to wait for."""

    def stop(self) -> None:
        """Leave the queue alone."""
        self._queue = None


class StatusFeeds:
    """Makes the sources of the controller."""

    def __init__(self, views: Views, configs: Configs) -> None:
        self._views = views
        self._configs = configs

    def always(self, ignored: Iterable[str]) -> Iterator[KindSource[Request]]:
        """Yield what is watched from the start.

        Args:
            ignored: Kinds of workloads that are not wanted.
        """
        for kind, model in WORKLOADS.items():
            if kind not in ignored:
                yield self._of_workloads(kind, model)
        for source in self._views.sources:
            if source.is_missed:
                yield self._of_sources(source)
        if self._views.namespaces is not None:
            yield self._of_namespaces(self._views.namespaces)

    def guests(
        self, controller: Controller[Request], options: ReloadOptions
    ) -> Iterator[Guest]:
        """Yield what is watched while the server has it."""
        for kind, model in optional_workloads(options).items():
            feed = partial(self._of_workloads, kind, model)
            yield Guest([kind_of(model)], partial(_watch, controller, feed), _nothing)

    def _of_workloads(self, kind: str, model: Kind) -> KindSource[Request]:
        def requests(entry: RawObject) -> Iterator[Request]:
            if is_run_of_cron_job(kind, entry):
                return
            for claim in self._configs.claims(
                workload_key(kind, entry), entry.meta.labels
            ):
                yield claim.config

        handler = mapped(requests)
        return KindSource(self._views.workloads, model, handler, delay=DELAY)

    def _of_sources(self, kind: SourceKind) -> KindSource[Request]:
        def requests(entry: RawObject) -> Iterator[Request]:
            return self._configs.about(source_key(kind, entry))

        def admits(event: Event) -> bool:
            return is_news(kind, event, labels=self._configs.want_labels)

        view = self._views.sources[kind]
        return KindSource(view, kind.model, mapped(requests), [admits], delay=DELAY)

    def _of_namespaces(self, view: CacheView) -> KindSource[Request]:
        handler = mapped(lambda entry: self._configs.touching(entry.meta.name))
        return KindSource(view, NAMESPACE, handler, [label_changed()], delay=DELAY)


async def _watch(
    controller: Controller[Request], feed: Callable[[], KindSource[Request]]
) -> Sequence[Watching]:
    return [await controller.watch(feed())]


def _nothing() -> None:
    """Do nothing: the watch has ended, and nothing else was begun."""
