"""What a ReloaderConfig comes to: the cache, the gates and the journal → `Sight`.

All of it is read at one moment, without a wait in between: what the journal knows and
what the cache shows are of one state of this process. Workloads are parsed when they
have changed, and not again for each look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from api.reload.status import MESSAGE_MAX, PendingReload, RolloutState
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import Clock, NamespacedName
from controllers.reload.configs import Configs
from controllers.reload.configs.claims import Config
from controllers.reload.gates import Gates, Waiting
from controllers.reload.observe import Observer
from controllers.reload.options import flag_of
from controllers.reload.policy import Problem
from controllers.reload.record import read_record
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.progress import ROLLING_KINDS, Stage, rollout_state
from controllers.reload.sources import SourceKey
from controllers.reload.status.accounts import NAMES_MAX, Ledger, Sighted
from controllers.reload.status.journal import Journal
from controllers.reload.status.statuses import Sight
from controllers.reload.status.traces import (
    partly_recorded,
    recorded_hashes,
    reloaded_at,
    source_name,
    workload_name,
)
from controllers.reload.workloads import Workload, WorkloadKey

_STATES: Mapping[Stage, RolloutState] = {
    Stage.PENDING: RolloutState.PENDING,
    Stage.PROGRESSING: RolloutState.PROGRESSING,
    Stage.PAUSED: RolloutState.PAUSED,
    Stage.COMPLETE: RolloutState.COMPLETE,
    Stage.FAILED: RolloutState.FAILED,
}


class _Read(NamedTuple):
    """What was read of one version of a workload."""

    version: str
    hashes: Mapping[str, str]
    reloaded_at: datetime | None
    stage: Stage | None
    used: frozenset[SourceKey]
    partly: tuple[str, ...] = ()
    """Sources of which it has the hash of a part."""

    held: tuple[str, ...] = ()
    """What those held when they were compared last."""

    current: frozenset[str] = frozenset()
    """Those that hold just that."""


class Sights:
    """Looks at configs."""

    def __init__(
        self,
        observer: Observer,
        configs: Configs,
        gates: Gates,
        journal: Journal,
        rollouts: Rollouts,
        clock: Clock,
        *,
        is_dry: bool = False,
    ) -> None:
        """Describe where to look.

        Args:
            observer: Has workloads and sources.
            configs: What configs ask for.
            gates: Where reloads wait.
            journal: What was reloaded.
            rollouts: How far that is.
            clock: Tells the time.
            is_dry: Nothing reloads at all.
        """
        self._observer = observer
        self._configs = configs
        self._gates = gates
        self.journal = journal
        self._rollouts = rollouts
        self._clock = clock
        self._is_dry = is_dry
        self._read: dict[NamespacedName, dict[WorkloadKey, _Read]] = {}

    def of(self, model: ReloaderConfig) -> Sight | None:
        """Look at a config; `None` if it has not been read yet."""
        key = NamespacedName(model.metadata.namespace, model.metadata.name)
        config = self._configs.get(key)
        if config is None:
            return None
        targets, missing = self._targets(config)
        read = self._read[key]
        used = {source for one in read.values() for source in one.used}
        sources = self._sources(config, used)
        for name, one in read.items():
            read[name] = self._compared(name, one, sources)
        ledger = Ledger(
            targets=[
                one._replace(
                    hashes=_only(one.hashes, sources),
                    current=read[one.key].current if one.key in read else frozenset(),
                )
                for one in targets
            ],
            sources=sources,
            reloads=self.journal.of(key),
            now=self._clock.now(),
            since=_created_at(model, self._clock.now()),
            is_dry=self._is_dry or config.is_rehearsed,
            limit=model.spec.history_limit,
        )
        lost = self._configs.problems(key)[len(config.problems) :]
        return Sight(
            ledger,
            problems=(*map(_text, config.problems), *self._elsewhere(config)),
            conflicts=tuple(map(_text, lost)),
            missing=missing,
            pending=tuple(self._pending(key)),
        )

    def _elsewhere(self, config: Config) -> Iterator[str]:
        """Name the targets' namespaces that are not looked at."""
        for namespace in sorted({target.namespace for target in config.targets}):
            if not self._observer.places.is_ours(namespace):
                yield (
                    f"spec.targets: namespace {namespace} does not have the labels of "
                    f"{flag_of('namespace-selector')}"
                )

    def forget(self, key: NamespacedName) -> None:
        """Let go of a config that is no more."""
        self._read.pop(key, None)

    def _targets(self, config: Config) -> tuple[list[Sighted], tuple[str, ...]]:
        """Return what the targets of a config are, and the names of those missing."""
        before = self._read.get(config.key, {})
        read: dict[WorkloadKey, _Read] = {}
        found: dict[WorkloadKey, Sighted] = {}
        missing: list[str] = []
        for target in config.targets:
            pause = max(target.cooldown, config.min_interval)
            keys = list(self._observer.meant(config._replace(targets=(target,))))
            there = [key for key in keys if self._observer.is_there(key)]
            if target.selector is None and not there:
                kind = target.kind or "*"
                missing.append(f"{target.namespace}/{kind}/{target.name}")
            for key in there if len(keys) > 1 else keys:
                if key not in found:
                    seen = self._look(key, before)
                    if seen is not None:
                        read[key] = seen
                    is_there = key in there
                    found[key] = self._sighted(key, pause, seen, is_there=is_there)
        self._read[config.key] = read
        return list(found.values()), tuple(missing)

    def _sighted(
        self, key: WorkloadKey, pause: timedelta, seen: _Read | None, *, is_there: bool
    ) -> Sighted:
        one = Sighted(key, is_there=is_there, pause=pause)
        if seen is None:
            return one._replace(is_in_flight=is_there)
        stage = self._rollouts.stage(key) or seen.stage  # it may evict, or be stuck
        return one._replace(
            hashes=seen.hashes,
            reloaded_at=seen.reloaded_at,
            state=None if stage is None else _STATES[stage],
            is_in_flight=self.journal.is_in_flight(key),
        )

    def _look(
        self, key: WorkloadKey, before: Mapping[WorkloadKey, _Read]
    ) -> _Read | None:
        """Read a workload, if it is there in full and has changed."""
        entry = self._observer.entry(key)
        if entry is None:
            return None
        version = entry.meta.resource_version
        known = before.get(key)
        if known is not None and known.version == version:
            return known
        workload = self._observer.read(key.kind, entry)
        return _Read(
            version,
            recorded_hashes(workload),
            reloaded_at(workload),
            _stage(workload),
            frozenset(self._observer.supply.uses(workload)),
            tuple(partly_recorded(workload)),
        )

    def _compared(
        self, key: WorkloadKey, read: _Read, sources: Mapping[str, str | None]
    ) -> _Read:
        """Compare what a workload has of parts of sources, unless that was done."""
        held = tuple(sources.get(name) or "" for name in read.partly)
        if held == read.held:
            return read
        workload = self._observer.workload(key)
        if workload is None or workload.meta.resource_version != read.version:
            return read
        record = read_record(workload) or {}
        policy = self._observer.policy(workload)
        current = frozenset(
            source_name(source.key)
            for source in self._observer.supply.sources(workload, policy)
            if source.digest.recorded
            == record.get(source.key.recorded_in(key.namespace))
        )
        return read._replace(held=held, current=current.intersection(read.partly))

    def _sources(
        self, config: Config, used: Iterable[SourceKey]
    ) -> Mapping[str, str | None]:
        """Return what the sources of a config hold; it may name some in vain."""
        watched, place = config.watched, config.key.namespace
        named = {
            SourceKey(kind, place, name)
            for kind, names in watched.names.items()
            for name in names.literals
        }
        keys = {*named, *self._observer.supply.watched(config)}
        if watched.uses:
            keys.update(used)
        hashes: dict[str, str | None] = {}
        for key in sorted(keys):
            source = self._observer.supply.source(key)
            if watched.ignores(key):
                continue
            if source is not None and watched.labels.matches(source.labels):
                hashes[source_name(key)] = source.digest.canonical
            elif source is None and key in named:
                hashes[source_name(key)] = None
        return hashes

    def _pending(self, key: NamespacedName) -> Iterator[PendingReload]:
        """Yield what waits for longer than a moment, by name."""
        waiting = [
            one
            for one in self._gates
            if not one.hold.quiet and key in one.turn.plan.configs
        ]
        for one in sorted(waiting, key=lambda one: one.turn.key):
            yield _waits(one, key)


def _waits(one: Waiting, key: NamespacedName) -> PendingReload:
    turn, hold = one
    now = turn.now.replace(microsecond=0)
    is_known = hold.seconds is not None and not hold.is_open
    until = now + _seconds(hold.seconds or 0.0) if is_known else None
    sources = [
        source_name(marker.source)
        for marker in turn.plan.markers
        if key in marker.configs
    ]
    return PendingReload(
        workload=workload_name(turn.key),
        sources=tuple(sources[:NAMES_MAX]),
        reason=hold.reason.value,
        message=f"waits {hold.text}"[:MESSAGE_MAX],
        since=now,
        until=until,
    )


def _created_at(model: ReloaderConfig, now: datetime) -> datetime:
    created = model.metadata.creation_timestamp
    return datetime.fromisoformat(created) if created else now


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


def _stage(workload: Workload) -> Stage | None:
    is_rolling = workload.key.kind in ROLLING_KINDS
    return rollout_state(workload).stage if is_rolling else None


def _text(problem: Problem) -> str:
    return f"{problem.annotation}: {problem.reason}"


def _only(hashes: Mapping[str, str], watched: Iterable[str]) -> Mapping[str, str]:
    return {name: hash_ for name, hash_ in hashes.items() if name in watched}
