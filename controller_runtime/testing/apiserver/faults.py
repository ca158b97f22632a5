"""Making the server fail on purpose, and remembering what it was asked.

    server.faults.on(verb="list", resource="configmaps").answer(429, retry_after=3)
    server.faults.on(verb="update", name="web").cut(handled=True)
    server.faults.on(verb="watch", times=None).lag(0.5)

A fault is about requests of a verb, resource and name, strikes `times` times (once,
unless told otherwise; None for ever) and then no more. Of several that fit a request
the oldest strikes; delays, lags and warnings add up, and leave the rest to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Recorded(NamedTuple):
    """One request, as it came in."""

    method: str
    path: str
    params: Mapping[str, str]
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection, or empty
    for what is not about objects."""
    resource: str
    """Plural name, such as `configmaps`; empty for what is not about objects."""
    namespace: str
    name: str
    """Empty for a creation: the path does not have it."""
    subresource: str
    content_type: str
    user_agent: str
    time: float
    """Loop time, in seconds."""


class Requests(list[Recorded]):
    """Every request, in order of arrival. Clear it to forget."""

    def of(self, verb: str = "", resource: str = "", name: str = "") -> list[Recorded]:
        """Return those that fit; an empty argument fits all."""
        return [entry for entry in self if _fits(entry, verb, resource, name)]


def _fits(request: Recorded, verb: str, resource: str, name: str) -> bool:
    return (
        verb in {"", request.verb}
        and resource in {"", request.resource}
        and name in {"", request.name}
    )


class Effect(StrEnum):
    """What a fault does."""

    ANSWER = "answer"
    HANG = "hang"
    DELAY = "delay"
    CUT = "cut"
    CORRUPT = "corrupt"
    LAG = "lag"
    STALL = "stall"
    WARN = "warn"


_ADDING_UP = frozenset({Effect.DELAY, Effect.LAG, Effect.WARN})


@dataclass(slots=True, kw_only=True, eq=False)
class Fault:
    """A rule in force: whom it strikes, with what, and how often it has."""

    verb: str
    resource: str
    name: str
    times: int | None
    dry_run: bool | None = None
    """Dry runs alone, or all but these; None for either."""
    effect: Effect = Effect.ANSWER
    status: int = 0
    reason: str = ""
    message: str = ""
    retry_after: int | None = None
    seconds: float = 0
    after: int = 0
    handled: bool = False
    struck: int = field(default=0, init=False)
    """How many requests it has struck."""
    served: int = field(default=0, init=False)
    """How many of these the server has done nonetheless."""

    def fits(self, request: Recorded) -> bool:
        """Whether it is still in force and about this request."""
        in_force = self.times is None or self.struck < self.times
        is_meant = self.dry_run in {None, "dryRun" in request.params}
        fits = _fits(request, self.verb, self.resource, self.name)
        return in_force and is_meant and fits

    def remove(self) -> None:
        """Strike no more."""
        self.times = 0


class Target:
    """The requests that a fault is about; each method puts one fault in force."""

    def __init__(self, faults: list[Fault], fault: Fault) -> None:
        self._faults = faults
        self._fault = fault

    def answer(
        self,
        status: int,
        *,
        reason: str = "",
        message: str = "",
        retry_after: int | None = None,
    ) -> Fault:
        """Refuse with a Status of this code; a watch is refused before it starts."""
        self._fault.status = status
        self._fault.reason = reason
        self._fault.message = message
        self._fault.retry_after = retry_after
        return self._put(Effect.ANSWER)

    def hang(self) -> Fault:
        """Never answer: until the client gives up or the server stops."""
        return self._put(Effect.HANG)

    def delay(self, seconds: float) -> Fault:
        """Look at the request only after `seconds` of loop time."""
        self._fault.seconds = seconds
        return self._put(Effect.DELAY)

    def cut(self, *, handled: bool = False, after: int = 0) -> Fault:
        """Drop the connection instead of an answer.

        Args:
            handled: First do what was asked, so that the client cannot know.
            after: On a watch, let this many events through before.
        """
        self._fault.handled = handled
        self._fault.after = after
        return self._put(Effect.CUT)

    def corrupt(self, *, after: int = 0) -> Fault:
        """Answer with what is not JSON; on a watch, one line after `after` events."""
        self._fault.after = after
        return self._put(Effect.CORRUPT)

    def stall(self, *, after: int = 0) -> Fault:
        """Open a watch, tell `after` events, and never say anything again.

        Of other requests it is the same as to hang.
        """
        self._fault.after = after
        return self._put(Effect.STALL)

    def lag(self, seconds: float) -> Fault:
        """Tell watches that start from now on of each change `seconds` late."""
        self._fault.seconds = seconds
        return self._put(Effect.LAG)

    def warn(self, text: str) -> Fault:
        """Answer as usual, with a `Warning` header."""
        self._fault.message = text
        return self._put(Effect.WARN)

    def _put(self, effect: Effect) -> Fault:
        self._fault.effect = effect
        self._faults.append(self._fault)
        return self._fault


class Faults:
    """The rules in force, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def on(
        self,
        *,
        verb: str = "",
        resource: str = "",
        name: str = "",
        times: int | None = 1,
        dry_run: bool | None = None,
    ) -> Target:
        """Name the requests for a fault; an empty argument, or None, fits all."""
        fault = Fault(
            verb=verb, resource=resource, name=name, times=times, dry_run=dry_run
        )
        return Target(self._faults, fault)

    def clear(self) -> None:
        """Forget all rules."""
        for fault in self._faults:
            fault.remove()
        self._faults.clear()

    def seconds(self, effect: Effect, request: Recorded) -> float:
        """Strike with every delay or lag that fits; return their sum in seconds."""
        return sum(fault.seconds for fault in self._all(effect, request))

    def warnings(self, request: Recorded) -> list[str]:
        """Strike with every warning that fits; return their texts."""
        return [fault.message for fault in self._all(Effect.WARN, request)]

    def strike(self, request: Recorded) -> Fault | None:
        """Return the rule that decides the fate of `request`, if one does."""
        for fault in self._faults:
            if fault.effect not in _ADDING_UP and fault.fits(request):
                fault.struck += 1
                return fault
        return None

    def _all(self, effect: Effect, request: Recorded) -> list[Fault]:
        struck = [
            fault
            for fault in self._faults
            if fault.effect is effect and fault.fits(request)
        ]
        for fault in struck:
            fault.struck += 1
        return struck
