"""When a workload may reload, apart from whether it has to.

What is said in annotations, by ReloaderConfigs and by flags is merged into one of
these for each workload, as a part of its policy; `gates` read nothing else.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from controller_runtime import NamespacedName

NO_TIME = timedelta()


class Window(NamedTuple):
    """When reloads may begin, as somebody says it; `schedules` reads it."""

    schedule: str
    """When it opens: a cron line of five fields."""

    duration: timedelta
    time_zone: str = "UTC"


class Limit(NamedTuple):
    """How many targets of one ReloaderConfig may roll out at once."""

    config: NamespacedName
    most: int


class Dependency(NamedTuple):
    """A workload in the same namespace that comes first."""

    kind: str
    name: str


class Terms(NamedTuple):
    """What was asked for about the time of a reload."""

    suspended: bool = False
    """Not now: changes wait until this is taken away."""

    suspended_configs: frozenset[NamespacedName] = frozenset()
    """What only these ReloaderConfigs ask for waits until they go on."""

    cooldown: timedelta = NO_TIME
    """Changes that come so soon after a reload wait for its end; the longest of all
    that is asked for."""

    min_interval: timedelta = NO_TIME
    """Least time between two reloads; the longest of all that is asked for."""

    windows: tuple[Window, ...] = ()
    """Reloads begin while all of these are open."""

    max_concurrent: tuple[Limit, ...] = ()
    """Each holds for the targets of its own config."""

    after: tuple[Dependency, ...] = ()
    """Workloads whose reloads and rollouts have to be over first."""

    is_canary: bool = False
    """It goes first, and others that reload for the same source wait for it."""

    rolls_back: bool = False
    """A rollout that fails is to be taken back."""

    pause_period: timedelta | None = None
    """A Deployment rests so long after a reload, and rolls out then; more than 0."""


NO_TERMS = Terms()
