"""A Secret that is empty for a moment: a gate that gives its owner time to fill it.

    has content ─▶ empty, and somebody's ──filled in time──▶ compared with that
                                         └──not in time────▶ empty it is

External Secrets, Sealed Secrets and cert-manager write a Secret anew when what it is
made from changes or comes back, and in between it may hold nothing. Pods that start
then would have nothing to read. So a Secret without content does not count at once, if
it is made by somebody: it has an owner, or the annotation of a Certificate. What it
holds next is what counts, and if that is what it held before, nothing reloads.

The time begins when a workload first sees it so, and anew in another process: nothing
is lost, and nothing is done twice. No owner is asked, and no further kind is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.sources import Source, SourceKey
from controllers.reload.workloads import WorkloadKey


class InterimGate(Gate):
    """Holds what would reload for a Secret that is about to be filled."""

    def __init__(
        self, patience: timedelta, source: Callable[[SourceKey], Source | None]
    ) -> None:
        """Make a gate.

        Args:
            patience: How long a Secret may be empty before that counts; more than 0.
            source: Says what is known of a source, if it is there.
        """
        self._patience = patience.total_seconds()
        self._source = source
        self._since: dict[WorkloadKey, dict[SourceKey, float]] = {}
        """When a workload first saw a Secret empty; seconds of the loop's clock."""

    def __len__(self) -> int:
        return len(self._since)

    def notice(self, turn: Turn) -> None:
        """Note which Secrets are empty, and since when."""
        before = self._since.pop(turn.key, {})
        since = {key: before.get(key, turn.at) for key in self._empty(turn)}
        if since:
            self._since[turn.key] = since

    def ask(self, turn: Turn) -> Hold | None:
        """Hold until what is empty is filled, or has had its time."""
        since = self._since.get(turn.key)
        if not since:
            return None
        key, last = max(since.items(), key=lambda it: (it[1], it[0]))
        seconds = last + self._patience - turn.at
        if seconds <= 0:
            return None
        text = (
            f"for content: Secret {key.namespace}/{key.name} is empty, and its owner "
            f"has {self._patience:g} s to fill it"
        )
        return Hold(HoldReason.INTERIM, text, seconds)

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Let go of what it was reloaded for."""
        if is_reloaded:
            self._since.pop(turn.key, None)

    def settle(self, key: WorkloadKey) -> None:
        """Let go of what holds again what it held before."""
        self._since.pop(key, None)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload."""
        self._since.pop(key, None)

    def _empty(self, turn: Turn) -> Iterator[SourceKey]:
        for marker in turn.plan.markers:
            source = self._source(marker.source)
            if source is not None and source.is_interim:
                yield source.key
