"""When a workload may reload, apart from whether it has to.

What is said in annotations, by ReloaderConfigs and by flags is merged into one of
these for each workload, as a part of its policy; `gates` read nothing else.
"""

from __future__ import annotations

from typing import NamedTuple


class Terms(NamedTuple):
    """What was asked for about the time of a reload."""

    suspended: bool = False
    """Not now: changes wait until this is taken away."""


NO_TERMS = Terms()
