"""What is known of a soak when it is over: what the judge looks at.

    journals, exits, logs ─▶ Life ─┐
    ways to the API server ─▶ Arrival ─▶ Evidence
    API server ─▶ Stored ──────────┘

Times are `CLOCK_MONOTONIC`, in seconds: one clock for all processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from soak.plan import Plan
from soak.records import Began, Led, Record, Sample, Sent

R = TypeVar("R", bound=Record)


class Frozen(NamedTuple):
    """A time for which a process was stopped."""

    stopped: float
    resumed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One process of a manager, from its start to its end."""

    identity: str
    records: Sequence[Record]
    code: int = 0
    """Its exit code; negative for a signal."""
    ended: float = float("inf")
    was_killed: bool = False
    """Whether the soak sent it SIGKILL."""
    was_asked: bool = False
    """Whether the soak asked it to stop."""
    freezes: Sequence[Frozen] = ()
    refusals: int = 0
    """How often its way answered 401 or 403."""
    complaints: Sequence[str] = ()
    """Lines on stderr that do not belong there."""

    def all(self, kind: type[R]) -> Iterator[R]:
        """Yield the records of a kind, in order of time."""
        return (it for it in self.records if isinstance(it, kind))

    @property
    def acts(self) -> Sequence[float]:
        """When it began a reconcile or sent a write."""
        return [it.t for it in self.records if isinstance(it, (Began, Sent))]

    @property
    def has_led(self) -> bool:
        return any(self.all(Led))

    @property
    def samples(self) -> Sequence[Sample]:
        return list(self.all(Sample))


class Arrival(NamedTuple):
    """A write to a ConfigMap, as the way to the API server saw it come."""

    identity: str
    at: float


class Stored(NamedTuple):
    """An object as the API server has it at the end."""

    version: str
    wanted: str
    """Digest of its data."""
    digest: str
    """The one that a reconcile wrote onto it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known when a soak is over. Times are `CLOCK_MONOTONIC`."""

    began: float
    lives: Sequence[Life]
    arrivals: Sequence[Arrival]
    stored: Mapping[str, Stored]
    """By `namespace/name`."""
    quiet: tuple[float, float]
    """When nothing had gone wrong yet, and the managers had settled in."""
    calm: tuple[float, float]
    """When everything had been reconciled, and nobody wrote."""
    settled: float | None
    """Seconds from the beginning of the last writes to that; `None` for never."""
    planned: Mapping[str, int]
    """Kinds of blows, and how many were due."""
    done: Mapping[str, int]
    takeovers: int
    """Times that another led when a frozen leader was resumed."""
    struck: int
    """Requests that met a fault."""
    writes: int


def planned(plan: Plan) -> Mapping[str, int]:
    """Count the kinds of heavy blows."""
    return Counter(type(due.blow).__name__ for due in plan.heavy)
