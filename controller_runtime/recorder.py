"""Events for people: what a controller did to an object, in `kubectl describe`.

    reconciler ─event()─▶ queue (1000) ─run()─▶ events.k8s.io/v1

Recording never waits and never fails: what does not fit is dropped and counted.
A server that cannot be reached, or whose answer makes no sense, is asked again, up to
twelve times; an Event that it refuses is dropped, with a log line (client-go
`tools/events/event_broadcaster.go`). Every Event is written by itself; `series_key`
is what those have in common that could be told as one.

Cancelling `run` writes what still waits, for a few seconds at most.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

import structlog

from controller_runtime.client import Client
from controller_runtime.clock import Clock
from controller_runtime.errors import (
    AlreadyExistsError,
    ApiError,
    ControllerRuntimeError,
    DecodeError,
    ServerError,
)
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    Meta,
    ObjectMeta,
    RawObject,
    kind_of,
)
from controller_runtime.rbac import Permission
from controller_runtime.transport import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

WRITES_EVENTS = Permission(EVENT, ("create",))
"""What a recorder asks of the API server."""

EventType: TypeAlias = Literal["Normal", "Warning"]

_TRIES = 12
_PAUSE = 10.0
"""Seconds between two tries, 25 % more or less."""

_NOTE_BYTES = 1024
"""Longest note that the API server takes."""

_NAME_LENGTH = 253
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""What an object may be called; some kinds allow more in their own names."""

_INSTANCE_LENGTH = 128
"""Longest `reportingInstance` that the API server takes."""

_DRAIN = 5.0
"""Seconds in which the Events that wait at the end are written."""


_FAILURES: tuple[type[Exception], ...] = (*TRANSPORT_ERRORS, ControllerRuntimeError)
"""What a write may raise."""


class ObjectReference(NamedTuple):
    """Which object an Event is about."""

    gvk: GroupVersionKind
    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""

    def to_json(self) -> Json:
        """Return it as `core/v1 ObjectReference`."""
        fields = {
            "apiVersion": self.gvk.api_version,
            "kind": self.gvk.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
        }
        return {name: value for name, value in fields.items() if value}


def reference(kind: Kind, obj: Meta | RawObject | KubeObject) -> ObjectReference:
    """Refer to one version of an object."""
    meta: Meta | ObjectMeta
    match obj:
        case RawObject():
            meta = obj.meta
        case KubeObject():
            meta = obj.metadata
        case Meta():
            meta = obj
    return ObjectReference(
        kind_of(kind),
        meta.namespace,
        meta.name,
        meta.uid,
        meta.resource_version,
    )


