"""What the peers are put through, alternating, and what is noted of it.

    starts    process start ─▶ every object reconciled once; then memory, after a rest
    patches   the same, with ten workers that each patch what they are given
    changes   one change at a time ─▶ its reconcile begins
    burst     many changes while the process is stopped ─▶ it has handled all of them

In `changes` the clock starts before the request leaves the writer, so that the server's
part is in it, and no order of arrival can make it negative; how long an event takes
inside a peer is a row of its own.

In `burst` the flood is the server's: it has every change at hand when the peer wakes,
and sends them as fast as they are taken. A writer that competes for the same two cores
would set the pace itself.

Between rounds the order of the peers turns round, so that none is always first.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare.figures import Limit, Row, percentile
from benchmarks.compare.load import Load, now
from benchmarks.compare.peers import GO, KOPF, OURS, Job, Program, Running, started

PAUSE = 0.005
"""Seconds between two single changes: each finds the peer idle."""

WRITERS = 10
"""Workers that patch."""

_FORGIVEN = 0.01
"""Share of changes whose reconcile may be lost to a later one of the same object."""


_LATE = 10
"""Seconds that a peer has for the last of its reconciles."""

_BETWEEN_QUESTIONS = 0.1
"""Seconds."""


class BenchmarkError(Exception):
    """What was measured makes no sense."""


@dataclass(slots=True)
class Bench:
    """The rows so far, and how to get more."""

    kubeconfig: Path
    programs: Sequence[Program]
    say: Callable[[str], None]
    rest: float = 2.0
    """Seconds for a peer to calm down, such as before the look at its memory."""
    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    _marks: int = 0

    def turns(self, rounds: int, *names: str) -> Sequence[Program]:
        """Say which peer's turn it is, round by round."""
        chosen = [p for p in self.programs if not names or p.name in names]
        return [
            program
            for number in range(rounds)
            for program in (chosen if number % 2 == 0 else chosen[::-1])
        ]

    def new_mark(self) -> str:
        """Return what no object is marked with yet."""
        self._marks += 1
        return f"mark-{self._marks}"

    async def starts(
        self, load: Load, rounds: int, *names: str, task: str = ""
    ) -> None:
        """Start each peer and wait until it has reconciled every object."""
        for program in self.turns(rounds, *names):
            async with self._synced(program, load, task=task) as (peer, manager, done):
                await asyncio.sleep(self.rest)
                rss, peak = peer.memory()
            wall, since = done["at"] - peer.began, done["at"] - manager["at"]
            rate = (load.count - 1) / max(done["at"] - done["first"], 1e-9)
            if task == "noop":
                self._note(
                    program, load, "no-op reconciles of a full queue", "1/s", rate
                )
                continue
            for what, unit, value in (
                ("wall", "s", wall),
                ("wall from manager start", "s", since),
                ("manager start to synced", "s", done["first"] - manager["at"]),
                ("CPU", "s", done["cpu"]),
                ("resident memory after it", "MB", rss),
                ("highest resident memory", "MB", peak),
                ("reconciles once synced", "1/s", rate),
            ):
                title = f"{load.kind}s: start to each reconciled once, {what}"
                self._note(program, load, title, unit, value)
            self.say(f"{program.name}: {load.count:,} {load.kind}s in {wall:.2f} s")

    def _note(
        self, program: Program, load: Load, title: str, unit: str, value: float
    ) -> None:
        """Add a sample to a row, which knows what was promised."""
        limits = PROMISES.get((title, load.count), PROMISES.get((title, 0), ()))
        row = Row(title=title, unit=unit, objects=load.count, limits=limits)
        self.rows.setdefault((title, load.count), row).add(program.name, value)

    async def patches(self, load: Load, rounds: int) -> None:
        """Let ten workers of each peer patch every object once."""
        title = f"{WRITERS} workers patch each once"
        for program in self.turns(rounds, OURS, GO):
            job = {"task": "patch", "mark": self.new_mark(), "workers": WRITERS}
            async with self._synced(program, load, **job) as (peer, _, done):
                wall, since = done["at"] - done["first"], done["at"] - peer.began
            self._note(program, load, f"{title}, first to last", "s", wall)
            self._note(program, load, f"{title}, from process start", "s", since)
            self._note(program, load, f"{title}, CPU", "s", done["cpu"])
            self.say(f"{program.name}: {load.count:,} patched in {wall:.2f} s")

    async def changes(self, load: Load, rounds: int, count: int) -> None:
        """Change one object at a time, and see when its reconcile begins."""
        title = "one change to reconcile start"
        for program in self.turns(rounds, OURS, GO):
            async with self._synced(program, load) as (peer, _, _):
                await asyncio.sleep(self.rest)
                changes = await load.change_singly(count, pause=PAUSE)
                begun = await _begun(peer, {version for version, _ in changes})
            delays, waits = _delays(changes, begun)
            for percent in (50, 99):
                delay = percentile(delays, percent) * 1000
                self._note(program, load, f"{title}, p{percent}", "ms", delay)
                self.say(f"{program.name}: change to reconcile p{percent} {delay:.2f}")
            inside = percentile(waits, 50) * 1000
            self._note(
                program, load, "event handled to reconcile start, p50", "ms", inside
            )

    async def burst(self, load: Load, rounds: int) -> None:
        """Change every object while a peer is stopped, and let it catch up."""
        for program in self.turns(rounds, OURS, GO):
            async with self._synced(program, load) as (peer, _, _):
                await asyncio.sleep(self.rest)
                await peer.tell(f"count {load.count}")
                before = await peer.expect("counting")
                peer.signal(signal.SIGSTOP)
                await load.change_each(load.count)
                await asyncio.sleep(self.rest)
                awake = now()
                peer.signal(signal.SIGCONT)
                handled = await peer.expect("handled")
            seconds = handled["at"] - awake
            rate = load.count / seconds
            cost = (handled["cpu"] - before["cpu"]) / load.count * 1e6
            self._note(program, load, "burst of updates, events handled", "1/s", rate)
            self._note(program, load, "burst of updates, CPU an event", "µs", cost)
            self.say(f"{program.name}: {load.count:,} events in {seconds:.2f} s")

    async def stalls(self, load: Load, rounds: int) -> None:
        """Start ours with a probe in it, which slows it: a run of its own."""
        for program in self.turns(rounds, OURS):
            job = self._job(load, more=("--probe",))
            async with started(program, job) as peer:
                found = await peer.expect("probed")
            stall, pause = found["stall"] * 1000, found["pause"] * 1000
            self._note(program, load, "loop stall while syncing", "ms", stall)
            self._note(program, load, "longest gc pause while syncing", "ms", pause)

    def _job(self, load: Load, **more: Any) -> Job:
        return Job(
            kubeconfig=self.kubeconfig,
            namespace=load.namespace,
            kind=load.kind,
            expect=load.count,
            **more,
        )

    @asynccontextmanager
    async def _synced(
        self, program: Program, load: Load, **job: Any
    ) -> AsyncIterator[tuple[Running, Mapping[str, Any], Mapping[str, Any]]]:
        """Start a peer and wait until it has reconciled every object once."""
        async with started(program, self._job(load, **job)) as peer:
            manager = await peer.expect("manager")
            yield peer, manager, await peer.expect("reconciled")


