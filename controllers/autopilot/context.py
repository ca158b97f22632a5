"""What a template and a condition may read.

    source object ──▶ SourceObject ─┐
    facts, images, identity ────────┴▶ RenderContext

A context is one moment of the cluster: immutable, and the same for all assets of a
sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controllers.autopilot.facts import Facts
from controllers.autopilot.metadata import Identity, SourceKind


class SourceObject:
    """The object that the catalogue reads, whichever version it came in."""

    def __init__(self, obj: Mapping[str, Any], kind: SourceKind) -> None:
        self.obj = obj
        self.kind = kind

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str((self.obj.get("metadata") or {}).get("namespace", ""))

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return (self.obj.get("metadata") or {}).get("annotations") or {}

    def get(self, path: str, default: object = None) -> object:
        """Read a field that versions keep in different places.

        Args:
            path: Dotted; its first part is a name of `source.fields`, or `spec`,
                `metadata`, `status` for a plain path.
            default: What a missing or null field gives.
        """
        raise NotImplementedError

    def gate(self, name: str) -> bool:
        """Tell whether a feature gate is on; one that is not mentioned is off."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class CrdState:
    """What is known of a CRD."""

    name: str
    """`plural.group`."""

    versions: tuple[str, ...] = ()
    """Versions that are served."""

    established: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderContext:
    """One moment of the cluster."""

    source: SourceObject
    identity: Identity
    facts: Facts = field(default_factory=Facts)
    images: Mapping[str, str] = field(default_factory=dict)
    """Name → reference."""

    crds: Mapping[str, CrdState] | None = None
    """By name; `None` if it is not known which there are, as offline."""

    metrics_prefix: str = "virt_platform"


def images_from(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Read `RELATED_IMAGE_SOME_NAME` as the image `some-name`."""
    raise NotImplementedError
