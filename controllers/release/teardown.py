"""The end of a release: uninstalled, and seen to be gone.

    deleting ─┬─ deletion-policy: Orphan, another's release ──────────────▶ let go
              ├─ account or namespace gone: nobody can, or need ──────────▶ let go
              ├─ data to be preserved ────────────────────────────────────▶ blocked
              └─ uninstall ─▶ every object of the inventory gone? ─ yes ──▶ let go
                    ▲  │ failed                     │ no: look again soon
                    └──┴────────────────────────────┘

The inventory is looked at because Helm deletes its record even where it gave up on an
object that a finalizer holds: its next uninstall finds nothing and calls that success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from enum import StrEnum, auto
from typing import NamedTuple

import msgspec

from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    Client,
    ForbiddenError,
    GroupVersionKind,
    NoKindMatchError,
    NotFoundError,
)
from controllers.release.demands import is_orphan
from controllers.release.identity import ReleaseKey, release_key
from controllers.release.inventory import Item
from controllers.release.options import ReleaseOptions
from controllers.release.orders import account
from controllers.release.records import HelmStatus, Revision

NAMESPACE = GroupVersionKind("", "v1", "Namespace")
SERVICE_ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")

ORPHAN_AFTER = 3
"""Failed attempts after which `onFailure: Orphan` gives up."""

_AT_ONCE = 8
"""Objects that are looked for at once."""


class Farewell(StrEnum):
    """What is to be done about the release of an object that goes."""

    UNINSTALL = auto()
    VERIFY = auto()
    """There is no record; objects may be left."""
    SKIP = auto()
    BLOCKED = auto()


class Decision(NamedTuple):
    """What is to be done, and why."""

    farewell: Farewell
    reason: str = ""


def decide(
    roost: ManagedRoost, revisions: Sequence[Revision], *, impediment: str = ""
) -> Decision:
    """Choose what to do about a release: pure.

    Args:
        roost: The object that goes.
        revisions: Records of its release, the newest first.
        impediment: Why nothing can be uninstalled any more; empty if it can.
    """
    if is_orphan(roost.metadata.annotations):
        return Decision(Farewell.SKIP, "deletion-policy is Orphan")
    if impediment:
        return Decision(Farewell.SKIP, impediment)
    if revisions and revisions[0].uid != roost.metadata.uid:
        owner = revisions[0].uid or "nobody"
        return Decision(Farewell.SKIP, f"the release belongs to {owner}, not to this")
    failures = roost.status.failures
    if (
        roost.spec.uninstall.on_failure == "Orphan"
        and failures is not None
        and failures.uninstall >= ORPHAN_AFTER
    ):
        return Decision(Farewell.SKIP, f"{ORPHAN_AFTER} attempts to uninstall failed")
    policy = roost.spec.teardown_policy
    if revisions and policy and (policy.data_preservation or {}).get("enabled"):
        return Decision(
            Farewell.BLOCKED,
            "spec.teardownPolicy.dataPreservation is enabled and not supported yet, so "
            "uninstalling could delete data: set the annotation "
            "roost.birb.party/deletion-policy=Orphan to leave the release, or remove "
            "the field to uninstall it",
        )
    is_over = not revisions or revisions[0].status is HelmStatus.UNINSTALLED
    return Decision(Farewell.VERIFY if is_over else Farewell.UNINSTALL)


class Inspector:
    """Looks at what a release leaves behind."""

    def __init__(self, client: Client, options: ReleaseOptions) -> None:
        self._client = client
        self._options = options

    async def impediment(self, roost: ManagedRoost) -> str:
        """Say why nothing can be uninstalled any more; empty if it can."""
        key, name = release_key(roost), account(roost, self._options)
        if name and not await self._exists(
            SERVICE_ACCOUNT, name, roost.metadata.namespace
        ):
            return f"its service account {name} is gone"
        try:
            namespace = await self._client.get(NAMESPACE, key.namespace)
        except NotFoundError:
            return f"the namespace {key.namespace} is gone"
        if namespace["metadata"].get("deletionTimestamp"):
            return f"the namespace {key.namespace} is being deleted, and all in it"
        return ""

    async def remaining(
        self, items: Iterable[Item], key: ReleaseKey
    ) -> tuple[Item, ...]:
        """Return the objects that are still there.

        What our own account may not look at counts as gone: Helm has waited for it.
        """
        turns = asyncio.Semaphore(_AT_ONCE)
        found: list[Item] = []

        async def look(item: Item) -> None:
            async with turns:
                if await self._is_there(item):
                    found.append(item)

        async with asyncio.TaskGroup() as tasks:
            for item in items:
                if not item.is_kept:
                    tasks.create_task(look(item))
        return tuple(sorted(found))

    async def _is_there(self, item: Item) -> bool:
        version = item.version or await self._version(item.group)
        if not version:
            return False
        gvk = item.gvk._replace(version=version)
        try:
            resource = await self._client.resource(gvk)
            place = item.namespace if resource.namespaced else ""
            return await self._exists(gvk, item.name, place)
        except (NoKindMatchError, ForbiddenError):
            return False

    async def _version(self, group: str) -> str:
        """Return the version in which a group is best asked; empty if it is gone."""
        if not group:
            return "v1"
        try:
            answer = await self._client.transport.request("GET", f"/apis/{group}")
        except NotFoundError:
            return ""
        return msgspec.json.decode(answer.body, type=_Group).preferred_version.version

    async def _exists(self, gvk: GroupVersionKind, name: str, namespace: str) -> bool:
        try:
            await self._client.get(gvk, name, namespace)
        except NotFoundError:
            return False
        return True


class _Version(msgspec.Struct):
    version: str


class _Group(msgspec.Struct, rename="camel"):
    preferred_version: _Version
