"""A ReloaderConfig as this controller reads it, and what it claims of a workload.

    ReloaderConfig ──`asked`──▶ Config ──with a workload──▶ Claim ──match──▶ source?
                                               several Claims ──merged──▶ ReloadPolicy

A claim is the `Wish` of one config for one workload. A source matches it if it is

    named, and in the config's namespace                      EXPLICIT
    selected by its labels and those of its namespace         EXPLICIT
    anything that the workload's pods use, if that is asked   AUTO

and carries the labels that are asked for, and is not ignored. Where references are
required, EXPLICIT is AUTO: the pods have to use it.

Several claims on one workload make one reload. Of what can only be one thing, the first
config by name decides, and before that a target itself; what limits reloads adds up.
All of it is pure: what is looked up comes as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from api.reload.alerts import Alerts
from controller_runtime import LabelSelector, NamespacedName
from controllers.reload.options import Strategy
from controllers.reload.policy import Match, NameList, Problem, ReloadPolicy
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.keys import KeyScope
from controllers.reload.terms import NO_TIME, Dependency, Limit, Terms, Window
from controllers.reload.workloads import WorkloadKey

Labels: TypeAlias = Mapping[str, str]

LabelsOf: TypeAlias = Callable[[str], Labels | None]
"""Labels of a namespace, if they are known."""

_NOBODY: Mapping[SourceKind, NameList] = {}


class Watched(NamedTuple):
    """The sources that a config is about."""

    names: Mapping[SourceKind, NameList] = _NOBODY
    """Those of its own namespace that are listed."""

    resources: LabelSelector | None = None
    """Also those with such labels; `None` for none."""

    namespaces: LabelSelector | None = None
    """Where `resources` are; `None` for the config's own namespace alone."""

    labels: LabelSelector = LabelSelector()
    """What every source has to carry."""

    uses: bool = False
    """Also what the pods of a target use."""

    is_targeted: bool = False
    """Targets that require references reload only for what their pods use."""

    ignored: frozenset[tuple[SourceKind, str, str]] = frozenset()
    """Kind, namespace and name of sources that never count; no namespace is any."""

    def ignores(self, source: SourceKey) -> bool:
        """Tell whether a source never counts."""
        kind, namespace, name = source
        places = {(kind, namespace, name), (kind, "", name)}
        return not self.ignored.isdisjoint(places)

    @property
    def by_labels(self) -> bool:
        """Whether labels of sources matter."""
        return self.resources is not None or bool(self.labels.requirements)


class KeyRule(NamedTuple):
    """Which keys of some sources count."""

    kind: SourceKind
    names: NameList
    only: frozenset[str] = frozenset()
    """Empty for all."""

    ignored: frozenset[str] = frozenset()


class Target(NamedTuple):
    """A workload, or several, that a config is about."""

    kind: str
    """Empty for all kinds."""

    namespace: str
    name: str = ""
    selector: LabelSelector | None = None
    """Labels, instead of a name."""

    strategy: Strategy | None = None
    restarts: bool | None = None
    cooldown: timedelta = NO_TIME
    requires_reference: bool = False
    containers: frozenset[str] = frozenset()
    is_canary: bool = False
    """It goes before the other targets."""

    def covers(self, workload: WorkloadKey, labels: Labels) -> bool:
        """Tell whether it is about a workload."""
        kind, namespace, name = workload
        if self.kind not in {"", kind} or self.namespace != namespace:
            return False
        if self.selector is not None:
            return self.selector.matches(labels)
        return self.name == name


class Config(NamedTuple):
    """A ReloaderConfig."""

    key: NamespacedName
    watched: Watched = Watched()
    targets: tuple[Target, ...] = ()
    strategy: Strategy = Strategy.ENV_VARS
    restarts: bool = False
    on_create: bool = False
    on_delete: bool = False
    is_suspended: bool = False
    is_rehearsed: bool = False
    """A dry run."""

    key_rules: tuple[KeyRule, ...] = ()
    ignored_keys: frozenset[str] = frozenset()
    """Keys that count in no source."""

    window: Window | None = None
    max_concurrent: int | None = None
    min_interval: timedelta = NO_TIME
    after: tuple[Dependency, ...] = ()
    rolls_back: bool = False
    alerts: Alerts | None = None
    problems: tuple[Problem, ...] = ()
    """Fields that cannot be obeyed, and why; the others are."""

    def target(self, workload: WorkloadKey, labels: Labels) -> Target | None:
        """Return the target that a workload is; one with its name goes first."""
        found = [it for it in self.targets if it.covers(workload, labels)]
        return min(found, key=lambda it: it.selector is not None, default=None)


