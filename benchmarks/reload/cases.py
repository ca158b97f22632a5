"""What is measured: single changes, many at once, a manager that was down, big servers.

    change   just before the request of the source leaves ─▶ the watch tells of it
    start    just before the process starts ─▶ the first 200 of `/readyz`

Both ends of a change are seen from here, so that two trips to the server are in it.
Calls are what the server counted in between (its `/metrics`); nobody else makes any of
the kinds that are looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.compare.figures import Row
from benchmarks.compare.load import now
from benchmarks.reload import recorded
from benchmarks.reload.board import Board, key_of
from benchmarks.reload.cluster import (
    Cluster,
    Source,
    User,
    pairs,
    sources_of,
    spread,
)
from benchmarks.reload.program import Running, flags_of, running
from benchmarks.reload.recorded import KNOWN, OURS, Known
from benchmarks.reload.shapes import Shape

_ADOPT = 300.0
"""Longest until everything is in a record, in seconds."""

_CONVERGE = 120.0
"""Longest until a load has come to every workload."""

_REST = 3.0
"""Seconds for a manager to calm down, such as before the look at its memory."""

_WRITES = frozenset({"PATCH", "PUT", "POST", "DELETE", "APPLY"})

_WORKLOADS = frozenset(
    {"deployments", "statefulsets", "daemonsets", "cronjobs", "jobs"}
)

_SOURCES = frozenset({"configmaps", "secrets", "namespaces"})


@dataclass(slots=True)
class Bench:
    """The rows so far, and how to get more."""

    cluster: Cluster
    board: Board
    kubeconfig: Path
    folder: Path
    """For logs."""
    say: Callable[[str], None]
    rows: dict[str, Row] = field(default_factory=dict)

    def note(self, title: str, unit: str, value: float, objects: int = 0) -> None:
        """Add a sample to a row, which knows what was promised."""
        limits = KNOWN.get(title, Known()).limits
        row = Row(title=title, unit=unit, objects=objects, limits=limits)
        self.rows.setdefault(title, row).add(OURS, value)
        self.say(f"{title}: {value:.3g} {unit}")

    async def idle(self) -> None:
        """Start on a server with little on it."""
        async with self._manager() as manager:
            self.note(recorded.START, "s", manager.ready)
            await asyncio.sleep(_REST)
            self.note(recorded.IDLE, "MB", manager.resident)

    async def changes(self, changes: int) -> None:
        """Change one source at a time: how long it takes, and what it costs."""
        users = await self._filled("one", 1)
        async with self._manager(*flags_of(debounce=False, brake=False)):
            await self._adopted(users)
            for _ in range(changes):
                seconds = await self._change(users[0])
                self.note(recorded.CHANGE, "ms", seconds * 1000)
            await self._costs(users[0], changes)
        async with self._manager(*flags_of(brake=False)):
            await self._adopted(users)
            for _ in range(changes):
                seconds = await self._change(users[0])
                self.note(recorded.CHANGE_DEFAULT, "ms", seconds * 1000)

    async def _costs(self, user: User, changes: int) -> None:
        await asyncio.sleep(_REST)
        async with _Counted(self.cluster) as counted:
            for _ in range(changes):
                await self._change(user)
            await asyncio.sleep(_REST)
        self.note(recorded.LISTS, "", counted.reads / changes)
        self.note(recorded.PATCHES, "", counted.writes / changes)
        self.note(recorded.EVENTS, "", counted.events / changes)
        async with _Counted(self.cluster) as counted:
            for _ in range(10):
                await self.cluster.label(user.sources[0])
            await asyncio.sleep(_REST)
        calls = counted.reads + counted.writes + counted.events
        self.note(recorded.METADATA, "", calls)

    async def fan_out(self, rounds: int, users_of_one: int = 50) -> None:
        """Change a source that many use."""
        await self.cluster.make_namespace("fan")
        shared = Source("fan", "shared")
        users = [User("fan", f"user-{n}", (shared,)) for n in range(users_of_one)]
        await self.cluster.create(users)
        async with self._manager(*flags_of(debounce=False, brake=False)):
            await self._adopted(users)
            for _ in range(rounds):
                self.board.forget()
                began = now()
                await self.cluster.change(shared)
                await self._converged()
                told = [self.board.told[key_of(user)] - began for user in users]
                self.note(recorded.FAN_FIRST, "s", min(told))
                self.note(recorded.FAN_ALL, "s", max(told))

    async def three(self, between: float = 5.0) -> None:
        """Change fifty sources three times."""
        users = await self._filled("three", 50)
        async with self._manager():
            await self._adopted(users)
            self.board.forget()
            last = now()
            for number in range(3):
                await spread(
                    [lambda it=it: self.cluster.change(it) for it in sources_of(users)]  # type: ignore[misc]
                )
                last = now()
                if number < 2:
                    await asyncio.sleep(between)
            await self._converged()
            self.note(recorded.THREE, "s", max(self.board.told.values()) - last)
            self.note(recorded.THREE_ROLLOUTS, "", self._rollouts(users))

    async def down(self) -> None:
        """Change fifty sources while there is no manager."""
        users = await self._filled("down", 50)
        async with self._manager():
            await self._adopted(users)
        for source in sources_of(users):
            await self.cluster.change(source)
        self.board.forget()
        async with self._manager() as manager:
            await self._converged()
            last = max(self.board.told.values())
            await asyncio.sleep(_REST)  # whatever comes a second time
            self.note(recorded.DOWN, "s", last - manager.began)
            self.note(recorded.DOWN_ROLLOUTS, "", self._rollouts(users))

    async def unused(self, kind: str, count: int, size: int, rounds: int) -> None:
        """Hold many sources that nobody uses."""
        idle = []
        for _ in range(rounds):
            async with self._manager() as manager:
                await asyncio.sleep(_REST)
                idle.append(manager.resident)
        await self.cluster.make_namespace("unused")
        await self.cluster.create_sources(
            [Source("unused", f"source-{n}", kind, size) for n in range(count)]
        )
        rest, highest = recorded.unused(kind, size)
        for before in idle:
            async with self._manager() as manager:
                await asyncio.sleep(_REST)
                self.note(rest, "MB", manager.resident - before, count)
                self.note(highest, "MB", manager.highest - before, count)

    async def many(self, count: int, rounds: int) -> None:
        """Start with many workloads, each with a source of its own."""
        users = await self._filled("many", count)
        flags = flags_of(debounce=False, brake=False)
        async with self._manager(*flags) as manager:
            self.note(recorded.BIG_FIRST, "s", manager.ready, count)
            await self._adopted(users)
            self.note(recorded.BIG_ADOPTED, "s", now() - manager.began, count)
        for _ in range(rounds):
            async with self._manager(*flags) as manager, manager.watch_memory():
                self.note(recorded.BIG_START, "s", manager.ready, count)
                self.note(recorded.BIG_CPU, "s", manager.cpu, count)
                await asyncio.sleep(_REST * 2)
                self.note(recorded.BIG_MEMORY, "MB", manager.resident, count)
                self.note(recorded.BIG_PEAK, "MB", manager.peak, count)
                for number in range(10):
                    seconds = await self._change(users[number * count // 10])
                    self.note(recorded.BIG_CHANGE, "ms", seconds * 1000, count)

    async def shape(self, shape: Shape, scale: float) -> None:
        """Let a load have its time, scaled."""
        self.say(f"{shape.name}: {shape.what}")
        for name in {user.namespace for user in shape.users}:
            await self.cluster.make_namespace(name)
        await self.cluster.create(shape.users)
        load = _Load(self, shape, shape.seconds * scale)
        async with self._manager(*shape.flags) as manager, manager.watch_memory():
            await self._adopted(shape.users)
            self.board.forget()
            async with _Counted(self.cluster) as counted:
                began, cpu = self.cluster.writes, manager.cpu
                if shape.dies:
                    await load.write(1 / 3)
                    manager.kill()
                else:
                    await load.write(1)
                    await self._sum_up(shape, manager, counted, began, cpu)
        if shape.dies:
            async with self._manager(*shape.flags, probe=False) as manager:
                await load.write(2 / 3)
                await self._sum_up(shape, manager, None, began, 0.0)

    async def _sum_up(
        self,
        shape: Shape,
        manager: Running,
        counted: _Counted | None,
        began: int,
        cpu: float,
    ) -> None:
        last = now()
        await self._converged()
        late = max([*self.board.told.values(), last]) - last
        updates = max(self.cluster.writes - began, 1)
        rollouts = self._rollouts(shape.users)

        def note(what: str, unit: str, value: float) -> None:
            self.note(recorded.of_shape(shape.name, what), unit, value)

        note(recorded.CONVERGED, "s", late)
        note(recorded.STALE, "", len(self.board.behind))
        note(recorded.ROLLOUTS, "", rollouts / updates)
        if counted is not None:
            await asyncio.sleep(_REST)
            calls = await counted.so_far()
            note(recorded.CALLS, "", calls / max(rollouts, 1))
        note(recorded.CPU, "s", manager.cpu - cpu)
        note(recorded.AVERAGE, "MB", manager.average)
        note(recorded.PEAK, "MB", manager.peak)

    def _manager(
        self, *flags: str, probe: bool = True
    ) -> AbstractAsyncContextManager[Running]:
        log = self.folder / "manager.log"
        return running(self.kubeconfig, *flags, log=log, probe=probe)

    async def _filled(self, namespace: str, count: int) -> Sequence[User]:
        users = pairs(namespace, count)
        await self.cluster.make_namespace(namespace)
        await self.cluster.create(users)
        return users

    async def _adopted(self, users: Sequence[User]) -> None:
        self.board.expect(users)
        await self._converged(_ADOPT)

    async def _converged(self, seconds: float = _CONVERGE) -> None:
        if not await self.board.until_none_is_behind(seconds=seconds):
            some = sorted(self.board.behind)
            self.say(f"{len(some)} workloads were left behind, such as {some[0]}")

    async def _change(self, user: User) -> float:
        """Change what a workload uses; return the seconds until its template is."""
        self.board.forget()
        began = now()
        await self.cluster.change(user.sources[0])
        await self._converged()
        return self.board.told[key_of(user)] - began

    def _rollouts(self, users: Sequence[User]) -> int:
        return sum(self.board.rollouts[key_of(user)] for user in users)


class _Load:
    """The writers of a shape."""

    def __init__(self, bench: Bench, shape: Shape, seconds: float) -> None:
        self._writes = shape.writes(bench.cluster, shape.users)
        self._shape = shape
        self._seconds = seconds

    async def write(self, share: float) -> None:
        """Write for a share of the time."""
        ends = now() + self._seconds * share
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._shape.writers):
                tasks.create_task(self._write(ends))

    async def _write(self, ends: float) -> None:
        while now() < ends:
            due = now() + self._shape.period
            await next(self._writes)
            await asyncio.sleep(max(due - now(), 0))


class _Counted:
    """What the server was asked by the manager while this lasts."""

    def __init__(self, cluster: Cluster) -> None:
        self.reads = self.writes = self.events = 0
        """Of workloads and sources; of workloads; of Events."""
        self._cluster = cluster
        self._before: Mapping[tuple[str, str], int] = {}

    async def __aenter__(self) -> Self:
        self._before = await self._cluster.calls()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.so_far()

    async def so_far(self) -> int:
        """Count again; return all of it."""
        after = await self._cluster.calls()
        made = {key: count - self._before.get(key, 0) for key, count in after.items()}
        looked_at = _WORKLOADS | _SOURCES
        self.reads = sum(
            count
            for (verb, resource), count in made.items()
            if verb in {"LIST", "GET"} and resource in looked_at
        )
        self.writes = _sum(made, _WORKLOADS)
        self.events = _sum(made, frozenset({"events"}))
        return self.reads + self.writes + self.events


def _sum(made: Mapping[tuple[str, str], int], resources: frozenset[str]) -> int:
    return sum(
        count
        for (verb, resource), count in made.items()
        if verb in _WRITES and resource in resources
    )


Case = Callable[[Bench], Awaitable[None]]
