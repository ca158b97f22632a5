"""What can be set about the autopilot controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from controllers.autopilot.assets import Catalog
from controllers.autopilot.throttle import ThrottleOptions

OVERRIDE_MANAGERS = ("kubectl-edit", "kubectl-patch", "before-first-apply")
"""The last is how the API server calls who wrote before anybody applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotOptions:
    """How the autopilot controller behaves."""

    catalog: Catalog
    """What is wanted, and of which source object."""

    namespace: str = ""
    """Where the source object is; empty is what the catalogue says."""

    default_enabled: bool = False
    """A source object that says nothing about `autopilot` counts as `true`."""

    images: Mapping[str, str] = field(default_factory=dict)
    """Images that templates may name: name → reference."""

    metrics_prefix: str = "virt_platform"
    """What the names of the controller's metrics begin with, before a `_`."""

    resync: timedelta = timedelta(minutes=5)
    """Look at everything again after this long, 10 % more or less. Costs no request
    where nothing has changed."""

    verdict_age: timedelta = timedelta(minutes=30)
    """How long a dry run that found no drift is believed while nothing changes:
    webhooks of others may have come, which nobody tells."""

    retry_first: timedelta = timedelta(seconds=1)
    """Until an asset that failed is tried again; doubles with each failure."""

    retry_longest: timedelta = timedelta(minutes=5)
    """Longest of these waits."""

    watch_timeout: timedelta = timedelta(seconds=10)
    """Longest that the first list of a managed kind may take; the asset then fails,
    and is tried again, while the others go on."""

    node_delay: timedelta = timedelta(seconds=5)
    """Between a change of a Node and the sweep: in a rollout all of them change."""

    override_managers: tuple[str, ...] = OVERRIDE_MANAGERS
    """Field managers that are people with an editor. Where the API server refuses an
    object because of what they wrote in it, that is taken over and removed; what others
    wrote is left, and the object fails. Empty takes nothing over."""

    throttle: ThrottleOptions = field(default_factory=ThrottleOptions)
    """How often one object is corrected."""

    @property
    def source_namespace(self) -> str:
        """Where the source object is."""
        return self.namespace or self.catalog.source.namespace