class Claim(NamedTuple):
    """What one config wants of one workload; a `Wish`."""

    by: Config
    target: Target
    workload: WorkloadKey
    labels_of: LabelsOf

    @property
    def config(self) -> NamespacedName:
        """Whose wish it is."""
        return self.by.key

    @property
    def on_create(self) -> bool:
        """Reload for a source that appears."""
        return self.by.on_create

    @property
    def on_delete(self) -> bool:
        """Reload for a source that goes."""
        return self.by.on_delete

    @property
    def containers(self) -> frozenset[str]:
        """The only ones that count; empty for all."""
        return self.target.containers

    @property
    def strategy(self) -> Strategy:
        """How a reload is made."""
        return self.target.strategy or self.by.strategy

    @property
    def restarts(self) -> bool:
        """Pods are restarted, and the template stays."""
        own = self.target.restarts
        return self.by.restarts if own is None else own

    @property
    def requires_reference(self) -> bool:
        """The pods have to use what is named or selected."""
        return self.by.watched.is_targeted and self.target.requires_reference

    def match(self, source: Source, /) -> Match | None:
        """Decide whether a source concerns the workload, references apart."""
        watched, (kind, namespace, name) = self.by.watched, source.key
        if watched.ignores(source.key) or not watched.labels.matches(source.labels):
            return None
        is_here = namespace == self.by.key.namespace
        names = watched.names.get(kind)
        is_named = is_here and names is not None and names.matches(name)
        if is_named or self._selects(source):
            return Match.AUTO if self.requires_reference else Match.EXPLICIT
        if watched.uses and namespace == self.workload.namespace:
            return Match.AUTO
        return None

    def keys(self, source: Source, /) -> KeyScope:
        """Return which keys of a source count; a rule for its name goes first."""
        kind, _, name = source.key
        rules = [
            r for r in self.by.key_rules if r.kind is kind and r.names.matches(name)
        ]
        everything = KeyRule(kind, NameList())
        rule = min(rules, key=lambda r: not r.names.literals, default=everything)
        return KeyScope(rule.only or None, rule.ignored | self.by.ignored_keys)

    def reaches(self, namespace: str) -> bool:
        """Tell whether sources of a namespace may be selected."""
        watched = self.by.watched
        if watched.resources is None:
            return False
        if watched.namespaces is None:
            return namespace == self.by.key.namespace
        labels = self.labels_of(namespace)
        return labels is not None and watched.namespaces.matches(labels)

    def _selects(self, source: Source) -> bool:
        resources = self.by.watched.resources
        return (
            resources is not None
            and source.key.kind is not SourceKind.SECRET_PROVIDER_CLASS
            and resources.matches(source.labels)
            and self.reaches(source.key.namespace)
        )


def precedence(config: NamespacedName) -> tuple[str, str]:
    """Order configs by name; equal names by namespace."""
    return config.name, config.namespace


def merged(policy: ReloadPolicy, claims: Sequence[Claim]) -> ReloadPolicy:
    """Add what configs want to what annotations and flags say.

    Args:
        policy: Of one workload.
        claims: On it, in the order of precedence.
    """
    if policy.is_ignored or not claims:
        return policy
    return policy._replace(
        wishes=tuple(claims),
        strategy=claims[0].strategy,
        restarts=claims[0].restarts,
        evicts=claims[0].restarts,
        terms=_merged_terms(policy.terms, claims),
    )


def _merged_terms(terms: Terms, claims: Sequence[Claim]) -> Terms:
    configs = [claim.by for claim in claims]
    cooldowns = [claim.target.cooldown for claim in claims]
    after = [it for config in configs for it in config.after]
    return terms._replace(
        suspended_configs=frozenset(c.key for c in configs if c.is_suspended),
        cooldown=max(cooldowns) or terms.cooldown,
        min_interval=max([terms.min_interval, *(c.min_interval for c in configs)]),
        windows=(*terms.windows, *(c.window for c in configs if c.window is not None)),
        max_concurrent=tuple(
            Limit(c.key, c.max_concurrent)
            for c in configs
            if c.max_concurrent is not None
        ),
        after=tuple(dict.fromkeys([*terms.after, *after])),
        rolls_back=terms.rolls_back or any(c.rolls_back for c in configs),
        is_canary=terms.is_canary or any(claim.target.is_canary for claim in claims),
    )


class Conflict(NamedTuple):
    """Two configs want one workload to reload in different ways."""

    workload: WorkloadKey
    field: str
    winner: NamespacedName
    loser: NamespacedName

    @property
    def problem(self) -> Problem:
        """What to tell the loser."""
        return Problem(
            f"spec.{self.field}",
            f"ReloaderConfig {self.winner} wants another one for {self.workload} and "
            "comes first by name: let them agree, or take the target out of one",
        )


def conflicts(claims: Sequence[Claim]) -> Iterator[Conflict]:
    """Yield where configs do not agree; the first one wins.

    Args:
        claims: On one workload, in the order of precedence.
    """
    for claim in claims[1:]:
        yield from conflicts_of(claim, claims[0])


def conflicts_of(claim: Claim, first: Claim) -> Iterator[Conflict]:
    """Yield where a claim does not agree with the one that wins."""
    workload, winner, loser = claim.workload, first.config, claim.config
    if claim.strategy != first.strategy:
        yield Conflict(workload, "reloadStrategy", winner, loser)
    if claim.restarts != first.restarts:
        yield Conflict(workload, "rolloutStrategy", winner, loser)


def split(claims: Iterable[Claim]) -> tuple[list[Claim], list[Claim]]:
    """Tell claims that reload from those of dry runs."""
    live: list[Claim] = []
    rehearsed: list[Claim] = []
    for claim in claims:
        (rehearsed if claim.by.is_rehearsed else live).append(claim)
    return live, rehearsed
