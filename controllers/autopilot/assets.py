"""The catalogue: what is wanted of a platform, and when.

metadata.yaml ──▶ Catalog ──┬──▶ Asset      one object, from one template
                 (`loader`) ├──▶ Feature    what users know assets by
                            └──▶ Tombstone  an object that is to go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller_runtime import GroupVersionKind, NamespacedName
from controllers.autopilot.metadata import (
    Condition,
    Drift,
    FactRule,
    Identity,
    Install,
    OnInactive,
    SourceKind,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One object that a catalogue wants, and when."""

    name: str
    index: int
    """Position in the catalogue: breaks ties of `order`."""

    path: str
    """File of the template, relative to the catalogue."""

    kind: GroupVersionKind
    """As the template's first lines say; rendering never changes it."""

    group: str = ""
    phase: int = 1
    install: Install = Install.ALWAYS
    order: int = 1
    """0 is for the source object's configuration alone."""

    conditions: tuple[Condition, ...] = ()
    required_crd: str = ""
    """`plural.group` of the object's own CRD as guessed; empty for built-in kinds."""

    gate_crd: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    wave: int = 0
    health: Mapping[str, Any] = field(default_factory=dict)
    on_inactive: OnInactive = OnInactive.LEAVE
    drift: Drift = Drift.ENFORCE
    depends_on: tuple[str, ...] = ()
    sensitive: bool = False

    @property
    def is_source_config(self) -> bool:
        """It configures the source object itself, before everything else."""
        return self.order == 0

    @property
    def crds(self) -> tuple[str, ...]:
        """CRDs without which it cannot be applied."""
        return tuple(filter(None, (self.required_crd, self.gate_crd)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What users know an asset, or several, by."""

    name: str
    description: str
    maturity: str
    """`GA`, `TP` or `DP`."""

    install: Install
    opt_in: tuple[str, ...]
    """What a user does to have it, one sentence each; empty if nothing."""

    assets: tuple[str, ...]
    requires: tuple[str, ...] = ()
    recommended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """An object that was wanted once; deleted where it carries our label."""

    file: str
    kind: GroupVersionKind
    key: NamespacedName


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All of it. Immutable: a changed catalogue is another one."""

    name: str
    digest: str
    """SHA-256 over names and contents of all files, in hex."""

    identity: Identity
    source: SourceKind
    facts: tuple[FactRule, ...]
    assets: tuple[Asset, ...]
    """In the order of `metadata.yaml`."""

    features: tuple[Feature, ...]
    tombstones: tuple[Tombstone, ...]
    files: Mapping[str, str]
    """Path → text: templates, and what they embed."""

    def asset(self, name: str) -> Asset | None:
        """Return the asset of that name, if there is one."""
        return next((asset for asset in self.assets if asset.name == name), None)

    def in_order(self) -> Sequence[Asset]:
        """Return the assets as they are applied: by `order`, then as written."""
        return sorted(self.assets, key=lambda asset: (asset.order, asset.index))

    def groups(self) -> Iterator[str]:
        """Yield the names of groups."""
        yield from dict.fromkeys(a.group for a in self.assets if a.group)