async def _begun(peer: Running, versions: AbstractSet[str]) -> Sequence[Sequence[Any]]:
    """Ask a peer for the reconciles that it began, until all are there or it is late.

    A change that was coalesced with a later one never is.
    """
    begun: list[Sequence[Any]] = []
    missing = set(versions)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LATE):
            while missing:
                await asyncio.sleep(_BETWEEN_QUESTIONS)
                await peer.tell("starts")
                news: Sequence[Sequence[Any]] = (await peer.expect("starts"))["starts"]
                begun += news
                missing -= {version for version, _, _ in news}
    return begun


def _delays(
    changes: Sequence[tuple[str, float]], begun: Sequence[Sequence[Any]]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return how long each change took until its reconcile, and inside the peer.

    Raises:
        BenchmarkError: Too many changes were never reconciled by themselves.
    """
    by_version = {version: (told, at) for version, told, at in reversed(begun)}
    found = [
        (at - sent, at - told)
        for version, sent in changes
        for told, at in [by_version.get(version, (0.0, 0.0))]
        if at
    ]
    if len(found) < len(changes) * (1 - _FORGIVEN):
        missing = len(changes) - len(found)
        raise BenchmarkError(f"{missing} of {len(changes)} changes were not seen")
    return [delay for delay, _ in found], [wait for _, wait in found]


_START = "ConfigMaps: start to each reconciled once"
_PODS = "Pods: start to each reconciled once"

PROMISES: Mapping[tuple[str, int], Sequence[Limit]] = {
    (f"{_START}, wall", 10_000): (Limit(0.7, GO), Limit(0.125, KOPF)),
    (f"{_START}, wall", 50_000): (Limit(0.7, GO), Limit(0.125, KOPF)),
    (f"{_START}, CPU", 50_000): (Limit(0.6, GO),),
    (f"{_START}, resident memory after it", 10_000): (Limit(0.9, GO),),
    (f"{_START}, resident memory after it", 50_000): (Limit(0.6, GO),),
    (f"{_PODS}, manager start to synced", 20_000): (Limit(2),),
    (f"{_PODS}, resident memory after it", 20_000): (Limit(200),),
    ("loop stall while syncing", 0): (Limit(20),),
    ("longest gc pause while syncing", 0): (Limit(50),),
    ("no-op reconciles of a full queue", 0): (Limit(10_000, at_least=True),),
    (f"{WRITERS} workers patch each once, first to last", 0): (Limit(1.1, GO),),
    ("one change to reconcile start, p50", 0): (Limit(1.5, GO),),
    ("one change to reconcile start, p99", 0): (Limit(2.0, GO),),
    ("event handled to reconcile start, p50", 0): (Limit(0.3),),
    ("burst of updates, events handled", 0): (
        Limit(0.8, GO, at_least=True),
        Limit(20_000, at_least=True),
    ),
}
"""What is promised of a row, by its title and size; size 0 is any."""
