"""What templates ask of the cluster: questions, and where the answers come from.

    template ──asks──▶ Lookup ──▶ the caller's `Resolve` ──▶ Answer ──▶ template again

A template never waits: one that asks what is not known yet is rendered again when it
is. The questions of the last run are the asset's *inputs*: watch them, and render again
when one changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from controller_runtime import GroupVersionKind

CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


class Lookup(NamedTuple):
    """An object, or with an empty name all objects of a kind, in the cluster."""

    kind: GroupVersionKind
    namespace: str = ""
    """Empty for cluster-scoped objects, and for all namespaces."""

    name: str = ""

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name or '*'}"


Objects: TypeAlias = tuple[Mapping[str, Any], ...]

Answer: TypeAlias = Objects | None
"""What there is; empty if nothing is, or the kind is not served. `None` if it cannot be
known, as offline: the template gets what nothing would give, and `Rendered.unknown`
names the question."""

Resolve: TypeAlias = Callable[[Lookup], Awaitable[Answer]]
"""Answers one question. Raises what reading raised, which fails the asset."""


async def knows_nothing(lookup: Lookup) -> Answer:
    """Answer no question, as offline."""
    del lookup
    return None


class Inquiry:
    """The questions of one run of a template, and the answers that there are so far."""

    def __init__(self, answers: Mapping[Lookup, Answer]) -> None:
        self._answers = answers
        self.asked: set[Lookup] = set()
        self.unanswered: set[Lookup] = set()
        """Asked, and never put to the cluster."""

        self.unknown: dict[str, None] = {}
        """Asked, and not to be known; in order."""

    def ask(self, lookup: Lookup) -> Objects:
        """Return what there is, and nothing where that is not known."""
        self.asked.add(lookup)
        if lookup not in self._answers:
            self.unanswered.add(lookup)
            return ()
        answer = self._answers[lookup]
        if answer is None:
            self.unknown[str(lookup)] = None
            return ()
        return answer

    def one(self, lookup: Lookup) -> Mapping[str, Any] | None:
        """Return the object that is asked for, if there is one."""
        return next(iter(self.ask(lookup)), None)
