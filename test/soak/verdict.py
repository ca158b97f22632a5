"""What a rule says, and what all of them allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from soak.plan import Tempo


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is allowed; each with its reason."""

    tempo: Tempo
    """How long things may take, and are looked at."""

    overlap: float = 1.0
    """Seconds for which a reconcile may go on, without an act, when another has begun
    to act. A process that was stopped or starved runs on to the next fence: that takes
    milliseconds, and longer where processes wait for a core."""

    afterlife: float = 10.0
    """Seconds that a leader may outlive the end of its freeze if another has led
    meanwhile. It takes milliseconds; a busy machine starts threads late."""

    tasks: int = 2
    """Tasks at the end above those at the start: a timer or a call may be under way."""

    sockets: int = 4
    """Sockets likewise, when all connections have been ended: those of a call, a
    renewal and an Event that are under way."""

    files: int = 2
    """Descriptors that are no sockets, likewise, of one replica: loops differ."""

    growth: int = 8 << 20
    """Bytes by which the last third of these may exceed the first: the heap of a
    process that does not leak moves by less, and a leak of 1 KiB for each reconcile
    exceeds it within five minutes."""

    growth_per_minute: int = 2 << 20
    """Bytes, for processes observed for `long` seconds."""

    long: float = 120.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule says."""

    rule: str
    figures: str
    """What was found, in a few words."""
    problems: Sequence[str] = field(default=())

    @property
    def is_good(self) -> bool:
        return not self.problems
