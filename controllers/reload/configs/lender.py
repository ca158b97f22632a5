"""Workloads in full, of which the cache keeps the name alone.

    unclaimed  ──cache──▶ bare      a config comes, or labels change
    claimed    ──look───▶ asked for ──LIST──▶ lent ──look──▶ decided
                                                │
                          the cache has all of it from its next version on

The cache keeps nothing of workloads that say nothing about reloads, since most never
will. When a ReloaderConfig claims one later, all of it is read once, with as many
others as are asked for at the same time, and kept here. That is never while something
is decided: a workload that is not here yet is looked at when it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import structlog

from controller_runtime import (
    TRANSPORT_ERRORS,
    Client,
    ControllerRuntimeError,
    GroupVersionKind,
    Json,
    RawObject,
    strip_managed_fields,
)
from controller_runtime.meta import read_meta
from controllers.reload.workloads import WorkloadKey

log = structlog.get_logger(__name__)

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)

_PAGE = 500
"""Objects in one answer."""

GATHER = 0.05
"""Seconds in which what is asked for comes into one request."""

AGAIN = 5.0
"""Seconds until what could not be read is tried again."""


class Lender:
    """Reads workloads that the cache has only the names of; a runnable."""

    name = "reload-lender"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked: dict[WorkloadKey, RawObject] = {}
        """What is to be read → what the cache has of it; what is read is as new."""
        self._lent: dict[WorkloadKey, RawObject] = {}
        self._wake = asyncio.Event()
        self.told: Callable[[WorkloadKey], None] = lambda _: None
        """Called when a workload is here."""

    def __len__(self) -> int:
        return len(self._lent)

    def lend(self, key: WorkloadKey, bare: RawObject) -> RawObject | None:
        """Return all of a workload, or have it read.

        Args:
            key: Which.
            bare: What the cache has of it; nothing older is returned.
        """
        entry = self._lent.get(key)
        if entry is not None and not _is_older(entry, bare):
            return entry
        self._asked[key] = bare
        self._wake.set()
        return None

    def take_back(self, key: WorkloadKey) -> None:
        """Forget a workload: it is gone, in the cache, or of no interest."""
        self._lent.pop(key, None)
        self._asked.pop(key, None)

    async def run(self) -> None:
        """Read what is asked for, until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER)
            self._wake.clear()
            for kind, namespace in self._places():
                await self._read(kind, namespace)

    def _places(self) -> set[tuple[GroupVersionKind, str]]:
        return {(key.gvk, key.namespace) for key in self._asked}

    async def _read(self, gvk: GroupVersionKind, namespace: str) -> None:
        wanted = {
            key: bare
            for key, bare in self._asked.items()
            if key.gvk == gvk and key.namespace == namespace
        }
        try:
            async for document in self._documents(gvk, namespace, tuple(wanted)):
                wanted.pop(self._take(gvk, document), None)
        except _TROUBLE as error:
            log.warning(
                "workloads cannot be read; they do not reload until they can",
                kind=gvk.kind,
                namespace=namespace,
                retry_in=AGAIN,
                error=str(error),
            )
            asyncio.get_running_loop().call_later(AGAIN, self._wake.set)
            return
        for key, bare in wanted.items():  # what was not there is gone
            if self._asked.get(key) is bare:
                del self._asked[key]

    async def _documents(
        self, gvk: GroupVersionKind, namespace: str, wanted: tuple[WorkloadKey, ...]
    ) -> AsyncIterator[Json]:
        """Yield what a namespace has of a kind; of one workload, only that."""
        only = f"metadata.name={wanted[0].name}" if len(wanted) == 1 else ""
        token = ""
        while True:
            page = await self._client.list(
                gvk, namespace, field_selector=only, limit=_PAGE, continue_=token
            )
            for document in page.items:
                yield document
            token = page.continue_
            if not token:
                return

    def _take(self, gvk: GroupVersionKind, document: Json) -> WorkloadKey:
        """Lend a workload, if it is asked for; return which it is."""
        metadata = document["metadata"]
        key = WorkloadKey(gvk.kind, metadata["namespace"], metadata["name"])
        bare = self._asked.get(key)
        if bare is None:
            return key
        raw = strip_managed_fields(msgspec.json.encode(document))
        entry = RawObject(read_meta(raw), raw)
        if not _is_older(entry, bare):  # else it was asked for anew meanwhile
            del self._asked[key]
            self._lent[key] = entry
            self.told(key)
        return key


def _is_older(entry: RawObject, other: RawObject) -> bool:
    ours, theirs = entry.meta.resource_version, other.meta.resource_version
    return (len(ours), ours) < (len(theirs), theirs)  # numbers, of any length
