"""Sources in the cache: which there are, and which a workload may run with.

    names it lists, uses, or that patterns of it match ─┐
    what configs want for it ───────────────────────────┴▶ keys ─▶ cache ─▶ Source …

Of each, the digest is that of the keys that count for the workload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller_runtime import NamespacedName, RawObject
from controllers.reload.configs.claims import Claim, Config, Target
from controllers.reload.configs.wanted import listed_by, sources_of
from controllers.reload.entries import Entries
from controllers.reload.options import ReloadOptions
from controllers.reload.places import Places
from controllers.reload.policy import ReloadPolicy, Rules
from controllers.reload.references import Reference, references, used_keys
from controllers.reload.sources import (
    Source,
    SourceKey,
    SourceKind,
    read_source,
    source_key,
    youngest,
)
from controllers.reload.sources.keys import KeyScope
from controllers.reload.workloads import Workload, WorkloadKey

_BY_SOURCE = "source"
"""Index of what pods say of SecretProviderClasses."""


class Supply:
    """Reads sources from the cache."""

    def __init__(
        self,
        sources: Mapping[SourceKind, Entries],
        options: ReloadOptions,
        places: Places,
    ) -> None:
        self._sources = dict(sources)
        self._classes: Entries | None = None
        self._options = options
        self._places = places

    @property
    def kinds(self) -> tuple[SourceKind, ...]:
        """The kinds of sources that are read now."""
        return tuple(self._sources)

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

    def is_left_out(self, source: RawObject) -> bool:
        """Tell whether nothing reloads for a source: it says so, or is not ours."""
        meta = source.meta
        is_ignored = meta.annotations.get(self._options.keys.ignore) == "true"
        return is_ignored or not self._places.is_ours(meta.namespace)

    def uses(self, workload: Workload) -> Iterator[SourceKey]:
        """Name the sources that the pods of a workload use."""
        pod, namespace = workload.template.spec, workload.key.namespace
        for kind, name in references(pod, self._options.extra_references):
            yield SourceKey(kind, namespace, name)

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
                keys.update(key for key in found if self._places.is_ours(key.namespace))
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
        shown = self._options.hashing.shown
        if scope.is_whole:
            return source._replace(digest=shown(source.digest))
        whole = shown(source.digest).canonical
        return source._replace(digest=shown(source.digest, scope), whole=whole)

    def watched(self, config: Config) -> Iterator[SourceKey]:
        """Name what a config lists or selects, whatever its targets use."""
        place = config.key.namespace
        nobody = WorkloadKey("", place, "")
        claim = Claim(config, Target("", place), nobody, self._places.labels_of)
        found = listed_by(claim, self._sources)
        return (key for key in found if self._places.is_ours(key.namespace))

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

    def _keys(
        self, workload: Workload, kind: SourceKind, rules: Rules
    ) -> set[SourceKey]:
        names = self._names(workload, kind, rules)
        keys = {SourceKey(kind, workload.key.namespace, name) for name in names}
        for full_name in rules.names.in_full:
            namespace, _, name = full_name.partition("/")
            if self._places.is_ours(namespace):
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


def _place(key: SourceKey) -> str:
    return f"{key.namespace}/{key.name}"
