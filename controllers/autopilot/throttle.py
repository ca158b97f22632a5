"""How often an object may be corrected, and when correcting it is a war.

    drift ─▶ bucket has a token? ─yes─▶ correct
                   │no
                   ▼
             somebody else wrote, and the last count is 20 s ago? ─no─▶ wait for a token
                   │yes
                   ▼
             counted; the third time ─▶ pause: it is a war

A burst of edits uses up the bucket and is over: nothing is counted that our own
retries do. A war is what is still there when tokens have come back, three times. It is
forgotten after a whole window without drift, not with the first correction that holds
for a moment.

Pure: seconds come as an argument, from any clock that does not go back. Keys are
independent of each other, and one that nothing happened to for an hour is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_IDLE = 3600.0
"""Seconds after which a key is forgotten; its bucket has long been full again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleOptions:
    """How much is too much."""

    capacity: int = 5
    """Corrections of one object in a burst."""

    window: float = 60.0
    """Seconds in which an empty bucket fills, evenly."""

    threshold: int = 3
    """Throttles that count until it is a war."""

    spacing: float = 20.0
    """Seconds between two throttles that count."""


class Turn(Enum):
    """What may be done about drift."""

    GO = auto()
    """Correct it."""
    WAIT = auto()
    """Wait for a token (`Throttle.due`)."""
    WAR = auto()
    """Stop: somebody undoes each correction."""


@dataclass(slots=True)
class _State:
    tokens: float
    filled: float
    """When the tokens were counted."""
    counted: int = 0
    """Throttles since the last window without drift."""
    counted_at: float = float("-inf")
    clean_since: float | None = None


class Throttle(Generic[K]):
    """The buckets of all objects, and what is counted beside them."""

    def __init__(self, options: ThrottleOptions | None = None) -> None:
        self.options = options or ThrottleOptions()
        self._states: dict[K, _State] = {}
        self._pruned = 0.0

    def __len__(self) -> int:
        return len(self._states)

    def turn(self, key: K, now: float, *, is_foreign: bool) -> Turn:
        """Take a token for a correction, if there is one.

        Args:
            key: Of the object.
            now: Seconds.
            is_foreign: Somebody else has written since we last did.
        """
        state = self._state(key, now)
        self._end_truce(state, now)
        if state.tokens >= 1:
            state.tokens -= 1
            return Turn.GO
        if is_foreign and now - state.counted_at >= self.options.spacing:
            state.counted += 1
            state.counted_at = now
        return Turn.WAR if state.counted >= self.options.threshold else Turn.WAIT

    def due(self, key: K, now: float) -> float:
        """Return the seconds until the key has a token."""
        missing = 1 - self._state(key, now).tokens
        return max(missing, 0.0) * self.options.window / self.options.capacity

    def clean(self, key: K, now: float) -> None:
        """Take note that there is no drift."""
        state = self._states.get(key)
        if state is None:
            return
        if state.clean_since is None:
            state.clean_since = now
        elif now - state.clean_since >= self.options.window:
            state.counted, state.counted_at = 0, float("-inf")

    def is_at_threshold(self, key: K) -> bool:
        """Whether a war was declared that nobody has ended."""
        state = self._states.get(key)
        return state is not None and state.counted >= self.options.threshold

    def reset(self, key: K) -> None:
        """Begin anew: a full bucket, and nothing counted."""
        self._states.pop(key, None)

    def count(self, key: K) -> int:
        """Return how many throttles are counted."""
        state = self._states.get(key)
        return state.counted if state else 0

    def tokens(self, now: float) -> dict[K, float]:
        """Return what is left in each bucket, for `/debug`."""
        return {key: self._state(key, now).tokens for key in tuple(self._states)}

    def _end_truce(self, state: _State, now: float) -> None:
        since, state.clean_since = state.clean_since, None
        if since is not None and now - since >= self.options.window:
            state.counted, state.counted_at = 0, float("-inf")

    def _state(self, key: K, now: float) -> _State:
        self._prune(now)
        full = float(self.options.capacity)
        state = self._states.setdefault(key, _State(tokens=full, filled=now))
        gained = max(now - state.filled, 0.0) * full / self.options.window
        state.tokens = min(state.tokens + gained, full)
        state.filled = now
        return state

    def _prune(self, now: float) -> None:
        if now - self._pruned < _IDLE:
            return
        self._pruned = now
        self._states = {
            key: state
            for key, state in self._states.items()
            if now - state.filled < _IDLE
        }
