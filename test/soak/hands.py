"""The hands that throw: what a plan says, done to processes and to ways.

    heavy  one blow after the other: API server, etcd, managers
    light  one for each way: what becomes of requests

A hand that is stopped in the middle leaves nothing stopped, cut or refused behind.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, assert_never

from controller_runtime.errors import ApiError
from controller_runtime.testing.apiserver.faults import Fault
from controller_runtime.testing.envtest import ControlPlane
from controller_runtime.testing.proxy import TestingProxy
from soak.plan import (
    Due,
    Freeze,
    Heavy,
    Kill,
    KillServer,
    Light,
    PauseStore,
    Role,
    Tempo,
    Trouble,
)
from soak.records import now
from soak.replicas import Replica, Running

PATH = "/apis/coordination.k8s.io/v1/namespaces/soak/leases/soak"

_POLL = 0.1

_REFUSING = frozenset({401, 403})


class Say(Protocol):
    """Tells the user something, with the time."""

    def __call__(self, text: str, /) -> None: ...


class HeavyHand:
    """Strikes processes."""

    def __init__(
        self,
        plane: ControlPlane,
        replicas: Sequence[Replica],
        tempo: Tempo,
        say: Say,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.takeovers = 0
        self.now = "quiet"
        """What is being done."""
        self._plane = plane
        self._replicas = replicas
        self._tempo = tempo
        self._say = say

    async def run(self, plan: Sequence[Due[Heavy]], began: float) -> None:
        for at, blow in plan:
            await _until(began + at)
            self.now = str(blow)
            self._say(str(blow))
            await self._strike(blow)
            self.done[type(blow).__name__] += 1
            self.now = "recovery"

    async def _strike(self, blow: Heavy) -> None:
        match blow:
            case KillServer():
                await self._plane.kill_apiserver()
                await asyncio.sleep(blow.down)
                await self._plane.start_apiserver()
            case PauseStore():
                await self._pause_store(blow.seconds)
            case Freeze():
                await self._freeze(await self._who(blow.role), blow.role)
            case Kill():
                (await self._who(blow.role)).kill()
            case _:
                assert_never(blow)

    async def _pause_store(self, seconds: float) -> None:
        etcd = self._plane.processes["etcd"]
        etcd.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            etcd.signal(signal.SIGCONT)

    async def _freeze(self, life: Running, role: Role) -> None:
        stopped = life.freeze()
        try:
            async with asyncio.timeout(self._tempo.lease * 6):
                await asyncio.sleep(self._tempo.lease + 1)
                if role is Role.LEADER:
                    await self._until_led_by_another(life.identity)
                # Time for the other one to act, as it may.
                await asyncio.sleep(1)
            self.takeovers += role is Role.LEADER
        except TimeoutError:
            self._say("nobody took over")
        finally:
            life.resume(stopped)

    async def _until_led_by_another(self, identity: str) -> None:
        while await self.holder() in {identity, ""}:  # noqa: ASYNC110 - it is remote
            await asyncio.sleep(_POLL)

    async def _who(self, role: Role) -> Running:
        """Wait until somebody has the role, and return who."""
        async with asyncio.timeout(120):
            while True:
                holder = await self.holder()
                running = [it.current for it in self._replicas if it.current]
                leads = [it for it in running if it.identity == holder]
                waits = [it for it in running if it not in leads and it.is_settled]
                found = leads if role is Role.LEADER else waits
                if leads and found:
                    return found[0]
                await asyncio.sleep(_POLL)

    async def holder(self) -> str:
        """Return who holds the Lease; nobody when it cannot be read."""
        with suppress(ApiError, OSError, ValueError, KeyError, TypeError):
            lease = await self._plane.api.get(PATH)
            return str(lease["spec"]["holderIdentity"])  # type: ignore[index]
        return ""


class LightHand:
    """Troubles the way of one manager."""

    def __init__(self, replica: Replica) -> None:
        self.struck = 0
        """Requests that met a fault, or connections that were broken."""
        self._replica = replica
        self._proxy: TestingProxy = replica.proxy

    async def run(self, plan: Sequence[Due[Light]], began: float) -> None:
        for at, blow in plan:
            await _until(began + at)
            await self._trouble(blow)

    async def _trouble(self, blow: Light) -> None:
        proxy = self._proxy
        fault: Fault | None = None
        try:
            match blow.trouble:
                case Trouble.DISCONNECT:
                    proxy.disconnect()
                    self.struck += 1
                case Trouble.PAUSE:
                    proxy.pause()
                    self.struck += 1
                case Trouble.GONE:
                    await proxy.stop()
                    self.struck += 1
                case _:
                    fault = put(proxy, blow)
            await asyncio.sleep(blow.seconds)
        finally:
            proxy.resume()
            if blow.trouble is Trouble.GONE:
                await _come_back(proxy)
            if fault is not None:
                self._count(fault)
                proxy.faults.clear()
            if blow.breaks:
                proxy.disconnect()

    def _count(self, fault: Fault) -> None:
        self.struck += fault.struck
        if fault.status in _REFUSING and fault.struck and self._replica.lives:
            self._replica.lives[-1].refusals += fault.struck


def put(proxy: TestingProxy, blow: Light) -> Fault:
    """Put the fault of a blow in force, for as many requests as there are."""
    target = proxy.faults.on(verb=blow.verb, resource=blow.resource, times=None)
    match blow.trouble:
        case Trouble.ANSWER:
            pause = 1 if blow.status == 429 else None
            return target.answer(blow.status, retry_after=pause)
        case Trouble.CUT:
            return target.cut(after=blow.after)
        case Trouble.CUT_HANDLED:
            return target.cut(after=blow.after, handled=True)
        case Trouble.STALL:
            return target.stall(after=blow.after)
        case Trouble.DELAY:
            return target.delay(blow.delay)
        case Trouble.LAG:
            return target.lag(blow.delay)
        case Trouble.CORRUPT:
            return target.corrupt(after=blow.after)
        case Trouble.DISCONNECT | Trouble.PAUSE | Trouble.GONE:
            raise ValueError(f"{blow.trouble} strikes the way, not a request")
        case _:
            assert_never(blow.trouble)


async def _come_back(proxy: TestingProxy) -> None:
    """Listen again; a connection of somebody else's may have the port for a moment."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await proxy.start()
            except OSError:
                await asyncio.sleep(_POLL)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(moment - now(), 0))
