"""The kinds that are ours: their CRDs and reference pages are made from these models.

A kind is here or it has no CRD. Whoever adds one runs `make manifests`.
"""

from __future__ import annotations

from api.bundle.v1alpha1 import WerfBundle
from api.release.v1alpha1 import ManagedRoost
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime.meta import KubeObject

OWNED: tuple[type[KubeObject], ...] = (WerfBundle, ManagedRoost, ReloaderConfig)
"""Every version of every kind that a controller of ours defines."""
