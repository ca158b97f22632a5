"""The cache, in the words of this controller.

    declare      ──────────────────▶ stores: sources hashed, workloads indexed
    may_reload   entry ────────────▶ bool             does it have to look at all?
    meant        config ───────────▶ workload keys    which is it about?
    affected     source ───index───▶ workload keys    which have to look again?
    workload     key ──────────────▶ Workload         what is there?
    policy       Workload ─────────▶ ReloadPolicy     what is asked for it?
    places       namespace ────────▶ bool             may it look there?
    supply       Workload, policy ─▶ Source …         what may it run with?

Nothing here asks the API server, and nothing is kept besides the stores: what configs
claim is in `Configs`, and what the cache has too little of, the `Lender` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from controller_runtime import NamespacedName, RawObject
from controllers.reload.annotations import read_policy
from controllers.reload.configs import Configs
from controllers.reload.configs.claims import Claim, Config, merged, split
from controllers.reload.configs.wanted import targets_of
from controllers.reload.entries import Entries, Lends, Polled
from controllers.reload.options import ReloadOptions
from controllers.reload.places import Places
from controllers.reload.policy import ReloadPolicy, Rules
from controllers.reload.record import REVISION, is_as_reloaded
from controllers.reload.references import index_values, lookup_values
from controllers.reload.rollouts.progress import is_at_rest
from controllers.reload.rollouts.restarts import RESTARTING
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.supply import Supply
from controllers.reload.views import NAMESPACE, Views, words_of
from controllers.reload.workloads import (
    WORKLOADS,
    Workload,
    WorkloadKey,
    is_bare,
    is_run_of_cron_job,
    read_workload,
    workload_key,
)

_INDEX = "reload"

_LEFT_BY_US = (REVISION.encode(), RESTARTING.encode())
"""What stands in workloads that were reloaded."""


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
        self._options = options
        self._places = Places(options, namespaces)
        self._supply = Supply(sources, options, self._places)
        self._configs = Configs() if configs is None else configs
        self._configs.labels_of = self._places.labels_of
        self._lender = lender
        self._all = options.auto_reload_all
        self._words = words_of(options)
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
    def places(self) -> Places:
        """Which namespaces are ours."""
        return self._places

    @property
    def supply(self) -> Supply:
        """The sources that there are."""
        return self._supply

    @property
    def polls(self) -> bool:
        """Some workloads may not be watched, so that the cache is late with them."""
        return self._polled is not None and self._polled.is_unwatched

    def refresh(self) -> None:
        """Have workloads listed soon, where the cache is late with them."""
        if self._polled is not None:
            self._polled.refresh()

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
        used = list(self._supply.uses(workload)) if claims else []
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
            if self.may_reload(kind, entry) and self._places.is_ours(
                entry.meta.namespace
            ):
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

    def canaries(
        self, namespace: str, configs: Iterable[NamespacedName]
    ) -> Iterator[WorkloadKey]:
        """Yield what may go first; the same may come twice.

        Args:
            namespace: Of a workload: those there that have the annotation.
            configs: Which want it to reload: the targets of these that are named so.
        """
        for kind, store in self._workloads.items():
            for entry in store.by_index(_INDEX, _canaries_of(namespace)):
                yield workload_key(kind, entry)
        for config in filter(None, map(self._configs.get, configs)):
            first = tuple(target for target in config.targets if target.is_canary)
            for key in self.meant(config._replace(targets=first)):
                if self._places.is_ours(key.namespace):
                    yield key

    def _index(self, kind: str, entry: RawObject) -> Iterable[str]:
        if not self._is_annotated(entry) or is_run_of_cron_job(kind, entry):
            return ()
        workload = self.read(kind, entry)
        policy = self._annotated(workload)
        values = set(index_values(workload, policy))
        if policy.terms.is_canary:
            values.add(_canaries_of(workload.key.namespace))
        return sorted(values)


def _canaries_of(namespace: str) -> str:
    return f"canary/{namespace}"
