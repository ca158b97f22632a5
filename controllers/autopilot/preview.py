"""What would be applied, and what not and why, without applying anything.

    context ──gates──▶ Verdict ──render──▶ Item: INCLUDED, EXCLUDED, FILTERED, …

The gates and the renderer are those of the controller, so what is shown is what would
be done. What users say on the objects themselves (patches, ignored fields) is in it
where there is a cluster that has the objects (`standing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

from controller_runtime import Json
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.conditions import Check
from controllers.autopilot.context import RenderContext
from controllers.autopilot.errors import RenderError
from controllers.autopilot.gates import Scope, Verdict, Why, judge_all
from controllers.autopilot.lookups import Resolve
from controllers.autopilot.metadata import Identity
from controllers.autopilot.render import Renderer
from controllers.autopilot.schemas import Schema, object_misfits
from controllers.autopilot.standing import StandingOf, baseline

SchemaOf: TypeAlias = Callable[[Asset], Schema | None]
"""Returns the schema of an asset's kind; `None` if it is not known."""


class Status(StrEnum):
    """What becomes of an asset."""

    INCLUDED = "INCLUDED"
    """It would be applied."""
    EXCLUDED = "EXCLUDED"
    """It is not wanted here."""
    FILTERED = "FILTERED"
    """It is wanted, and left alone: the source object disables it, or its own
    annotations do."""
    UNKNOWN = "UNKNOWN"
    """Whether it is wanted depends on what is not known here."""
    ERROR = "ERROR"
    """It is wanted, and cannot be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One asset, and what becomes of it."""

    asset: Asset
    status: Status
    reason: str
    checks: tuple[Check, ...] = ()
    object: Json | None = None
    """With the label of what is managed, as it would be applied."""

    unknown: tuple[str, ...] = ()
    """What the template asked and could not be told: where it is known, the object may
    be another."""

    remarks: tuple[str, ...] = ()
    """What of the users' wishes cannot be used, and why."""

    changes: tuple[str, ...] = ()
    """Places that an apply would change; none where that was not asked for."""

    inputs: tuple[str, ...] = ()
    """Everything that the template asked of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Previewer:
    """Shows the assets of one catalogue."""

    catalog: Catalog
    context: RenderContext
    scope: Scope
    resolve: Resolve
    is_disabled: Callable[[Mapping[str, Any]], bool] = lambda obj: False
    """Tells whether the source object disables an object."""

    standing_of: StandingOf = baseline
    """Tells what users say of an object, where there is a cluster."""

    schema_of: SchemaOf | None = None
    """Check objects against these."""

    async def items(self, only: str = "") -> list[Item]:
        """Look at every asset, or at one, in the order in which they are applied."""
        renderer = Renderer(self.catalog)
        return [
            await self._item(renderer, verdict)
            for verdict in judge_all(self.catalog, self.context, self.scope)
            if only in {"", verdict.asset.name}
        ]

    async def _item(self, renderer: Renderer, verdict: Verdict) -> Item:
        asset, _, why, message, checks, _ = verdict
        if not verdict.active:
            status = _WHY_NOT.get(why, Status.EXCLUDED)
            return Item(asset=asset, status=status, reason=message, checks=checks)
        try:
            rendered = await renderer.render(asset, self.context, self.resolve)
        except RenderError as error:
            return Item(
                asset=asset, status=Status.ERROR, reason=str(error), checks=checks
            )
        item = Item(
            asset=asset,
            status=Status.EXCLUDED,
            reason="the template makes nothing here",
            checks=checks,
            unknown=rendered.unknown,
            inputs=tuple(map(str, sorted(rendered.inputs))),
        )
        if rendered.object is None:
            return item
        if self.is_disabled(rendered.object):
            key = self.context.identity.key("disabled-resources")
            reason = f"the annotation {key} disables it"
            return replace(item, status=Status.FILTERED, reason=reason)
        return await self._of_users(item, rendered.object, message)

    async def _of_users(self, item: Item, obj: Json, message: str) -> Item:
        ours = labelled(obj, self.context.identity)
        standing = await self.standing_of(item.asset, ours)
        if standing.left_alone:
            reason = standing.left_alone
            return replace(item, status=Status.FILTERED, reason=reason)
        status, reason = self._judge(item.asset, standing.object, message)
        if standing.problem:
            status, reason = Status.ERROR, standing.problem
        return replace(
            item,
            status=status,
            reason=reason,
            object=standing.object,
            remarks=standing.remarks,
            changes=standing.changes,
        )

    def _judge(self, asset: Asset, obj: Json, message: str) -> tuple[Status, str]:
        if self.schema_of is not None:
            problems = _problems(obj, self.schema_of(asset), asset)
            if problems:
                return Status.ERROR, "; ".join(problems)
        return Status.INCLUDED, message


_WHY_NOT: Mapping[Why, Status] = {
    Why.UNKNOWN: Status.UNKNOWN,
    Why.ERROR: Status.ERROR,
}


def _problems(obj: Json, schema: Schema | None, asset: Asset) -> list[str]:
    if schema is not None:
        return list(object_misfits(obj, schema))
    if asset.required_crd:
        return [f"no schema of {asset.required_crd} is known: give its CRD"]
    return []


def labelled(obj: Json, identity: Identity) -> Json:
    """Return an object with the label of what is managed."""
    metadata = dict(obj["metadata"])
    labels = metadata.get("labels") or {}
    metadata["labels"] = labels | {identity.managed_by_label: identity.managed_by_value}
    return obj | {"metadata": metadata}


def shown(items: Iterable[Item], *, everything: bool) -> Iterator[Item]:
    """Leave out what is not wanted, unless everything is to be shown."""
    hidden = () if everything else (Status.EXCLUDED, Status.FILTERED)
    return (item for item in items if item.status not in hidden)
