"""However a manager fails, a config has counted each change that reloaded something.

What is not promised is left out: of several changes of one source of which nobody was
told, or that a process took with it before it could write them, the last alone counts.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from api.core.v1 import PodTemplateSpec
from api.reload.status import ReloaderConfigStatus
from controller_runtime import Meta, NamespacedName
from controllers.reload.gates import Turn
from controllers.reload.news import News, Outcome
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import RECORD, RELOADED_AT, read_record
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.status.accounts import Ledger, Sighted, count
from controllers.reload.status.journal import Journal
from controllers.reload.status.traces import (
    recorded_hashes,
    reloaded_at,
    source_name,
)
from controllers.reload.workloads import Workload, WorkloadKey

START = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = NamespacedName("shop", "config")
SOURCES = (
    SourceKey(SourceKind.SECRET, "shop", "s"),
    SourceKey(SourceKind.CONFIG_MAP, "shop", "c"),
)
TARGETS = ("api", "web", "worker")
POLICY = ReloadPolicy({}, AnnotationKeys())

source = st.sampled_from(SOURCES)
target = st.sampled_from(TARGETS)


def full(content: str) -> str:
    return sha256(content.encode()).hexdigest()


class Manager(RuleBasedStateMachine):
    """A cluster, and a manager in it that may fail at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.content = dict.fromkeys(SOURCES, "a")
        self.before = dict.fromkeys(SOURCES, "b")
        self.version = dict.fromkeys(SOURCES, 5)
        self.change = dict.fromkeys(SOURCES, 0)
        adopted = {key.recorded: full("a")[:20] for key in SOURCES}
        self.workloads = {name: self.workload(name, adopted) for name in TARGETS}
        self.truth: set[tuple[SourceKey, int]] = set()
        """Changes that have reloaded something."""
        self.fresh: dict[str, set[tuple[SourceKey, int]]] = {}
        """What workloads have reloaded for since the status was written."""
        self.told: set[tuple[SourceKey, int]] = set()
        self.unwritten: set[tuple[SourceKey, int]] = set()
        self.lost: dict[str, set[tuple[SourceKey, int]]] = {}
        """Changes that a workload has reloaded for without a word."""
        self.flights: dict[str, tuple[Turn, set[tuple[SourceKey, int]]]] = {}
        self.status = ReloaderConfigStatus()
        self.start()
        self.look(is_written=True)

    def workload(
        self, name: str, record: dict[str, str], at: datetime | None = None
    ) -> Workload:
        annotations = {RECORD: json.dumps(record)}
        if at is not None:
            annotations[RELOADED_AT] = at.isoformat()
        meta = Meta(name=name, namespace="shop", annotations=annotations)
        key = WorkloadKey("Deployment", "shop", name)
        return Workload(key, meta, PodTemplateSpec())

    def start(self) -> None:
        self.journal = Journal(lambda _: None)
        self.flights.clear()

    @rule(source=source)
    def labels_of_a_source_change(self, source: SourceKey) -> None:
        self.version[source] += 1

    @rule(source=source, is_back=st.booleans())
    def a_source_changes(self, source: SourceKey, is_back: bool) -> None:
        if any(source == lost for it in self.lost.values() for lost, _ in it):
            return
        number = self.change[source]
        self.version[source] += 1
        self.change[source] += 1
        # What comes back before anybody was told of a reload for it has not changed,
        # nor has what comes back while a reload for it is under way.
        flights = {it for _, changes in self.flights.values() for it, _ in changes}
        is_back &= (source, number) in self.told and source not in flights
        self.before[source], self.content[source] = (
            self.content[source],
            self.before[source] if is_back else f"of change {number + 1}",
        )

    @rule(name=target)
    def a_reload_begins(self, name: str) -> None:
        self.tick()
        workload = self.workloads[name]
        record = dict(read_record(workload) or {})
        markers = []
        for source in SOURCES:
            has = full(self.content[source])[:20]
            if record[source.recorded_in("shop")] != has:
                record[source.recorded_in("shop")] = has
                version = str(self.version[source])
                markers.append(
                    Marker(source, "a", "V", "x", "x", (CONFIG,), version=version)
                )
        if not markers or name in self.flights:
            return
        turn = Turn(workload, POLICY, Plan(record, tuple(markers)), self.now, 0.0)
        changes = {(m.source, self.change[m.source]) for m in markers}
        self.flights[name] = turn, changes
        self.journal.begin(turn)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), is_told=st.booleans())
    def it_is_written(self, data: st.DataObject, is_told: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.flights)))
        turn, changes = self.flights.pop(name)
        sources = {source for source, _ in changes}
        lost = {change for it in self.lost.values() for change in it}
        if sources & {source for source, _ in lost - changes}:
            self.flights[name] = turn, changes
            return  # of two such changes, the last alone counts
        is_late = any(self.change[s] != number for s, number in changes)
        others = {change for _, it in self.flights.values() for change in it}
        if is_late or others - changes or self.unwritten - changes:
            is_told = True  # see above
        self.workloads[name] = self.workload(name, dict(turn.plan.record), self.now)
        self.tick()
        self.journal.end(turn, is_reloaded=is_told)
        if is_told:
            outcome = Outcome("Reloaded", "reloads")
            self.journal(News(turn.workload, turn.plan, outcome, self.now))
            self.told |= changes
        else:
            self.lost[name] = set(changes)
        self.fresh.setdefault(name, set()).update(changes)
        self.unwritten |= changes - self.truth
        self.truth |= changes

    @rule(is_written=st.booleans())
    def look(self, is_written: bool) -> None:
        self.tick()
        reloads = self.journal.of(CONFIG)
        targets = [
            Sighted(
                workload.key,
                hashes=recorded_hashes(workload),
                reloaded_at=reloaded_at(workload),
                is_in_flight=self.journal.is_in_flight(workload.key),
            )
            for workload in self.workloads.values()
        ]
        sources = {source_name(s): full(self.content[s]) for s in SOURCES}
        ledger = Ledger(targets, sources, reloads, self.now, START)
        counted = count(self.status, ledger)
        if not is_written:
            return  # a conflict, say
        self.status = counted.status
        self.journal.written(CONFIG, reloads)
        self.fresh.clear()
        # What is in flight is looked at when it has landed.
        seen = {c for n, it in self.lost.items() if n not in self.flights for c in it}
        self.lost = {n: it for n, it in self.lost.items() if n in self.flights}
        later = {change for it in self.lost.values() for change in it}
        self.unwritten &= later - seen - self.told

    @precondition(
        lambda self: len({s for s, _ in self.unwritten}) == len(self.unwritten)
    )
    @rule()
    def it_dies(self) -> None:
        self.start()
        for name, changes in self.fresh.items():
            self.lost.setdefault(name, set()).update(changes & self.unwritten)
        self.told -= self.unwritten

    @invariant()
    def what_is_written_is_true(self) -> None:
        assert self.status.reload_count == len(self.truth - self.unwritten)

    def tick(self) -> None:
        self.now += timedelta(seconds=2)


Manager.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestManager = Manager.TestCase
