"""Records that somebody takes away each time: put back less and less often.

    taken away ─▶ put back at once ──taken away──▶ after 2 s, 4 s, … 10 minutes
                        └──there when the next was due──▶ forgotten

Some operators write the metadata of their workloads as a whole. Each time that takes
our record away, and what puts it back makes them write again. Meanwhile `memory` knows
the record, so no change is missed, and a reload waits for none of this.
"""

from __future__ import annotations

from typing import NamedTuple

from controllers.reload.workloads import WorkloadKey

_FIRST = 2.0
_LONGEST = 600.0
"""Seconds between two times."""


class _Tried(NamedTuple):
    seconds: float
    until: float
    """Of the event loop's clock, as all times here."""


class Strife:
    """Knows whose record was taken away, and when it may be put back."""

    def __init__(self) -> None:
        self._tried: dict[WorkloadKey, _Tried] = {}

    def __len__(self) -> int:
        return len(self._tried)

    def seconds_left(self, key: WorkloadKey, at: float) -> float:
        """Return until when a record is not put back; 0 is now."""
        tried = self._tried.get(key)
        return 0.0 if tried is None else max(0.0, tried.until - at)

    def put_back(self, key: WorkloadKey, at: float) -> None:
        """Note that a record is put back."""
        before = self._tried.get(key)
        seconds = _FIRST if before is None else min(before.seconds * 2, _LONGEST)
        self._tried[key] = _Tried(seconds, at + seconds)

    def is_there(self, key: WorkloadKey, at: float) -> None:
        """Note that a record is as it should be."""
        tried = self._tried.get(key)
        if tried is not None and tried.until <= at:
            del self._tried[key]

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._tried.pop(key, None)
