"""The Lease that an election is about: its record, and reading and writing it.

Every write carries the version that was seen last, so of two that write at a time one
fails. What the record means is up to `leaderelection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

import msgspec

from controller_runtime.errors import DecodeError, NotFoundError
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.nesting import UNREADABLE, why
from controller_runtime.rbac import Permission
from controller_runtime.recorder import ObjectReference
from controller_runtime.transport import Transport

LEASE = GroupVersionKind("coordination.k8s.io", "v1", "Lease")


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """The spec of the Lease.

    Its times are RFC 3339 with microseconds. People read them; no decision does.
    """

    holder_identity: str = ""
    """Empty after a release."""

    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0
    """How often the holder has changed."""


def claim(before: Record | None, identity: str, seconds: int, now: datetime) -> Record:
    """Return what the holder writes, over what is there."""
    stamp = _stamp(now)
    if before is None:
        return Record(identity, seconds, stamp, stamp, 0)
    transitions = before.lease_transitions
    if before.holder_identity != identity:
        return Record(identity, seconds, stamp, stamp, transitions + 1)
    return Record(identity, seconds, before.acquire_time or stamp, stamp, transitions)


def release(before: Record, now: datetime) -> Record:
    """Return what a holder writes that lets go: nobody's, and expired in a second."""
    stamp = _stamp(now)
    return Record("", 1, stamp, stamp, before.lease_transitions)


class LeaseLock:
    """Reads and writes one Lease."""

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        name: str,
        labels: Mapping[str, str],
        timeout: float,
    ) -> None:
        """Make a lock.

        Args:
            transport: Best one of its own: slow lists must not delay a renewal.
            namespace: Of the Lease.
            name: Of the Lease.
            labels: Set on the Lease with every write.
            timeout: Seconds for each call, pauses that the server asks for included.
        """
        self.namespace = namespace
        self.name = name
        self._transport = transport
        self._labels = dict(labels)
        self._timeout = timeout
        self._collection = f"/apis/{LEASE.api_version}/namespaces/{namespace}/leases"
        self._seen: Json | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """What reading and writing it asks of the API server."""
        there = (self.namespace,)
        return (
            Permission(LEASE, ("create",), namespaces=there),
            Permission(LEASE, ("get", "update"), names=(self.name,), namespaces=there),
        )

    @property
    def is_seen(self) -> bool:
        """Whether the Lease was there when it was last looked at."""
        return self._seen is not None

    @property
    def reference(self) -> ObjectReference:
        """The Lease, for Events about it."""
        metadata = (self._seen or {}).get("metadata", {})
        uid = str(metadata.get("uid", ""))
        return ObjectReference(LEASE, self.namespace, self.name, uid)

    async def read(self) -> Record | None:
        """Return the newest record; `None` if there is no Lease."""
        try:
            return await self._call("GET", f"{self._collection}/{self.name}")
        except NotFoundError:
            self._seen = None
            return None

    async def write(self, record: Record) -> Record:
        """Write over the version that was seen last, or create the Lease.

        Raises:
            ConflictError: Somebody has written since, or removed it.
            AlreadyExistsError: Somebody has created it.
        """
        lease = dict(self._seen or {"apiVersion": LEASE.api_version, "kind": "Lease"})
        metadata = dict(lease.get("metadata") or {})
        metadata |= {"namespace": self.namespace, "name": self.name}
        if self._labels:
            metadata["labels"] = {**(metadata.get("labels") or {}), **self._labels}
        lease |= {"metadata": metadata, "spec": msgspec.to_builtins(record)}
        if self._seen is None:
            return await self._call("POST", self._collection, lease)
        return await self._call("PUT", f"{self._collection}/{self.name}", lease)

    async def _call(self, method: str, path: str, lease: Json | None = None) -> Record:
        body = None if lease is None else msgspec.json.encode(lease)
        async with asyncio.timeout(self._timeout):
            answer = await self._transport.request(
                method, path, body=body, timeout=self._timeout
            )
        try:
            seen = msgspec.json.decode(answer.body, type=dict[str, object])
            record = msgspec.convert(seen.get("spec") or {}, Record)
        except UNREADABLE as error:
            raise DecodeError(f"{method} {path}: no Lease: {why(error)}") from error
        self._seen = seen
        return record


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
