"""What a workload's annotations ask for: metadata → `ReloadPolicy`, and no effects.

Users write in two places, the workload and its pod template; the template is asked
for a kind of source only if the workload says nothing about it. How a reload is made,
and whether for what comes and goes, either place may say; the workload first.

What cannot be read is left out, and named in `problems`; the rest counts. Names are
regular expressions of strangers, see `patterns`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum, auto
from typing import NamedTuple, TypeVar, assert_never

from api.apps.v1 import Deployment
from controller_runtime import Duration
from controllers.reload.options import (
    CROSS_NAMESPACE,
    AnnotationKeys,
    ReloadOptions,
    Scope,
)
from controllers.reload.patterns import Pattern, PatternReader, shown
from controllers.reload.policy import (
    PROBLEMS_MAX,
    NameList,
    Problem,
    ReloadPolicy,
    Rules,
)
from controllers.reload.sources import SourceKind
from controllers.reload.sources.keys import key_list
from controllers.reload.terms import Dependency, Terms
from controllers.reload.workloads import KINDS

DEPENDENCIES_MAX = 64
"""Workloads that one may wait for, as in a ReloaderConfig."""

_LITERAL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
"""Characters that stand for themselves; of those in names only the dot does not."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""Go's `strconv.ParseBool`."""


E = TypeVar("E", bound=StrEnum)


class _RolloutStrategy(StrEnum):
    ROLLOUT = auto()
    RESTART = auto()


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
    terms = reader.terms(kind)
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

    def terms(self, kind: str) -> Terms:
        """Read when a workload of a kind may reload."""
        keys, cooldown = self._options.keys, self._options.cooldown
        if kind != Deployment.gvk.kind:  # of a Deployment it means `spec.paused`
            cooldown = self.span(pause_period_key(kind), cooldown)
        return Terms(
            suspended=self.is_set(keys.pause),
            pause_period=self.period(keys.pause_period),
            cooldown=cooldown,
            windows=self._options.windows,
            after=self.dependencies(),
            is_canary=self.is_set(keys.canary),
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
            reason = f"names a namespace, which takes {CROSS_NAMESPACE}"
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
