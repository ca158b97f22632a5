"""What users say on an object, applied to what the catalogue wants of it.

    baseline + live annotations ──patch, masks──▶ effective ──dry run──▶ changes

For a preview of a cluster: the decisions are the controller's (`overrides`, `masks`,
`drift`), and nothing is written, no field released, nothing remembered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from controller_runtime import (
    ApiError,
    Client,
    GroupVersionKind,
    Json,
    NoKindMatchError,
    NotFoundError,
)
from controllers.autopilot import drift, masks
from controllers.autopilot.annotations import AnnotationKeys, Wishes, read_wishes
from controllers.autopilot.assets import Asset
from controllers.autopilot.metadata import Identity
from controllers.autopilot.overrides import PatchRules, patched

NEW = "(the whole object: it is not there)"
"""The change of what is created."""


class Standing(NamedTuple):
    """How an object stands between catalogue, users and cluster."""

    object: Json
    """What would be applied."""

    left_alone: str = ""
    """Why nothing is applied; empty if it is."""

    remarks: tuple[str, ...] = ()
    """What of the users' wishes cannot be used, and why."""

    changes: tuple[str, ...] = ()
    """Places that an apply would change; none where that was not asked for."""

    problem: str = ""
    """Why the server would refuse it; empty if it would not, or was not asked."""


StandingOf: TypeAlias = Callable[[Asset, Json], Awaitable[Standing]]


async def baseline(asset: Asset, obj: Json) -> Standing:
    """Take what the catalogue wants, as where there is no cluster."""
    del asset
    return Standing(obj)


def rules_of(identity: Identity) -> PatchRules:
    """Return what patches of a catalogue's objects must leave alone."""
    keys = AnnotationKeys(domain=identity.domain)
    return PatchRules(keys=keys, managed_by_label=identity.managed_by_label)


class LiveStandings:
    """Looks at the objects of a cluster.

    Args:
        client: Reads live, and applies dry.
        identity: Of the catalogue.
        compare: Ask the server what an apply would change; takes the right to patch.
    """

    def __init__(self, client: Client, identity: Identity, *, compare: bool) -> None:
        self._client = client
        self._identity = identity
        self._rules = rules_of(identity)
        self._compare = compare

    async def of(self, asset: Asset, obj: Json) -> Standing:
        """Look at one object."""
        live = await self._live(asset, obj)
        wishes = read_wishes(live, self._rules.keys)
        if wishes.is_unmanaged:
            why = f"its annotation {self._rules.keys.mode}=unmanaged leaves it alone"
            return Standing(obj, left_alone=why)
        if wishes.is_paused:
            why = f"its annotation {self._rules.keys.paused} holds it up"
            return Standing(obj, left_alone=why)
        effective, remarks = effective_of(obj, wishes, asset, self._rules)
        standing = Standing(effective, remarks=remarks)
        return await self._compared(standing, live) if self._compare else standing

    async def _live(self, asset: Asset, obj: Json) -> Json | None:
        metadata = obj["metadata"]
        try:
            return await self._client.get(
                asset.kind, metadata["name"], metadata.get("namespace", "")
            )
        except (NotFoundError, NoKindMatchError):
            return None

    async def _compared(self, standing: Standing, live: Json | None) -> Standing:
        if live is None and not await self._has_place(standing.object):
            return standing._replace(left_alone="its namespace is not there")
        try:
            result = await self._client.apply(
                standing.object,
                force=True,
                dry_run=True,
                field_owner=self._identity.field_manager,
            )
        except ApiError as error:
            return standing._replace(problem=str(error))
        if live is None:
            return standing._replace(changes=(NEW,))
        return standing._replace(changes=tuple(drift.differences(live, result)))

    async def _has_place(self, obj: Json) -> bool:
        namespace = obj["metadata"].get("namespace")
        if not namespace:
            return True
        try:
            await self._client.get(GroupVersionKind("", "v1", "Namespace"), namespace)
        except NotFoundError:
            return False
        return True


def effective_of(
    obj: Json, wishes: Wishes, asset: Asset, rules: PatchRules
) -> tuple[Json, tuple[str, ...]]:
    """Apply patch and masks; return what comes of it, and what cannot be used."""
    made = patched(obj, wishes, rules, is_sensitive=asset.sensitive)
    read = masks.read_masks(wishes.ignore_fields, protected=rules.protected)
    problem = f"{rules.keys.patch}: {made.problem}" if made.problem else ""
    ignored = (f"{rules.keys.ignore_fields}: {each}" for each in read.problems)
    remarks = tuple(filter(None, (problem, *ignored)))
    return masks.out_of(made.object, read.pointers), remarks
