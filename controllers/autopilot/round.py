"""How a sweep went: what became of each of its assets, told when all have been tried.

    begin(names) ─▶ settle(name, …) … ─▶ the last one ─▶ Report ─▶ next round

An asset that is tried again later belongs to the round in which it was first tried: one
that keeps failing does not keep the others' outcome from being told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_MOST = 5
"""Causes that are named; the rest is a number."""


class Report(NamedTuple):
    """The outcome of a round."""

    total: int
    applied: int
    """Objects that were created or corrected."""
    failures: tuple[tuple[str, str], ...]
    """Asset and cause."""
    is_news: bool
    """Something was applied, or it went otherwise than the last time."""

    def __str__(self) -> str:
        if not self.failures:
            return f"applied {self.applied}/{self.total}"
        causes = " ".join(f"[{name}: {why}]" for name, why in self.failures[:_MOST])
        more = len(self.failures) - _MOST
        rest = f" and {more} more" if more > 0 else ""
        return f"failed {len(self.failures)}/{self.total} {causes}{rest}"


class Round:
    """Counts what became of the assets of the present sweep."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._total = 0
        self._applied = 0
        self._failures: dict[str, str] = {}
        self._last: frozenset[str] | None = None
        """The assets that failed in the last round; `None` before the first."""

    def begin(self, names: Iterable[str]) -> None:
        """Wait for these assets."""
        self._waiting = set(names)
        self._total = len(self._waiting)
        self._applied = 0
        self._failures = {}

    def settle(
        self, name: str, *, applied: bool = False, failure: str = ""
    ) -> Report | None:
        """Take note of an asset; return the report if it was the last."""
        if name not in self._waiting:
            return None
        self._waiting.discard(name)
        self._applied += applied
        if failure:
            self._failures[name] = failure
        return self.finished()

    def finished(self) -> Report | None:
        """Return the report if no asset is waited for."""
        if self._waiting:
            return None
        failed = frozenset(self._failures)
        is_news = self._applied > 0 or failed != self._last
        self._last = failed
        failures = tuple(sorted(self._failures.items()))
        return Report(self._total, self._applied, failures, is_news)
