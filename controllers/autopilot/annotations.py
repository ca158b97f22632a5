"""What users write on objects: the names of annotations, and their values, read once.

    on the source object     autopilot, disabled-resources
    on a managed object      mode, reconcile-paused, patch, ignore-fields
    written by us            patch-last-good, paused-reason

All of them live under the catalogue's domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from controller_runtime import Json


@dataclass(frozen=True, slots=True)
class AnnotationKeys:
    """Names of the annotations of one catalogue."""

    domain: str = "platform.kubevirt.io"

    @property
    def autopilot(self) -> str:
        """Source: the gate; `true`, or names of assets and groups."""
        return f"{self.domain}/autopilot"

    @property
    def disabled_resources(self) -> str:
        """Source: objects that are not applied (`exclusion`)."""
        return f"{self.domain}/disabled-resources"

    @property
    def mode(self) -> str:
        """Object: `unmanaged` leaves it alone."""
        return f"{self.domain}/mode"

    @property
    def paused(self) -> str:
        """Object: `true` leaves it alone until the annotation goes."""
        return f"{self.domain}/reconcile-paused"

    @property
    def paused_reason(self) -> str:
        """Object: why we paused it, as JSON."""
        return f"{self.domain}/paused-reason"

    @property
    def patch(self) -> str:
        """Object: a JSON patch of what is applied (`overrides`)."""
        return f"{self.domain}/patch"

    @property
    def last_good(self) -> str:
        """Object: the last patch that could be used, kept by us."""
        return f"{self.domain}/patch-last-good"

    @property
    def ignore_fields(self) -> str:
        """Object: fields that are left to others (`masks`)."""
        return f"{self.domain}/ignore-fields"

    @property
    def control(self) -> frozenset[str]:
        """Those of a managed object: no patch may write them."""
        return frozenset(
            {
                self.mode,
                self.paused,
                self.paused_reason,
                self.patch,
                self.last_good,
                self.ignore_fields,
            }
        )


class Wishes(NamedTuple):
    """What a managed object's annotations ask for; all empty if there is none."""

    mode: str = ""
    paused: str = ""
    paused_reason: str = ""
    patch: str = ""
    last_good: str = ""
    ignore_fields: str = ""

    @property
    def is_unmanaged(self) -> bool:
        """Leave the object alone, whatever else is asked for."""
        return self.mode == "unmanaged"

    @property
    def has_unknown_mode(self) -> bool:
        """The mode is none that there is; the object is managed all the same."""
        return self.mode not in {"", "unmanaged"}

    @property
    def is_paused(self) -> bool:
        """Leave the object alone for now."""
        return self.paused == "true"


def read_wishes(live: Mapping[str, Any] | None, keys: AnnotationKeys) -> Wishes:
    """Read the annotations of an object as the cluster has it."""
    found = annotations_of(live)
    names = (
        keys.mode,
        keys.paused,
        keys.paused_reason,
        keys.patch,
        keys.last_good,
        keys.ignore_fields,
    )
    return Wishes(*(found.get(name, "").strip() for name in names))


def annotations_of(obj: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Return the annotations of an object, none if there is no object."""
    return _section(obj, "annotations")


def labels_of(obj: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Return the labels of an object, none if there is no object."""
    return _section(obj, "labels")


def with_metadata(
    obj: Json,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """Return the object with more labels and annotations."""
    metadata = dict(obj.get("metadata") or {})
    for section, more in (("labels", labels), ("annotations", annotations)):
        if more:
            metadata[section] = {**(metadata.get(section) or {}), **more}
    return {**obj, "metadata": metadata}


def _section(obj: Mapping[str, Any] | None, name: str) -> Mapping[str, str]:
    metadata = (obj or {}).get("metadata") or {}
    return metadata.get(name) or {}
