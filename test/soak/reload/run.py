"""A reload soak from its start to its verdicts.

    ledger ────changes────▶ API server ◀── proxy a ◀── manager a ─┐ one Lease
    recorder ◀──versions──     │   ▲                              │
                             etcd  └────── proxy b ◀── manager b ──┘

    up ─▶ adopted ─▶ steps and blows ─▶ settled ─▶ all killed ─▶ witness ─▶ judged

The witness is one more change after a start of both managers: when it has come to its
workloads, what else they had on their minds at the start has been decided.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from controller_runtime import (
    Client,
    Discovery,
    HttpTransport,
    Scheme,
)
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.proxy import TestingProxy
from soak.records import now
from soak.reload.blows import Hand
from soak.reload.judge import Evidence, judge, lacks
from soak.reload.keeper import Keeper
from soak.reload.ledger import Ledger
from soak.reload.plan import Plan, Step, Touch, Update, cause_for, heavy_blows
from soak.reload.sights import Recorder
from soak.reload.world import NAMESPACE
from soak.run import config_of
from soak.verdict import Verdict

REPLICAS = ("a", "b")

FLAGS: Sequence[str] = ("--reload-storm-brake=0",)
"""Of the managers, besides those that say where they are. With the brake, workloads
that reload as often as here would wait for minutes."""

_START = 120.0
"""Longest until everything is adopted, in seconds, on a machine that is busy."""

_SETTLE = 90.0
"""Longest from the last change until all of it has come to every workload: a workload
that was forbidden for long is tried again after a while that doubles."""


_TRIES = 3
"""Times that a blow which has missed its write is tried again."""

_LATER = 0.4
"""Seconds from one of these to the next."""


class ReloadSoak:
    """One reload soak."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        """Make a soak that has not begun.

        Args:
            plan: What changes, and what goes wrong.
            folder: Where logs and what was seen go; it must exist.
            say: Told what happens.
        """
        self.plan = plan
        self._folder = folder
        self._say_raw = say
        self._began = now()

    async def run(self) -> Sequence[Verdict]:
        """Start everything, do what is planned, stop everything, and judge."""
        for line in self.plan.describe():
            self._say_raw(line)
        async with AsyncExitStack() as stack:
            plane = await stack.enter_async_context(
                ControlPlane(ControlPlaneOptions(start_timeout=90))
            )
            config = await config_of(plane, self._folder)
            direct = await stack.enter_async_context(HttpTransport(config))
            client = Client(direct, scheme=Scheme(), discovery=Discovery(direct))
            await client.create(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": NAMESPACE},
                }
            )
            keepers = []
            for name in REPLICAS:
                proxy = await stack.enter_async_context(TestingProxy(config))
                keepers.append(Keeper(name, proxy, self._folder, FLAGS))
            evidence = await self._torment(plane, client, keepers)
        verdicts = judge(evidence)
        await asyncio.to_thread(self._save, evidence, verdicts)
        return verdicts

    async def _torment(
        self, plane: ControlPlane, client: Client, keepers: Sequence[Keeper]
    ) -> Evidence:
        ledger = Ledger(client, self.plan.world)
        recorder = Recorder(client)
        hand = Hand(plane, client, keepers, self._say)
        await ledger.begin()
        async with _running(recorder, keepers):
            await self._until_brought(ledger, recorder, _START)
            self._say("all is adopted")
            await self._take_steps(ledger, hand)
            self._say("faults are over")
            settled = await self._until_brought(ledger, recorder, _SETTLE)
            self._say("all is reloaded; all managers are killed")
            await hand.start_anew()
            await ledger.make(Update(self.plan.world.workloads[0].sources[:1]))
            witness = await self._until_brought(ledger, recorder, _SETTLE)
            self._say("the witness has reloaded")
        odd = [
            it for k in keepers for it in await asyncio.to_thread(list, k.problems())
        ]
        return Evidence(
            world=self.plan.world,
            versions=ledger.versions,
            written=ledger.written,
            sights=recorder.sights,
            settled=None if witness is None else settled,
            planned=Counter(type(blow).__name__ for blow in heavy_blows(self.plan)),
            done=hand.done,
            struck=hand.struck,
            changes=ledger.made,
            kills=sum(keeper.kills for keeper in keepers),
            blind=recorder.blind,
            odd=odd,
        )

    async def _take_steps(self, ledger: Ledger, hand: Hand) -> None:
        """Make the changes, with one heavy blow at a time beside them.

        What has missed its write, say because a refusal was in the way, is struck with
        other changes in the end, when all sources are there.
        """
        async with asyncio.TaskGroup() as tasks:
            for number, step in enumerate(self.plan.steps):
                await self._take_step(number, step, ledger, hand, tasks)
            hand.passed(len(self.plan.steps) + 100)
        hand.calm()
        for _ in range(_TRIES):
            missed, hand.missed = hand.missed, []
            for blow in missed:
                change = cause_for(blow, self.plan.world.sources)
                step = Step(change or Touch(blow.write.workload), _LATER, blow)
                async with asyncio.TaskGroup() as tasks:
                    await self._take_step(ledger.made, step, ledger, hand, tasks)

    async def _take_step(
        self,
        number: int,
        step: Step,
        ledger: Ledger,
        hand: Hand,
        tasks: asyncio.TaskGroup,
    ) -> None:
        if step.blow is not None:
            await hand.ready(step.blow)
            self._say(f"{number:4} {step.blow}")
            tasks.create_task(hand.strike(step.blow, number))
            await hand.armed()
        await ledger.make(step.change)
        hand.passed(number)
        await asyncio.sleep(step.pause)

    async def _until_brought(
        self, ledger: Ledger, recorder: Recorder, seconds: float
    ) -> float | None:
        """Wait until all workloads have what there is; return how long it took."""
        began = now()
        try:
            async with asyncio.timeout(seconds):
                while any(self._lacking(ledger, recorder)):
                    recorder.changed.clear()
                    await recorder.changed.wait()
        except TimeoutError:
            for line in self._lacking(ledger, recorder):
                self._say(line)
            return None
        return now() - began

    def _lacking(self, ledger: Ledger, recorder: Recorder) -> Sequence[str]:
        world = self.plan.world
        there = world._replace(
            workloads=tuple(
                it._replace(sources=tuple(s for s in it.sources if ledger.versions[s]))
                for it in world.workloads
            )
        )
        return list(lacks(there, ledger.versions, list(recorder.here)))

    def _save(self, evidence: Evidence, verdicts: Sequence[Verdict]) -> None:
        """Write down what was seen, for whoever looks into a failure."""
        text = b"\n".join(
            msgspec.json.encode(sight._asdict()) for sight in evidence.sights
        )
        (self._folder / "sights.jsonl").write_bytes(text + b"\n")
        (self._folder / "report.txt").write_text(table(self.plan, verdicts))

    def _say(self, text: str) -> None:
        self._say_raw(f"{now() - self._began:6.1f} s  {text}")


@asynccontextmanager
async def _running(
    recorder: Recorder, keepers: Sequence[Keeper]
) -> AsyncIterator[None]:
    """Run managers and bystander; kill and stop them on leaving."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(recorder.run())]
        running += [tasks.create_task(keeper.run()) for keeper in keepers]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


def table(plan: Plan, verdicts: Sequence[Verdict]) -> str:
    """Return a line for each rule, and under it what is wrong."""
    lines = []
    for verdict in verdicts:
        mark = "ok    " if verdict.is_good else "FAILED"
        lines.append(f"{mark} {verdict.rule:18} {verdict.figures}")
        lines += [f"         - {problem}" for problem in verdict.problems[:20]]
    return "\n".join([*lines, f"seed {plan.seed}"]) + "\n"
