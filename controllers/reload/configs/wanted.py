"""What ReloaderConfigs are about, among what the cache has.

    targets_of  config ──▶ workloads        those that it names, or selects
    sources_of  claim  ──▶ sources          those that its workload may reload for

Both answer "perhaps": whether there is such a workload, and whether a source counts, is
for others to decide. They are asked when a config changes, or a workload is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from controller_runtime import LabelSelector
from controllers.reload.configs.claims import Claim, Config
from controllers.reload.entries import Entries
from controllers.reload.options import ExtraReference
from controllers.reload.references import references
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import (
    Workload,
    WorkloadKey,
    is_run_of_cron_job,
    workload_key,
)

Sources = Mapping[SourceKind, Entries]


def targets_of(
    config: Config, workloads: Mapping[str, Entries]
) -> Iterator[WorkloadKey]:
    """Yield the workloads that a config names, there or not, or selects."""
    for target in config.targets:
        for kind in [target.kind] if target.kind else list(workloads):
            if target.selector is None:
                yield WorkloadKey(kind, target.namespace, target.name)
            elif (store := workloads.get(kind)) is not None:
                for entry in store.list(target.namespace):
                    if is_run_of_cron_job(kind, entry):
                        continue
                    if target.selector.matches(entry.meta.labels):
                        yield workload_key(kind, entry)


def sources_of(
    claim: Claim,
    workload: Workload,
    sources: Sources,
    extra: Collection[ExtraReference] = (),
) -> Iterator[SourceKey]:
    """Yield the sources that a workload may reload for; one may come twice.

    Args:
        claim: On the workload.
        workload: As it is.
        sources: All that there are.
        extra: What else counts as a use.
    """
    yield from listed_by(claim, sources)
    if claim.by.watched.uses:
        for used in references(workload.template.spec, extra):
            yield SourceKey(used.kind, workload.key.namespace, used.name)


def listed_by(claim: Claim, sources: Sources) -> Iterator[SourceKey]:
    """Yield those among them that are named or selected, whatever the pods use."""
    watched, place = claim.by.watched, claim.config.namespace
    for kind, names in watched.names.items():
        for name in names.literals:
            yield SourceKey(kind, place, name)
        if names.patterns and kind in sources:
            for entry in sources[kind].list(place):
                if names.matches(entry.meta.name):
                    yield SourceKey(kind, place, entry.meta.name)
    if watched.resources is not None:
        yield from _selected(claim, watched.resources, sources)


def _selected(
    claim: Claim, resources: LabelSelector, sources: Sources
) -> Iterator[SourceKey]:
    is_wide = claim.by.watched.namespaces is not None
    where = "" if is_wide else claim.config.namespace
    for kind in sources.keys() & {SourceKind.CONFIG_MAP, SourceKind.SECRET}:
        for entry in sources[kind].list(where):
            key = SourceKey(kind, *entry.key)
            if resources.matches(entry.meta.labels) and claim.reaches(key.namespace):
                yield key
