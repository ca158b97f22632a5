"""Whether every change was brought to every workload, and none twice. Pure.

    versions of the sources ─┐
    versions of workloads  ──┴▶ steps: record before, record after, restarted? ─▶ rules

nothing missed    every workload has a record of the final data, and no other
nothing twice     a restart is for a version that the workload did not run with, later
                  than the one that it did
nothing swallowed a record moves on with a restart, never without; but of a Job that
                  was created well after what it moves on to was written: it read that
ends              managers ended for a reason that they were given
exercised         everything that was planned has happened

A restart is another pod template; of a Job another uid; of a CronJob a Job that it
runs. What a workload is found with first, it was made with: that restarts nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from soak.reload.sights import Sight
from soak.reload.world import Source, Workload, World
from soak.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a reload soak when it is over."""

    world: World
    versions: Mapping[Source, Sequence[str]]
    """Texts of each source, oldest first."""
    written: Mapping[str, datetime]
    """Text → when it was written, at the earliest."""
    sights: Sequence[Sight]
    """Of each workload in the order of its versions."""
    settled: float | None
    """Seconds from the last change until all was reloaded; `None` for never."""
    planned: Mapping[str, int]
    """Kinds of heavy blows, and how many were due."""
    done: Mapping[str, int]
    """Those that met what they were for."""
    struck: int
    """Requests that met a light one."""
    changes: int
    kills: int
    blind: int
    """Times that the bystander may have missed versions."""
    odd: Sequence[str] = ()
    """What managers said or did that they had no reason for."""


_READ_AFTER = timedelta(seconds=9)
"""The manager wants 10 s by the server's clock, which counts whole seconds."""


class _Step(NamedTuple):
    """From one version of a workload to the next."""

    before: Sight
    after: Sight
    is_restart: bool


class _Book:
    """What hashes stand for."""

    def __init__(self, evidence: Evidence) -> None:
        self._ages: dict[tuple[str, str], int] = {}
        self._written: dict[tuple[str, str], datetime] = {}
        self._marked: dict[str, tuple[str, int]] = {}
        for source, texts in evidence.versions.items():
            for age, text in enumerate(texts):
                digest = source.digest(text)
                recorded = source.recorded, digest.recorded
                self._ages[recorded] = age
                self._written[recorded] = evidence.written[text]
                for marker in (digest.marker, digest.other_marker):
                    self._marked[marker] = source.recorded, age

    def age(self, source: str, recorded: str) -> int:
        """Return which version of a source a record names; -1 for none."""
        return self._ages.get((source, recorded), -1)

    def was_read(self, sight: Sight, source: str) -> bool:
        """Tell whether a Job was created with what it has a record of."""
        written = self._written.get((source, sight.record[source]))
        if sight.kind != "Job" or written is None:
            return False
        return datetime.fromisoformat(sight.created) - written >= _READ_AFTER

    def marked(self, sight: Sight) -> frozenset[tuple[str, int]]:
        """Return the versions that a pod template is marked with."""
        return frozenset(self._marked[it] for it in sight.markers if it in self._marked)


def judge(evidence: Evidence) -> Sequence[Verdict]:
    """Apply every rule."""
    rules: Sequence[Callable[[Evidence], Verdict]] = (
        nothing_missed,
        nothing_twice,
        nothing_swallowed,
        ends,
        exercised,
    )
    return [rule(evidence) for rule in rules]


def nothing_missed(evidence: Evidence) -> Verdict:
    """Every workload is there, with the hashes of the final data."""
    lacking = list(lacks(evidence.world, evidence.versions, _last(evidence.sights)))
    if evidence.settled is None:
        lacking.append("not all of it came in time")
    took = f" in {evidence.settled or 0:.1f} s after the last change"
    figures = f"{len(evidence.world.workloads)} workloads with the final data{took}"
    return Verdict("nothing missed", figures, lacking)


def lacks(
    world: World, versions: Mapping[Source, Sequence[str]], here: Sequence[Sight]
) -> Iterator[str]:
    """Yield what of the final data has not come to which workload."""
    found = {sight.place: sight for sight in here if not sight.owner}
    for workload in world.workloads:
        sight = found.get(workload.place)
        if sight is None:
            yield f"{_name(workload.place)} is not there"
            continue
        for source in workload.sources:
            wanted = source.digest(versions[source][-1]).recorded
            if sight.record.get(source.recorded) != wanted:
                yield f"{_name(workload.place)} lacks the last {source.recorded}"


def nothing_twice(evidence: Evidence) -> Verdict:
    """Each restart is for something new."""
    book = _Book(evidence)
    problems: list[str] = []
    restarts: Counter[str] = Counter()
    for workload in evidence.world.workloads:
        if workload.kind == "CronJob":
            runs = _runs(evidence.sights, workload)
            restarts[workload.kind] += sum(map(len, runs.values()))
            problems += _repeated_runs(evidence.sights, runs, book)
            continue
        steps = list(_steps(evidence.sights, workload))
        restarts[workload.kind] += sum(step.is_restart for step in steps)
        problems += _repeated(steps, book)
    figures = ", ".join(f"{kind} {count}" for kind, count in sorted(restarts.items()))
    return Verdict("nothing twice", f"restarts: {figures}", problems)


