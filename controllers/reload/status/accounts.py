"""What the status of a ReloaderConfig counts. Pure.

    status as it is ─┐
    reloads since ───┼─▶ counts, rows of targets, history
    records, now ────┘

A change of a source counts once for a config, however many workloads reload for it and
whenever they do: `reloadedHashes` says which content was counted last. Two sources that
change together are two changes, even where one reload of a workload brings both.

Workloads that look at some keys of a source have hashes of their own for a change. So a
change is named by all that the source holds, where that is known: a record that is of
some keys of what it holds now is of that content.

What was reloaded is told by the journal. It is lost with the process, and an answer of
the server may be lost too; then the workload itself tells: its record has other content
than the row says, and it says that it was reloaded since. Both stand in the status that
is written with the count, in one write that holds for one version. So a reload counts
once, whatever fails in between; only of several changes that one source had in the last
second of a process the last alone may be counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from api.reload.status import (
    MESSAGE_MAX,
    PENDING_MAX,
    HistoryEntry,
    PlannedReload,
    ReloaderConfigStatus,
    ReloadOutcome,
    RolloutState,
    TargetStatus,
)
from controllers.reload.gates.cooldown import LONGEST
from controllers.reload.status.journal import Reload
from controllers.reload.status.traces import source_name, workload_name
from controllers.reload.workloads import WorkloadKey

_ENDS = frozenset({ReloadOutcome.COMPLETE, ReloadOutcome.ROLLOUT_FAILED})

_RELOADED = frozenset({ReloadOutcome.RELOADED, *_ENDS})
"""What an entry of the history says of a reload that was made."""

_NO_WRITES = frozenset({ReloadOutcome.PLANNED, *_ENDS})
"""What says nothing of what a workload runs with."""

ROWS_MAX = 512
"""Rows of targets, as many as a spec can name: a status has to fit into an object. Of
the others that selectors find, what was told of them counts all the same."""

NAMES_MAX = 10
"""Sources that are named of one reload that waits, or is planned."""

_WATCHED_BYTES, _COUNTED_BYTES, _OBSERVED_BYTES = 192 << 10, 96 << 10, 192 << 10
"""Room for the hashes of sources, for those that were counted last and for those of
all rows: patterns and selectors find more than an object can hold. What has no room is
not shown; it reloads, and counts, all the same."""

_ERRORS, _ERROR_MIN = 64 << 10, 128
"""Characters for the errors of all rows together, and for each at least."""

_INSTANT = timedelta(seconds=1)
"""What moments are told apart by."""


class Sighted(NamedTuple):
    """A target as the cache has it."""

    key: WorkloadKey

    is_there: bool = True

    hashes: Mapping[str, str] = {}
    """Name of a watched source → content that the record says it runs with."""

    current: frozenset[str] = frozenset()
    """The sources of which that is a part of what they hold now, but not all."""

    reloaded_at: datetime | None = None
    """When it was reloaded last, if it says so."""

    state: RolloutState | None = None

    pause: timedelta = timedelta()
    """For how long changes are held after a reload."""

    is_in_flight: bool = False
    """It is being written to: what the cache has may be news to the journal."""


class Ledger(NamedTuple):
    """What there is to take into account, besides the status as it is."""

    targets: Sequence[Sighted]
    """In the order of their rows; those that are not there, too."""

    sources: Mapping[str, str | None]
    """Name of each watched source → SHA-256 of its content; `None`: it is not there."""

    reloads: Sequence[Reload]
    """What the status does not have yet, the oldest first."""

    now: datetime

    since: datetime
    """When the config was created."""

    is_dry: bool = False
    """Reloads are planned, and not made."""

    limit: int = 10
    """Entries of the history."""


class Counted(NamedTuple):
    """What comes of it."""

    status: ReloaderConfigStatus
    """With everything but conditions, pending reloads and the generation."""

    reloaded: tuple[str, ...]
    """Names of the workloads that have reloaded."""


def count(status: ReloaderConfigStatus, ledger: Ledger) -> Counted:
    """Bring a status up to date with what has happened."""
    account = _Account(status, ledger)
    for reload in ledger.reloads:
        account.enter(reload)
    for target in ledger.targets:
        if target.is_there and not target.is_in_flight:
            account.recover(target)
    return Counted(account.close(), tuple(account.reloaded))


class _Account:
    def __init__(self, status: ReloaderConfigStatus, ledger: Ledger) -> None:
        self._status = status
        self._ledger = ledger
        self._count = status.reload_count
        self._last = status.last_reload_time
        self._counted = dict(status.reloaded_hashes)
        self._rows = {
            target.key: TargetStatus(
                kind=target.key.kind,
                name=target.key.name,
                namespace=target.key.namespace,
            )
            for target in ledger.targets
        }
        for row in status.target_status:
            key = WorkloadKey(row.kind, row.namespace, row.name)
            if key in self._rows:
                self._rows[key] = row
        self._begun = dict(self._rows)
        self._history = list(status.history)
        self._planned = {one.workload: one for one in status.would_reload}
        self._told = set(status.reloaded_hashes.items()) | {
            (source_name(change.source), change.content)
            for reload in ledger.reloads
            for change in reload.changes
            if reload.outcome is ReloadOutcome.RELOADED
        }
        """Changes that are counted already, or by the journal."""
        self._written: dict[WorkloadKey, dict[str, str]] = {}
        """What workloads run with that have reloaded; the cache may be behind."""
        self._room = _OBSERVED_BYTES
        self.reloaded: dict[str, None] = {}

    def recover(self, target: Sighted) -> None:
        """Count what a workload has reloaded for without a word about it.

        It may have done so before, between and after the reloads that were told.
        """
        row = self._begun[target.key]
        known = dict(row.observed_hashes)
        since = row.last_reload_time or self._ledger.since - _INSTANT
        for reload in self._ledger.reloads:
            if reload.workload != target.key or reload.outcome in _NO_WRITES:
                continue
            had = _only(reload.had, self._ledger.sources)
            self._bridge(target.key, known, had, since, reload.before)
            if reload.outcome is ReloadOutcome.RELOADED:
                has = {source_name(it.source): it.has for it in reload.changes}
                known, since = {**known, **had, **has}, reload.at
        self._bridge(
            *(target.key, known, target.hashes, since, target.reloaded_at),
            target.current,
        )

    def _bridge(
        self,
        key: WorkloadKey,
        known: Mapping[str, str],
        found: Mapping[str, str],
        since: datetime,
        at: datetime | None,
        current: Collection[str] = (),
    ) -> None:
        """Count what lies between two states of a workload, if it was a reload."""
        if at is None or at <= since:
            return  # or it was adopted
        changes = {
            source: hash_
            for source, hash_ in found.items()
            if known.get(source, hash_) != hash_
        }
        if not changes:
            return
        for source, hash_ in changes.items():
            counted = self._counted.get(source, "")
            whole = self._ledger.sources.get(source)
            content = whole[:20] if whole and source in current else hash_
            if (source, content) in self._told:
                continue
            self._told.add((source, content))
            self._count += 1
            if not counted or not self._is_current(source, counted):
                self._counted[source] = content
        self._reloaded(key, changes, at)

    def _is_current(self, source: str, hash_: str) -> bool:
        return (self._ledger.sources.get(source) or "").startswith(hash_)

    def enter(self, reload: Reload) -> None:
        """Count what was told."""
        if reload.workload not in self._rows:
            return
        changes = {source_name(it.source): it.has for it in reload.changes}
        if reload.outcome is ReloadOutcome.PLANNED:
            self._plan(reload.workload, changes, reload.at)
            return
        if reload.outcome in _ENDS:
            self._end(reload)
            return
        if reload.outcome is not ReloadOutcome.RELOADED:
            room = max(_ERRORS // len(self._rows), _ERROR_MIN)
            self._set(reload.workload, last_error=reload.error[:room])
            self._remember(reload.workload, changes, reload.at, reload.outcome)
            return
        for change in reload.changes:
            name = source_name(change.source)
            if change.is_first and self._counted.get(name) != change.content:
                self._count += 1
            if change.is_last:
                self._counted[name] = change.content
        self._reloaded(reload.workload, changes, reload.at)

    def _end(self, reload: Reload) -> None:
        """Note in the history how the rollout of a workload has ended."""
        name = workload_name(reload.workload)
        for place, entry in enumerate(self._history):
            if entry.workload != name or entry.outcome not in _RELOADED:
                continue
            if entry.outcome is not ReloadOutcome.COMPLETE:
                changes = {
                    "outcome": reload.outcome,
                    "duration_seconds": round(reload.seconds),
                }
                self._history[place] = entry.model_copy(update=changes)
            return

    def close(self) -> ReloaderConfigStatus:
        """Return the status."""
        ledger = self._ledger
        watched = ledger.sources
        hashes = {name: hash_ for name, hash_ in sorted(watched.items()) if hash_}
        counted = _only(dict(sorted(self._counted.items())), watched)
        history = sorted(self._history, key=lambda entry: entry.time, reverse=True)
        planned = tuple(self._planned.values())[:PENDING_MAX] if ledger.is_dry else ()
        return self._status.model_copy(
            update={
                "reload_count": self._count,
                "last_reload_time": self._last,
                "watched_resource_hashes": _fitting(hashes, _WATCHED_BYTES),
                "reloaded_hashes": _fitting(counted, _COUNTED_BYTES),
                "target_status": tuple(map(self._close, ledger.targets[:ROWS_MAX])),
                "history": tuple(history[: ledger.limit]),
                "would_reload": planned,
            }
        )

    def _close(self, target: Sighted) -> TargetStatus:
        row = self._rows[target.key]
        observed = dict(row.observed_hashes)
        if target.is_there and not target.is_in_flight:
            observed = dict(target.hashes)
        observed |= self._written.get(target.key, {})
        observed = _only(observed, self._ledger.sources)
        shown = _fitting(dict(sorted(observed.items())), self._room)
        self._room -= _size(shown)
        changes: dict[str, Any] = {
            "observed_hashes": shown,
            "rollout_state": target.state,
            "paused_until": _paused_until(row, target, self._ledger.now),
        }
        if target.is_there and all(
            self._is_current(source, hash_)
            or (source in target.current and target.hashes.get(source) == hash_)
            for source, hash_ in observed.items()
        ):
            changes["last_error"] = ""
        return row.model_copy(update=changes)

    def _reloaded(
        self,
        key: WorkloadKey,
        changes: Mapping[str, str],
        at: datetime,
    ) -> None:
        row = self._rows[key]
        last = max(filter(None, (row.last_reload_time, at)))
        count = row.reload_count + 1
        self._set(key, last_reload_time=last, reload_count=count, last_error="")
        self._last = max(filter(None, (self._last, at)))
        self._written.setdefault(key, {}).update(changes)
        self.reloaded[workload_name(key)] = None
        self._remember(key, changes, at, ReloadOutcome.RELOADED)

    def _remember(
        self,
        key: WorkloadKey,
        changes: Mapping[str, str],
        at: datetime,
        outcome: ReloadOutcome,
    ) -> None:
        entry = HistoryEntry(
            time=at,
            source=",".join(changes)[:MESSAGE_MAX],
            hash=next(iter(changes.values()), ""),
            workload=workload_name(key),
            outcome=outcome,
        )
        if outcome is ReloadOutcome.FAILED:  # again and again, until it succeeds
            self._history = [it for it in self._history if not _is_same(it, entry)]
        self._history.insert(0, entry)

    def _plan(self, key: WorkloadKey, changes: Iterable[str], at: datetime) -> None:
        name = workload_name(key)
        before = self._planned.pop(name, None)
        sources = {*changes, *(before.sources if before else ())}
        named = tuple(sorted(sources)[:NAMES_MAX])
        plan = PlannedReload(workload=name, sources=named, time=at)
        self._planned = {name: plan, **self._planned}

    def _set(self, key: WorkloadKey, **changes: object) -> None:
        self._rows[key] = self._rows[key].model_copy(update=changes)


def _paused_until(row: TargetStatus, target: Sighted, now: datetime) -> datetime | None:
    if row.last_reload_time is None or not target.pause:
        return None
    until = row.last_reload_time + min(target.pause, LONGEST)
    return until if until > now else None


def _is_same(one: HistoryEntry, other: HistoryEntry) -> bool:
    return one.model_copy(update={"time": other.time}) == other


def _only(hashes: Mapping[str, str], watched: Iterable[str]) -> dict[str, str]:
    return {name: hashes[name] for name in hashes if name in watched}


def _fitting(hashes: Mapping[str, str], room: int) -> dict[str, str]:
    """Return as many as there is room for, in bytes, from the first on."""
    fitting: dict[str, str] = {}
    for name, hash_ in hashes.items():
        room -= _size({name: hash_})
        if room < 0:
            break
        fitting[name] = hash_
    return fitting


def _size(hashes: Mapping[str, str]) -> int:
    """Return the bytes of hashes in JSON; names are of ASCII."""
    return sum(len(name) + len(hash_) + 6 for name, hash_ in hashes.items())
