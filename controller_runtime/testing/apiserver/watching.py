"""One watch: what it is told, and when.

A change passes through three hands: the storage announces it inline; `Watch` keeps
those that the matcher lets through, each with the time at which it may be told; the
HTTP stream takes one line at a time with `next`.

    start       resourceVersion n: what happened after n
                "" or "0": everything there is, as ADDED, then what happens
                sendInitialEvents: the same, then a BOOKMARK that says that is all
    afterwards  changes; a BOOKMARK every minute if asked for, and before the end
    end         timeoutSeconds, or an ERROR when n is forgotten
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import status
from controller_runtime.testing.apiserver.listing import ListOptions
from controller_runtime.testing.apiserver.matching import Matcher
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.storage import (
    Change,
    CompactedError,
    Storage,
)

INITIAL_EVENTS_END = "k8s.io/initial-events-end"

_EARLY = 1e-6
"""Seconds by which a timer may come before its time, as loops take what is due within
their clock's resolution. Without it a watch would wait for that moment without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a watch speaks and ends, in seconds of loop time."""

    bookmark_seconds: float = 60.0
    """Between bookmarks; kube-apiserver aims at a minute."""

    timeout_seconds: float = 1800.0
    """Length of a watch that does not say; kube-apiserver's minimum is 30 minutes."""

    last_bookmark_seconds: float = 2.0
    """How long before the end a last bookmark comes (apiserver `cacheWatcher`)."""

    lag_seconds: float = 0.0
    """How late each change is told."""


class _Pending(NamedTuple):
    due: float
    revision: int
    event: Json | None
    """None: nothing to tell, but the watch has come this far."""


class Watch:
    """Lines for one client, in order."""

    def __init__(
        self,
        storage: Storage,
        resource: Resource,
        namespace: str,
        options: ListOptions,
        timing: Timing,
    ) -> None:
        self._storage = storage
        self._resource = resource
        self._options = options
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._matcher = Matcher(
            resource, namespace, options.label_selector, options.field_selector
        )
        self._namespace = namespace
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._stopped = False
        length = options.timeout_seconds or timing.timeout_seconds
        self._end = self._loop.time() + length
        self._bookmarks = self._bookmark_times(length)
        self._next_bookmark = next(self._bookmarks, self._end)
        self._told = storage.revision
        self._unsubscribe = storage.subscribe(self._on_change)
        self._start()

    async def next(self) -> Json | None:
        """Wait for the next event; None at the end of the watch."""
        while not self._stopped:
            now = self._loop.time() + _EARLY
            if self._pending and self._pending[0].due <= now:
                if (event := self._take()) is not None:
                    return event
            elif now >= self._end:
                return None
            elif now >= self._next_bookmark:
                self._next_bookmark = next(self._bookmarks, self._end)
                return self._bookmark(self._told)
            else:
                await self._sleep_until_something_is_due()
        return None

    def stop(self) -> None:
        """End the watch early; what is pending is dropped."""
        if not self._stopped:
            self._stopped = True
            self._unsubscribe()
            self._wake.set()

    def _take(self) -> Json | None:
        pending = self._pending.popleft()
        self._told = pending.revision
        return pending.event

    async def _sleep_until_something_is_due(self) -> None:
        due = self._pending[0].due if self._pending else self._end
        self._wake.clear()
        try:
            async with asyncio.timeout_at(min(due, self._end, self._next_bookmark)):
                await self._wake.wait()
        except TimeoutError:
            return

    def _bookmark_times(self, length: float) -> Iterator[float]:
        if not self._options.allow_bookmarks:
            return
        period = self._timing.bookmark_seconds
        last = length - self._timing.last_bookmark_seconds
        at = period
        while at < last:
            yield self._end - length + at
            at += period
        if last > 0:
            yield self._end - length + last

    def _start(self) -> None:
        revision, initial = self._options.revision, self._options.send_initial_events
        if initial or (initial is None and not revision):
            self._tell_state(revision)
        elif revision:
            self._tell_history(revision)

    def _tell_state(self, revision: int) -> None:
        if revision > self._storage.revision:
            error = status.too_large(revision, self._storage.revision)
            return self._tell_error(error)
        now, current = self._loop.time(), self._storage.revision
        collection = self._resource.collection
        for _, stored in self._storage.items(collection, self._namespace):
            shown = self._resource.shown(stored)
            if self._matcher.matches(shown):
                event = {"type": "ADDED", "object": shown}
                self._pending.append(_Pending(now, current, event))
        if self._options.send_initial_events and self._options.allow_bookmarks:
            bookmark = self._bookmark(current, initial_events_end=True)
            self._pending.append(_Pending(now, current, bookmark))
        return None

    def _tell_history(self, revision: int) -> None:
        self._told = revision
        try:
            changes = list(self._storage.since(revision))
        except CompactedError:
            error = status.too_old(revision, self._storage.compacted)
            return self._tell_error(error)
        for change in changes:
            self._on_change(change)
        return None

    def _tell_error(self, error: status.StatusError) -> None:
        event = {"type": "ERROR", "object": error.body()}
        self._pending.append(_Pending(self._loop.time(), self._told, event))
        self._end = self._loop.time()

    def _on_change(self, change: Change) -> None:
        if change.revision <= self._options.revision:
            return
        seen = self._matcher.seen(change)
        event = None if seen is None else seen._asdict()
        due = self._loop.time() + self._timing.lag_seconds
        self._pending.append(_Pending(due, change.revision, event))
        self._wake.set()

    def _bookmark(self, revision: int, *, initial_events_end: bool = False) -> Json:
        metadata: Json = {"resourceVersion": str(revision)}
        if initial_events_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        gvk = self._resource.gvk
        object_ = {"kind": gvk.kind, "apiVersion": gvk.api_version}
        return {"type": "BOOKMARK", "object": {**object_, "metadata": metadata}}
