"""Workloads restart when the ConfigMaps and Secrets that they use change.

    annotations   what a workload asks for        digest     content → hashes
    references    what its pods use               sources    hashed, then dropped
    rollout       what to write, if anything      workloads  all kinds in one view
    patches       how that is written             happenings what a look cannot see
    observe       the cache, in these words       controller one look at one workload

The annotations, and the marks left in pod templates, are stakater/Reloader's: a
cluster can change over without a restart. Unlike it, this controller remembers on the
workload what it runs with, so that no change is missed or told twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from controller_runtime import (
    Backoff,
    Controller,
    ControllerOptions,
    Created,
    Deleted,
    Event,
    ExponentialLimiter,
    KindSource,
    Manager,
    Permission,
    RawObject,
    Updated,
    annotation_changed,
    generation_changed,
    mapped,
)
from controllers.reload.controller import Reloader
from controllers.reload.happenings import Happenings
from controllers.reload.observe import NAMESPACE, Observer, Views
from controllers.reload.options import ReloadOptions
from controllers.reload.sources import SourceKind, is_news, source_key
from controllers.reload.workloads import WORKLOADS, WorkloadKey, workload_key

_NAME = "reload"

_AFTER_FAILURE = Backoff(base=1.0, ceiling=300.0)
"""Seconds until a refused write is tried again: what refuses it takes a human."""


def setup(manager: Manager, options: ReloadOptions) -> None:
    """Add the reload controller to a manager that has not started."""
    kinds = {k: m for k, m in WORKLOADS.items() if k not in options.ignored_workloads}
    views = Views.of(manager.cache, options)
    observer = Observer.declare(views, options)
    happenings = Happenings()
    reloader = Reloader(
        *(observer, manager.client, manager.recorder, happenings),
        clock=manager.clock,
        options=options,
    )
    controller = Controller(
        _NAME,
        reloader,
        sources=[
            *(_of_workloads(views, kind, observer) for kind in kinds),
            *(_of_sources(views, kind, observer, happenings) for kind in views.sources),
            *_of_namespaces(views, observer, happenings),
        ],
        options=ControllerOptions(max_concurrent_reconciles=options.workers),
        limiter=ExponentialLimiter(_AFTER_FAILURE),
        metrics=manager.metrics,
        randomness=manager.random,
        permissions=[
            Permission(model, ("patch",), namespaces=options.namespaces or None)
            for model in kinds.values()
        ],
    )
    manager.add(controller)


def _of_workloads(
    views: Views, kind: str, observer: Observer
) -> KindSource[WorkloadKey]:
    """Look at a workload when its spec or an annotation changes, not its status."""

    def requests(entry: RawObject) -> Iterator[WorkloadKey]:
        if observer.may_reload(entry):
            yield workload_key(kind, entry)

    predicate = generation_changed() | annotation_changed()
    return KindSource(views.workloads, WORKLOADS[kind], mapped(requests), [predicate])


def _of_sources(
    views: Views, kind: SourceKind, observer: Observer, happenings: Happenings
) -> KindSource[WorkloadKey]:
    """Look at the workloads that a source may concern when there is news of it."""
    handler = _SourceHandler(kind, observer, happenings)
    view = views.sources[kind]
    return KindSource(view, kind.model, handler, [partial(is_news, kind)])


def _of_namespaces(
    views: Views, observer: Observer, happenings: Happenings
) -> Iterator[KindSource[WorkloadKey]]:
    """Look at all workloads of a namespace when it becomes ours."""
    if views.namespaces is not None:
        handler = _NamespaceHandler(observer, happenings)
        yield KindSource(views.namespaces, NAMESPACE, handler)


@dataclass(frozen=True, slots=True)
class _NamespaceHandler:
    """Names the workloads of a namespace that gets the labels that are asked for.

    At the start they are looked at anyway; and one that is created with its labels
    may be told of after its workloads.
    """

    observer: Observer
    happenings: Happenings

    def requests(self, event: Event, /) -> Iterable[WorkloadKey]:
        is_start = isinstance(event, Created) and event.is_initial
        if isinstance(event, Deleted) or is_start:
            return ()
        if not self.observer.is_selected(event.object):
            return ()
        was_ours = isinstance(event, Updated) and self.observer.is_selected(event.old)
        if was_ours:
            return ()
        workloads = tuple(self.observer.in_namespace(event.object.meta.name))
        if isinstance(event, Updated):
            self.happenings.joined(workloads)
        return workloads


@dataclass(frozen=True, slots=True)
class _SourceHandler:
    """Names the workloads that a source may concern; notes that it came or went."""

    kind: SourceKind
    observer: Observer
    happenings: Happenings

    def requests(self, event: Event, /) -> Iterable[WorkloadKey]:
        source = source_key(self.kind, event.object)
        affected = tuple(self.observer.affected(source))
        if isinstance(event, Created) and not event.is_initial:
            self.happenings.appeared(source, affected)
        elif isinstance(event, Deleted):
            self.happenings.gone(source, event.object.meta.annotations, affected)
        return affected
