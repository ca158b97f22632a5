"""What happened between two looks, where a look cannot see it.

A look compares what there is with what a workload runs with, and mostly that is all.
Whether a source has just appeared, or was there before anybody cared, what one that is
gone had to say, that a namespace has only now become ours, and that a workload was not
there before, it cannot see: that is noted here when it happens, for the workloads that
it concerns, until they have been looked at.

Where workloads may not be watched, one that came or was annotated meanwhile is found
only by the list that follows a change, and must not take the new content for its own.

It is lost with the process. Then a source that appeared is taken as it is, as if
nobody had asked for more; unless a look has put it into the record before.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controllers.reload.sources import Source, SourceKey
from controllers.reload.sources.digest import DELETED
from controllers.reload.workloads import WorkloadKey

_UNSEEN = 5.0
"""Seconds from a change of a source until a list has surely found all workloads."""

_NOTHING: Mapping[SourceKey, Source] = {}


class Happened(NamedTuple):
    """What a workload has to take into account at its next look."""

    appeared: frozenset[SourceKey] = frozenset()
    """Sources that came while we watched."""

    gone: Mapping[SourceKey, Source] = _NOTHING
    """Sources that went, as if they held `DELETED`."""

    joined: bool = False
    """Its namespace is ours since just now: what it runs with is taken for good."""

    is_new: bool = False
    """It was created while we watched, and nothing has changed for it since."""

    missed: frozenset[SourceKey] = frozenset()
    """Sources that changed just before it was found: it may have been there then."""

    known: Mapping[str, str] = {}
    """What the workload runs with, where its record has gone back in time: as in a
    record."""


class Happenings:
    """Notes for workloads that have not been looked at since."""

    def __init__(self) -> None:
        self._appeared: defaultdict[WorkloadKey, set[SourceKey]] = defaultdict(set)
        self._gone: defaultdict[WorkloadKey, dict[SourceKey, Source]] = defaultdict(
            dict
        )
        self._joined: set[WorkloadKey] = set()
        self._new: set[WorkloadKey] = set()
        self._missed: dict[WorkloadKey, frozenset[SourceKey]] = {}
        self._unseen: dict[SourceKey, float] = {}
        """Sources that have changed → loop time of that, the oldest first."""

    def appeared(self, source: SourceKey, workloads: Iterable[WorkloadKey]) -> None:
        """Note that a source came."""
        for key in workloads:
            self._appeared[key].add(source)

    def gone(self, source: Source, workloads: Iterable[WorkloadKey]) -> None:
        """Note that a source went, and what it had to say."""
        left = source._replace(digest=DELETED)
        for key in workloads:
            self._gone[key][source.key] = left

    def joined(self, workloads: Iterable[WorkloadKey]) -> None:
        """Note that these are ours from now on."""
        self._joined.update(workloads)

    def created(self, key: WorkloadKey) -> None:
        """Note that a workload came."""
        self._new.add(key)

    def changed(self, workloads: Iterable[WorkloadKey]) -> None:
        """Note that the content of a source has changed for these."""
        self._new.difference_update(workloads)

    def unseen(self, source: SourceKey, workloads: Iterable[WorkloadKey]) -> None:
        """Note that a source has changed before all workloads were known.

        Args:
            source: What has changed.
            workloads: Those that are known, and perhaps were not looked at yet.
        """
        self._unseen.pop(source, None)
        self._unseen[source] = _now()
        for key in workloads:
            self._missed[key] = self._missed.get(key, frozenset()) | {source}

    def found(self, key: WorkloadKey) -> None:
        """Note that a workload became known, or is another than was known."""
        if not self._unseen:
            return
        early = _now() - _UNSEEN
        while self._unseen and (first := next(iter(self._unseen.items())))[1] < early:
            del self._unseen[first[0]]
        if self._unseen:
            missed = self._missed.get(key, frozenset())
            self._missed[key] = missed | self._unseen.keys()

    def of(self, key: WorkloadKey) -> Happened:
        """Return what is noted for a workload; it stays noted."""
        return Happened(
            frozenset(self._appeared.get(key, ())),
            dict(self._gone.get(key, _NOTHING)),
            key in self._joined,
            key in self._new,
            self._missed.get(key, frozenset()),
        )

    def forget(self, key: WorkloadKey, seen: Happened | None = None) -> None:
        """Drop what a look has taken into account, or all; what came since stays."""
        if seen is None or self._appeared.get(key, set()) <= seen.appeared:
            self._appeared.pop(key, None)
        if seen is None or self._gone.get(key, {}).keys() <= seen.gone.keys():
            self._gone.pop(key, None)
        if seen is None or seen.joined:
            self._joined.discard(key)
        self._new.discard(key)
        if seen is None or self._missed.get(key, frozenset()) <= seen.missed:
            self._missed.pop(key, None)


def _now() -> float:
    return asyncio.get_running_loop().time()
