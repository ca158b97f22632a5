"""What is asked for on behalf of a workload, and which sources that concerns.

For a source, in this order:

    ignored, by the source or by the workload    never
    in the list of excluded names                never
    in the list of names                         EXPLICIT  used by the pods or not,
                                                 and of another namespace if in full
    `search` here, `match` on the source         AUTO      if the pods use it
    `auto`, for its kind or for all              AUTO      if the pods use it

Under `strict_auto_false`, `auto: "false"` comes before the list of names.

ReloaderConfigs want reloads besides: each is a `Wish` of the policy, which `claims`
adds. Ignored and excluded sources are so for them too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum, auto
from functools import reduce
from typing import NamedTuple, Protocol

from controller_runtime import NamespacedName
from controllers.reload.options import (
    AnnotationKeys,
    CronJobStrategy,
    ExtraReference,
    LegacyTrigger,
    Strategy,
)
from controllers.reload.patterns import Pattern
from controllers.reload.sources import Source, SourceKind
from controllers.reload.sources.keys import ALL_KEYS, KeyScope, key_list
from controllers.reload.terms import NO_TERMS, Terms

PROBLEMS_MAX = 50
"""Problems of one workload or ReloaderConfig that are told; there is room for
thousands in an annotation."""


class Match(StrEnum):
    """Why a workload reloads for a source."""

    EXPLICIT = auto()
    """It is listed by name: whether the pods refer to it does not matter."""

    AUTO = auto()
    """The pods refer to it."""


class Problem(NamedTuple):
    """An annotation, or an item of one, that is left out."""

    annotation: str
    reason: str
    event: str = "InvalidReloadAnnotation"
    """Reason of the Event about it."""


class NameList(NamedTuple):
    """Names and patterns of sources, each matched against the whole name."""

    literals: frozenset[str] = frozenset()
    patterns: tuple[Pattern, ...] = ()

    in_full: frozenset[str] = frozenset()
    """`namespace/name` of sources of any namespace."""

    def __bool__(self) -> bool:
        return bool(self.literals or self.patterns or self.in_full)

    def matches(self, name: str) -> bool:
        """Tell whether a name is listed."""
        return name in self.literals or any(p.fullmatch(name) for p in self.patterns)


class Wish(Protocol):
    """What a ReloaderConfig wants of a workload, whatever its annotations say."""

    @property
    def config(self) -> NamespacedName:
        """Whose wish it is."""
        ...

    @property
    def on_create(self) -> bool:
        """Reload for a source that appears."""
        ...

    @property
    def on_delete(self) -> bool:
        """Reload for a source that goes."""
        ...

    @property
    def containers(self) -> frozenset[str]:
        """The only ones that count; empty for all."""
        ...

    def keys(self, source: Source, /) -> KeyScope:
        """Return which keys of a source count, if it matches."""
        ...

    def match(self, source: Source, /) -> Match | None:
        """Decide whether a source concerns the workload, references apart."""
        ...


class Rules(NamedTuple):
    """What a workload says about one kind of source."""

    names: NameList = NameList()
    excluded: frozenset[str] = frozenset()
    search: bool = False
    auto: bool = False

    @property
    def asks(self) -> bool:
        """Whether any source of the kind may matter."""
        return bool(self.names) or self.search or self.auto


class ReloadPolicy(NamedTuple):
    """What a workload says about all of them."""

    rules: Mapping[SourceKind, Rules]
    """For each kind that something is said of; empty when the workload is ignored."""

    keys: AnnotationKeys
    """The annotations to look for on sources."""

    problems: tuple[Problem, ...] = ()

    strategy: Strategy = Strategy.ENV_VARS
    """How a reload is made."""

    cronjob: CronJobStrategy = CronJobStrategy.CREATE
    """What a reload is, of a CronJob."""

    restarts: bool = False
    """A Rollout restarts its pods, and its template stays."""

    evicts: bool = False
    """Of other kinds, pods are evicted, and the template stays; see `restarts`."""

    on_create: bool = False
    """Reload for any source that appears."""

    on_delete: bool = False
    """Reload for any source that goes."""

    terms: Terms = NO_TERMS
    """When it may reload."""

    by_keys: bool = False
    """Only the keys count that the pods use."""

    ignored_keys: frozenset[str] = frozenset()
    """Keys that count in no source."""

    extra: frozenset[ExtraReference] = frozenset()
    """What else counts as a use."""

    unwatched: frozenset[SourceKind] = frozenset()
    """Kinds of which nothing is known: none of them counts, nor is gone."""

    is_ignored: bool = False
    """Nobody may reload it."""

    wishes: tuple[Wish, ...] = ()
    """What ReloaderConfigs want, in the order of precedence."""

    trigger: LegacyTrigger = LegacyTrigger.CRD
    """When the marks of the original operator are left."""

    @property
    def asks(self) -> bool:
        """Whether any source may matter."""
        return bool(self.wishes) or any(rules.asks for rules in self.rules.values())

    def vetoes(self, source: Source) -> bool:
        """Tell whether a source never counts, whoever wants it."""
        if source.key.kind in self.unwatched:
            return True
        rules = self.rules.get(source.key.kind)
        if rules is not None and source.key.name in rules.excluded:
            return True
        return source.annotations.get(self.keys.ignore) == "true"

    def match(self, source: Source) -> Match | None:
        """Decide whether annotations want a source, references apart."""
        rules = self.rules.get(source.key.kind)
        if rules is None or self.vetoes(source):
            return None
        if rules.names.matches(source.key.name):
            return Match.EXPLICIT
        is_found = rules.search and source.annotations.get(self.keys.match) == "true"
        return Match.AUTO if is_found or rules.auto else None

    def names_in_full(self, source: Source) -> bool:
        """Tell whether a source is listed with its namespace, whichever that is."""
        rules = self.rules.get(source.key.kind)
        if rules is None or source.annotations.get(self.keys.ignore) == "true":
            return False
        full_name = f"{source.key.namespace}/{source.key.name}"
        return full_name in rules.names.in_full - rules.excluded

    def match_from(self, namespace: str, source: Source) -> Match | None:
        """Decide whether annotations of a workload want a source of any namespace.

        Args:
            namespace: Of the workload.
            source: Wherever it is.
        """
        if self.names_in_full(source):
            return Match.EXPLICIT
        return self.match(source) if source.key.namespace == namespace else None

    def scope(
        self,
        source: Source,
        match: Match | None,
        used: Callable[[], KeyScope | None],
    ) -> KeyScope:
        """Decide which keys of a source count: all that anybody wants.

        Args:
            source: One that annotations want, or configs.
            match: Whether annotations do; see `match_from`.
            used: Names the keys that the pods use; `None` if they do not use any.
        """
        scopes = [
            wish.keys(source)
            for wish in self.wishes
            if _is_wanted(wish.match(source), used)
        ]
        if not scopes or _is_wanted(match, used):
            scopes.append((used() if self.by_keys else None) or ALL_KEYS)
        ignored = key_list(source.annotations.get(self.keys.ignore_keys, ""))
        return reduce(KeyScope.joined, scopes).without(self.ignored_keys | ignored)


def _is_wanted(match: Match | None, used: Callable[[], object | None]) -> bool:
    return used() is not None if match is Match.AUTO else match is not None
