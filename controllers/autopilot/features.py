"""What users know assets by: one feature, one thing to have or not to have (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controllers.autopilot.assets import Asset, Feature
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.metadata import (
    AnnotationCondition,
    AnyCondition,
    Condition,
    FeatureEntry,
    FeatureGateCondition,
    FieldUnconfiguredCondition,
    Install,
    Maturity,
    Metadata,
)

_ORDER = (Maturity.GA, Maturity.TP, Maturity.DP)


def features_of(metadata: Metadata, assets: Sequence[Asset]) -> tuple[Feature, ...]:
    """Resolve the features of a catalogue: mature ones first, then by name.

    Raises:
        CatalogError: A feature has no asset or one that there is not, or an asset is in
            none and not excluded.
    """
    chosen = {entry.name: _assets(entry, assets) for entry in metadata.features}
    covered = {asset.name for members in chosen.values() for asset in members}
    excluded = set(metadata.excluded_assets)
    for asset in assets:
        if asset.name not in covered | excluded:
            raise CatalogError(
                f"asset {asset.name} is in no feature: add it to one, or to "
                "excluded_assets"
            )
    for name in excluded - {asset.name for asset in assets}:
        raise CatalogError(f"excluded_assets has {name}: no such asset")
    ranked = sorted(
        metadata.features,
        key=lambda e: (_ORDER.index(_maturity(e, chosen[e.name])), e.name),
    )
    return tuple(_feature(entry, chosen[entry.name]) for entry in ranked)


def _assets(entry: FeatureEntry, assets: Sequence[Asset]) -> list[Asset]:
    names = {asset.name for asset in assets}
    groups = {asset.group for asset in assets if asset.group}
    for kind, wanted, known in (
        ("asset", entry.assets, names),
        ("group", entry.groups, groups),
    ):
        for name in wanted:
            if name not in known:
                raise CatalogError(f"feature {entry.name}: no {kind} is named {name}")
    members = [a for a in assets if a.name in entry.assets or a.group in entry.groups]
    if not members:
        raise CatalogError(f"feature {entry.name} has no assets")
    return members


def _maturity(entry: FeatureEntry, members: Sequence[Asset]) -> Maturity:
    if entry.maturity is not None:
        return entry.maturity
    always = all(asset.install is Install.ALWAYS for asset in members)
    return Maturity.GA if always else Maturity.DP


def _feature(entry: FeatureEntry, members: Sequence[Asset]) -> Feature:
    opt_in = [asset for asset in members if asset.install is Install.OPT_IN]
    sentences = [s for a in opt_in for c in a.conditions for s in _opt_in(c)]
    return Feature(
        name=entry.name,
        description=entry.description,
        maturity=_maturity(entry, members).name,
        install=Install.OPT_IN if opt_in else Install.ALWAYS,
        opt_in=tuple(dict.fromkeys(sentences)),
        assets=tuple(asset.name for asset in members),
        requires=entry.requires,
        recommended=entry.recommended,
    )


def _opt_in(condition: Condition) -> Iterator[str]:
    """Say what a user does; hardware, topology and images are not theirs to choose."""
    match condition:
        case AnnotationCondition(key=key, value=None):
            yield f"annotate with {key}"
        case AnnotationCondition(key=key, value=value):
            yield f'annotate with {key}="{value}"'
        case FeatureGateCondition(value=gate):
            yield f"turn the feature gate {gate} on"
        case FieldUnconfiguredCondition(path=path):
            yield f"leave {path} unset"
        case AnyCondition(conditions=several):
            yield " or ".join(s for each in several for s in _opt_in(each))
        case _:
            pass
