"""What may keep a reload waiting: a row of gates between decision and write.

    plan ─▶ gate ─▶ gate ─▶ … ─▶ write
              └──────┴─ Hold: why, and when to look again

Nothing is stored for what waits. The record on the workload still has the old hash, so
each look decides anew what there is to write by then: several changes become one, a
change that is taken back becomes none, and a restart loses nothing.

All gates notice each change that is seen. Then they are asked in their order, and the
first that holds ends the row. They answer at once, from what they remember and what the
cache has. A reload that passes them all is `begin`-ed in all of them before anything is
awaited, so that two workers never take one place, and `end`-ed whatever came of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from controllers.reload.plan import Plan
from controllers.reload.policy import Problem, ReloadPolicy
from controllers.reload.workloads import Workload, WorkloadKey


class HoldReason(StrEnum):
    """What a reload waits for."""

    SUSPENDED = "Suspended"
    """Somebody has to allow it again."""

    WINDOW = "Window"
    """It is not welcome at this time."""

    COOLDOWN = "Cooldown"
    """The last reload was not long ago."""

    THROTTLED = "Throttled"
    """There were too many of them lately."""

    INTERIM = "Interim"
    """A Secret is empty, and may be filled soon."""

    GATHERING = "Gathering"
    """More may change with it."""

    RATE = "Rate"
    """Other workloads are before it."""

    ORDER = "Order"
    """Another workload goes first."""

    CANARY = "Canary"
    """One of those that the same source concerns tries it first."""

    CANARY_FAILED = "CanaryFailed"
    """It has tried, and failed: somebody has to see to it."""

    BUDGET = "Budget"
    """Too many roll out."""


class Hold(NamedTuple):
    """A reload has to wait."""

    reason: HoldReason
    text: str
    """What it waits for, after "waits": `until 14:00 UTC`, `for Deployment shop/db`."""

    seconds: float | None = None
    """Until it is worth another look; `None`: an event will tell."""

    quiet: bool = False
    """It is a matter of course, and no Event is written about it."""

    warning: str = ""
    """Reason of a Warning about it, in place of a Normal `ReloadHeld`."""

    episode: float | None = None
    """Names what it is a part of: one Event is written about all of that. `None`: one
    about each reload that is held for this reason."""

    is_open: bool = False
    """Nobody knows when it ends: `seconds` is until another look, and no more."""


def _nothing(key: WorkloadKey) -> None:
    del key


class Turn(NamedTuple):
    """A reload that wants to be made."""

    workload: Workload
    policy: ReloadPolicy
    plan: Plan
    """Has markers."""

    now: datetime
    """Wall-clock time, with a zone."""

    at: float
    """Seconds of the event loop's clock."""

    due: Callable[[WorkloadKey], Plan | None] = _nothing
    """Says what another workload has to reload for, if it has."""

    @property
    def key(self) -> WorkloadKey:
        """Of what."""
        return self.workload.key


class Gate:
    """Lets every reload pass; others hold some of them."""

    def notice(self, turn: Turn) -> None:
        """Note that a reload is wanted, whatever else holds it; at every look."""

    def ask(self, turn: Turn) -> Hold | None:
        """Return why a reload has to wait, if it does; asking again changes nothing."""
        del turn
        return None

    def begin(self, turn: Turn) -> None:
        """Note that a reload is about to be written."""

    def notes(self, turn: Turn) -> Mapping[str, str | None]:
        """Return annotations to be written with a reload, for whoever looks next."""
        del turn
        return {}

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Note what came of it; follows each `begin`.

        What was not done may be done later by itself, and is told of once more then.
        """

    def withdraw(self, key: WorkloadKey, hold: Hold) -> None:
        """Note that another gate holds what might have passed this one."""

    def settle(self, key: WorkloadKey) -> None:
        """Note that a workload has nothing to reload for."""

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that is no more, or wants nothing any more."""

    def problems(self, workload: Workload, policy: ReloadPolicy) -> Iterable[Problem]:
        """Name what was asked for and cannot be."""
        del workload, policy
        return ()


