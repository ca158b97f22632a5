"""What a workload's annotations ask for: metadata → `ReloadPolicy`, and no effects.

Users write in two places, the workload and its pod template; the template is asked
for a kind of source only if the workload says nothing about it. Then, for a source,
in this order:

    ignored, by the source or by the workload    never
    in the list of excluded names                never
    in the list of names                         EXPLICIT  used by the pods or not,
                                                 and of another namespace if in full
    `search` here, `match` on the source         AUTO      if the pods use it
    `auto`, for its kind or for all              AUTO      if the pods use it

Under `strict_auto_false`, `auto: "false"` comes before the list of names. How a reload
is made, and whether for what comes and goes, either place may say; the workload first.

ReloaderConfigs want reloads besides: each is a `Wish` of the policy, which `claims`
adds. Ignored and excluded sources are so for them too.

What cannot be read is left out, and named in `problems`; the rest counts. Names are
regular expressions of strangers, see `patterns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum, auto
from functools import reduce
from typing import NamedTuple, Protocol, TypeVar, assert_never

from api.apps.v1 import Deployment
from controller_runtime import Duration, NamespacedName
from controllers.reload.keys import ALL_KEYS, KeyScope, key_list
from controllers.reload.options import (
    AnnotationKeys,
    CronJobStrategy,
    ExtraReference,
    LegacyTrigger,
    ReloadOptions,
    Scope,
    Strategy,
)
from controllers.reload.patterns import Pattern, PatternReader, shown
from controllers.reload.sources import Source, SourceKind
from controllers.reload.terms import NO_TERMS, Dependency, Terms
from controllers.reload.workloads import KINDS

DEPENDENCIES_MAX = 64
"""Workloads that one may wait for, as in a ReloaderConfig."""

PROBLEMS_MAX = 50
"""Problems of one workload or ReloaderConfig that are told; there is room for
thousands in an annotation."""

_LITERAL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
"""Characters that stand for themselves; of those in names only the dot does not."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""Go's `strconv.ParseBool`."""


E = TypeVar("E", bound=StrEnum)


class _RolloutStrategy(StrEnum):
    ROLLOUT = auto()
    RESTART = auto()


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


def read_policy(
    metadata: Mapping[str, str],
    template: Mapping[str, str],
    options: ReloadOptions,
    *,
    kind: str = "",
) -> ReloadPolicy:
    """Read the annotations of a workload and of its pod template.

    Args:
        metadata: The annotations of the workload.
        template: Those of its pods.
        options: What counts where they say nothing.
        kind: Of the workload, such as `StatefulSet`.
    """
    keys = options.keys
    if "true" in {metadata.get(keys.ignore), template.get(keys.ignore)}:
        return ReloadPolicy({}, keys, is_ignored=True)
    reader = _Reader(metadata, template, options)
    kinds = (kind for kind in SourceKind if kind not in options.ignored_sources)
    rules = {kind: reader.rules(_keys_of(kind, keys)) for kind in kinds}
    restarts = reader.choice(keys.rollout_strategy, _RolloutStrategy.ROLLOUT)
    is_restart = restarts is _RolloutStrategy.RESTART
    strategy = reader.choice(keys.strategy, options.strategy)
    cronjob = reader.choice(keys.cronjob_strategy, options.cronjob_strategy)
    scope = reader.choice(keys.scope, Scope.OBJECT)
    cooldown = options.cooldown
    if kind != Deployment.gvk.kind:  # of a Deployment it means `spec.paused`
        cooldown = reader.span(pause_period_key(kind), options.cooldown)
    terms = Terms(
        suspended=reader.is_set(keys.pause),
        pause_period=reader.period(keys.pause_period),
        cooldown=cooldown,
        windows=options.windows,
        after=reader.dependencies(),
    )
    return ReloadPolicy(
        {kind: r for kind, r in rules.items() if r.asks or r.excluded},
        keys,
        # What all kinds read, such as `auto`, is one problem.
        tuple(dict.fromkeys(reader.problems)),
        strategy=strategy,
        cronjob=cronjob,
        restarts=is_restart,
        evicts=is_restart and options.restart_all_kinds,
        on_create=options.reload_on_create or reader.is_set(keys.on_create),
        on_delete=options.reload_on_delete or reader.is_set(keys.on_delete),
        terms=terms,
        by_keys=scope is Scope.KEYS,
        ignored_keys=key_list(
            f"{metadata.get(keys.ignore_keys, '')},{template.get(keys.ignore_keys, '')}"
        ),
        extra=options.extra_references,
        unwatched=options.ignored_sources,
        trigger=options.legacy_trigger_env,
    )


def pause_period_key(kind: str) -> str:
    """Name the annotation by which a workload of a kind asks for a pause."""
    return f"{kind.lower()}.reloader.stakater.com/pause-period"


class _KindKeys(NamedTuple):
    """The annotations of one kind of source."""

    reload: str
    auto: str
    exclude: str


def _keys_of(kind: SourceKind, keys: AnnotationKeys) -> _KindKeys:
    match kind:
        case SourceKind.CONFIG_MAP:
            return _KindKeys(
                keys.configmap_reload, keys.configmap_auto, keys.configmap_exclude
            )
        case SourceKind.SECRET:
            return _KindKeys(keys.secret_reload, keys.secret_auto, keys.secret_exclude)
        case SourceKind.SECRET_PROVIDER_CLASS:
            return _KindKeys(keys.spc_reload, keys.spc_auto, keys.spc_exclude)
        case _:
            assert_never(kind)


