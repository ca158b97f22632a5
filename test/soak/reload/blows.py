"""The hand that strikes in a reload soak: what a plan says, done to managers and ways.

Heavy blows wait for each other, from the strike until somebody leads again; light ones
are in force for some requests, or some changes, whatever else happens meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import assert_never

from controller_runtime import Client, GroupVersionKind, merge_patch
from controller_runtime.testing.apiserver.faults import Fault, Target
from controller_runtime.testing.envtest import ControlPlane
from soak.plan import KillServer
from soak.reload.keeper import Keeper
from soak.reload.ledger import FAILURES
from soak.reload.plan import (
    AtWrite,
    Blow,
    Forbid,
    FreezeAt,
    Heavy,
    KillAll,
    KillAt,
    KillSoon,
    Light,
    Lose,
    Refuse,
    Silence,
    TakeLease,
    Usurp,
    Write,
)
from soak.reload.world import NAMESPACE, PLURALS

_LEASE = GroupVersionKind("coordination.k8s.io", "v1", "Lease")

_NAME = "pilothouse"
"""Of the Lease."""

_NOBODYS = {"holderIdentity": ""}
"""It, as time would make it. A holder who lives leads on beside the next, until it
renews."""

_STRANGERS = {"holderIdentity": "a stranger", "leaseDurationSeconds": 6}
"""It, taken from one who lives: who leads renews it after 2 s, and finds that it has
lost; the others wait for 6."""

_POLL = 0.02

_LONGEST = 20.0
"""Seconds until a write comes that is waited for: a manager may have just begun, or be
refused some times before. After that the blow is put back."""

_ASLEEP = 22.0
"""Seconds that a frozen leader's write is held up: the Lease runs out after 15, and is
taken within 5 more."""

_TWO = 1.0
"""Seconds by which the second of two leaders is slower; then it acts beside the first,
which is cut off."""

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
        self.missed: list[AtWrite] = []
        """Blows whose write did not come, for another try."""
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
        if not isinstance(blow, Light):
            async with self._heavy:
                pass
        self._armed.clear()  # by now: the one before may have set it in the end

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
        for keeper in keepers:
            if keeper.is_running:
                await self._until_over(keeper, len(keeper.codes))

    async def _until_over(self, keeper: Keeper, life: int) -> None:
        """Wait for the end of a life; the next one may have begun."""
        async with asyncio.timeout(_LED):
            while keeper.is_running and len(keeper.codes) == life:  # noqa: ASYNC110 - a process
                await asyncio.sleep(_POLL / 10)

    async def strike(self, blow: Blow, number: int) -> None:
        """Strike a blow; return when it is over."""
        if isinstance(blow, Light):
            await self._light(blow, number)
            return
        async with self._heavy:
            try:
                await self._strike(blow, number)
            finally:
                self._armed.set()

    async def _strike(self, blow: Heavy, number: int) -> None:
        is_met = True
        match blow:
            case KillAt() | FreezeAt() | Usurp():
                is_met = await self._at_write(blow)
            case KillSoon(seconds):
                self._armed.set()
                await asyncio.sleep(seconds)
                await self._kill(await self._leader())
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
        await self._leader()

    async def _at_write(self, blow: AtWrite) -> bool:
        """Strike the leader at a write; tell whether the write came."""
        leader = await self._leader()
        life = len(leader.codes)
        match blow:
            case KillAt(write, is_handled):
                target = _on(leader, write)
                fault = target.cut(handled=True) if is_handled else target.hang()
                if is_met := await self._is_met(leader, fault):
                    if is_handled:
                        await _until(lambda: bool(fault.served))
                    await self._kill(leader)
            case FreezeAt(write):
                fault = _on(leader, write).delay(_ASLEEP)
                if is_met := await self._is_met(leader, fault):
                    await self._freeze(leader)
                    await self._until_over(leader, life)
            case Usurp(write):
                away = leader.proxy.faults.on(resource="leases", times=None).hang()
                await self._write_lease(_NOBODYS)
                heir = await self._leader(but=leader)
                fault, slow = _on(leader, write).hang(), _on(heir, write).delay(_TWO)
                if is_met := await self._is_met(leader, fault):
                    await asyncio.sleep(2 * _TWO)
                away.remove()
                slow.remove()
                await self._until_over(leader, life)
            case _:
                assert_never(blow)
        fault.remove()
        if not is_met:
            self._say(f"     never came: {blow.write}")
            self.missed.append(blow)
        return is_met

    async def _is_met(self, leader: Keeper, fault: Fault) -> bool:
        """Let the change come; tell whether the leader has sent what was waited for."""
        self._armed.set()
        await _until(lambda: bool(fault.struck) or not leader.is_running)
        return bool(fault.struck)

    async def _freeze(self, leader: Keeper) -> None:
        """Stop who leads until what it has sent is done, beside what another does."""
        frozen = leader.freeze()
        try:
            await asyncio.sleep(_ASLEEP)
            await self._leader(but=leader)
            await asyncio.sleep(_TWO)
        finally:
            if frozen is not None:
                frozen.signal(signal.SIGCONT)

    async def _leader(self, *, but: Keeper | None = None) -> Keeper:
        """Wait until somebody has the Lease, and return who.

        Raises:
            TimeoutError: Nobody takes it.
        """
        async with asyncio.timeout(_LED):
            while True:
                with suppress(*FAILURES):
                    lease = await self._client.get(_LEASE, _NAME, NAMESPACE)
                    holder = lease["spec"].get("holderIdentity")
                    for keeper in self._keepers:
                        is_it = holder and await keeper.identity() == holder
                        if is_it and keeper is not but:
                            return keeper
                await asyncio.sleep(_POLL)

    async def _write_lease(self, spec: Mapping[str, object]) -> None:
        """Say whose the Lease is."""
        patch = merge_patch({"spec": spec})
        async with asyncio.timeout(_LED):
            while True:
                with suppress(*FAILURES):
                    await self._client.patch(_LEASE, _NAME, NAMESPACE, patch=patch)
                    return
                await asyncio.sleep(_POLL * 5)

    async def _light(self, blow: Light, number: int) -> None:
        faults = [self._put(blow, keeper) for keeper in self._keepers]
        self._faults += faults
        if isinstance(blow, Silence):
            self._break_connections()  # the watches that come instead are silent
        self._armed.set()
        if isinstance(blow, (Forbid, Silence)):
            await self._until_passed(number + blow.steps)
            for fault in faults:
                fault.remove()
        if isinstance(blow, Silence):
            self._break_connections()

    def _break_connections(self) -> None:
        for keeper in self._keepers:
            keeper.proxy.disconnect()

    def _put(self, blow: Light, keeper: Keeper) -> Fault:
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
            case Silence(resource):
                return faults.on(verb="watch", resource=resource, times=None).stall()
            case _:
                assert_never(blow)

    async def _until_passed(self, number: int) -> None:
        while self._number < number:  # noqa: ASYNC110 - a step is some tenths of a second
            await asyncio.sleep(_POLL)


def _on(keeper: Keeper, write: Write) -> Target:
    """Name a write on its way."""
    workload, verb, resource = write
    name = "" if verb == "create" else workload.name
    way = keeper.proxy.faults
    return way.on(verb=verb, resource=resource, name=name, dry_run=False)


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait for what a proxy or a process does; not for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST):
            while not is_so():  # noqa: ASYNC110 - nobody would set an event
                await asyncio.sleep(_POLL / 10)
