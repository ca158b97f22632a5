"""The cache, in the words of this controller.

    declare      ──────────────────▶ stores: sources hashed, workloads indexed
    may_reload   entry ────────────▶ bool             does it have to look at all?
    is_ours      namespace ────────▶ bool             may it look there?
    affected     source ───index───▶ workload keys    which have to look again?
    workload     key ──────────────▶ Workload         what is there?
    sources      Workload, policy ─▶ Source …         what may it run with?

Nothing here asks the API server, and nothing is kept besides the stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, replace
from functools import partial
from typing import NamedTuple, Protocol

from controller_runtime import (
    Cache,
    CacheView,
    GroupVersionKind,
    NamespacedName,
    RawObject,
    ReflectorOptions,
    strip_managed_fields,
)
from controllers.reload.annotations import ReloadPolicy, Rules, read_policy
from controllers.reload.filters import not_in, selector
from controllers.reload.options import ReloadOptions
from controllers.reload.references import index_values, lookup_values, references
from controllers.reload.sources import (
    Source,
    SourceKey,
    SourceKind,
    read_source,
    reducer,
)
from controllers.reload.workloads import (
    WORKLOADS,
    Workload,
    WorkloadKey,
    read_workload,
    workload_key,
)

_INDEX = "reload"

_NO_HELM_RELEASES = "type!=helm.sh/release.v1"
"""Secrets that Helm keeps its history in: many, large, and used by no pod."""


NAMESPACE = GroupVersionKind("", "v1", "Namespace")


class Views(NamedTuple):
    """What of each kind this controller keeps; other controllers may keep more."""

    workloads: CacheView
    sources: Mapping[SourceKind, CacheView]
    namespaces: CacheView | None = None
    """None where all are ours, or they are named."""

    @classmethod
    def of(cls, cache: Cache, options: ReloadOptions) -> Views:
        """Describe the views; nothing is watched yet.

        Raises:
            ConfigError: A selector cannot be read.
        """
        keys = options.keys
        keep = {keys.match, keys.ignore, keys.on_create, keys.on_delete}
        labels = selector(
            options.resource_label_selector, flag="--resource-label-selector"
        )
        everything = ReflectorOptions(
            namespaces=options.namespaces, field_selector=_places(options)
        )
        sources = {
            kind: cache.view(
                replace(
                    everything,
                    transform=reducer(kind, keep),
                    label_selector=str(labels),
                    field_selector=_also(kind, everything.field_selector),
                )
            )
            for kind in SourceKind
            if kind not in options.ignored_sources
        }
        workloads = replace(everything, transform=strip_managed_fields)
        selects = options.namespace_selector and not options.namespaces
        namespaces = cache.view(ReflectorOptions(metadata_only=True))
        return cls(cache.view(workloads), sources, namespaces if selects else None)


class Entries(Protocol):
    """What is known of one kind: a store, or an informer of several."""

    def get(self, key: NamespacedName, /) -> RawObject | None: ...
    def list(self, namespace: str, /) -> Iterable[RawObject]: ...
    def by_index(self, name: str, value: str, /) -> Iterable[RawObject]: ...
    def add_index(
        self, name: str, function: Callable[[RawObject], Iterable[str]], /
    ) -> None: ...


class Observer:
    """Reads workloads and sources from the cache."""

    def __init__(
        self,
        workloads: Mapping[str, Entries],
        sources: Mapping[SourceKind, Entries],
        options: ReloadOptions,
        namespaces: Entries | None = None,
    ) -> None:
        self._workloads = workloads
        self._sources = sources
        self._options = options
        self._namespaces = namespaces
        self._selector = selector(
            options.namespace_selector, flag="--namespace-selector"
        )
        self._all = options.auto_reload_all
        self._keys = tuple(key.encode() for key in astuple(options.keys))

    @classmethod
    def declare(cls, views: Views, options: ReloadOptions) -> Observer:
        """Have the cache keep what this controller reads; before the cache runs."""
        sources = {
            kind: view.declare(kind.model) for kind, view in views.sources.items()
        }
        workloads = {
            kind: views.workloads.declare(model)
            for kind, model in WORKLOADS.items()
            if kind not in options.ignored_workloads
        }
        view = views.namespaces
        namespaces = None if view is None else view.declare(NAMESPACE)
        observer = cls(workloads, sources, options, namespaces)
        observer.add_indexes(workloads)
        return observer

    def add_indexes(self, workloads: Mapping[str, Entries]) -> None:
        """Have stores find workloads by what may concern them."""
        for kind, store in workloads.items():
            store.add_index(_INDEX, partial(self._index, kind))

    def may_reload(self, entry: RawObject) -> bool:
        """Tell whether a workload has any annotation of ours, without parsing it.

        Most have none. A key that stands elsewhere in the object does no harm.
        """
        return self._all or any(key in entry.raw for key in self._keys)

    def is_ours(self, namespace: str) -> bool:
        """Tell whether workloads of a namespace are looked at."""
        if self._namespaces is None:
            return True
        entry = self._namespaces.get(NamespacedName("", namespace))
        return entry is not None and self.is_selected(entry)

    def is_selected(self, namespace: RawObject) -> bool:
        """Tell whether a Namespace has the labels that are asked for."""
        return self._selector.matches(namespace.meta.labels)

    def in_namespace(self, namespace: str) -> Iterator[WorkloadKey]:
        """Yield the workloads there that have to be looked at."""
        for kind, store in self._workloads.items():
            for entry in store.list(namespace):
                if self.may_reload(entry):
                    yield workload_key(kind, entry)

    def affected(self, source: SourceKey) -> Iterator[WorkloadKey]:
        """Yield the workloads that a source may concern."""
        for kind, store in self._workloads.items():
            for value in lookup_values(source):
                for entry in store.by_index(_INDEX, value):
                    yield workload_key(kind, entry)

    def workload(self, key: WorkloadKey) -> Workload | None:
        """Return what the cache has of a workload, if it has it."""
        entry = self._workloads[key.kind].get(key.object_key)
        return None if entry is None else read_workload(key.kind, entry)

    def policy(self, workload: Workload) -> ReloadPolicy:
        """Return what a workload asks for."""
        template = workload.template.metadata.annotations
        return read_policy(workload.meta.annotations, template, self._options)

    def sources(self, workload: Workload, policy: ReloadPolicy) -> Iterator[Source]:
        """Yield the sources that exist and may concern a workload."""
        for kind, rules in policy.rules.items():
            for name in self._names(workload, kind, rules):
                key = NamespacedName(workload.key.namespace, name)
                entry = self._sources[kind].get(key)
                if entry is not None:
                    yield read_source(kind, entry)

    def _index(self, kind: str, entry: RawObject) -> Iterable[str]:
        if not self.may_reload(entry):
            return ()
        workload = read_workload(kind, entry)
        return sorted(set(index_values(workload, self.policy(workload))))

    def _names(self, workload: Workload, kind: SourceKind, rules: Rules) -> set[str]:
        names = set(rules.names.literals)
        if rules.auto or rules.search:
            used = references(workload.template.spec)
            names.update(reference.name for reference in used if reference.kind is kind)
        if rules.names.patterns:
            there = self._sources[kind].list(workload.key.namespace)
            found = (entry.meta.name for entry in there)
            names.update(name for name in found if rules.names.matches(name))
        return names


def _places(options: ReloadOptions) -> str:
    """Leave out namespaces at the server, where that costs nobody anything."""
    return "" if options.namespaces else not_in(options.namespaces_to_ignore)


def _also(kind: SourceKind, fields: str) -> str:
    if kind is not SourceKind.SECRET:
        return fields
    return ",".join(filter(None, [_NO_HELM_RELEASES, fields]))