class SuspendGate(Gate):
    """Holds while somebody wishes so."""

    def __init__(self, annotation: str) -> None:
        """Know the annotation that a workload says it with."""
        self._annotation = annotation

    def ask(self, turn: Turn) -> Hold | None:
        """Hold what is suspended."""
        if turn.policy.terms.suspended:
            text = f"until its annotation {self._annotation} is taken away"
            return Hold(HoldReason.SUSPENDED, text)
        suspended = turn.policy.terms.suspended_configs
        if not suspended:
            return None
        for marker in turn.plan.markers:
            if marker.is_annotated or not suspended.issuperset(marker.configs):
                return None  # this one may go, and takes the others along
        names = ", ".join(map(str, turn.plan.configs))
        text = f"until spec.suspend of ReloaderConfig {names} is taken away"
        return Hold(HoldReason.SUSPENDED, text)


class Waiting(NamedTuple):
    """A reload that is held."""

    turn: Turn
    hold: Hold


class Gates:
    """A row of gates, and what waits at them."""

    def __init__(self, gates: Sequence[Gate] = ()) -> None:
        self._gates = tuple(gates)
        self._waiting: dict[WorkloadKey, Waiting] = {}
        self._reasons: Counter[HoldReason] = Counter()
        self._since: dict[WorkloadKey, float] = {}
        """When the first change was seen that is not reloaded for yet."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(tuple(self._waiting.values()))

    def waiting(self, key: WorkloadKey) -> Waiting | None:
        """Return what a workload waits for, if it does."""
        return self._waiting.get(key)

    def count(self, reason: HoldReason) -> int:
        """Count what waits for a reason."""
        return self._reasons[reason]

    def enter(self, turn: Turn) -> Hold | None:
        """Return what holds a reload; `None` when it is begun, and has to be ended."""
        self._since.setdefault(turn.key, turn.at)
        for gate in self._gates:
            gate.notice(turn)
        self._wait_no_more(turn.key)
        for gate in self._gates:
            if (hold := gate.ask(turn)) is not None:
                self._waiting[turn.key] = Waiting(turn, hold)
                self._reasons[hold.reason] += 1
                for other in self._gates:
                    if other is not gate:
                        other.withdraw(turn.key, hold)
                return hold
        for gate in self._gates:
            gate.begin(turn)
        return None

    def notes(self, turn: Turn) -> Mapping[str, str | None]:
        """Return annotations to be written with a reload that is begun."""
        return {key: v for gate in self._gates for key, v in gate.notes(turn).items()}

    def leave(self, turn: Turn, *, is_reloaded: bool) -> float:
        """Note what came of a reload that was begun.

        Returns:
            When its first change was seen, in seconds of the event loop's clock.
        """
        for gate in self._gates:
            gate.end(turn, is_reloaded=is_reloaded)
        since = self._since.get(turn.key, turn.at)
        if is_reloaded:
            self._since.pop(turn.key, None)
        return since

    def settle(self, key: WorkloadKey) -> Waiting | None:
        """Note that a workload has nothing to reload for; return what waited."""
        self._since.pop(key, None)
        for gate in self._gates:
            gate.settle(key)
        return self._wait_no_more(key)

    def problems(self, workload: Workload, policy: ReloadPolicy) -> Iterator[Problem]:
        """Yield what was asked for and cannot be."""
        for gate in self._gates:
            yield from gate.problems(workload, policy)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._since.pop(key, None)
        self._wait_no_more(key)
        for gate in self._gates:
            gate.forget(key)

    def _wait_no_more(self, key: WorkloadKey) -> Waiting | None:
        waited = self._waiting.pop(key, None)
        if waited is not None:
            self._reasons[waited.hold.reason] -= 1
        return waited
