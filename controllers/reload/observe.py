"""The cache, in the words of this controller.

    declare      ──────────────────▶ stores: sources hashed, workloads indexed
    may_reload   entry ────────────▶ bool             does it have to look at all?
    meant        config ───────────▶ workload keys    which is it about?
    is_ours      namespace ────────▶ bool             may it look there?
    affected     source ───index───▶ workload keys    which have to look again?
    workload     key ──────────────▶ Workload         what is there?
    sources      Workload, policy ─▶ Source …         what may it run with?

Nothing here asks the API server, and nothing is kept besides the stores: what configs
claim is in `Configs`, and what the cache has too little of, the `Lender` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, replace
from functools import partial
from typing import NamedTuple

from controller_runtime import (
    Cache,
    CacheView,
    GroupVersionKind,
    NamespacedName,
    RawObject,
    ReflectorOptions,
    WatchOptions,
    strip_managed_fields,
)
from controllers.reload.annotations import read_policy
from controllers.reload.claims import Claim, Config, Target, merged, split
from controllers.reload.configs import Configs
from controllers.reload.entries import Entries, Lends, Polled
from controllers.reload.filters import not_in, selector
from controllers.reload.keys import KeyScope
from controllers.reload.options import ReloadOptions
from controllers.reload.policy import ReloadPolicy, Rules
from controllers.reload.progress import is_at_rest
from controllers.reload.references import (
    Reference,
    index_values,
    lookup_values,
    references,
    used_keys,
)
from controllers.reload.restarts import RESTARTING
from controllers.reload.rollout import REVISION, is_as_reloaded
from controllers.reload.sources import (
    Source,
    SourceKey,
    SourceKind,
    read_source,
    reducer,
    source_key,
    youngest,
)
from controllers.reload.wanted import listed_by, sources_of, targets_of
from controllers.reload.workloads import (
    WORKLOADS,
    Covers,
    Workload,
    WorkloadKey,
    is_bare,
    is_run_of_cron_job,
    read_workload,
    workload_key,
)
from controllers.reload.workloads import reducer as workload_reducer

_INDEX = "reload"

_GROUP = "reloader.stakater.com/"

_LEFT_BY_US = (REVISION.encode(), RESTARTING.encode())
"""What stands in workloads that were reloaded."""

_BY_SOURCE = "source"
"""Index of what pods say of SecretProviderClasses."""

_NO_HELM_RELEASES = "type!=helm.sh/release.v1"
"""Secrets that Helm keeps its history in: many, large, and used by no pod."""


NAMESPACE = GroupVersionKind("", "v1", "Namespace")


class Views(NamedTuple):
    """What of each kind this controller keeps; other controllers may keep more."""

    workloads: CacheView
    sources: Mapping[SourceKind, CacheView]
    classes: CacheView
    """SecretProviderClasses, for what is written on them."""
    configs: CacheView
    """ReloaderConfigs."""
    namespaces: CacheView | None = None
    """None where nobody asks for their labels."""
    places: CacheView | None = None
    """Namespaces, for whether they are suspended; None where they are named."""

    @classmethod
    def of(
        cls, cache: Cache, options: ReloadOptions, is_claimed: Covers | None = None
    ) -> Views:
        """Describe the views; nothing is watched yet.

        Args:
            cache: Where they will be.
            options: What is watched.
            is_claimed: Tells which workloads are kept in full besides those with
                annotations.

        Raises:
            ConfigError: A selector cannot be read.
        """
        keys = options.keys
        keep = {keys.match, keys.ignore, keys.ignore_keys}
        keep |= {keys.on_create, keys.on_delete}
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
                    label_selector=str(labels) if kind.is_labelled else "",
                    field_selector=_also(kind, everything.field_selector),
                )
            )
            for kind in SourceKind
            if kind not in options.ignored_sources
        }
        words = () if options.auto_reload_all else _words(options)
        reduce = workload_reducer(words, is_claimed)
        workloads = replace(
            everything,
            transform=reduce,
            watch=WatchOptions(poll=options.poll.total_seconds()),
        )
        asks = options.namespace_selector or options.allow_cross_namespace
        selects = asks and not options.namespaces
        namespaces = cache.view(ReflectorOptions(metadata_only=True))
        return cls(
            cache.view(workloads),
            sources,
            cache.view(replace(everything, metadata_only=True)),
            cache.view(replace(everything, transform=strip_managed_fields)),
            namespaces if selects else None,
            None if options.namespaces else namespaces,
        )


class Observer:
    """Reads workloads and sources from the cache."""

    def __init__(
        self,
        workloads: Mapping[str, Entries],
        sources: Mapping[SourceKind, Entries],
        options: ReloadOptions,
        namespaces: Entries | None = None,
        *,
        configs: Configs | None = None,
        lender: Lends | None = None,
        polled: Polled | None = None,
    ) -> None:
        self._polled = polled
        self._workloads: dict[str, Entries] = {}
        self._sources = dict(sources)
        self._classes: Entries | None = None
        self._options = options
        self._namespaces = namespaces
        self._configs = Configs() if configs is None else configs
        self._configs.labels_of = self.labels_of
        self._lender = lender
        self._selector = selector(
            options.namespace_selector, flag="--namespace-selector"
        )
        self._all = options.auto_reload_all
        self._words = _words(options)
        self._paths = {extra.kind: extra.path for extra in options.extra_workloads}
        for kind, store in workloads.items():
            self.add_workloads(kind, store)

    @classmethod
    def declare(
        cls,
        views: Views,
        options: ReloadOptions,
        configs: Configs | None = None,
        lender: Lends | None = None,
    ) -> Observer:
        """Have the cache keep what this controller reads; before the cache runs."""
        sources: dict[SourceKind, Entries] = {
            kind: view.declare(kind.model)
            for kind, view in views.sources.items()
            if kind is not SourceKind.SECRET_PROVIDER_CLASS
        }
        workloads = {
            kind: views.workloads.declare(model)
            for kind, model in WORKLOADS.items()
            if kind not in options.ignored_workloads
        }
        view = views.namespaces
        namespaces = None if view is None else view.declare(NAMESPACE)
        return cls(
            *(workloads, sources, options, namespaces),
            configs=configs,
            lender=lender,
            polled=views.workloads,
        )

    @property
    def namespaces(self) -> Entries | None:
        """The Namespaces that are read from the start, if they are."""
        return self._namespaces

    @property
    def polls(self) -> bool:
        """Some workloads may not be watched, so that the cache is late with them."""
        return self._polled is not None and self._polled.is_unwatched

    def refresh(self) -> None:
        """Have workloads listed soon, where the cache is late with them."""
        if self._polled is not None:
            self._polled.refresh()

    @property
    def source_kinds(self) -> tuple[SourceKind, ...]:
        """The kinds of sources that are read now."""
        return tuple(self._sources)

    @property
    def workload_kinds(self) -> tuple[str, ...]:
        """The kinds of workloads that are read now."""
        return tuple(self._workloads)

    def add_workloads(self, kind: str, store: Entries) -> None:
        """Read workloads of a kind here, and find them by what may concern them."""
        store.add_index(_INDEX, partial(self._index, kind))
        self._workloads[kind] = store

    def remove_workloads(self, kind: str) -> None:
        """Read no more workloads of a kind: they are not served any more."""
        self._workloads.pop(kind, None)

    def add_classes(self, pods: Entries, classes: Entries) -> None:
        """Read SecretProviderClasses here, and what pods have of them."""
        kind = SourceKind.SECRET_PROVIDER_CLASS
        pods.add_index(_BY_SOURCE, lambda entry: [_place(source_key(kind, entry))])
        self._sources[kind] = pods
        self._classes = classes

    def remove_classes(self) -> None:
        """Read no more SecretProviderClasses."""
        self._sources.pop(SourceKind.SECRET_PROVIDER_CLASS, None)
        self._classes = None

    def may_reload(self, kind: str, entry: RawObject) -> bool:
        """Tell whether a workload is anybody's affair, without parsing it.

        Most are not. What a CronJob runs is the CronJob's.
        """
        if is_run_of_cron_job(kind, entry):
            return False
        if self._is_annotated(entry) or self._configs.covers(
            entry.key, entry.meta.labels
        ):
            return True
        return self._configs.is_bound(workload_key(kind, entry))

    def _is_annotated(self, entry: RawObject) -> bool:
        """Tell whether it has an annotation of ours, or the word elsewhere."""
        return self._all or any(word in entry.raw for word in self._words)

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """Return the labels of a namespace, if they are known."""
        if self._namespaces is None:
            return None
        entry = self._namespaces.get(NamespacedName("", namespace))
        return None if entry is None else entry.meta.labels

    def is_ours(self, namespace: str) -> bool:
        """Tell whether workloads of a namespace are looked at."""
        if self._namespaces is None or not self._selector.requirements:
            return True
        labels = self.labels_of(namespace)
        return labels is not None and self._selector.matches(labels)

    def is_left_out(self, source: RawObject) -> bool:
        """Tell whether nothing reloads for a source: it says so, or is not ours."""
        meta = source.meta
        is_ignored = meta.annotations.get(self._options.keys.ignore) == "true"
        return is_ignored or not self.is_ours(meta.namespace)

    def is_selected(self, namespace: RawObject) -> bool:
        """Tell whether a Namespace has the labels that are asked for."""
        return self._selector.matches(namespace.meta.labels)

    def in_namespace(self, namespace: str) -> Iterator[WorkloadKey]:
        """Yield the workloads there that have to be looked at."""
        for kind in self._workloads:
            yield from self.names(kind, namespace)

    def names(self, kind: str, namespace: str) -> Iterator[WorkloadKey]:
        """Name the workloads of a kind there that may reload."""
        for entry in self._workloads[kind].list(namespace):
            if self.may_reload(kind, entry):
                yield workload_key(kind, entry)

    def affected(self, source: SourceKey) -> Iterator[WorkloadKey]:
        """Yield the workloads that a source may concern; one may come twice."""
        for kind, store in self._workloads.items():
            for value in lookup_values(source):
                for entry in store.by_index(_INDEX, value):
                    yield workload_key(kind, entry)
        yield from self._configs.affected(source)

    def meant(self, config: Config) -> Iterator[WorkloadKey]:
        """Yield the workloads that a config names, there or not, or selects."""
        return targets_of(config, self._workloads)

    def bind(self, workload: Workload) -> None:
        """Note which configs claim a workload, so that news of sources reach it."""
        claims = self.claims(workload)
        used = list(self.uses(workload)) if claims else []
        self._configs.bind(workload.key, claims, used)

    def release(self, key: WorkloadKey) -> None:
        """Note that a workload is gone."""
        self._configs.release(key)
        if self._lender is not None:
            self._lender.take_back(key)

    def is_awaited(self, key: WorkloadKey) -> bool:
        """Tell whether a workload is there, and being read."""
        store = self._workloads.get(key.kind)
        entry = None if store is None else store.get(key.object_key)
        return entry is not None and is_bare(entry) and self._is_meant(key, entry)

    def _is_meant(self, key: WorkloadKey, entry: RawObject) -> bool:
        """Tell whether a config claims what the cache has only the name of."""
        if is_run_of_cron_job(key.kind, entry):
            return False
        return bool(self._configs.claims(key, entry.meta.labels))

    def workload(self, key: WorkloadKey) -> Workload | None:
        """Return what the cache has of a workload, if it has it."""
        entry = self.entry(key)
        return None if entry is None else self.read(key.kind, entry)

    def read(self, kind: str, entry: RawObject) -> Workload:
        """Parse a workload, of a kind from outside as well."""
        return read_workload(kind, entry, self._paths.get(kind))

    def uses(self, workload: Workload) -> Iterator[SourceKey]:
        """Name the sources that the pods of a workload use."""
        pod, namespace = workload.template.spec, workload.key.namespace
        for kind, name in references(pod, self._options.extra_references):
            yield SourceKey(kind, namespace, name)

    def listed(self, workload: Workload) -> Iterator[SourceKey]:
        """Name the sources that annotations of a workload list, there or not."""
        for kind, rules in self._annotated(workload).rules.items():
            for name in (*rules.names.literals, *rules.excluded):
                yield SourceKey(kind, workload.key.namespace, name)

    def entry(self, key: WorkloadKey) -> RawObject | None:
        """Return what `workload` reads."""
        store = self._workloads.get(key.kind)
        entry = None if store is None else store.get(key.object_key)
        if entry is None:
            return None
        if is_bare(entry):
            return self._lent(key, entry)
        if not self.may_reload(key.kind, entry):
            return None
        if self._lender is not None:
            self._lender.take_back(key)
        return entry

    def is_there(self, key: WorkloadKey) -> bool:
        """Tell whether there is a workload, whoever cares."""
        store = self._workloads.get(key.kind)
        return store is not None and store.get(key.object_key) is not None

    def _lent(self, key: WorkloadKey, bare: RawObject) -> RawObject | None:
        if self._lender is None or not self._is_meant(key, bare):
            return None
        return self._lender.lend(key, bare)

    def claims(self, workload: Workload) -> tuple[Claim, ...]:
        """Return what configs claim of a workload, in the order of precedence."""
        return self._configs.claims(workload.key, workload.meta.labels)

    def reloaded(self, kind: str) -> Iterator[Workload]:
        """Yield what a reload may still be under way in; no other workload is parsed.

        Nobody has changed it since it was reloaded, and it is not at rest; or its pods
        are evicted.
        """
        for entry in self._workloads[kind].list(""):
            if not any(word in entry.raw for word in _LEFT_BY_US):
                continue
            rolls = is_as_reloaded(kind, entry.meta) and not is_at_rest(entry)
            if not (rolls or RESTARTING in entry.meta.annotations):
                continue
            if self.may_reload(kind, entry) and self.is_ours(entry.meta.namespace):
                yield read_workload(kind, entry, self._paths.get(kind))

    def policy(self, workload: Workload) -> ReloadPolicy:
        """Return what is asked for: in annotations, by configs and by flags."""
        live, _ = self._split(workload)
        return merged(self._annotated(workload), live)

    def rehearsed(self, workload: Workload) -> ReloadPolicy | None:
        """Return what the dry runs of configs ask for; `None` if there is none."""
        _, dry = self._split(workload)
        if not dry:
            return None
        policy = self._annotated(workload)
        if policy.is_ignored:
            return None
        vetoes = {
            k: Rules(excluded=rules.excluded) for k, rules in policy.rules.items()
        }
        return merged(policy._replace(rules=vetoes), dry)

    def _split(self, workload: Workload) -> tuple[list[Claim], list[Claim]]:
        claims = self.claims(workload)
        return (list(claims), []) if self._options.dry_run else split(claims)

    def _annotated(self, workload: Workload) -> ReloadPolicy:
        template = workload.template.metadata.annotations
        return read_policy(
            workload.meta.annotations,
            template,
            self._options,
            kind=workload.key.kind,
        )

    def before(self, key: WorkloadKey) -> Iterator[WorkloadKey]:
        """Yield the workloads that come before one."""
        workload = self.workload(key)
        if workload is not None:
            for kind, name in self.policy(workload).terms.after:
                yield WorkloadKey(kind, key.namespace, name)

    def sources(self, workload: Workload, policy: ReloadPolicy) -> Iterator[Source]:
        """Yield the sources that exist and may concern a workload.

        Of each, the digest is that of the keys that count for the workload, in the
        form in which it is shown.
        """
        keys = {
            key
            for kind, rules in policy.rules.items()
            if kind in self._sources
            for key in self._keys(workload, kind, rules)
        }
        for wish in policy.wishes:
            if isinstance(wish, Claim):
                found = sources_of(wish, workload, self._sources, policy.extra)
                keys.update(key for key in found if self.is_ours(key.namespace))
        for key in keys:
            if key.kind in self._sources and (source := self._plain(key)) is not None:
                yield self._shown(workload, policy, source)

    def _shown(
        self, workload: Workload, policy: ReloadPolicy, source: Source
    ) -> Source:
        def used() -> KeyScope | None:
            if source.key.namespace != workload.key.namespace:
                return None  # no pod can use it
            reference = Reference(source.key.kind, source.key.name)
            return used_keys(workload.template.spec, reference, policy.extra)

        match = policy.match_from(workload.key.namespace, source)
        scope = policy.scope(source, match, used)
        digest = self._options.hashing.shown(source.digest, scope)
        return source._replace(digest=digest)

    def watched(self, config: Config) -> Iterator[SourceKey]:
        """Name what a config lists or selects, whatever its targets use."""
        place = config.key.namespace
        nobody = WorkloadKey("", place, "")
        claim = Claim(config, Target("", place), nobody, self.labels_of)
        found = listed_by(claim, self._sources)
        return (key for key in found if self.is_ours(key.namespace))

    def source(self, key: SourceKey) -> Source | None:
        """Return what is known of a source, if it is there; of all its keys."""
        source = self._plain(key) if key.kind in self._sources else None
        if source is None:
            return None
        return source._replace(digest=self._options.hashing.shown(source.digest))

    def _plain(self, key: SourceKey) -> Source | None:
        place = NamespacedName(key.namespace, key.name)
        if key.kind is not SourceKind.SECRET_PROVIDER_CLASS:
            entry = self._sources[key.kind].get(place)
            return None if entry is None else read_source(key.kind, entry)
        entry = youngest(self._sources[key.kind].by_index(_BY_SOURCE, _place(key)))
        found = None if self._classes is None else self._classes.get(place)
        if entry is None:
            return None
        annotations = {} if found is None else found.meta.annotations
        return read_source(key.kind, entry)._replace(annotations=annotations)

    def _index(self, kind: str, entry: RawObject) -> Iterable[str]:
        if not self._is_annotated(entry) or is_run_of_cron_job(kind, entry):
            return ()
        workload = self.read(kind, entry)
        return sorted(set(index_values(workload, self._annotated(workload))))

    def _keys(
        self, workload: Workload, kind: SourceKind, rules: Rules
    ) -> set[SourceKey]:
        names = self._names(workload, kind, rules)
        keys = {SourceKey(kind, workload.key.namespace, name) for name in names}
        for full_name in rules.names.in_full:
            namespace, _, name = full_name.partition("/")
            if self.is_ours(namespace):
                keys.add(SourceKey(kind, namespace, name))
        return keys

    def _names(self, workload: Workload, kind: SourceKind, rules: Rules) -> set[str]:
        names = set(rules.names.literals)
        if rules.auto or rules.search:
            used = references(workload.template.spec, self._options.extra_references)
            names.update(reference.name for reference in used if reference.kind is kind)
        if rules.names.patterns:
            there = self._sources[kind].list(workload.key.namespace)
            found = {source_key(kind, entry).name for entry in there}
            names.update(name for name in found if rules.names.matches(name))
        return names


def _words(options: ReloadOptions) -> tuple[bytes, ...]:
    """Name what stands in every workload that may reload: few words, looked for often.

    By default all keys share one.
    """
    keys = [str(key) for key in astuple(options.keys)]
    others = [key for key in keys if _GROUP not in key]
    shared = [_GROUP] if len(others) < len(keys) else []
    return tuple(word.encode() for word in (*shared, *others))


def _place(key: SourceKey) -> str:
    return f"{key.namespace}/{key.name}"


def _places(options: ReloadOptions) -> str:
    """Leave out namespaces at the server, where that costs nobody anything."""
    return "" if options.namespaces else not_in(options.namespaces_to_ignore)


def _also(kind: SourceKind, fields: str) -> str:
    if kind is not SourceKind.SECRET:
        return fields
    return ",".join(filter(None, [_NO_HELM_RELEASES, fields]))
