"""The hand that strikes in a reload soak: what a plan says, done to managers and ways.

Heavy blows wait for each other, from the strike until somebody leads again; light ones
are in force for some requests, or some changes, whatever else happens meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import assert_never

from controller_runtime import Client, GroupVersionKind, merge_patch
from controller_runtime.testing.apiserver.faults import Fault
from controller_runtime.testing.envtest import ControlPlane
from soak.reload.keeper import Keeper
from soak.reload.ledger import FAILURES
from soak.reload.plan import (
    Blow,
    Forbid,
    KillAll,
    KillAt,
    KillServer,
    KillSoon,
    Lose,
    Refuse,
    TakeLease,
)
from soak.reload.world import NAMESPACE, PLURALS

_LEASE = GroupVersionKind("coordination.k8s.io", "v1", "Lease")

_NAME = "pilothouse"
"""Of the Lease."""

_NOBODYS = {"holderIdentity": ""}
"""It, as time would make it; only for holders who are dead: one who lives would lead on
beside the next, until it renews."""

_STRANGERS = {"holderIdentity": "a stranger", "leaseDurationSeconds": 6}
"""It, taken from one who lives: who leads renews it after 2 s, and finds that it has
lost; the others wait for 6."""

_POLL = 0.02

_LONGEST = 15.0
"""Seconds until a write comes that is waited for; else the leader is killed without."""

_LED = 120.0
"""Seconds until somebody leads, on a machine that is busy."""


class Hand:
    """Strikes."""

    def __init__(
        self,
        plane: ControlPlane,
        client: Client,
        keepers: Sequence[Keeper],
        say: Callable[[str], None],
    ) -> None:
        """Make one; the client's way to the server has no faults."""
        self.done: Counter[str] = Counter()
        """Kinds of heavy blows that met what they were for."""
        self.struck = 0
        """Requests that met a light one."""
        self._plane = plane
        self._client = client
        self._keepers = keepers
        self._say = say
        self._heavy = asyncio.Lock()
        self._armed = asyncio.Event()
        self._faults: list[Fault] = []
        self._number = -1

    async def ready(self, blow: Blow) -> None:
        """Wait until a blow can be struck."""
        self._armed.clear()
        if not isinstance(blow, (Refuse, Lose, Forbid)):
            async with self._heavy:
                return

    async def armed(self) -> None:
        """Wait until the next change meets what was struck."""
        await self._armed.wait()

    def passed(self, number: int) -> None:
        """Note that a change was made."""
        self._number = number

    def calm(self) -> None:
        """Take all faults away."""
        self.struck = sum(fault.struck for fault in self._faults)
        for keeper in self._keepers:
            keeper.proxy.faults.clear()

    async def start_anew(self) -> None:
        """Kill every manager, and start them all."""
        await self._kill_all()
        for keeper in self._keepers:
            keeper.release()

    async def _kill_all(self) -> None:
        for keeper in self._keepers:
            keeper.hold()
        await self._until_dead(*self._keepers)
        await self._write_lease(_NOBODYS)

    async def _kill(self, leader: Keeper) -> None:
        """Kill who leads; the Lease of the dead is let go at once."""
        leader.kill()
        await self._until_dead(leader)
        await self._write_lease(_NOBODYS)

    async def _until_dead(self, *keepers: Keeper) -> None:
        """Wait for the end of processes that were killed, or of what they were."""
        ended = {keeper: len(keeper.codes) for keeper in keepers if keeper.is_running}
        async with asyncio.timeout(_LED):
            while any(it.is_running and len(it.codes) == n for it, n in ended.items()):  # noqa: ASYNC110 - processes
                await asyncio.sleep(_POLL / 10)

    async def strike(self, blow: Blow, number: int) -> None:
        """Strike a blow; return when it is over."""
        if isinstance(blow, (Refuse, Lose, Forbid)):
            await self._light(blow, number)
            return
        async with self._heavy:
            try:
                await self._strike(blow, number)
            finally:
                self._armed.set()

    async def _strike(
        self,
        blow: KillAt | KillSoon | KillAll | TakeLease | KillServer,
        number: int,
    ) -> None:
        is_met = True
        match blow:
            case KillAt():
                is_met = await self._kill_at(blow)
            case KillSoon(seconds):
                self._armed.set()
                await asyncio.sleep(seconds)
                await self._kill(self._leader())
            case KillAll(steps):
                await self._kill_all()
                self._armed.set()
                await self._until_passed(number + steps)
                for keeper in self._keepers:
                    keeper.release()
            case TakeLease():
                await self._write_lease(_STRANGERS)
                self._armed.set()
            case KillServer(down):
                await self._plane.kill_apiserver()
                self._armed.set()
                await asyncio.sleep(down)
                await self._plane.start_apiserver()
            case _:
                assert_never(blow)
        self.done[type(blow).__name__] += is_met
        await self._until_led()

    async def _kill_at(self, blow: KillAt) -> bool:
        """Kill the leader at a write; tell whether the write came."""
        leader = self._leader()
        is_named = blow.verb != "create"
        target = leader.proxy.faults.on(
            verb=blow.verb,
            resource=blow.resource,
            name=blow.workload.name if is_named else "",
        )
        fault = target.cut(handled=True) if blow.is_handled else target.hang()
        self._armed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST):
                while not fault.struck and leader.is_running:  # noqa: ASYNC110 - a proxy's
                    await asyncio.sleep(_POLL / 10)
                if blow.is_handled:
                    await self._until_answered(leader)
        await self._kill(leader)
        fault.remove()
        return bool(fault.struck)

    async def _until_answered(self, leader: Keeper) -> None:
        """Give the server time to do what the proxy has handed over."""
        await asyncio.sleep(_POLL)

    async def _until_led(self) -> None:
        """Wait until somebody leads."""
        since = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LED):
                while max(keeper.led for keeper in self._keepers) <= since:  # noqa: ASYNC110 - processes
                    await asyncio.sleep(_POLL)
                return
        self._say("nobody leads")

    async def _write_lease(self, spec: Mapping[str, object]) -> None:
        """Say whose the Lease is."""
        patch = merge_patch({"spec": spec})
        async with asyncio.timeout(_LED):
            while True:
                with suppress(*FAILURES):
                    await self._client.patch(_LEASE, _NAME, NAMESPACE, patch=patch)
                    return
                await asyncio.sleep(_POLL * 5)

    def _leader(self) -> Keeper:
        return max(self._keepers, key=lambda keeper: keeper.led)

    async def _light(self, blow: Refuse | Lose | Forbid, number: int) -> None:
        faults = [self._put(blow, keeper) for keeper in self._keepers]
        self._faults += faults
        self._armed.set()
        if isinstance(blow, Forbid):
            await self._until_passed(number + blow.steps)
            for fault in faults:
                fault.remove()

    def _put(self, blow: Refuse | Lose | Forbid, keeper: Keeper) -> Fault:
        faults = keeper.proxy.faults
        match blow:
            case Refuse(status, verb, times):
                pause = 1 if status == 429 else None
                target = faults.on(verb=verb, times=times)
                return target.answer(status, retry_after=pause)
            case Lose(verb):
                return faults.on(verb=verb, times=1).cut(handled=True)
            case Forbid(workload):
                resource = PLURALS[workload.kind]
                target = faults.on(
                    verb="patch", resource=resource, name=workload.name, times=None
                )
                return target.answer(403)
            case _:
                assert_never(blow)

    async def _until_passed(self, number: int) -> None:
        while self._number < number:  # noqa: ASYNC110 - a step is some tenths of a second
            await asyncio.sleep(_POLL)
