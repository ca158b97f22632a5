"""What the Nodes tell about the hardware.

    Nodes ──▶ NodeView ──▶ NodeMemory ──rules──▶ name → Fact

Every fact knows where it comes from. Before the Nodes have been read facts are
*unknown*, never false. A Node that is deleted counts for another ten minutes: machines
are replaced, and a kernel argument that goes away with the old one and comes back with
the new would restart every worker twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import re2  # type: ignore[import-untyped]  # ships no types

from controllers.autopilot.errors import CatalogError
from controllers.autopilot.metadata import FactRule, Match

HYSTERESIS = timedelta(minutes=10)
"""How long a Node counts after it is gone."""

_WITNESSES = 5
"""Most reasons that are kept of a fact: one would do, and thousands help nobody."""

Value: TypeAlias = bool | int | str | None
"""`None` is unknown."""


class Fact(NamedTuple):
    """A value, and where it comes from."""

    value: Value
    because: tuple[str, ...] = ()
    """Sentences such as `node a: label x=true`; at most a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known about a platform."""

    hardware: Mapping[str, Fact] = field(default_factory=dict)
    topology: Mapping[str, Fact] = field(default_factory=dict)


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

    def __init__(self, *, hysteresis: timedelta = HYSTERESIS) -> None:
        self._hysteresis = hysteresis
        self._nodes: dict[str, NodeView] | None = None
        """Those that are there; `None` before the first time."""
        self._gone: dict[str, tuple[NodeView, datetime]] = {}
        """Those that are not any more, and since when."""

    @property
    def nodes(self) -> tuple[NodeView, ...] | None:
        """Those that are there; `None` if that is not known."""
        return None if self._nodes is None else tuple(self._nodes.values())

    def update(self, nodes: Iterable[NodeView], now: datetime) -> timedelta | None:
        """Take note of all Nodes that there are now.

        Returns:
            When to look again although nothing may change: a Node that is gone stops
            counting then. `None` if there is no such Node.
        """
        there = {node.name: node for node in nodes}
        for name, node in (self._nodes or {}).items():
            if name not in there:
                self._gone[name] = (node, now)
        self._gone = {
            name: (node, since)
            for name, (node, since) in self._gone.items()
            if name not in there and now - since < self._hysteresis
        }
        self._nodes = there
        ends = [since + self._hysteresis - now for _, since in self._gone.values()]
        return min(ends, default=None)

    def hardware(self, rules: Iterable[FactRule]) -> Mapping[str, Fact]:
        """Apply the rules; every fact is unknown before the first `update`."""
        if self._nodes is None:
            return {rule.name: Fact(None) for rule in rules}
        gone = (node for node, _ in self._gone.values())
        nodes = (*self._nodes.values(), *gone)
        return {rule.name: fact_of(rule, nodes) for rule in rules}


def fact_of(rule: FactRule, nodes: Iterable[NodeView]) -> Fact:
    """Apply a rule: any Node will do, Ready or not."""
    because: list[str] = []
    for node in nodes:
        witness = next(_witnesses(rule, node), None)
        if witness is not None:
            because.append(f"node {node.name}: {witness}")
            if len(because) == _WITNESSES:
                break
    return Fact(bool(because), tuple(because))


def _witnesses(rule: FactRule, node: NodeView) -> Iterator[str]:
    for what, pairs, matches in (
        ("label", node.labels, rule.labels),
        ("annotation", node.annotations, rule.annotations),
    ):
        for match in matches:
            for key, value in pairs.items():
                if _matches(match, key, value):
                    yield f"{what} {key}={value}"
    for name, amount in node.capacity.items():
        if _counts(rule, name) and amount not in {"0", ""}:
            yield f"capacity {name}={amount}"


def _matches(match: Match, key: str, value: str) -> bool:
    if not pattern(match.key).fullmatch(key):
        return False
    if match.value is None:
        return bool(value)
    return pattern(match.value).fullmatch(value) is not None


def _counts(rule: FactRule, resource: str) -> bool:
    return any(pattern(it).fullmatch(resource) for it in rule.resources) and not any(
        pattern(it).fullmatch(resource) for it in rule.resources_except
    )


@lru_cache(maxsize=256)
def pattern(text: str) -> Any:
    """Compile a regular expression of a catalogue; RE2, so that none takes long.

    Raises:
        CatalogError: It is none.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise CatalogError(f"{text!r} is no regular expression: {error}") from None
