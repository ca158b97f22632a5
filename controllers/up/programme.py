"""What is shown, and what the cluster needs for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from api.owned import OWNED
from controller_runtime.testing.envtest import CrdSource
from controllers.autopilot.platformcrds import platform_crds
from controllers.up.autopilot import show_autopilot
from controllers.up.bundle import show_bundle
from controllers.up.release import show_release
from controllers.up.reload import show_reload
from controllers.up.stage import Showcase

_SHOWCASES: Mapping[str, Showcase] = {
    "reload": show_reload,
    "bundle": show_bundle,
    "release": show_release,
    "autopilot": show_autopilot,
}


def showcases(controllers: Iterable[str]) -> Mapping[str, Showcase]:
    """Return what shows each controller, by its name."""
    return {name: _SHOWCASES[name] for name in controllers}


def crds() -> Sequence[CrdSource]:
    """Return the CRDs that controllers and samples need. Blocks: it reads files."""
    return (*OWNED, *platform_crds())
