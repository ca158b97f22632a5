"""Events for people: what a controller did to an object, in `kubectl describe`.

    reconciler ─▶ EventRecorder ─▶ EventBroadcaster ──▶ Outbox: which, and when
                 one a controller      one a process │
                                                     └▶ up to 8 writes at a time
                                                           └▶ EventWriter ─▶ server

Recording never waits and never fails: what does not fit is dropped and counted. Events
that say the same become a series (`series`, which decides what is to be written).

A server that cannot be reached, or whose answer makes no sense, is asked again, up to
twelve times; an Event that it refuses is dropped, with a log line. The rules are those
of client-go (`tools/events/event_broadcaster.go`), with one difference: there, whoever
writes an Event also sits out its pauses, so that eight that fail hold up the rest for
two minutes. Here a write that has to wait waits beside the line, and a writer is kept
for ten seconds at most. Which of the two APIs for Events takes a write, `eventwriter`
finds out.

Cancelling `run` writes what still waits, and the last count of every series, for a few
seconds at most. An account needs the verbs create and patch on events.k8s.io/events; an
older role that has them in the core group will do.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from socket import gethostname
from typing import Any, Literal, NamedTuple, TypeAlias

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
from controller_runtime.eventwriter import EVENT, EventWriter, is_ending
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
from controller_runtime.metrics import Metrics
from controller_runtime.rbac import Permission
from controller_runtime.series import WAITING, Outbox, Write
from controller_runtime.transport import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

WRITES_EVENTS = Permission(EVENT, ("create", "patch"))
"""What a recorder asks of the API server."""

EventType: TypeAlias = Literal["Normal", "Warning"]

_PAUSE = 10.0
"""Seconds between two tries, 25 % more or less."""

_ANSWER = 10.0
"""Seconds in which the server has to answer; an Event is not worth more."""

_WRITERS = 8
"""Writes under way at a time, as in client-go."""

_NOTE_BYTES = 1024
"""Longest note that the API server takes."""

_NAME_LENGTH = 253
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""What an object may be called; some kinds allow more in their own names."""

_WORD_BYTES = 128
"""Longest `reportingInstance`, `action` and `reason` that the API server takes."""

_DRAIN = 5.0
"""Seconds in which the Events that wait at the end are written."""

_LAST_PAUSE = 1.0
"""Seconds between two tries at the end."""

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


def reference(
    kind: Kind, obj: Meta | RawObject | KubeObject | Mapping[str, Any]
) -> ObjectReference:
    """Refer to one version of an object."""
    meta: Meta | ObjectMeta
    match obj:
        case RawObject():
            meta = obj.meta
        case KubeObject():
            meta = obj.metadata
        case Meta():
            meta = obj
        case _:
            meta = ObjectMeta.model_validate(obj.get("metadata") or {})
    return ObjectReference(
        kind_of(kind),
        meta.namespace,
        meta.name,
        meta.uid,
        meta.resource_version,
    )