def nothing_swallowed(evidence: Evidence) -> Verdict:
    """No record moves on without a restart."""
    book = _Book(evidence)
    problems: list[str] = []
    moves = 0
    for workload in evidence.world.workloads:
        steps = list(_steps(evidence.sights, workload))
        moves += sum(bool(_moved(step)) for step in steps)
        if workload.kind == "CronJob":
            runs = _runs(evidence.sights, workload)
            problems += _never_ran(steps, runs, book)
            continue
        problems += [
            f"{_where(step.after)} took {source} without a restart"
            for step in steps
            if not step.is_restart
            for source in sorted(_moved(step))
            if not book.was_read(step.after, source)
        ]
    return Verdict("nothing swallowed", f"{moves} records moved on", problems)


def _repeated(steps: Sequence[_Step], book: _Book) -> Iterator[str]:
    for step in steps:
        moved = _moved(step)
        if step.is_restart and not moved:
            yield f"{_where(step.after)} restarted for nothing"
        for source in sorted(moved):
            old, new = step.before.record[source], step.after.record[source]
            if book.age(source, new) <= book.age(source, old):
                yield f"{_where(step.after)} went back to an older {source}"
        # Each restart is a generation, of those too that the bystander was blind for.
        restarts = step.after.generation - step.before.generation
        new_ones = sum(_newer(step, source, book) for source in moved)
        if step.before.uid == step.after.uid and restarts > max(new_ones, 1):
            yield f"{_where(step.after)} restarted {restarts} times for {new_ones}"


def _newer(step: _Step, source: str, book: _Book) -> int:
    """Return how many versions a source has had in between."""
    before, after = step.before.record[source], step.after.record[source]
    return book.age(source, after) - book.age(source, before)


def _moved(step: _Step) -> frozenset[str]:
    """Return the sources whose hash is another than before."""
    before, after = step.before.record, step.after.record
    return frozenset(it for it in after if it in before and after[it] != before[it])


def _steps(sights: Sequence[Sight], workload: Workload) -> Iterator[_Step]:
    """Yield what a workload went through, each time that somebody made it."""
    mine = [it for it in sights if it.place == workload.place and not it.is_gone]
    for before, after in pairwise(sorted(mine, key=lambda it: it.version)):
        if workload.kind == "Job":
            yield _Step(before, after, before.uid != after.uid)
        elif before.uid == after.uid:
            yield _Step(before, after, before.template != after.template)


_Runs = Mapping[str, Sequence[Sight]]
"""Uid of a CronJob → its Jobs, in their order."""


def _runs(sights: Sequence[Sight], workload: Workload) -> _Runs:
    ours = {it.uid for it in sights if it.place == workload.place}
    first: dict[str, Sight] = {}
    for sight in sights:
        if sight.owner in ours and not sight.is_gone:
            first.setdefault(sight.uid, sight)
    runs: defaultdict[str, list[Sight]] = defaultdict(list)
    for run in sorted(first.values(), key=lambda it: it.version):
        runs[run.owner].append(run)
    return runs


def _repeated_runs(sights: Sequence[Sight], runs: _Runs, book: _Book) -> Iterator[str]:
    """Yield the Jobs that bring nothing that the CronJob has not run with."""
    adopted: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for sight in sights:
        for source, recorded in sight.record.items() if sight.uid in runs else ():
            if not any(it == source for it, _ in adopted[sight.uid]):
                adopted[sight.uid].add((source, book.age(source, recorded)))
    for uid, jobs in runs.items():
        known = adopted[uid]
        for job in jobs:
            if not book.marked(job) - known:
                yield f"{_where(job)} ran for nothing new"
            known |= book.marked(job)


def _never_ran(steps: Sequence[_Step], runs: _Runs, book: _Book) -> Iterator[str]:
    for step in steps:
        ran = {it for job in runs.get(step.after.uid, ()) for it in book.marked(job)}
        for source in sorted(_moved(step)):
            if (source, book.age(source, step.after.record[source])) not in ran:
                yield f"{_where(step.after)} took {source} without a run"


def ends(evidence: Evidence) -> Verdict:
    """No manager ended, or complained, without a reason."""
    return Verdict("ends", f"{evidence.kills} kills", evidence.odd)


def exercised(evidence: Evidence) -> Verdict:
    """All that was planned has happened, in the sight of the bystander."""
    problems = [
        f"{count} times planned and {evidence.done.get(kind, 0)} times done: {kind}"
        for kind, count in sorted(evidence.planned.items())
        if evidence.done.get(kind, 0) < count
    ]
    if not evidence.struck:
        problems.append("no request met a fault")
    done = ", ".join(f"{kind} {count}" for kind, count in sorted(evidence.done.items()))
    figures = (
        f"{evidence.changes} changes; {done}; {evidence.struck} requests struck; "
        f"blind {evidence.blind} times"
    )
    return Verdict("exercised", figures, problems)


def _last(sights: Sequence[Sight]) -> Sequence[Sight]:
    here: dict[str, Sight] = {}
    for sight in sorted(sights, key=lambda it: it.version):
        here[sight.uid] = sight
    return [sight for sight in here.values() if not sight.is_gone]


def _name(place: tuple[str, str]) -> str:
    return "/".join(place)


def _where(sight: Sight) -> str:
    return f"{_name(sight.place)} at version {sight.version}"
