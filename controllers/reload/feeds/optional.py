"""Kinds that come and go while the manager runs: with a CRD, or an API service.

    absent ──served──▶ watched ──not served──▶ absent

The server is asked every few seconds what it serves, one small answer for each group;
there is nothing that tells of it, and a watch on CRDs takes a role for the whole
cluster and does not know of API services. A kind that may not be listed is left out,
and tried again: who gives the right later need not restart anything. Kinds of the core
group stay: once they are watched, nothing is asked of them any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from controller_runtime import (
    TRANSPORT_ERRORS,
    ApiError,
    ControllerRuntimeError,
    Discovery,
    ForbiddenError,
    GroupVersionKind,
    NoKindMatchError,
    UnauthorizedError,
    Watching,
)

log = structlog.get_logger(__name__)

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)

PERIOD = 10.0
"""Seconds between two questions, as `KindSource` waits for a kind."""

_SOON = 1.0
"""Seconds until the next question while there has been no first answer."""

_PATIENCE = 30.0
"""Seconds without a first answer after which it is taken for a no."""


def _nothing() -> None:
    """Tell nobody."""


class Guest(NamedTuple):
    """What is watched as long as the server has some kinds."""

    kinds: Sequence[GroupVersionKind]
    """All of them are needed."""

    come: Callable[[], Awaitable[Sequence[Watching]]]
    """Begin to watch; whatever it raises, it has not begun."""

    go: Callable[[], None]
    """Forget what was watched; the watches have ended."""

    settle: Callable[[], None] = _nothing
    """Told after the first answer, whether it is here or not."""

    leave_out: Callable[[], None] = _nothing
    """Do without it: it may not be read. It is tried again."""


class Guests:
    """Looks for guests, lets them in and sees them off; a runnable."""

    name = "reload-optional-kinds"

    def __init__(self, discovery: Discovery, guests: Iterable[Guest]) -> None:
        self._discovery = discovery
        self._guests = tuple(guests)
        self._here: dict[int, Sequence[Watching]] = {}
        self._refused: set[int] = set()
        self._settled: set[int] = set()
        self._patient_until = 0.0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        self._patient_until = asyncio.get_running_loop().time() + _PATIENCE
        async with asyncio.TaskGroup() as tasks:
            for number, guest in enumerate(self._guests):
                tasks.create_task(self._follow(number, guest), name=str(guest.kinds[0]))

    async def _follow(self, number: int, guest: Guest) -> None:
        """Look for one of them; a kind in trouble does not keep the others waiting."""
        while True:
            await self._look(number, guest)
            if number in self._here and not any(gvk.group for gvk in guest.kinds):
                return
            await asyncio.sleep(PERIOD if number in self._settled else _SOON)

    async def _look(self, number: int, guest: Guest) -> None:
        is_here = number in self._here
        try:
            served = await self._are_served(guest.kinds)
            if served and not is_here:
                self._here[number] = await guest.come()
                self._refused.discard(number)
                log.info("kind is served: watching it", kind=str(guest.kinds[0]))
        except _TROUBLE as error:
            self._complain(number, guest, error)
            is_no = isinstance(error, ForbiddenError | UnauthorizedError)
            if is_no or asyncio.get_running_loop().time() > self._patient_until:
                self._settle(number, guest)
            return
        self._settle(number, guest)
        if is_here and not served:
            for watching in self._here.pop(number):
                watching.stop()
            guest.go()
            log.info("kind is not served any more", kind=str(guest.kinds[0]))

    def _settle(self, number: int, guest: Guest) -> None:
        if number not in self._settled:
            self._settled.add(number)
            guest.settle()

    async def _are_served(self, kinds: Iterable[GroupVersionKind]) -> bool:
        try:
            for gvk in kinds:
                self._discovery.forget(gvk)
                await self._discovery.resource(gvk)
        except NoKindMatchError:
            return False
        return True

    def _complain(self, number: int, guest: Guest, error: Exception) -> None:
        """Say it once; what cannot be reached is retried without a word."""
        if isinstance(error, ForbiddenError):
            guest.leave_out()
        if number not in self._refused and isinstance(error, ApiError):
            log.warning("kind is left out", kind=str(guest.kinds[0]), error=str(error))
            self._refused.add(number)
