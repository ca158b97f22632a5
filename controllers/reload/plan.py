"""What a reload writes before it is a patch: a record, a marker for each change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller_runtime import NamespacedName
from controllers.reload.options import Strategy
from controllers.reload.sources import SourceKey
from controllers.reload.workloads import WorkloadKey


class Marker(NamedTuple):
    """A change of the pod template that makes the pods new."""

    source: SourceKey
    container: str
    variable: str
    value: str | None
    """Of the variable; `None` takes it away."""

    hash: str
    """Of what the source holds now."""

    configs: tuple[NamespacedName, ...] = ()
    """The ReloaderConfigs that want it; none if annotations do alone."""

    content: str = ""
    """SHA-256 of what the source holds now, in 64 hex digits."""

    is_annotated: bool = True
    """Annotations want it, maybe besides configs."""

    version: str = ""
    """Resource version of the source; empty if it is gone."""

    whole: str = ""
    """SHA-256 of all that the source holds, where `content` is of some keys of it."""


class Plan(NamedTuple):
    """What to write to a workload."""

    record: Mapping[str, str]
    """All of the new record, with sources that do not concern the workload now."""

    markers: tuple[Marker, ...] = ()
    """One for each changed source; none when there is only something to adopt."""

    strategy: Strategy = Strategy.ENV_VARS
    """How markers are written."""

    change: str = ""
    """Tells this change of the sources from any other: 10 hex digits."""

    triggers: bool = False
    """The marks of why-xn/reloader-operator are left as well."""

    notes: Mapping[str, str | None] = {}
    """Annotations of the workload that gates want written with its reload; `None` takes
    one away."""

    is_undone: bool = False
    """It adopts what somebody has put back, of a canary."""

    @property
    def configs(self) -> tuple[NamespacedName, ...]:
        """The ReloaderConfigs that want this reload, by name."""
        return tuple(sorted({c for marker in self.markers for c in marker.configs}))


def describe(plan: Plan, workload: WorkloadKey, outcome: str) -> str:
    """Say in an Event which sources changed, and what came of it for a workload.

    Of a plan without markers, it is not known what changed.
    """
    sources = ", ".join(
        f"'{s.name}' of type '{s.kind.type_name}' in namespace '{s.namespace}'"
        for s in (marker.source for marker in plan.markers)
    )
    kind, namespace, name = workload
    subject = f"'{name}' of type '{kind}' in namespace '{namespace}'"
    if not sources:
        return f"{subject} {outcome}"
    return f"{sources} changed: {subject} {outcome}"
