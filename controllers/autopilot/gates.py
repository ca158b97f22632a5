"""Which assets apply here, and why (pure).

    scope (the annotation `autopilot`) ──▶ conditions ──▶ CRDs ──▶ Verdict

In this order, so that the missing CRD of a feature that nobody wants is not reported.
What depends on something unknown does not apply, and says so: unknown is not false, and
a `not` of it is unknown too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.conditions import Check, evaluate
from controllers.autopilot.context import RenderContext
from controllers.autopilot.errors import ConditionError
from controllers.autopilot.metadata import Install


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the annotation `<domain>/autopilot` of the source object asks for."""

    all: bool = False
    names: frozenset[str] = frozenset()
    """Assets and groups, if not all."""

    unknown: tuple[str, ...] = ()
    """Names that the catalogue does not have: to be told to the user."""

    @property
    def is_idle(self) -> bool:
        """Nothing is asked for: do nothing at all, tombstones included."""
        return not self.all and not self.names

    def selects(self, asset: Asset) -> bool:
        """Tell whether the asset is asked for, by name or group."""
        return self.all or asset.name in self.names or asset.group in self.names

    @classmethod
    def parse(
        cls, text: str | None, catalog: Catalog, *, default_enabled: bool = False
    ) -> Scope:
        """Read the annotation: `true`, or names of assets and groups with commas.

        Args:
            text: `None` if there is none.
            catalog: What has the names.
            default_enabled: An absent annotation counts as `true`.
        """
        if text is None:
            return cls(all=default_enabled)
        if text.strip() == "true":
            return cls(all=True)
        if text.strip() in {"", "false"}:
            return cls()
        known = {asset.name for asset in catalog.assets} | set(catalog.groups())
        names = dict.fromkeys(filter(None, map(str.strip, text.split(","))))
        return cls(
            names=frozenset(name for name in names if name in known),
            unknown=tuple(name for name in names if name not in known),
        )


class Why(StrEnum):
    """What decided about an asset."""

    WANTED = "Wanted"
    SCOPE = "NotSelected"
    CONDITIONS = "ConditionsNotMet"
    UNKNOWN = "Unknown"
    """A condition depends on something that is not known."""
    CRD = "CRDMissing"
    """It is wanted, but a CRD that it needs is not there (yet)."""
    VERSION = "VersionNotServed"
    """Its CRD is there, without the version that the asset is written in."""
    ERROR = "ConditionError"


class Verdict(NamedTuple):
    """Whether an asset applies."""

    asset: Asset
    active: bool
    why: Why
    message: str
    """A sentence for people."""

    checks: tuple[Check, ...] = ()
    """Every condition, as it turned out; none where the scope has decided."""

    missing_crds: tuple[str, ...] = ()
    """Where it is wanted: `plural.group` of CRDs that are not there."""


def judge(asset: Asset, context: RenderContext, scope: Scope) -> Verdict:
    """Decide about one asset; never raises."""
    if not scope.selects(asset):
        key = context.identity.key("autopilot")
        message = f"the annotation {key} does not ask for it"
        return Verdict(asset, active=False, why=Why.SCOPE, message=message)
    if asset.install is Install.OPT_IN and not asset.conditions:
        message = "nothing can turn it on: it is opt-in, without conditions"
        return Verdict(asset, active=False, why=Why.CONDITIONS, message=message)
    try:
        checks = tuple(evaluate(each, context) for each in asset.conditions)
    except ConditionError as error:
        return Verdict(asset, active=False, why=Why.ERROR, message=str(error))
    for met, why in ((False, Why.CONDITIONS), (None, Why.UNKNOWN)):
        unmet = [check for check in checks if check.met is met]
        if unmet:
            return Verdict(asset, False, why, _sentence(unmet), checks)
    return _with_crds(asset, context, checks)


def judge_all(
    catalog: Catalog, context: RenderContext, scope: Scope
) -> Iterator[Verdict]:
    """Decide about all assets, in the order in which they are applied."""
    return (judge(asset, context, scope) for asset in catalog.in_order())


def _with_crds(
    asset: Asset, context: RenderContext, checks: tuple[Check, ...]
) -> Verdict:
    if context.crds is None:
        message = "conditions met"
        if asset.crds:
            message += f"; whether there is {' and '.join(asset.crds)} is not known"
        return Verdict(asset, True, Why.WANTED, message, checks)
    missing = tuple(
        name
        for name in asset.crds
        if name not in context.crds or not context.crds[name].established
    )
    if missing:
        message = f"there is no CRD {' and no '.join(missing)}"
        return Verdict(asset, False, Why.CRD, message, checks, missing)
    own = context.crds.get(asset.required_crd)
    if own is not None and asset.kind.version not in own.versions:
        served = " and ".join(own.versions) or "nothing"
        message = f"the CRD {own.name} serves {served}, not {asset.kind.version}"
        return Verdict(asset, False, Why.VERSION, message, checks)
    message = "conditions met" if checks else "always"
    return Verdict(asset, True, Why.WANTED, message, checks)


def _sentence(unmet: list[Check]) -> str:
    return "; ".join(f"{c.condition} is wanted, and {c.actual}" for c in unmet)
