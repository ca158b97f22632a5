"""A soak from its start to its verdicts.

    writer ───────────────▶ API server ◀── proxy a ◀── manager a ─┐ one Lease
       what users do           │   ▲                              │
                             etcd  └───── proxy b ◀── manager b ──┘

    up ─▶ quiet ─▶ faults by plan ─▶ last versions written ─▶ settled ─▶ calm ─▶ judged

The control plane is the soak's own. Everything in between two `async with` ends with
it: no process is left, whatever happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from controller_runtime import HttpTransport, RestConfig, load_restconfig
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.proxy import TestingProxy
from soak.evidence import Evidence, Life, Stored, planned
from soak.hands import HeavyHand, LightHand, Say
from soak.judge import judge, last_seen
from soak.manager import NAMESPACE
from soak.plan import REPLICAS, Plan
from soak.records import Ended, Led, now
from soak.replicas import Replica
from soak.report import Report
from soak.verdict import Bounds
from soak.writer import Writer

_TURN = 0.5
"""Seconds between two looks at what the managers have noted."""

_PROGRESS = 5.0
"""Seconds between two lines of progress."""

_CALM = 4.0
"""Seconds in which nothing happens, for samples of what is held then: as long as it
takes watches to come back that were ended."""

_START = 60.0
"""Longest until somebody leads, in seconds."""

_STOP = 40.0
"""Longest that managers may take to stop, in seconds; their grace period is 30."""


class Soak:
    """One soak."""

    def __init__(self, plan: Plan, folder: Path, say: Say) -> None:
        """Make a soak that has not begun.

        Args:
            plan: What goes wrong.
            folder: Where journals and logs go; it must exist.
            say: Told what happens.
        """
        self.plan = plan
        self._folder = folder
        self._say_raw = say
        self._began = now()
        self._replicas: list[Replica] = []

    async def run(self) -> Report:
        """Start everything, throw what is planned, stop everything, and judge."""
        for line in self.plan.describe():
            self._say_raw(line)
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(
                ControlPlane(ControlPlaneOptions(start_timeout=60))
            )
            config = await config_of(plane, self._folder)
            direct = await stack.enter_async_context(HttpTransport(config))
            await plane.api.post(
                "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}
            )
            for name in REPLICAS:
                proxy = await stack.enter_async_context(TestingProxy(config))
                self._replicas.append(
                    Replica(name, proxy, self._folder, self.plan.tempo)
                )
            evidence = await self._torment(plane, direct)
        bounds = Bounds(tempo=self.plan.tempo)
        verdicts = judge(evidence, bounds)
        return Report(self.plan, evidence, verdicts, now() - self._began)

    async def _torment(self, plane: ControlPlane, direct: HttpTransport) -> Evidence:
        writer = Writer(direct, seed=self.plan.seed)
        heavy = HeavyHand(plane, self._replicas, self.plan.tempo, self._say)
        light = [LightHand(replica) for replica in self._replicas]
        async with self._managers(), asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(self._show(heavy, writer))
            try:
                await self._until_led()
                self._began = now()
                await self._throw(writer, heavy, light)
                await self._observe(writer)
                quiet = (self._began, self._began + self.plan.storm)
                settled, stored = await self._settle(writer)
                calm = (now(), now() + _CALM)
                self._end_connections()
                await asyncio.sleep(_CALM)
            finally:
                showing.cancel()
            await self._stop()
        return Evidence(
            began=self._began,
            lives=[await it.life() for each in self._replicas for it in each.lives],
            arrivals=[it for each in self._replicas for it in each.arrivals],
            stored=stored,
            quiet=quiet,
            calm=calm,
            settled=settled,
            planned=planned(self.plan),
            done=heavy.done,
            takeovers=heavy.takeovers,
            struck=sum(hand.struck for hand in light),
            writes=writer.writes,
        )

    @asynccontextmanager
    async def _managers(self) -> AsyncIterator[None]:
        """Run the managers; kill what is left of them."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(it.run()) for it in self._replicas]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()

    async def _until_led(self) -> None:
        """Wait until both managers run, and one of them leads."""
        async with asyncio.timeout(_START):
            while not (self._leads() and self._are_settled()):
                await asyncio.sleep(_TURN / 5)
                self._catch_up()

    async def _throw(
        self, writer: Writer, heavy: HeavyHand, light: Sequence[LightHand]
    ) -> None:
        """Let all hands throw what they have, while somebody writes."""
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(writer.run())
            async with asyncio.TaskGroup() as throwing:
                throwing.create_task(heavy.run(self.plan.heavy, self._began))
                for replica, hand in zip(self._replicas, light, strict=True):
                    due = [
                        it for it in self.plan.light if it.blow.replica == replica.name
                    ]
                    throwing.create_task(hand.run(due, self._began))
            writing.cancel()

    async def _observe(self, writer: Writer) -> None:
        """Go on without faults until a leader has led for long enough to be judged."""
        tempo = self.plan.tempo
        enough = tempo.warm_up + tempo.observed + 2
        self._say("faults are over")
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(writer.run())
            with suppress(TimeoutError):
                async with asyncio.timeout(tempo.settle + enough):
                    await self._until_led_for(enough)
            writing.cancel()

    async def _until_led_for(self, seconds: float) -> None:
        while not any(now() - at > seconds for at in self._reigning()):  # noqa: ASYNC110 - `_show` reads the journals
            await asyncio.sleep(_TURN)

    def _reigning(self) -> Sequence[float]:
        """Return since when those who run now lead."""
        running = [it.current for it in self._replicas if it.current]
        records = [record for life in running for record in life.journal.records]
        return [record.t for record in records if isinstance(record, Led)]

    async def _settle(
        self, writer: Writer
    ) -> tuple[float | None, Mapping[str, Stored]]:
        """Write everything a last time and wait until all of it is reconciled.

        Returns:
            The seconds that took, `None` if it did not happen; and what there is.
        """
        self._say("everything is written a last time")
        began = now()
        stored: Mapping[str, Stored] = {}
        try:
            async with asyncio.timeout(self.plan.tempo.settle):
                await writer.write_all()
                while True:
                    stored = await writer.stored() or stored
                    if stored and self._has_seen(stored):
                        self._say("everything is reconciled")
                        return now() - began, stored
                    await asyncio.sleep(_TURN / 2)
        except TimeoutError:
            return None, stored

    def _has_seen(self, stored: Mapping[str, Stored]) -> bool:
        self._catch_up()
        lives = [life for each in self._replicas for life in each.lives]
        seen = last_seen(
            [Life(identity=it.identity, records=it.journal.records) for it in lives]
        )
        present = {key: version for key, version in seen.items() if version}
        return present == {key: it.version for key, it in stored.items()} and all(
            it.digest == it.wanted for it in stored.values()
        )

    def _end_connections(self) -> None:
        """End what busy minutes have left in the pools: what stays then is a leak."""
        for replica in self._replicas:
            replica.proxy.disconnect()

    async def _stop(self) -> None:
        """Ask the managers to stop, both at once; who does not is killed on leaving."""
        self._say("managers are asked to stop")
        for replica in self._replicas:
            replica.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP):
                while any(replica.current for replica in self._replicas):  # noqa: ASYNC110 - processes
                    await asyncio.sleep(_TURN / 5)
        self._catch_up()

    async def _show(self, heavy: HeavyHand, writer: Writer) -> None:
        """Keep the user informed, and the journals read."""
        shown = now()
        while True:
            await asyncio.sleep(_TURN)
            self._catch_up()
            if now() - shown >= _PROGRESS:
                shown = now()
                reconciles = sum(
                    sum(isinstance(it, Ended) for it in life.journal.records)
                    for each in self._replicas
                    for life in each.lives
                )
                who = await heavy.holder() or "nobody"
                self._say(
                    f"{heavy.now}; {who} leads; {writer.writes} writes, "
                    f"{reconciles} reconciles"
                )

    def _catch_up(self) -> None:
        for replica in self._replicas:
            replica.note_requests()
            for life in replica.lives:
                life.journal.catch_up()

    def _leads(self) -> bool:
        return bool(self._reigning())

    def _are_settled(self) -> bool:
        running = [it.current for it in self._replicas]
        return all(life is not None and life.is_settled for life in running)

    def _say(self, text: str) -> None:
        self._say_raw(f"{now() - self._began:6.1f} s  {text}")


async def config_of(plane: ControlPlane, folder: Path) -> RestConfig:
    """Return how to reach a control plane; its kubeconfig goes to the folder."""
    path = await plane.write_kubeconfig(folder / "kubeconfig")
    return await asyncio.to_thread(
        load_restconfig, kubeconfig=path, environ={}, home=folder
    )
