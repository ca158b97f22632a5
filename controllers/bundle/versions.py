"""Which tag is the candidate: tags, spec and status in, one tag out. Pure.

    newest that the constraint allows ──▶ candidate
    nothing                           ──▶ NoTags, NoMatchingVersion
    lower than what runs              ──▶ DowngradeBlocked, unless the spec has changed

`controllers.versions` reads versions and constraints; here is what a bundle makes of
them. werf resolves no versions itself (werf issue 3169).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from api.bundle.status import BundleStatus
from api.bundle.v1alpha1 import RegistrySpec
from controllers.bundle.errors import BlockedError
from controllers.bundle.fingerprint import digest
from controllers.oci import is_tag
from controllers.versions import Constraint, TagFilter, Version, parse_tag, select

RESOLVED = "VersionResolved"

GONE = frozenset({"NoTags", "NoMatchingVersion", "TagNotFound"})
"""Why there is no candidate, until the registry is asked again."""


class Choice(NamedTuple):
    """A tag and how it was found."""

    tag: str
    is_guess: bool
    """No tag was a version, so the last in the alphabet was taken."""
    tags_hash: str
    tag_count: int
    skipped: int


def selection_hash(registry: RegistrySpec) -> str:
    """Return what changes when other candidates become eligible."""
    chooses = {
        "url",
        "version_constraint",
        "tag",
        "digest",
        "tag_filter",
        "include_prereleases",
        "allow_downgrade",
    }
    return digest(registry.model_dump(mode="json", include=chooses))[:16]


def choose(
    tags: Sequence[str],
    *,
    registry: RegistrySpec,
    constraint: Constraint,
    keeps: TagFilter | None,
    status: BundleStatus,
) -> Choice:
    """Choose the newest version that is wanted.

    Raises:
        BlockedError: There is none, or it is older than what runs.
    """
    # A registry may list what it could not be asked for.
    tags = [tag for tag in tags if is_tag(tag)]
    if not tags:
        raise BlockedError(
            f"{registry.url} has no tags; publish a bundle there",
            condition=RESOLVED,
            reason="NoTags",
        )
    found = select(
        tags, constraint, include_prereleases=registry.include_prereleases, keeps=keeps
    )
    if found.tag is None:
        raise BlockedError(
            _no_match(registry, found.versions, len(tags)),
            condition=RESOLVED,
            reason="NoMatchingVersion",
        )
    if not registry.allow_downgrade:
        _refuse_downgrade(found.tag, found.version, registry, status)
    return Choice(
        found.tag,
        is_guess=found.version is None,
        tags_hash=digest(sorted(tags)),
        tag_count=len(tags),
        skipped=found.skipped,
    )


def _no_match(registry: RegistrySpec, versions: int, tags: int) -> str:
    wanted = (
        f"spec.registry.versionConstraint {registry.version_constraint!r}"
        if registry.version_constraint
        else "a release"
    )
    return (
        f"of {tags} tags of {registry.url}, {versions} are versions, and none fits "
        f"{wanted}; pre-releases count if the constraint names one or "
        "includePrereleases is set"
    )


def _refuse_downgrade(
    tag: str, version: Version | None, registry: RegistrySpec, status: BundleStatus
) -> None:
    applied = parse_tag(status.last_applied_tag)
    observed = status.observed
    if applied is None or version is None or observed is None or version >= applied:
        return
    # Another selection is the user's own decision; so is what followed from it.
    if observed.selection != selection_hash(registry) or observed.tag == tag:
        return
    raise BlockedError(
        f"{registry.url} has nothing newer than {tag}, and {applied} runs: it is not "
        "replaced by a lower version; set allowDowngrade or change the constraint",
        condition=RESOLVED,
        reason="DowngradeBlocked",
    )
