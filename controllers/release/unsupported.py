"""Which fields of a ManagedRoost are set and not acted on: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from api.release.v1alpha1 import ManagedRoostSpec
from controller_runtime import Json

_WHOLE = (
    "healthChecks",
    "driftDetection",
    "test",
    "postRenderers",
    "commonMetadata",
    "metadata",
)
"""Fields that are named as they are."""

_TREES = ("teardownPolicy", "tenancy", "observability")
"""Fields whose members are named one by one."""


def unsupported_fields(spec: ManagedRoostSpec) -> tuple[str, ...]:
    """Return the paths, in order."""
    said: Json = spec.model_dump(
        by_alias=True, exclude_unset=True, exclude_none=True, mode="json"
    )
    return tuple(sorted(_found(said)))


def _found(said: Mapping[str, object]) -> Iterator[str]:
    for name in _WHOLE:
        if said.get(name):
            yield f"spec.{name}"
    for name in _TREES:
        tree = said.get(name)
        if isinstance(tree, dict):
            yield from (f"spec.{name}.{member}" for member in tree if tree[member])
    chart = said.get("chart")
    if isinstance(chart, dict):
        yield from (
            f"spec.chart.{name}" for name in ("git", "verify") if chart.get(name)
        )
        hooks = chart.get("hooks") or {}
        if hooks and not disables_all_hooks(hooks):
            yield from (f"spec.chart.hooks.{it}" for it in hooks)
    for name, usual in (("install", "Create"), ("upgrade", "Skip")):
        part = said.get(name)
        if isinstance(part, dict) and part.get("crds", usual) not in {usual, "Skip"}:
            yield f"spec.{name}.crds"


_HOOKS = ("preInstall", "postInstall", "preUpgrade", "postUpgrade")


def disables_all_hooks(hooks: Mapping[str, object]) -> bool:
    """Tell whether every phase is switched off, which Helm can do."""
    return all(hooks.get(name) is False for name in _HOOKS)
