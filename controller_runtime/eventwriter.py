"""How an Event gets to the server: by the API that takes it.

                    ┌─ 403 ──▶ core/v1, and all of its namespace for five minutes ─┐
    write ─▶ events.k8s.io/v1 ◀──────────────── then it is tried again ────────────┘

Both are one collection on the server, with other names for most fields, and roles name
them apart: many that were written before events.k8s.io/v1 give the core group alone.
Namespaces may have roles of their own, so each finds out for itself.

In core/v1 an Event says when and how often twice: in `eventTime` and `series`, as
events.k8s.io/v1 does, and in `firstTimestamp`, `lastTimestamp`, `count` and `source`,
as client-go's older recorder does (`tools/record/events_cache.go`). Whoever reads
Events, kubectl first of all, finds what they look for, and a series goes on in either
API whichever it began in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from types import MappingProxyType

import structlog

from controller_runtime.client import Client
from controller_runtime.errors import (
    AlreadyExistsError,
    ApiError,
    ForbiddenError,
    NotFoundError,
)
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.patch import merge_patch
from controller_runtime.series import Outbox, Write

log = structlog.get_logger(__name__)

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

CORE_EVENT = GroupVersionKind("", "v1", "Event")

LOOK_AGAIN = 5 * 60.0
"""Seconds until events.k8s.io/v1 is tried again: one refused request, where there are
Events at all."""

REMEMBERED = 4096
"""Namespaces of which a refusal is remembered."""

_CORE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "regarding": "involvedObject",
        "note": "message",
        "reportingController": "reportingComponent",
    }
)

_TO_SECONDS = len("2030-01-01T12:00:00")


class EventWriter:
    """Creates and changes Events, in the API that the account may use."""

    def __init__(self, client: Client, *, remembered: int = REMEMBERED) -> None:
        """Make a writer.

        Args:
            client: Makes the requests.
            remembered: Of how many namespaces it is remembered that they refuse.
        """
        self._client = client
        self._remembered = remembered
        self._core_until: dict[str, float] = {}
        """Namespace → when events.k8s.io/v1, refused there, is tried again."""
        self._is_told = False

    async def write(self, write: Write) -> None:
        """Change the Event that exists, or else create it.

        Raises:
            ForbiddenError: By both APIs.
        """
        namespace = write.event["metadata"]["namespace"]
        if _now() < self._core_until.get(namespace, -inf):
            await self._write_core(write, namespace)
            return
        try:
            await self._send(EVENT, write)
        except ForbiddenError as refusal:
            if is_ending(refusal):
                raise
            await self._fall_back(write, namespace, refusal)
        else:
            self._core_until.pop(namespace, None)

    async def _write_core(self, write: Write, namespace: str) -> None:
        try:
            await self._send(CORE_EVENT, to_core(write))
        except ForbiddenError:  # perhaps the account got another role
            self._core_until.pop(namespace, None)
            raise

    async def _fall_back(
        self, write: Write, namespace: str, refusal: ForbiddenError
    ) -> None:
        try:
            await self._send(CORE_EVENT, to_core(write))
        except ForbiddenError:  # the role to ask for is still that of the newer API
            raise refusal from None
        self._core_until.pop(namespace, None)  # the oldest is the first
        self._core_until[namespace] = _now() + LOOK_AGAIN
        if len(self._core_until) > self._remembered:
            del self._core_until[next(iter(self._core_until))]
        if not self._is_told:
            self._is_told = True
            log.warning(
                "events are written as core/v1",
                error=str(refusal),
                remedy="give the verbs create and patch on events in events.k8s.io",
            )

    async def _send(self, kind: GroupVersionKind, write: Write) -> None:
        if write.patch and write.is_known:
            metadata = write.event["metadata"]
            try:
                await self._client.patch(
                    kind,
                    metadata["name"],
                    metadata["namespace"],
                    patch=merge_patch(write.patch),
                )
            except NotFoundError:  # the server forgets an Event after an hour
                Outbox.learn(write, exists=False)
            else:
                return
        try:
            await self._client.create(write.event)
        except AlreadyExistsError:
            # A try of ours whose answer was lost. Its series is still to be written.
            if write.patch:
                Outbox.learn(write, exists=True)
                raise


def to_core(write: Write) -> Write:
    """Return the same for core/v1."""
    renamed = {_CORE_NAMES.get(name, name): it for name, it in write.event.items()}
    times = _times(write.event)
    event = renamed | {
        "apiVersion": CORE_EVENT.api_version,
        "source": {"component": write.event["reportingController"]},
        **times,
    }
    return write._replace(event=event, patch=write.patch and write.patch | times)


def _times(event: Json) -> Json:
    """Say when and how often as it was said before there were series."""
    first = event["eventTime"]
    series = event.get("series", {"count": 1, "lastObservedTime": first})
    return {
        "firstTimestamp": _whole_seconds(first),
        "lastTimestamp": _whole_seconds(series["lastObservedTime"]),
        "count": series["count"],
    }


def _whole_seconds(moment: str) -> str:
    """Leave out microseconds, which only the newer fields have."""
    return f"{moment[:_TO_SECONDS]}Z"


def is_ending(error: Exception) -> bool:
    """Tell whether the namespace goes away: no fault of an account or of an Event."""
    causes = error.details.get("causes") if isinstance(error, ApiError) else None
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == "NamespaceTerminating"
        for cause in causes
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
