"""What goes wrong in a soak, and when: drawn from a seed, so that it can be had again.

    seed, seconds ──draw──▶ Plan

    |─ quiet ─|──────── storm ────────|─────── gale ───────|─ calm ─▶
     what is     everything, also to     the ways and the     nothing:
     normal      the managers            API server           all must settle

Two hands throw: the heavy one strikes processes, one blow after the other; the light
one strikes the way of each manager to the API server, all the time. In the gale no
manager is struck, so that some live long enough to show whether they grow.

A plan says when a blow is due. One that takes longer than planned, say because the
machine is busy, puts the next one off: the same seed gives the same blows in the same
order, and not the same instants.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Generic, NamedTuple, TypeAlias, TypeVar

REPLICAS = ("a", "b")
"""The managers, each with a way of its own to the API server."""

LONG = 250.0
"""Seconds of faults from which on the Lease has its default durations."""


class Role(StrEnum):
    """Which of the managers is struck: whoever has the role when it happens."""

    LEADER = "leader"
    HEIR = "heir"


class KillServer(NamedTuple):
    """SIGKILL for the API server, which is started again."""

    down: float
    """Seconds without it, its start not included."""

    def __str__(self) -> str:
        return f"API server killed, back after {self.down:g} s"


class PauseStore(NamedTuple):
    """SIGSTOP for etcd, and SIGCONT."""

    seconds: float

    def __str__(self) -> str:
        return f"etcd paused for {self.seconds:g} s"


class Freeze(NamedTuple):
    """SIGSTOP for a manager, longer than its Lease lasts, and SIGCONT."""

    role: Role

    def __str__(self) -> str:
        return f"{self.role} frozen"


class Kill(NamedTuple):
    """SIGKILL for a manager."""

    role: Role

    def __str__(self) -> str:
        return f"{self.role} killed"


Heavy: TypeAlias = KillServer | PauseStore | Freeze | Kill


class Trouble(StrEnum):
    """What becomes of requests on their way, or of the way itself."""

    ANSWER = "answer"
    CUT = "cut"
    CUT_HANDLED = "cut handled"
    STALL = "stall"
    DELAY = "delay"
    LAG = "lag"
    CORRUPT = "corrupt"
    DISCONNECT = "disconnect"
    PAUSE = "pause"
    GONE = "gone"


class Light(NamedTuple):
    """Trouble on the way of one manager."""

    replica: str
    trouble: Trouble
    seconds: float
    """How long it is in force."""
    verb: str = ""
    """Empty for all; so is `resource`."""
    resource: str = ""
    status: int = 0
    """Of an answer."""
    after: int = 0
    """Events that a watch tells before it is struck."""
    delay: float = 0.0
    """Seconds by which a request is held up, or an event told late."""
    breaks: bool = False
    """Whether connections break when it is over, as those of a dead way do."""

    def __str__(self) -> str:
        what = f"{self.trouble} {self.status}" if self.status else str(self.trouble)
        whom = f"{self.verb or 'all'} {self.resource}".rstrip()
        return f"{what} for {whom} of {self.replica}, {self.seconds:.1f} s"


B = TypeVar("B", Heavy, Light)
C = TypeVar("C")


class Due(NamedTuple, Generic[B]):
    """A blow, and the second of the soak from which on it is due."""

    at: float
    blow: B


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """Durations in seconds that go together."""

    lease: float
    renew: float
    retry: float
    store_pause: float
    reconcile: float
    """Longest that a reconcile may take."""
    between: float
    """Between two heavy blows: one, and time to recover."""
    light: float
    """Longest between two blows on one way."""
    settle: float
    """From when everything is written a last time until all of it is reconciled."""
    warm_up: float
    """After which a process has seen all code of its role once."""
    observed: float
    """Of samples in one role, after that, without which nothing is said about memory.
    When the faults are over, writing goes on until a leader has led for so long."""
    stays_silent: float
    """Share of stalls after which the connection stays open and silent. The manager
    gives it up after 70 s, which must fit into `settle`."""


HASTY = Tempo(
    lease=6,
    renew=4.5,
    retry=0.5,
    store_pause=4,
    reconcile=4,
    between=9,
    light=1.5,
    settle=60,
    warm_up=3,
    observed=6,
    stays_silent=0,
)
"""For a minute: the Lease is short, and recovery is quick."""

PATIENT = Tempo(
    lease=15,
    renew=10,
    retry=2,
    store_pause=20,
    reconcile=10,
    between=33,
    light=4,
    settle=120,
    warm_up=10,
    observed=30,
    stays_silent=0.3,
)
"""For ten minutes: the Lease has its default durations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that goes wrong in one soak. Times are seconds since its start."""

    seed: int
    seconds: float
    """Until the faults end."""
    tempo: Tempo
    storm: float
    """When it begins."""
    gale: float
    """When it begins, at the earliest."""
    heavy: Sequence[Due[Heavy]]
    light: Sequence[Due[Light]]

    def describe(self) -> Iterator[str]:
        """Yield what to show at the start."""
        yield (
            f"seed {self.seed}: faults until {self.seconds:g} s, "
            f"{len(self.heavy)} blows to processes, {len(self.light)} to the ways"
        )
        for at, blow in self.heavy:
            yield f"{at:6.0f} s  {blow}"


def draw(seed: int, seconds: float) -> Plan:
    """Draw a plan.

    Args:
        seed: The same seed and time give the same plan.
        seconds: How long faults are thrown, the quiet start included; at least 45.
    """
    if seconds < 45:
        raise ValueError(f"{seconds:g} s leave no time for every kind of fault")
    dice = random.Random(seed)  # noqa: S311 - a plan, no secret
    tempo = PATIENT if seconds >= LONG else HASTY
    storm = min(seconds / 12, 30.0)
    gale = storm + (seconds - storm) * (0.6 if seconds >= LONG else 0.85)
    return Plan(
        seed=seed,
        seconds=seconds,
        tempo=tempo,
        storm=storm,
        gale=gale,
        heavy=list(_heavy(dice, tempo, storm, gale, seconds)),
        light=sorted(
            (
                due
                for name in REPLICAS
                for due in _light(dice, tempo, name, storm, seconds)
            ),
            key=lambda due: due.at,
        ),
    )


def _heavy(
    dice: random.Random, tempo: Tempo, storm: float, gale: float, end: float
) -> Iterator[Due[Heavy]]:
    """Strike everything at least once, and again for as long as the storm lasts."""
    blows = _blows(tempo)
    strong, calmer = deck(dice, blows), deck(dice, _KILLS)
    for number in count():
        at = storm + number * tempo.between
        if number < len(blows) or at + tempo.between <= gale:
            yield Due(at, next(strong))
        elif at + tempo.between <= end:
            yield Due(at, next(calmer))
        else:
            return


_KILLS = (KillServer(0), KillServer(1), KillServer(3))


def _blows(tempo: Tempo) -> Sequence[Heavy]:
    needed: Sequence[Heavy] = (
        KillServer(1),
        PauseStore(tempo.store_pause),
        Freeze(Role.LEADER),
        Kill(Role.LEADER),
    )
    if tempo is HASTY:
        return needed
    return (*needed, KillServer(0), Freeze(Role.HEIR), Kill(Role.HEIR))


_STATUSES = (401, 403, 409, 410, 429, 500, 504)

_TROUBLES = (*Trouble, Trouble.ANSWER, Trouble.ANSWER)

_TARGETS = (
    ("watch", "configmaps"),
    ("watch", "configmaps"),
    ("list", "configmaps"),
    ("patch", "configmaps"),
    ("patch", "configmaps"),
    ("", "leases"),
    ("update", "leases"),
    ("", "events"),
    ("", ""),
)
"""Verb and resource; what is named twice is struck more often."""


def _light(
    dice: random.Random, tempo: Tempo, replica: str, storm: float, end: float
) -> Iterator[Due[Light]]:
    troubles, statuses = deck(dice, _TROUBLES), deck(dice, _STATUSES)
    targets = deck(dice, _TARGETS)
    at = storm + dice.uniform(0, tempo.light)
    while at < end:
        trouble, (verb, resource) = next(troubles), next(targets)
        is_stall = trouble is Trouble.STALL
        blow = Light(
            replica,
            trouble,
            seconds=dice.uniform(0.2, tempo.renew / 2),
            verb=verb,
            resource=resource,
            status=next(statuses) if trouble is Trouble.ANSWER else 0,
            after=dice.randrange(4),
            delay=dice.uniform(0.02, 0.5),
            breaks=is_stall and dice.random() >= tempo.stays_silent,
        )
        yield Due(at, blow)
        at += blow.seconds + dice.uniform(tempo.light / 4, tempo.light)


def deck(dice: random.Random, cards: Sequence[C]) -> Iterator[C]:
    """Deal cards for ever, none a second time before all have been dealt."""
    while True:
        yield from dice.sample(cards, len(cards))
