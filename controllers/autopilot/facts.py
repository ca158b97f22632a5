"""What the Nodes, and the cluster's own configuration, tell about the platform.

    Nodes ──▶ NodeView ──▶ NodeMemory ──rules──▶ hardware: name → Fact
    Nodes, Infrastructure, Scheduler ──────────▶ topology: name → Fact

Every fact knows where it comes from. What could not be read makes facts *unknown*, each
for itself, and never false. A Node that is deleted counts for hardware for another ten
minutes: machines are replaced, and a kernel argument that goes away with the old one
and comes back with the new would restart every worker twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from controllers.autopilot.metadata import FactRule

HYSTERESIS = timedelta(minutes=10)

Value: TypeAlias = bool | int | str | None
"""`None` is unknown."""


class Fact(NamedTuple):
    """A value, and where it comes from."""

    value: Value
    because: tuple[str, ...] = ()
    """Sentences such as `node a: label x=true`; at most a few."""


class NodeView(NamedTuple):
    """What is read of a Node."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    capacity: Mapping[str, str]

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> NodeView:
        """Read a Node, whole or stripped."""
        metadata = node.get("metadata") or {}
        return cls(
            metadata.get("name", ""),
            metadata.get("labels") or {},
            metadata.get("annotations") or {},
            (node.get("status") or {}).get("capacity") or {},
        )


class NodeMemory:
    """The Nodes that are there, and those that were until a while ago."""

    def update(self, nodes: Iterable[NodeView], now: datetime) -> None:
        """Take note of all Nodes that there are now."""
        raise NotImplementedError

    def hardware(self, rules: Iterable[FactRule]) -> Mapping[str, Fact]:
        """Apply the rules; every fact is unknown before the first `update`."""
        raise NotImplementedError


def topology_facts(
    nodes: Iterable[NodeView] | None,
    infrastructure: Mapping[str, Any] | None,
    scheduler: Mapping[str, Any] | None,
) -> Mapping[str, Fact]:
    """Tell how the cluster is laid out.

    Args:
        nodes: Those that are there now.
        infrastructure: `cluster` of `infrastructures.config.openshift.io`.
        scheduler: `cluster` of `schedulers.config.openshift.io`.

    `None` for what could not be read, for whatever reason: its facts are unknown.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known about a platform."""

    hardware: Mapping[str, Fact] = field(default_factory=dict)
    topology: Mapping[str, Fact] = field(default_factory=dict)
