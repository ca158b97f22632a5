"""What the controller knows about the process that it is in."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from controller_runtime import Clock
from controllers.release.locks import Holder
from controllers.release.options import ReleaseOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Who and where we are."""

    ours: Holder
    """This process, as the status of what it does names it."""

    is_owner_alive: Callable[[str], bool]
    """Whether a ManagedRoost with a uid exists."""

    is_process_alive: Callable[[int], bool]
    """Whether a process of this host runs."""

    clock: Clock
    randomness: random.Random
    options: ReleaseOptions

    def new_id(self) -> str:
        """Return an id for an operation."""
        return f"{self.randomness.getrandbits(48):012x}"
