"""A memory in which everything has its time.

What is remembered of workloads is worth something for a while: how they reloaded
lately, say. Each entry has an end, after which it is as if it had never been; what has
ended is swept out when as much again has come, so a memory is at most about twice as
large as what counts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_FEW = 64
"""Entries that are not worth a sweep."""


class Fading(Generic[K, V]):
    """Keys with values, each until its end. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._entries: dict[K, tuple[float, V]] = {}
        self._sweep_at = _FEW

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: K, value: V, *, until: float, now: float) -> None:
        """Remember a value until its end, in place of any other of the key."""
        self._entries[key] = (until, value)
        if len(self._entries) > self._sweep_at:
            self._entries = {k: e for k, e in self._entries.items() if e[0] > now}
            self._sweep_at = 2 * len(self._entries) + _FEW

    def get(self, key: K, *, now: float) -> V | None:
        """Return what is remembered of a key, if that has not ended."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > now else None

    def pop(self, key: K) -> None:
        """Forget a key."""
        self._entries.pop(key, None)