class _Reader:
    """Reads the annotations of one workload, and gathers what it cannot read."""

    def __init__(
        self,
        metadata: Mapping[str, str],
        template: Mapping[str, str],
        options: ReloadOptions,
    ) -> None:
        self._metadata = metadata
        self._template = template
        self._options = options
        self.problems: list[Problem] = []

    def rules(self, own: _KindKeys) -> Rules:
        keys = self._options.keys
        asked = (own.reload, own.auto, keys.search, keys.auto)
        # All or nothing: one of them on the workload hides those of the template.
        is_silent = self._metadata.keys().isdisjoint(asked)
        where = self._template if is_silent else self._metadata
        names, is_auto = self._names(own.reload, where), self._auto(own.auto, where)
        if self._is_off(own.auto, where):
            return Rules()
        return Rules(
            names=names,
            excluded=frozenset(
                name
                for place in (self._metadata, self._template)
                for name in _items(place.get(own.exclude, ""))
            ),
            search=where.get(keys.search) == "true",
            auto=is_auto,
        )

    def choice(self, annotation: str, default: E) -> E:
        """Read one of several words; what is none of them is as unset."""
        words = type(default)
        text = self._said(annotation)
        if not text:
            return default
        try:
            return words(text)
        except ValueError:
            self._refuse(annotation, f"{shown(text)} is none of {', '.join(words)}")
            return default

    def is_set(self, annotation: str) -> bool:
        return self._said(annotation) == "true"

    def span(self, annotation: str, default: timedelta) -> timedelta:
        """Read a time such as `15m`; what is none is as unset."""
        read = self._duration(annotation)
        return default if read is None else read

    def period(self, annotation: str) -> timedelta | None:
        """Read a time; what is none, or no time at all, is as unset."""
        read = self._duration(annotation)
        if read is not None and not read:
            self._refuse(annotation, "is no time at all", "PausePeriodInvalid")
        return read or None

    def _duration(self, annotation: str) -> timedelta | None:
        text = self._said(annotation)
        try:
            return Duration(text) if text else None
        except ValueError:
            reason = f"{shown(text)} is no time such as 90s, 15m or 1h30m; ignored"
            self._refuse(annotation, reason, "PausePeriodInvalid")
            return None

    def dependencies(self) -> tuple[Dependency, ...]:
        """Read what goes first: `Deployment/db, StatefulSet/cache`."""
        annotation = self._options.keys.depends_on
        found: dict[Dependency, None] = {}
        for item in _items(self._said(annotation)):
            kind, slash, name = item.partition("/")
            if not slash or not name or kind not in KINDS:
                self._refuse(annotation, f"{shown(item)} is not such as Deployment/db")
            elif len(found) == DEPENDENCIES_MAX:
                self._refuse(annotation, f"more than {DEPENDENCIES_MAX} workloads")
                break
            else:
                found[Dependency(kind, name)] = None
        return tuple(found)

    def _said(self, annotation: str) -> str:
        return self._metadata.get(annotation) or self._template.get(annotation, "")

    def _is_off(self, own: str, where: Mapping[str, str]) -> bool:
        if not self._options.strict_auto_false:
            return False
        return not _FALSE.isdisjoint(
            where.get(key, "") for key in (own, self._options.keys.auto)
        )

    def _auto(self, own: str, where: Mapping[str, str]) -> bool:
        general = self._options.keys.auto
        if not where.get(general) and not where.get(own):
            return self._options.auto_reload_all
        is_auto = self._flag(own, where)  # read in any case, and so checked
        return self._flag(general, where) or is_auto

    def _flag(self, annotation: str, where: Mapping[str, str]) -> bool:
        text = where.get(annotation, "")
        if text and text not in _TRUE | _FALSE:
            self._refuse(annotation, f"{shown(text)} is not `true` or `false`")
        return text in _TRUE

    def _names(self, annotation: str, where: Mapping[str, str]) -> NameList:
        literals: set[str] = set()
        patterns: list[Pattern] = []
        reader = PatternReader()
        in_full: set[str] = set()
        for item in _items(where.get(annotation, "")):
            if "/" in item:
                if self._may_reach(annotation, item):
                    in_full.add(item)
            elif _LITERAL.issuperset(item):
                literals.add(item)
            else:
                try:
                    patterns.append(reader.read(item))
                except ValueError as error:
                    self._refuse(annotation, str(error))
        return NameList(frozenset(literals), tuple(patterns), frozenset(in_full))

    def _may_reach(self, annotation: str, item: str) -> bool:
        """Tell whether `namespace/name` may be listed."""
        options, (namespace, _, name) = self._options, item.partition("/")
        ours = options.namespaces or [namespace]
        reason = ""
        if not options.allow_cross_namespace:
            reason = "names a namespace, which takes the flag --allow-cross-namespace"
        elif not (_LITERAL | {"."}).issuperset(namespace + name) or not name:
            reason = "is no namespace/name; patterns are for the own namespace"
        elif namespace not in ours or namespace in options.namespaces_to_ignore:
            reason = "is in a namespace that is not watched"
        if reason:
            self._refuse(annotation, f"{shown(item)} {reason}")
        return not reason

    def _refuse(
        self, annotation: str, reason: str, event: str = "InvalidReloadAnnotation"
    ) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(annotation, reason, event))


def _items(text: str) -> Iterator[str]:
    return filter(None, (item.strip() for item in text.split(",")))
