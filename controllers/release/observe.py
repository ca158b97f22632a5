"""The release as Helm left it, compared with what is wanted.

    API server ──records──▶ revisions ─┐
    status ────────────────────────────┼─classify─▶ ReleaseState
    desired digest ────────────────────┘

Records are read live: what a worker process has just written cannot be in a cache of
ours. An answer that is no list is an error and never means that nothing is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.core.v1 import Secret
from api.release.status import LastAttempted
from controller_runtime import Client
from controllers.release.identity import ReleaseKey, is_same_digest
from controllers.release.inventory import Item, read_manifest
from controllers.release.locks import Lock
from controllers.release.plan import ReleaseState
from controllers.release.records import (
    HelmStatus,
    Payload,
    Revision,
    read_payload,
    read_revisions,
)

ROLLBACK_TO = "rollback-to"
"""What the status calls a rollback that somebody asked for."""

_GOING = frozenset({HelmStatus.UNINSTALLING, HelmStatus.UNINSTALLED})


class Observer:
    """Reads records of releases."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def revisions(self, key: ReleaseKey) -> tuple[Revision, ...]:
        """Return the records of a release, the newest first.

        Raises:
            ApiError: They cannot be had, which says nothing about whether they exist.
            DecodeError: One of them cannot be read.
        """
        found = await self._client.list(
            Secret.gvk,
            key.namespace,
            label_selector=f"owner=helm,name={key.name}",
        )
        # Items of a list do not say what they are.
        return read_revisions({**it, "kind": "Secret"} for it in found.items)

    async def payload(self, revision: Revision) -> Payload:
        """Unpack a record, in a thread.

        Raises:
            DecodeError: It cannot be read.
        """
        return await asyncio.to_thread(read_payload, revision.secret)

    async def items(self, payload: Payload, key: ReleaseKey) -> tuple[Item, ...]:
        """Read what the release consists of, in a thread.

        Raises:
            DecodeError: The manifest cannot be read.
        """
        return await asyncio.to_thread(
            read_manifest, payload.manifest, namespace=key.namespace
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a release is compared with."""

    digest: str
    uid: str
    generation: int
    adopt: str
    """`spec.adopt`."""
    known_revision: int | None = None
    """The newest that the status speaks of, if no operation was begun since."""
    last: LastAttempted | None = None


def classify(
    revisions: Sequence[Revision],
    wanted: Wanted,
    *,
    lock: Lock | None,
    is_owner_alive: Callable[[str], bool],
) -> ReleaseState:
    """Compare.

    Args:
        revisions: Of the release, the newest first.
        wanted: What it should be.
        lock: What is known about the operation, if the newest is pending.
        is_owner_alive: Tells whether an object with a uid exists.
    """
    if not revisions:
        return ReleaseState.ABSENT
    newest = revisions[0]
    is_ours = newest.uid == wanted.uid
    if not (is_ours or _is_adoptable(newest, wanted, is_owner_alive)):
        return ReleaseState.FOREIGN
    if newest.status.is_pending:
        is_dead = lock is not None and lock.is_abandoned
        return ReleaseState.ABANDONED if is_dead else ReleaseState.LOCKED
    if newest.status in _GOING:
        return ReleaseState.GOING
    if newest.status is not HelmStatus.DEPLOYED:
        return ReleaseState.FAILED
    if _is_held(wanted):
        return ReleaseState.HELD
    is_same = is_same_digest(newest.digest, wanted.digest)
    is_changed = wanted.known_revision not in {None, newest.number}
    if not is_same or is_changed:
        return ReleaseState.OUT_OF_SYNC
    return ReleaseState.IN_SYNC if is_ours else ReleaseState.UNCLAIMED


def _is_adoptable(
    newest: Revision, wanted: Wanted, is_owner_alive: Callable[[str], bool]
) -> bool:
    match wanted.adopt:
        case "Always":
            return True
        case "Never":
            return False
        case _:
            return not (newest.uid and is_owner_alive(newest.uid))


def _is_held(wanted: Wanted) -> bool:
    last = wanted.last
    return (
        last is not None
        and last.action == ROLLBACK_TO
        and last.config_digest == wanted.digest
        and last.generation == wanted.generation
    )
