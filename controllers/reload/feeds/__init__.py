"""What makes the controller look: events of workloads, sources and namespaces.

    workload   its spec or an annotation of it has changed; its status, if it rolls out
    source     there is news of it: all that it may concern look
    namespace  it has become ours, or is suspended no more: all in it look

Kinds that are always there are watched from the start. The others are `Guest`s.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from api.secretsstore.v1 import SecretProviderClass
from controller_runtime import (
    CacheView,
    Controller,
    Created,
    Deleted,
    Event,
    Kind,
    KindSource,
    Predicate,
    RawObject,
    Updated,
    Watching,
    annotation_changed,
    generation_changed,
    kind_of,
    label_changed,
    mapped,
)
from controllers.reload.configs import Configs
from controllers.reload.feeds.optional import Guest
from controllers.reload.gates.suspend import ResumeHandler, Suspensions
from controllers.reload.happenings import Happenings
from controllers.reload.metrics import ReloadMetrics, SkipReason
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions, optional_workloads
from controllers.reload.sources import (
    SourceKey,
    SourceKind,
    is_news,
    read_source,
    source_key,
)
from controllers.reload.views import NAMESPACE, Views
from controllers.reload.workloads import (
    WORKLOADS,
    WorkloadKey,
    workload_key,
)

Feed: TypeAlias = KindSource[WorkloadKey]

_SPC = SourceKind.SECRET_PROVIDER_CLASS


class Feeds:
    """Makes the sources of the controller."""

    def __init__(
        self,
        views: Views,
        observer: Observer,
        happenings: Happenings,
        metrics: ReloadMetrics,
        configs: Configs,
        suspensions: Suspensions,
        followed: Container[WorkloadKey],
    ) -> None:
        """Make none yet.

        Args:
            views: What is kept of each kind.
            observer: Knows which workloads a source may concern.
            happenings: Told of what a look cannot see.
            metrics: Told of events of sources.
            configs: What ReloaderConfigs ask for.
            suspensions: Which namespaces are suspended.
            followed: Workloads of which the status matters, at the moment.
        """
        self._configs = configs
        self._followed = followed
        self._views = views
        self._observer = observer
        self._happenings = happenings
        self._metrics = metrics
        self._suspensions = suspensions

    def always(self) -> Iterator[Feed]:
        """Yield what is watched from the start."""
        for kind in self._observer.workload_kinds:
            yield self._of_workloads(kind, WORKLOADS[kind])
        for source in self._views.sources:
            if source is not _SPC:
                yield self._of_sources(source)
        if self._views.namespaces is not None:
            handler = _NamespaceHandler(self._observer, self._happenings, self._configs)
            yield KindSource(self._views.namespaces, NAMESPACE, handler)
            yield self._of_suspensions(self._views.namespaces)

    def guests(
        self, controller: Controller[WorkloadKey], options: ReloadOptions
    ) -> Iterator[Guest]:
        """Yield what is watched while the server has it.

        Args:
            controller: Gets the sources.
            options: Which kinds of workloads are wanted.
        """
        for kind, model in optional_workloads(options).items():
            yield Guest(
                [kind_of(model)],
                partial(self._come, controller, kind, model),
                partial(self._observer.remove_workloads, kind),
            )
        if self._views.places is not None and self._views.namespaces is None:
            yield Guest(
                [NAMESPACE],
                partial(self._come_with_namespaces, controller, self._views.places),
                self._suspensions.leave_out,
                self._suspensions.leave_out,
            )
        if _SPC in self._views.sources:
            yield Guest(
                [kind_of(_SPC.model), SecretProviderClass.gvk],
                partial(self._come_with_classes, controller),
                self._observer.supply.remove_classes,
            )

    async def _come(
        self, controller: Controller[WorkloadKey], kind: str, model: Kind
    ) -> Sequence[Watching]:
        view = self._views.workloads
        informer = await view.informer(model)
        self._observer.add_workloads(kind, informer)
        undo = partial(self._observer.remove_workloads, kind)
        wanted = [(view, model, self._of_workloads(kind, model))]
        return await _all_or_none(controller, wanted, undo)

    async def _come_with_classes(
        self, controller: Controller[WorkloadKey]
    ) -> Sequence[Watching]:
        pods, classes = self._views.sources[_SPC], self._views.classes
        of_classes = await classes.informer(SecretProviderClass)
        self._observer.supply.add_classes(await pods.informer(_SPC.model), of_classes)
        handler = mapped(self._of_class)
        wanted: list[tuple[CacheView, Kind, Feed]] = [
            (
                classes,
                SecretProviderClass,
                KindSource(
                    classes, SecretProviderClass, handler, [annotation_changed()]
                ),
            ),
            (pods, _SPC.model, self._of_sources(_SPC)),
        ]
        undo = self._observer.supply.remove_classes
        return await _all_or_none(controller, wanted, undo)

    async def _come_with_namespaces(
        self, controller: Controller[WorkloadKey], view: CacheView
    ) -> Sequence[Watching]:
        informer = await view.informer(NAMESPACE)
        wanted = [(view, NAMESPACE, self._of_suspensions(view))]
        watching = await _all_or_none(controller, wanted, lambda: None)
        self._suspensions.know(informer)
        return watching

    def _of_suspensions(self, view: CacheView) -> Feed:
        handler = ResumeHandler(self._suspensions, self._observer)
        return KindSource(view, NAMESPACE, handler, [annotation_changed()])

    def _of_workloads(self, kind: str, model: Kind) -> Feed:
        def is_followed(event: Event) -> bool:
            return workload_key(kind, event.object) in self._followed

        # Labels, because ReloaderConfigs select by them.
        predicate = generation_changed() | annotation_changed() | label_changed()
        predicate |= Predicate(is_followed)
        handler = _WorkloadHandler(kind, self._observer, self._happenings)
        return KindSource(self._views.workloads, model, handler, [predicate])

    def _of_sources(self, kind: SourceKind) -> Feed:
        handler = _SourceHandler(kind, self._observer, self._happenings)
        view = self._views.sources[kind]
        admits = partial(_counted, self._metrics, self._observer, self._configs, kind)
        return KindSource(view, kind.model, handler, [admits])

    def _of_class(self, entry: RawObject) -> Iterable[WorkloadKey]:
        key = SourceKey(_SPC, entry.meta.namespace, entry.meta.name)
        return self._observer.affected(key)


_NAMES: Mapping[type, str] = {
    Created: "add",
    Updated: "update",
    Deleted: "delete",
}


def _counted(
    metrics: ReloadMetrics,
    observer: Observer,
    configs: Configs,
    kind: SourceKind,
    event: Event,
) -> bool:
    """Tell whether an event is news, and count it unless it is of the start."""
    found = is_news(kind, event, labels=configs.want_labels)
    is_start = isinstance(event, Created) and event.is_initial
    if not is_start and (name := _NAMES.get(type(event))):
        skipped = None if found else SkipReason.NO_DATA_CHANGE
        if found and observer.supply.is_left_out(event.object):
            skipped = SkipReason.IGNORED
        metrics.received(kind, name, skipped=skipped)
    return found


async def _all_or_none(
    controller: Controller[WorkloadKey],
    wanted: Sequence[tuple[CacheView, Kind, Feed]],
    undo: Callable[[], None],
) -> Sequence[Watching]:
    """Watch all of these, or leave nothing behind."""
    watching: list[Watching] = []
    try:
        for _, _, feed in wanted:
            watching.append(await controller.watch(feed))
    except BaseException:
        for one in watching:
            one.stop()
        for view, kind, _ in wanted:
            view.cache.remove_informer(kind, view.options)
        undo()
        raise
    return watching


def _differs(kind: SourceKind, event: Updated) -> bool:
    """Tell whether the content of a source is another, not annotations alone."""
    return read_source(kind, event.old).digest != read_source(kind, event.object).digest


def _is_initial(event: Event) -> bool:
    return isinstance(event, Created) and event.is_initial


@dataclass(frozen=True, slots=True)
class _WorkloadHandler:
    """Names a workload if it may reload; notes that it came."""

    kind: str
    observer: Observer
    happenings: Happenings

    def requests(self, event: Event, /) -> Iterable[WorkloadKey]:
        old = event.old if isinstance(event, Updated) else event.object
        # One that asks for nothing any more has to be looked at once more.
        if not any(
            self.observer.may_reload(self.kind, it) for it in (old, event.object)
        ):
            return ()
        key = workload_key(self.kind, event.object)
        if isinstance(event, Created) and not event.is_initial:
            self.happenings.created(key)
        self.happenings.found(key)
        return (key,)


@dataclass(frozen=True, slots=True)
class _SourceHandler:
    """Names the workloads that a source may concern; notes that it came or went."""

    kind: SourceKind
    observer: Observer
    happenings: Happenings

    def requests(self, event: Event, /) -> Iterable[WorkloadKey]:
        source = source_key(self.kind, event.object)
        affected = tuple(self.observer.affected(source))
        self.happenings.changed(affected)
        if not _is_initial(event) and self.observer.polls:
            if isinstance(event, Updated) and _differs(self.kind, event):
                self.happenings.unseen(source, affected)
            self.observer.refresh()
        if not self.kind.is_missed:
            return affected
        if isinstance(event, Created) and not _is_initial(event):
            self.happenings.appeared(source, affected)
        elif isinstance(event, Deleted):
            self.happenings.gone(read_source(self.kind, event.object), affected)
        return affected


@dataclass(frozen=True, slots=True)
class _NamespaceHandler:
    """Names the workloads of a namespace that gets the labels that are asked for.

    Also those for which ReloaderConfigs select sources by labels of namespaces.
    At the start they are looked at anyway; and one that is created with its labels
    may be told of after its workloads.
    """

    observer: Observer
    happenings: Happenings
    configs: Configs

    def requests(self, event: Event, /) -> Iterable[WorkloadKey]:
        is_start = isinstance(event, Created) and event.is_initial
        if isinstance(event, Deleted) or is_start:
            return ()
        reached = tuple(self.configs.reaching())
        if not self.observer.places.is_selected(event.object):
            return reached
        if isinstance(event, Updated) and self.observer.places.is_selected(event.old):
            is_new = event.old.meta.labels != event.object.meta.labels
            return reached if is_new else ()
        workloads = tuple(self.observer.in_namespace(event.object.meta.name))
        if isinstance(event, Updated):
            self.happenings.joined(workloads)
        return (*workloads, *reached)