class EventRecorder:
    """Records the Events of one controller; made by `EventBroadcaster.recorder`."""

    def __init__(
        self, broadcaster: EventBroadcaster, *, controller: str, instance: str
    ) -> None:
        self._broadcaster = broadcaster
        self._controller = controller
        self._instance = instance

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

        Another one of the same type, reason and action about the same version of the
        same object is counted with the first, whose note stays.

        Args:
            regarding: What it was done to; see `reference`.
            type: `Warning` when a human may want to act.
            reason: Why, in one CamelCase word that scripts may look for; at most 128
                bytes.
            action: What was done, in one CamelCase word; at most 128 bytes.
            note: The sentence for people; cut at 1 KiB.
            related: Another object that has to do with it.
        """
        about = _referred(regarding)
        event: Json = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": about.name, "namespace": about.namespace or "default"},
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "regarding": about.to_json(),
            "type": type,
            "reason": cut(reason, _WORD_BYTES),
            "action": cut(action, _WORD_BYTES),
            "note": cut(note, _NOTE_BYTES),
        }
        if related is not None:
            event["related"] = _referred(related).to_json()
        self._broadcaster.record(event)


class EventBroadcaster:
    """Writes the Events of all controllers of a process, while `run` runs."""

    name = "events"

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        randomness: random.Random | None = None,
        metrics: Metrics | None = None,
        limit: int = WAITING,
    ) -> None:
        """Make a broadcaster.

        Args:
            client: Writes the Events.
            clock: When it was.
            randomness: Spreads the tries of many processes.
            metrics: Counts what is written and what is dropped.
            limit: How many Events may wait to be written.
        """
        self._writer = EventWriter(client)
        self._clock = clock
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._metrics = metrics
        self._outbox = Outbox(limit=limit)
        self._wake = asyncio.Event()
        self._writers = 0
        self._refusals: set[str] = set()
        self._last_stamp = 0
        self._is_draining = False
        self._is_over = False

    def recorder(self, controller: str, *, instance: str = "") -> EventRecorder:
        """Return a recorder.

        Args:
            controller: `reportingController`, such as `reload`: a qualified name.
            instance: `reportingInstance`: which process it was, by default the
                controller and the host; cut at 128 bytes.
        """
        instance = cut(instance or f"{controller}-{gethostname()}", _WORD_BYTES)
        return EventRecorder(self, controller=controller, instance=instance)

    def record(self, event: Json) -> None:
        """Take in an Event that has everything but its time and a name of its own."""
        now = self._clock.now()
        metadata = event["metadata"]
        name = _event_name(metadata["name"], self._stamp(now))
        moment = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        event |= {"metadata": metadata | {"name": name}, "eventTime": moment}
        if self._is_over:
            self._drop(event, "stopped")
        elif self._outbox.record(event, _now()):
            self._wake.set()
        else:
            self._drop(event, "queue full")

    async def run(self) -> None:
        """Write Events until cancelled, and then what still waits."""
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    await self._write_and_wait(tasks)
            finally:
                await self._drain(tasks)

    async def _drain(self, tasks: asyncio.TaskGroup) -> None:
        self._is_draining = True
        self._outbox.close()
        try:
            async with asyncio.timeout(_DRAIN):
                while self._outbox:
                    await self._write_and_wait(tasks)
        except TimeoutError:
            log.warning("events lost at the end", events=len(self._outbox))
        finally:
            self._is_over = True
            self._outbox.close()
            while write := self._outbox.take():
                self._drop(write.event, "stopped")

    async def _write_and_wait(self, tasks: asyncio.TaskGroup) -> None:
        """Start what can be started, and wait until there may be more to do."""
        self._outbox.advance(_now())
        while self._writers < _WRITERS and (write := self._outbox.take()):
            self._writers += 1
            tasks.create_task(self._write(write), name=f"event {_key(write.event)}")
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._outbox.next_due()):
                await self._wake.wait()

    def _stamp(self, now: datetime) -> int:
        """Return the time in nanoseconds, but never the same twice."""
        self._last_stamp = max(_nanoseconds(now), self._last_stamp + 1)
        return self._last_stamp

    async def _write(self, write: Write) -> None:
        """Try once to write, and tell the outbox what came of it."""
        try:
            async with asyncio.timeout(_ANSWER):
                await self._writer.write(write)
        except asyncio.CancelledError:
            self._drop(write.event, "stopped")
            raise
        except _FAILURES as error:
            self._failed(write, error)
        except Exception:
            # An Event is never a reason to stop a manager.
            log.exception("event cannot be written", event_key=_key(write.event))
            self._give_up(write, "broken")
        else:
            self._outbox.settle(write, _now(), is_written=True)
            self._count_written(write)
        finally:
            self._writers -= 1
            self._wake.set()

    def _failed(self, write: Write, error: Exception) -> None:
        if not _may_pass(error):
            self._tell_of_refusal(error)
            self._give_up(write, "refused")
            return
        log.debug("event not written yet", error=repr(error))
        pause = _LAST_PAUSE if self._is_draining else _PAUSE
        pause *= 0.75 + self._random.random() / 2
        if not self._outbox.postpone(write, _now(), until=_now() + pause):
            self._drop(write.event, "unreachable")

    def _give_up(self, write: Write, reason: str) -> None:
        self._outbox.settle(write, _now(), is_written=False)
        self._drop(write.event, reason)

    def _tell_of_refusal(self, error: Exception) -> None:
        if is_ending(error):
            log.debug("event comes too late", error=str(error))
            return
        reason = error.reason if isinstance(error, ApiError) else type(error).__name__
        if reason not in self._refusals:  # once: every Event would say the same
            self._refusals.add(reason)
            log.warning("events are refused", reason=reason, error=str(error))

    def _count_written(self, write: Write) -> None:
        if self._metrics is not None:
            self._metrics.event_written(write.event["reportingController"])

    def _drop(self, event: Json, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.event_dropped(event["reportingController"], reason)


def _may_pass(error: Exception) -> bool:
    """Whether the next try may go better: the API server itself has not answered.

    An error of the server without a reason is no Status: a proxy has answered. An Event
    that exists although it is to be created is met by a series alone, and patched then.
    """
    if isinstance(error, ServerError):
        return not error.reason
    return isinstance(error, (AlreadyExistsError, DecodeError, *TRANSPORT_ERRORS))


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


def _key(event: Json) -> str:
    return f"{event['metadata']['namespace']}/{event['metadata']['name']}"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
