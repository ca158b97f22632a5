"""What became of reloads, for each ReloaderConfig, until its status has it.

    Reloader ──News──▶ Journal ──Reload──▶ status of each config that wanted it
             ──begin─▶    │      (`written`: it is in the status, and dropped here)
             ──end───▶    └──wake──▶ key of the config

It is a `Listener`, and a `Gate` that lets everything pass: between `begin` and `end` a
workload is in flight, and may have in the cluster what nobody was told of yet.

One change of a source is one change, whoever reloads for it. Workloads tell of it in
any order, and one may still be written to for the last content while another has the
next; so changes are told apart by the version of the source that was looked at, and
not by when they are told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from api.reload.status import MESSAGE_MAX, ReloadOutcome
from controller_runtime import NamespacedName
from controllers.reload.gates import Gate, Turn
from controllers.reload.news import News, Topic
from controllers.reload.plan import Marker
from controllers.reload.sources import SourceKey
from controllers.reload.status.traces import digits, recorded_hashes, reloaded_at
from controllers.reload.workloads import WorkloadKey

KEPT = 4096
"""Reloads that are kept of one config while its status cannot be written."""

_CHANGES_KEPT = 8
"""Changes of one source that late news may be about."""

_OUTCOMES: Mapping[str, ReloadOutcome] = {
    Topic.RELOADED: ReloadOutcome.RELOADED,
    Topic.FAILED: ReloadOutcome.FAILED,
    Topic.SKIPPED: ReloadOutcome.SKIPPED,
    Topic.PLANNED: ReloadOutcome.PLANNED,
    Topic.ROLLED_OUT: ReloadOutcome.COMPLETE,
    Topic.STUCK: ReloadOutcome.ROLLOUT_FAILED,
}


class Change(NamedTuple):
    """A source that a workload reloads for."""

    source: SourceKey

    has: str
    """Hash that the workload runs with then, 20 digits."""

    is_first: bool = True
    """Nobody has reloaded for this change before, as far as this process knows."""

    is_last: bool = True
    """Nobody has reloaded for a later change of the source."""

    whole: str = ""
    """Hash of all that the source holds, where `has` is of some keys of it."""

    @property
    def content(self) -> str:
        """What the source holds, by a name that all workloads share."""
        return self.whole or self.has


class Reload(NamedTuple):
    """What became of one reload of one workload, as far as one config wanted it."""

    number: int
    """Greater than that of all before."""

    workload: WorkloadKey
    changes: tuple[Change, ...]
    outcome: ReloadOutcome
    at: datetime

    had: Mapping[str, str] = {}
    """Name of a source → content that the workload ran with before."""

    before: datetime | None = None
    """When it was reloaded the last time before, if it said so."""

    error: str = ""
    """Why it failed."""

    seconds: float = 0.0
    """That the write took, or the rollout if that is what is over."""


class Journal(Gate):
    """Takes note; a `Listener` and a `Gate`."""

    def __init__(self, wake: Callable[[NamespacedName], None]) -> None:
        """Begin an empty one.

        Args:
            wake: Told of a config that there is news of.
        """
        self._wake = wake
        self._number = 0
        self._reloads: dict[NamespacedName, deque[Reload]] = {}
        self._changes: dict[NamespacedName, dict[SourceKey, _Changes]] = {}
        self._in_flight: set[WorkloadKey] = set()

    def __call__(self, news: News) -> None:
        """Take note of what became of a reload."""
        outcome = _OUTCOMES.get(news.topic)
        for config in news.configs:
            if outcome is not None:
                self._note(config, news, outcome)
            self._wake(config)

    def begin(self, turn: Turn) -> None:
        """Note that a workload is written to."""
        self._in_flight.add(turn.key)

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Note that it is not any more."""
        del is_reloaded
        self._in_flight.discard(turn.key)

    def is_in_flight(self, workload: WorkloadKey) -> bool:
        """Tell whether a workload may have been reloaded without a word about it."""
        return workload in self._in_flight

    def of(self, config: NamespacedName) -> tuple[Reload, ...]:
        """Return what is not in the status of a config yet, the oldest first."""
        return tuple(self._reloads.get(config, ()))

    def written(self, config: NamespacedName, reloads: tuple[Reload, ...]) -> None:
        """Drop what is in the status of a config now."""
        kept = self._reloads.get(config)
        while reloads and kept and kept[0].number <= reloads[-1].number:
            kept.popleft()
        if not kept:
            self._reloads.pop(config, None)

    def forget_config(self, config: NamespacedName) -> None:
        """Let go of a config that is no more."""
        self._reloads.pop(config, None)
        self._changes.pop(config, None)

    def _note(self, config: NamespacedName, news: News, outcome: ReloadOutcome) -> None:
        self._number += 1
        changes = tuple(
            self._change(config, marker, news, outcome)
            for marker in news.plan.markers
            if config in marker.configs
        )
        error = "" if news.error is None else str(news.error)
        reload = Reload(
            self._number,
            news.workload.key,
            changes,
            outcome,
            news.now.replace(microsecond=0),
            recorded_hashes(news.workload),
            reloaded_at(news.workload),
            error[:MESSAGE_MAX],
            news.seconds,
        )
        self._reloads.setdefault(config, deque(maxlen=KEPT)).append(reload)

    def _change(
        self,
        config: NamespacedName,
        marker: Marker,
        news: News,
        outcome: ReloadOutcome,
    ) -> Change:
        name = marker.source.recorded_in(news.workload.key.namespace)
        has = digits(news.plan.record.get(name, ""))
        whole = marker.whole[:20]
        if outcome is not ReloadOutcome.RELOADED:
            return Change(marker.source, has, whole=whole)
        of_config = self._changes.setdefault(config, {})
        changes = of_config.setdefault(marker.source, _Changes())
        is_first = changes.note(marker.version, has)
        return Change(marker.source, has, is_first, changes.ends_with(has), whole)


class _Changes:
    """What a source held, one after the other: by version, neighbours differ."""

    def __init__(self) -> None:
        self._known: list[tuple[tuple[int, str], str]] = []

    def note(self, version: str, hash_: str) -> bool:
        """Take note of content; tell whether it is a change of its own.

        What is gone has no version, and is taken for the latest. Of one version there
        is one change, though workloads that look at some keys alone hash it each in
        their own way.
        """
        since = (len(version), version)  # versions are numbers, of any length
        if not version and self._known:
            since = self._known[-1][0]
        place = sum(known <= since for known, _ in self._known)
        if place:
            known, had = self._known[place - 1]
            if had == hash_ or (version and known == since):
                return False
        if place < len(self._known) and self._known[place][1] == hash_:
            self._known[place] = since, hash_
            return False
        self._known.insert(place, (since, hash_))
        del self._known[:-_CHANGES_KEPT]
        return True

    def ends_with(self, hash_: str) -> bool:
        """Tell whether nothing newer is known than this content."""
        return self._known[-1][1] == hash_
