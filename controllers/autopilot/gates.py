"""Which assets apply here, and why (pure).

    scope (the annotation `autopilot`) ──▶ conditions ──▶ CRDs ──▶ Verdict

In this order, so that the missing CRD of a feature that nobody wants is not reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.context import RenderContext


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
        raise NotImplementedError


class Why(StrEnum):
    """What decided about an asset."""

    WANTED = "Wanted"
    SCOPE = "NotSelected"
    CONDITIONS = "ConditionsNotMet"
    UNKNOWN = "Unknown"
    """A condition depends on something that is not known."""
    CRD = "CRDMissing"
    """It is wanted, but a CRD that it needs is not there (yet)."""
    ERROR = "ConditionError"


class Check(NamedTuple):
    """One condition, as it turned out."""

    condition: str
    """As a user would say it, such as `annotation a/b = "true"`."""

    actual: str
    met: bool | None
    """`None` if it is not known."""


class Verdict(NamedTuple):
    """Whether an asset applies."""

    asset: Asset
    active: bool
    why: Why
    message: str
    """A sentence for people."""

    checks: tuple[Check, ...] = ()
    missing_crds: tuple[str, ...] = ()


def judge(asset: Asset, context: RenderContext, scope: Scope) -> Verdict:
    """Decide about one asset; never raises."""
    raise NotImplementedError


def judge_all(
    catalog: Catalog, context: RenderContext, scope: Scope
) -> Iterator[Verdict]:
    """Decide about all assets, in the order in which they are applied."""
    return (judge(asset, context, scope) for asset in catalog.in_order())
