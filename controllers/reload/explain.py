"""Why a workload would reload now, or not: for each source, the rule that decides.

    Workload, ReloadPolicy, sources ─▶ explain ─▶ Explanation
                                         │
                                         └ `rollout.concerns` and `decide` have the word

Whether a source counts and whether it has changed is asked of those who decide it when
there is something to write; here it is only said which of the rules it was. Nothing is
told of what a source holds, not even a hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from controllers.reload.happenings import Happened
from controllers.reload.policy import Match, ReloadPolicy, Rules
from controllers.reload.record import read_record
from controllers.reload.rollout import concerns, decide
from controllers.reload.sources import Source, SourceKey
from controllers.reload.workloads import Workload


class Rule(StrEnum):
    """What decides about a source, in the order in which that is asked."""

    KIND = "kindLeftOut"
    """Sources of this kind are not read, or not served."""

    ABSENT = "absent"
    """It is not there, or a filter leaves it out."""

    WORKLOAD_IGNORED = "workloadIgnored"
    IGNORED = "ignored"
    EXCLUDED = "excluded"
    NAMED = "named"
    SEARCH = "search"
    AUTO = "auto"
    AUTO_ALL = "autoReloadAll"
    CONFIG = "config"

    UNUSED = "unused"
    """It would count if the pods used it."""

    NOBODY = "nobodyAsks"


_TEXTS: Mapping[Rule, str] = {
    Rule.KIND: "sources of this kind are not watched, or the server has none",
    Rule.ABSENT: "it is not there, or left out by a selector of labels",
    Rule.WORKLOAD_IGNORED: "the workload says that it is to be ignored",
    Rule.IGNORED: "it says itself that it is to be ignored",
    Rule.EXCLUDED: "the workload excludes it",
    Rule.NAMED: "the workload lists its name, or a pattern that matches it",
    Rule.SEARCH: "the workload searches, it matches, and the pods use it",
    Rule.AUTO: "the workload says auto, and the pods use it",
    Rule.AUTO_ALL: "a flag says auto for all, and the pods use it",
    Rule.CONFIG: "a ReloaderConfig wants it",
    Rule.UNUSED: "it would count if a container of the pods used it",
    Rule.NOBODY: "neither an annotation nor a ReloaderConfig asks for it",
}


class State(StrEnum):
    """How what a source holds compares with what the workload runs with."""

    CHANGED = "changed"
    """The workload would reload."""

    CURRENT = "current"
    ADOPTED = "adopted"
    """It is seen for the first time: it would be noted, without a reload."""

    NONE = ""
    """It does not count."""


class Reason(NamedTuple):
    """What is said of one source."""

    source: SourceKey
    rule: Rule
    state: State
    configs: tuple[str, ...] = ()
    """ReloaderConfigs that want it, as namespace/name."""

    @property
    def text(self) -> str:
        """The rule in a sentence, without its subject."""
        return _TEXTS[self.rule]


class Explanation(NamedTuple):
    """What is said of one workload."""

    would_reload: bool
    reasons: tuple[Reason, ...]


class Seen(NamedTuple):
    """What there is to look at."""

    sources: Mapping[SourceKey, Source]
    """Those that may concern the workload, with the digest that counts for it, and any
    that its pods use."""

    asked: Iterable[SourceKey]
    """Those that its pods use, or that it lists by name, there or not."""

    read: frozenset[str]
    """Kinds of sources that are watched."""

    autos: frozenset[str] = frozenset()
    """Annotations by which a workload says auto."""


def explain(
    workload: Workload, policy: ReloadPolicy, seen: Seen, happened: Happened
) -> Explanation:
    """Say what would become of a workload, and why; each source comes once, by name.

    Args:
        workload: The version that is asked about.
        policy: What is asked for it, by annotations, ReloaderConfigs and flags.
        seen: The sources.
        happened: What cannot be seen any more.
    """
    plan = decide(workload, policy, seen.sources.values(), happened)
    changed = {marker.source for marker in plan.markers} if plan is not None else set()
    keys = {*seen.asked, *seen.sources, *changed}
    reasons = []
    for key in sorted(keys):
        rule = rule_of(workload, policy, key, seen)
        state = _state(workload, policy, seen.sources.get(key), key in changed)
        configs = _configs(workload, policy, seen.sources.get(key))
        reasons.append(Reason(key, rule, state, configs))
    return Explanation(bool(changed), tuple(reasons))


def rule_of(
    workload: Workload, policy: ReloadPolicy, key: SourceKey, seen: Seen
) -> Rule:
    """Name the rule that decides whether a source counts for a workload."""
    if key.kind not in seen.read:
        return Rule.KIND
    if policy.is_ignored:
        return Rule.WORKLOAD_IGNORED
    source = seen.sources.get(key)
    if source is None:
        return Rule.ABSENT
    if policy.vetoes(source):
        is_ignored = source.annotations.get(policy.keys.ignore) == "true"
        return Rule.IGNORED if is_ignored else Rule.EXCLUDED
    match = policy.match_from(workload.key.namespace, source)
    if concerns(workload, policy._replace(wishes=()), source):
        return _own_rule(workload, policy, source, match, seen)
    if concerns(workload, policy, source):
        return Rule.CONFIG
    matches = {match, *(wish.match(source) for wish in policy.wishes)}
    return Rule.NOBODY if matches == {None} else Rule.UNUSED


def _own_rule(
    workload: Workload,
    policy: ReloadPolicy,
    source: Source,
    match: Match | None,
    seen: Seen,
) -> Rule:
    if match is Match.EXPLICIT:
        return Rule.NAMED
    rules = policy.rules.get(source.key.kind, Rules())
    if rules.search and source.annotations.get(policy.keys.match) == "true":
        return Rule.SEARCH
    places = (workload.meta.annotations, workload.template.metadata.annotations)
    said = any(place.get(key) for place in places for key in seen.autos)
    return Rule.AUTO if said else Rule.AUTO_ALL


def _state(
    workload: Workload, policy: ReloadPolicy, source: Source | None, is_changed: bool
) -> State:
    if is_changed:
        return State.CHANGED
    if source is None or not concerns(workload, policy, source):
        return State.NONE
    record = read_record(workload) or {}
    had = record.get(source.key.recorded_in(workload.key.namespace))
    return State.CURRENT if had == source.digest.recorded else State.ADOPTED


def _configs(
    workload: Workload, policy: ReloadPolicy, source: Source | None
) -> tuple[str, ...]:
    if source is None:
        return ()
    return tuple(
        str(wish.config)
        for wish in policy.wishes
        if concerns(workload, policy._replace(rules={}, wishes=(wish,)), source)
    )
