"""All ReloaderConfigs: who claims what, found from either side.

    workload ──name, labels──▶ configs ──▶ Claims, in the order of precedence
    source   ──name, place───▶ configs ──▶ the workloads that they are bound to
             ──use───────────────────────▶ the workloads whose pods use it

A workload is bound when it is looked at, and let go when nobody claims it any more. So
nothing is kept of workloads that no config is about, and nothing is searched when a
source changes. The answers about sources are "perhaps": a look decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from api.reload.alerts import Alerts
from controller_runtime import NamespacedName
from controllers.reload.configs.claims import (
    Claim,
    Config,
    Conflict,
    Labels,
    LabelsOf,
    conflicts_of,
    precedence,
)
from controllers.reload.policy import Problem
from controllers.reload.sources import SourceKey
from controllers.reload.workloads import WorkloadKey

K = TypeVar("K")

V = TypeVar("V")


class Configs:
    """What ReloaderConfigs say, and which workloads each is bound to."""

    def __init__(self) -> None:
        self.labels_of: LabelsOf = lambda _: None
        """Knows the labels of namespaces."""
        self._configs: dict[NamespacedName, Config] = {}
        self._by_workload: _Groups[NamespacedName, NamespacedName] = _Groups()
        """Place of a workload → configs that name it."""
        self._by_namespace: _Groups[str, NamespacedName] = _Groups()
        """Namespace of workloads → configs that select some of it."""
        self._by_source: _Groups[SourceKey, NamespacedName] = _Groups()
        self._by_sources_of: _Groups[str, NamespacedName] = _Groups()
        """Namespace of sources → configs with patterns or selectors for it."""
        self._everywhere: _Groups[str, NamespacedName] = _Groups()
        """Configs that select sources by namespace."""
        self._by_labels: _Groups[str, NamespacedName] = _Groups()
        """Configs that ask for labels of sources."""
        self._bound: dict[WorkloadKey, dict[NamespacedName, Claim]] = {}
        """The claims on each, by config, in the order of precedence."""
        self._members: _Groups[NamespacedName, WorkloadKey] = _Groups()
        self._used: dict[WorkloadKey, frozenset[SourceKey]] = {}
        self._users: _Groups[SourceKey, WorkloadKey] = _Groups()

    def __len__(self) -> int:
        return len(self._configs)

    def __iter__(self) -> Iterator[Config]:
        return iter(tuple(self._configs.values()))

    def get(self, key: NamespacedName) -> Config | None:
        """Return a config, if it is there."""
        return self._configs.get(key)

    def alerts(self, key: NamespacedName) -> Alerts | None:
        """Return whom a config tells of reloads, if it is there and does."""
        config = self._configs.get(key)
        return None if config is None else config.alerts

    @property
    def want_labels(self) -> bool:
        """Whether a label of a source may matter to any of them."""
        return "" in self._by_labels

    def put(self, config: Config) -> None:
        """Take a config in, in the place of what it was before."""
        self.drop(config.key)
        self._configs[config.key] = config
        self._file(config, is_there=True)

    def drop(self, key: NamespacedName) -> None:
        """Forget a config; what it is bound to stays so until it is looked at."""
        config = self._configs.pop(key, None)
        if config is not None:
            self._file(config, is_there=False)

    def covers(self, place: NamespacedName, labels: Labels) -> bool:
        """Tell whether any config may be about a workload of some kind."""
        if not self._configs:
            return False
        return place in self._by_workload or any(
            target.covers(WorkloadKey(target.kind, *place), labels)
            for key in self._by_namespace[place.namespace]
            for target in self._configs[key].targets
        )

    def claims(self, workload: WorkloadKey, labels: Labels) -> tuple[Claim, ...]:
        """Return the claims on a workload, in the order of precedence."""
        if not self._configs:
            return ()
        named = self._by_workload[workload.object_key]
        selecting = self._by_namespace[workload.namespace]
        found = [self._configs[k] for k in sorted(named | selecting, key=precedence)]
        return tuple(
            Claim(config, target, workload, self.labels_of)
            for config in found
            if (target := config.target(workload, labels)) is not None
        )

    def bind(
        self,
        workload: WorkloadKey,
        claims: tuple[Claim, ...],
        used: Iterable[SourceKey],
    ) -> None:
        """Note who claims a workload.

        Args:
            workload: Which.
            claims: On it; none lets it go.
            used: The sources that its pods use.
        """
        self.release(workload)
        if not claims:
            return
        self._bound[workload] = {claim.config: claim for claim in claims}
        for claim in claims:
            self._members.put(claim.config, workload)
        if any(claim.by.watched.uses for claim in claims):
            self._used[workload] = found = frozenset(used)
            for source in found:
                self._users.put(source, workload)

    def release(self, workload: WorkloadKey) -> None:
        """Let go of a workload."""
        for config in self._bound.pop(workload, ()):
            self._members.put(config, workload, is_there=False)
        for source in self._used.pop(workload, ()):
            self._users.put(source, workload, is_there=False)

    def is_bound(self, workload: WorkloadKey) -> bool:
        """Tell whether a workload was claimed when it was last looked at."""
        return workload in self._bound

    def members(self, key: NamespacedName) -> frozenset[WorkloadKey]:
        """Return the workloads that a config is bound to."""
        return frozenset(self._members[key])

    def affected(self, source: SourceKey) -> Iterator[WorkloadKey]:
        """Yield the workloads that a source may concern; the same may come twice."""
        for key in self._about(source):
            yield from self._members[key]
        yield from self._users[source]

    def about(self, source: SourceKey) -> Iterator[NamespacedName]:
        """Yield the configs that a source may concern; the same may come twice."""
        yield from self._about(source)
        for workload in self._users[source]:
            yield from self._bound.get(workload, ())

    def sharing(self, workloads: Iterable[WorkloadKey]) -> set[NamespacedName]:
        """Return the configs that are bound to any of these."""
        return {config for key in workloads for config in self._bound.get(key, ())}

    def touching(self, namespace: str) -> Iterator[NamespacedName]:
        """Yield the configs for which the labels of a namespace matter."""
        yield from self._everywhere[""]
        for key, config in self._configs.items():
            if any(target.namespace == namespace for target in config.targets):
                yield key

    def reaching(self) -> Iterator[WorkloadKey]:
        """Yield the workloads for which labels of namespaces matter."""
        for key in self._everywhere[""]:
            yield from self._members[key]

    def problems(self, key: NamespacedName) -> tuple[Problem, ...]:
        """Say what a config asks for and does not get, for its status."""
        config = self._configs.get(key)
        if config is None:
            return ()
        lost = [
            conflict.problem
            for workload in sorted(self._members[key])
            for conflict in self._lost(key, self._bound[workload])
        ]
        return (*config.problems, *dict.fromkeys(lost))

    @staticmethod
    def _lost(
        key: NamespacedName, claims: Mapping[NamespacedName, Claim]
    ) -> Iterator[Conflict]:
        first = next(iter(claims.values()))
        yield from conflicts_of(claims[key], first)

    def _about(self, source: SourceKey) -> set[NamespacedName]:
        return {
            *self._by_source[source],
            *self._by_sources_of[source.namespace],
            *self._everywhere[""],
        }

    def _file(self, config: Config, *, is_there: bool) -> None:
        """Have a config found, or not found any more."""
        key, watched, targets = config.key, config.watched, config.targets
        namespace = key.namespace
        for target in targets:
            if target.selector is not None:
                self._by_namespace.put(target.namespace, key, is_there=is_there)
            else:
                place = NamespacedName(target.namespace, target.name)
                self._by_workload.put(place, key, is_there=is_there)
        for kind, names in watched.names.items():
            for name in names.literals:
                source = SourceKey(kind, namespace, name)
                self._by_source.put(source, key, is_there=is_there)
        is_loose = any(names.patterns for names in watched.names.values())
        if is_loose or watched.resources is not None:
            self._by_sources_of.put(namespace, key, is_there=is_there)
        if watched.namespaces is not None:
            self._everywhere.put("", key, is_there=is_there)
        if watched.by_labels:
            self._by_labels.put("", key, is_there=is_there)


class _Groups(Generic[K, V]):
    """Sets of values; an empty one takes no room."""

    def __init__(self) -> None:
        self._sets: dict[K, set[V]] = {}

    def __getitem__(self, key: K) -> AbstractSet[V]:
        return self._sets.get(key, frozenset())

    def __contains__(self, key: K) -> bool:
        return key in self._sets

    def put(self, key: K, value: V, *, is_there: bool = True) -> None:
        """Put a value into a set, or take it out."""
        group = self._sets.setdefault(key, set())
        if is_there:
            group.add(value)
            return
        group.discard(value)
        if not group:
            del self._sets[key]
