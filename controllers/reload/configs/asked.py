"""A ReloaderConfig → `Config`: what of it can be obeyed, and what cannot.

The server has checked the form. What it cannot check is left out and named in the
config's problems, for its status: regular expressions, selectors, and other namespaces
where these are not allowed. The rest of the config counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from api.meta.v1 import LabelSelector as SelectorModel
from api.reload import v1alpha1 as api
from controller_runtime import LabelSelector, NamespacedName, SelectorError
from controllers.reload.configs.claims import Config, KeyRule, Target, Watched
from controllers.reload.gates.schedules import read_window
from controllers.reload.options import CROSS_NAMESPACE, Strategy
from controllers.reload.patterns import PATTERNS_MAX, Pattern, PatternReader
from controllers.reload.policy import PROBLEMS_MAX, NameList, Problem
from controllers.reload.sources import SourceKind
from controllers.reload.terms import NO_TIME, Dependency, Window

_KINDS = {
    api.SourceKind.CONFIG_MAP: SourceKind.CONFIG_MAP,
    api.SourceKind.SECRET: SourceKind.SECRET,
}

_STRATEGIES: Mapping[api.ReloadStrategy | None, Strategy] = {
    api.ReloadStrategy.ENV_VARS: Strategy.ENV_VARS,
    api.ReloadStrategy.ANNOTATIONS: Strategy.ANNOTATIONS,
}

_RESTARTS: Mapping[api.RolloutStrategy | None, bool] = {
    api.RolloutStrategy.ROLLOUT: False,
    api.RolloutStrategy.RESTART: True,
}

NO_SOURCE = LabelSelector.from_dict(None)
"""Matches nothing."""

_UNSEEN = (
    "labels of namespaces are not known to a manager that works in named namespaces "
    "alone: it is left out"
)

_ELSEWHERE = f"another namespace needs {CROSS_NAMESPACE}: it is left out"


def read_config(
    config: api.ReloaderConfig,
    *,
    allow_cross_namespace: bool = False,
    sees_namespaces: bool = True,
) -> Config:
    """Read a ReloaderConfig.

    Args:
        config: As the server has it.
        allow_cross_namespace: It may reach other namespaces.
        sees_namespaces: Labels of namespaces are known.
    """
    reader = _Reader(
        config,
        allow_cross_namespace=allow_cross_namespace,
        sees_namespaces=sees_namespaces,
    )
    spec = config.spec
    watched, targets = reader.watched(), tuple(reader.targets())
    key_rules, window = tuple(reader.key_rules()), reader.window()
    return Config(
        NamespacedName(config.metadata.namespace, config.metadata.name),
        watched,
        targets,
        strategy=_STRATEGIES[spec.reload_strategy],
        restarts=_RESTARTS[spec.rollout_strategy],
        on_create=spec.reload_on_create,
        on_delete=spec.reload_on_delete,
        is_suspended=spec.suspend,
        is_rehearsed=spec.dry_run,
        key_rules=key_rules,
        ignored_keys=frozenset(spec.ignore_keys),
        window=window,
        max_concurrent=spec.max_concurrent,
        min_interval=spec.min_interval or NO_TIME,
        after=tuple(Dependency(it.kind, it.name) for it in spec.depends_on),
        rolls_back=spec.on_failure is api.FailurePolicy.ROLLBACK,
        alerts=spec.alerts,
        problems=tuple(reader.problems),
    )


class _Reader:
    """Reads one config, and gathers what it cannot obey."""

    def __init__(
        self,
        config: api.ReloaderConfig,
        *,
        allow_cross_namespace: bool,
        sees_namespaces: bool,
    ) -> None:
        self._sees_namespaces = sees_namespaces
        self._spec = config.spec
        self._namespace = config.metadata.namespace
        self._reaches_out = allow_cross_namespace
        self._patterns = PatternReader()
        self.problems: list[Problem] = []

    def watched(self) -> Watched:
        spec = self._spec
        resources = spec.watched_resources or api.WatchedResources()
        where = "spec.watchedResources"
        names = {
            SourceKind.SECRET: self._names(f"{where}.secrets", resources.secrets),
            SourceKind.CONFIG_MAP: self._names(
                f"{where}.configMaps", resources.config_maps
            ),
        }
        selected, places = self._selected(where, resources)
        says = (resources.secrets, resources.config_maps)
        selects = (resources.resource_selector, resources.namespace_selector)
        is_silent = not any(says) and selects == (None, None)
        return Watched(
            names={kind: found for kind, found in names.items() if found},
            resources=selected,
            namespaces=places,
            labels=self._labels(),
            uses=spec.auto_reload_all or (is_silent and bool(spec.match_labels)),
            is_targeted=resources.enable_targeted_reload,
            ignored=frozenset(
                (_KINDS[it.kind], it.namespace, it.name) for it in spec.ignore_resources
            ),
        )

    def targets(self) -> Iterator[Target]:
        for number, target in enumerate(self._spec.targets):
            where = f"spec.targets[{number}]"
            namespace = target.namespace or self._namespace
            if namespace != self._namespace and not self._reaches_out:
                self._refuse(f"{where}.namespace", _ELSEWHERE)
                continue
            selector = self._selector(f"{where}.selector", target.selector)
            if selector is None and not target.name:
                continue
            yield Target(
                "" if target.kind is api.TargetKind.ANY else target.kind.value,
                namespace,
                target.name,
                selector,
                strategy=_STRATEGIES.get(target.reload_strategy),
                restarts=_RESTARTS.get(target.rollout_strategy),
                cooldown=target.pause_period or NO_TIME,
                requires_reference=target.require_reference,
                containers=frozenset(target.containers),
                is_canary=target.canary,
            )

    def key_rules(self) -> Iterator[KeyRule]:
        resources = self._spec.watched_resources or api.WatchedResources()
        for number, scope in enumerate(resources.key_scopes):
            where = f"spec.watchedResources.keyScopes[{number}].name"
            names = self._names(where, [scope.name])
            only, ignored = frozenset(scope.keys), frozenset(scope.ignore_keys)
            yield KeyRule(_KINDS[scope.kind], names, only, ignored)

    def window(self) -> Window | None:
        window = self._spec.window
        if window is None:
            return None
        wanted = Window(window.schedule, window.duration, window.time_zone)
        try:
            read_window(wanted)
        except ValueError as error:
            self._refuse("spec.window", f"{error}; it is never open")
        return wanted

    def _selected(
        self, where: str, resources: api.WatchedResources
    ) -> tuple[LabelSelector | None, LabelSelector | None]:
        """Read which sources are selected, and where."""
        by_labels, by_place = resources.resource_selector, resources.namespace_selector
        if by_place is not None and not (self._reaches_out and self._sees_namespaces):
            why = _UNSEEN if self._reaches_out else _ELSEWHERE
            self._refuse(f"{where}.namespaceSelector", why)
            return None, None
        selected = self._selector(f"{where}.resourceSelector", by_labels)
        places = self._selector(f"{where}.namespaceSelector", by_place)
        if by_place is not None and places is None:
            return None, None
        if by_labels is None and by_place is not None:
            selected = LabelSelector()
        return selected, places

    def _labels(self) -> LabelSelector:
        labels = dict(self._spec.match_labels)
        try:
            return LabelSelector.from_dict({"matchLabels": labels})
        except SelectorError as error:
            self._refuse("spec.matchLabels", str(error))
            return NO_SOURCE

    def _selector(
        self, where: str, selector: SelectorModel | None
    ) -> LabelSelector | None:
        """Read a selector; one that cannot be read selects nothing."""
        if selector is None:
            return None
        try:
            return LabelSelector.from_dict(
                selector.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            )
        except SelectorError as error:
            self._refuse(where, str(error))
            return None

    def _names(self, where: str, items: Iterable[str]) -> NameList:
        literals: set[str] = set()
        patterns: list[Pattern] = []
        for number, item in enumerate(items):
            if not (len(item) > 1 and item.startswith("/") and item.endswith("/")):
                literals.add(item)
            elif self._patterns.is_full:
                self._refuse(where, f"more than {PATTERNS_MAX} patterns")
                break
            else:
                try:
                    patterns.append(self._patterns.read(item[1:-1]))
                except ValueError as error:
                    self._refuse(f"{where}[{number}]", str(error))
        return NameList(frozenset(literals), tuple(patterns))

    def _refuse(self, where: str, reason: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(where, reason))