class EventRecorder:
    """Records the Events of one controller."""

    def __init__(
        self,
        client: Client,
        *,
        controller: str,
        instance: str,
        clock: Clock,
        randomness: random.Random | None = None,
        limit: int = 1000,
        dropped: Callable[[str], None] | None = None,
    ) -> None:
        """Make a recorder; Events are written while `run` runs.

        Args:
            client: Writes them.
            controller: `reportingController`, such as `reload`.
            instance: `reportingInstance`: which process it was; cut at 128 characters.
            clock: When it was.
            randomness: Spreads the tries of many processes.
            limit: How many Events may wait to be written.
            dropped: Told the reason of each Event that was not written.
        """
        self.name = f"recorder of {controller}"
        self._client = client
        self._controller = controller
        self._instance = instance[:_INSTANCE_LENGTH]
        self._clock = clock
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._dropped = dropped or (lambda _reason: None)
        self._limit = limit
        self._waiting: deque[Json] = deque()
        self._wake = asyncio.Event()
        self._refusals: set[str] = set()
        self._last_stamp = 0

    def event(
        self,
        regarding: ObjectReference | KubeObject,
        *,
        type: EventType = "Normal",  # noqa: A002 - the field's name
        reason: str,
        action: str,
        note: str,
        related: ObjectReference | KubeObject | None = None,
    ) -> None:
        """Record that something was done; returns at once and never raises.

        Args:
            regarding: What it was done to; see `reference`.
            type: `Warning` when a human may want to act.
            reason: Why, in one CamelCase word that scripts may look for.
            action: What was done, in one CamelCase word.
            note: The sentence for people; cut at 1 KiB.
            related: Another object that has to do with it.
        """
        if len(self._waiting) >= self._limit:
            self._drop("queue full")
            return
        about, now = _referred(regarding), self._clock.now()
        event: Json = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {
                "name": _event_name(about.name, self._stamp(now)),
                "namespace": about.namespace or "default",
            },
            "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "regarding": about.to_json(),
            "type": type,
            "reason": reason,
            "action": action,
            "note": cut(note, _NOTE_BYTES),
        }
        if related is not None:
            event["related"] = _referred(related).to_json()
        self._waiting.append(event)
        self._wake.set()

    def _stamp(self, now: datetime) -> int:
        """Return the time in nanoseconds, but never the same twice."""
        self._last_stamp = max(_nanoseconds(now), self._last_stamp + 1)
        return self._last_stamp

    async def run(self) -> None:
        """Write Events until cancelled, and then what still waits."""
        try:
            while True:
                await self._wake.wait()
                await self._write_first()
        finally:
            await self._drain()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN):
                while self._waiting:
                    await self._write_first()
        except TimeoutError:
            log.warning("events lost at the end", events=len(self._waiting))
            for _ in range(len(self._waiting)):
                self._waiting.popleft()
                self._drop("stopped")

    async def _write_first(self) -> None:
        """Write the oldest Event; it leaves the queue when its fate is known."""
        for _ in range(_TRIES):
            if await self._is_settled(self._waiting[0]):
                break
            await asyncio.sleep(_PAUSE * (0.75 + self._random.random() / 2))
        else:
            self._drop("unreachable")
        self._waiting.popleft()
        if not self._waiting:
            self._wake.clear()

    async def _is_settled(self, event: Json) -> bool:
        """Try to write; tell whether it was written or refused for good."""
        try:
            await self._client.create(event)
        except AlreadyExistsError:
            return True  # a try of ours whose answer was lost
        except _FAILURES as error:
            if _may_pass(error):
                log.debug("event not written yet", error=str(error))
                return False
            self._refused(error)
        return True

    def _refused(self, error: Exception) -> None:
        self._drop("refused")
        reason = error.reason if isinstance(error, ApiError) else type(error).__name__
        if reason not in self._refusals:  # once: every Event would say the same
            self._refusals.add(reason)
            log.warning("events are refused", reason=reason, error=str(error))

    def _drop(self, reason: str) -> None:
        self._dropped(reason)


def series_key(event: Json) -> tuple[object, ...]:
    """Return what the Events of one series have in common (KEP-383)."""
    return (
        event["type"],
        event["action"],
        event["reason"],
        event["reportingController"],
        event["reportingInstance"],
        frozenset(event["regarding"].items()),
        frozenset(event.get("related", {}).items()),
    )


def _may_pass(error: Exception) -> bool:
    """Whether the next try may go better: the API server itself has not answered.

    An error of the server without a reason is no Status: a proxy has answered.
    """
    if isinstance(error, ServerError):
        return not error.reason
    return isinstance(error, (DecodeError, *TRANSPORT_ERRORS))


def _referred(obj: ObjectReference | KubeObject) -> ObjectReference:
    return obj if isinstance(obj, ObjectReference) else reference(obj.gvk, obj)


def _event_name(regarding: str, stamp: int) -> str:
    """Name an Event after its object, if that makes a name that the server takes."""
    suffix = f".{stamp:x}"
    name = regarding[: _NAME_LENGTH - len(suffix)].rstrip("-.") + suffix
    return name if _NAME.fullmatch(name) else f"event{suffix}"


def cut(text: str, limit: int) -> str:
    """Shorten to at most `limit` bytes of UTF-8, at the end of a character."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
