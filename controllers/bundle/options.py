"""What can be set about the bundle controller."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

WERF_IMAGE = "registry.werf.io/werf/werf:2-stable"
"""Image with werf that Jobs run, unless a bundle or a setting names another."""


class CrossNamespacePolicy(StrEnum):
    """Whether a bundle may deploy to, and read from, another namespace."""

    ALLOW = "Allow"
    ANNOTATED = "Annotated"
    """If its ServiceAccount or Namespace says so: `werf.io/allow-bundles-from`."""
    DENY = "Deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOptions:
    """How the bundle controller behaves."""

    namespaces: tuple[str, ...] = ()
    """Only bundles, targets and sources of these namespaces; empty for all."""

    workers: int = 20
    """Bundles that are looked at at once. Each may wait for its registry."""

    werf_image: str = WERF_IMAGE
    """Image of Jobs whose bundle names none."""

    allowed_werf_images: tuple[str, ...] = ()
    """Patterns with `*` that a bundle's own image must match; empty for any."""

    cross_namespace_policy: CrossNamespacePolicy = CrossNamespacePolicy.ALLOW

    allow_insecure: bool = True
    """Whether bundles may ask for plain HTTP or trust any certificate."""

    watch_values: bool = True
    """Whether a change of values and credentials is acted upon at once. Without it
    Secrets and ConfigMaps are read, never listed, and at the next poll."""

    bundle_max_size: int = 20 << 20
    """Largest bundle in bytes, packed."""

    max_active_jobs: int = 20
    """Jobs of all bundles that run at once; the others wait."""

    preflight_retry: timedelta = timedelta(seconds=15)
    """When to look again for a missing namespace, account or source. They are not
    watched: one that is missing is rare, and watching them all takes rights."""

    job_resync: timedelta = timedelta(seconds=30)
    """When to look again at a Job that runs, events or not."""

    debounce: timedelta = timedelta(seconds=10)
    """How long values must have been still before they are applied."""

    debounce_max: timedelta = timedelta(seconds=60)
    """How long values that are never still may wait."""

    spread: timedelta = timedelta(seconds=60)
    """Over how long the polls are spread that are overdue when the manager starts."""

    first_failure: timedelta = timedelta(seconds=30)
    """Wait after the first poll that failed; it doubles up to 30 minutes."""

    apply_retries: tuple[timedelta, ...] = field(
        default=(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
    )
    """Waits after failed applies; the last of them repeats."""

    def allows_image(self, image: str) -> bool:
        """Tell whether a bundle may name this image."""
        patterns = self.allowed_werf_images
        return not patterns or any(fnmatchcase(image, each) for each in patterns)
