"""A part of a manager, whose trouble is its own.

              ┌─▶ waiting ─┐ a kind is not served: looked for every few seconds
    filling ──┤            ├──▶ on     every list of its kinds has come
              └──▶ off ────┘ a list is forbidden: asked for again each minute
                    ▲                  │
                    └── what runs is forbidden something: until the next start

What is added to the manager while a part is set up belongs to the part, and so does
what is declared to the cache there. Nothing of it runs, and nothing of it is listed,
before the server serves every kind that was declared; nothing of it runs before all
lists have come. A CRD that goes away later is no concern of this module: its watches
wait for it to come back, and no other watch does.

A part that is required is not switched off: what is forbidden to it stops the manager.
So does what is forbidden to the last one that is not off, for there would be nothing
left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

import structlog

from controller_runtime.cache import Cache
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    ControllerRuntimeError,
    ForbiddenError,
    NoKindMatchError,
    ServerError,
    TooManyRequestsError,
)
from controller_runtime.informer import Informer
from controller_runtime.meta import GroupVersionKind
from controller_runtime.metrics import Metrics
from controller_runtime.recorder import EventRecorder, EventType, ObjectReference
from controller_runtime.transport import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

_KIND_RETRY = 5.0
"""Seconds between two looks for kinds that are not served: as often as `Discovery` asks
for one, and one small request for each group that is missing."""

_RIGHT_RETRY = 60.0
"""Seconds until what was forbidden is tried again: a role is changed by a human."""

_ANSWER_RETRY = 1.0
"""Seconds until a server is asked again that did not say what it serves."""

_PASSING: tuple[type[Exception], ...] = (
    ServerError,
    TooManyRequestsError,
    *TRANSPORT_ERRORS,
)


class PartState(StrEnum):
    """Where a part is."""

    FILLING = "filling"
    """Its first lists are on their way."""

    WAITING = "waiting"
    """The server does not serve one of its kinds."""

    ON = "on"

    OFF = "off"
    """Its account may not do what it takes."""


class Part:
    """Says when the runnables of a part may run, and takes their trouble."""

    def __init__(
        self,
        name: str,
        *,
        cache: Cache,
        discovery: Discovery,
        metrics: Metrics,
        recorder: EventRecorder,
        about: ObjectReference,
        is_needed: Callable[[Part], bool],
    ) -> None:
        """Make a part that has nothing yet; `Manager.part` is what calls this.

        Args:
            name: Of the ready check, in logs, Events and metrics.
            cache: Where its kinds are declared.
            discovery: Knows what the server serves.
            metrics: Show the state.
            recorder: Tells of being switched off and on.
            about: What these Events are about.
            is_needed: Whether what is forbidden to the part stops the manager.
        """
        self.name = name
        self.tasks: set[asyncio.Task[None]] = set()
        """Those of its runnables; the manager keeps them."""
        self._cache = cache
        self._discovery = discovery
        self._recorder = recorder
        self._about = about
        self._is_needed = is_needed
        self._informers: Sequence[Informer] = ()
        self._missing: tuple[GroupVersionKind, ...] = ()
        self._decided = asyncio.Event()
        self._gauges = {state: metrics.part(name, state) for state in PartState}
        self._state = PartState.FILLING
        self._gauges[self._state].set(1)

    @property
    def state(self) -> PartState:
        """Where it is."""
        return self._state

    def needs(self, informers: Sequence[Informer]) -> None:
        """Run only when these have their first lists."""
        self._informers = informers

    async def may_run(self) -> bool:
        """Wait until the part is on, or until that will not come any more."""
        await self._decided.wait()
        return self._state is PartState.ON

    def check(self) -> str | None:
        """Fail while lists are on their way, and remark on anything else but on.

        What waits or is off is no reason to send nobody to the other parts.

        Raises:
            ControllerRuntimeError: The first lists have not come.
        """
        match self._state:
            case PartState.ON:
                return None
            case PartState.WAITING:
                missing = ", ".join(map(str, self._missing))
                return f"waits for {missing}: not served, is the CRD installed?"
            case PartState.OFF:
                return "switched off, forbidden: the log and an Event say what"
            case PartState.FILLING:
                kinds = ", ".join(str(i.gvk) for i in self._informers if not i.is_ready)
                raise ControllerRuntimeError(f"not listed yet: {kinds}")

    def end(self) -> None:
        """Let nobody wait for the part any more."""
        self._decided.set()

    async def run(self) -> None:
        """Switch the part on as soon as it can be.

        Raises:
            ForbiddenError: What must not be forbidden to the part.
            UnauthorizedError: The credentials are refused.
        """
        while True:
            pause = await self._look()
            if pause is None:
                return
            await asyncio.sleep(pause)

    def takes(self, error: Exception) -> bool:
        """Be off because of an error of what runs, or leave it to the manager."""
        forbidden = _forbidden(error)
        if forbidden is None or self._is_needed(self):
            return False
        self._switch_off(forbidden, "until the manager starts again")
        for task in self.tasks - {asyncio.current_task()}:
            task.cancel()
        return True

    async def _look(self) -> float | None:
        """Try to begin; return after how many seconds to try again, if ever."""
        try:
            missing = await self._not_served()
            if missing:
                self._wait_for(missing)
                return _KIND_RETRY
            if self._state is PartState.WAITING:
                self._enter(PartState.FILLING)
            await self._fill()
        except NoKindMatchError:
            self._hold_failed()
            return _KIND_RETRY  # it went while it was listed
        except ForbiddenError as error:
            if self._is_needed(self):
                raise
            self._hold_failed()
            self._switch_off(error, f"asked again every {_RIGHT_RETRY:g} s")
            return _RIGHT_RETRY
        except _PASSING as error:
            log.info("part cannot begin yet", part=self.name, error=str(error))
            return _ANSWER_RETRY
        self._switch_on()
        return None

    async def _not_served(self) -> tuple[GroupVersionKind, ...]:
        missing: list[GroupVersionKind] = []
        for informer in self._informers:
            try:
                await self._discovery.resource(informer.gvk)
            except NoKindMatchError:
                missing.append(informer.gvk)
        return tuple(dict.fromkeys(missing))

    async def _fill(self) -> None:
        running = [
            await self._cache.informer(i.gvk, i.options) for i in self._informers
        ]
        for informer in running:
            await informer.synced()

    def _hold_failed(self) -> None:
        """Let nobody wait for lists that will not come before the next look."""
        for informer in self._informers:
            informer.held |= informer.failure is not None

    def _wait_for(self, missing: tuple[GroupVersionKind, ...]) -> None:
        if missing != self._missing or self._state is not PartState.WAITING:
            kinds = [str(kind) for kind in missing]
            log.warning("part waits for kinds", part=self.name, kinds=kinds)
        self._missing = missing
        self._enter(PartState.WAITING)

    def _switch_on(self) -> None:
        if self._state is PartState.OFF:
            log.info("part is switched on", part=self.name)
            self._tell("Normal", "SwitchedOn", f"{self.name} may do its work now")
        elif self._missing:
            log.info("part found its kinds", part=self.name)
        self._enter(PartState.ON)
        self._decided.set()

    def _switch_off(self, error: ForbiddenError, how_long: str) -> None:
        if self._state is not PartState.OFF:
            log.error("part is switched off", part=self.name, error=str(error))
            note = f"{self.name} is off ({how_long}): {error}"
            self._tell("Warning", "SwitchedOff", note)
        self._enter(PartState.OFF)

    def _tell(self, kind: EventType, reason: str, note: str) -> None:
        self._recorder.event(
            self._about, type=kind, reason=reason, action="Switch", note=note
        )

    def _enter(self, state: PartState) -> None:
        self._gauges[self._state].set(0)
        self._gauges[state].set(1)
        self._state = state


def _forbidden(error: Exception) -> ForbiddenError | None:
    """Find what was forbidden, if nothing else went wrong."""
    if isinstance(error, ExceptionGroup):
        found = [_forbidden(part) for part in error.exceptions]
        return found[0] if all(found) else None
    return error if isinstance(error, ForbiddenError) else None
