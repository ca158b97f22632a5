"""What a template and a condition may read.

    source object ──▶ SourceObject ─┐
    facts, images, CRDs, identity ──┴▶ RenderContext

A context is one moment of the cluster: immutable, and the same for all assets of a
sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controllers.autopilot.errors import ConditionError
from controllers.autopilot.facts import Facts
from controllers.autopilot.metadata import Identity, SourceKind

_IMAGE = "RELATED_IMAGE_"
_PLAIN = ("spec", "metadata", "status")
_FEATURE_GATES = "featureGates"


class SourceObject:
    """The object that the catalogue reads, whichever version it came in."""

    def __init__(self, obj: Mapping[str, Any], kind: SourceKind) -> None:
        self.obj = obj
        self.kind = kind

    @property
    def version(self) -> str:
        """The version that it came in, such as `v1beta1`."""
        return str(self.obj.get("apiVersion", "")).rpartition("/")[2]

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

        Raises:
            ConditionError: No field has that name.
        """
        value = at(self.obj, self.locate(path))
        return default if value is None else value

    def locate(self, path: str) -> str:
        """Return where this version has a field.

        Raises:
            ConditionError: No field has that name.
        """
        first, dot, rest = path.partition(".")
        if first in _PLAIN:
            return path
        for name in _longest_first(path):
            places = self.kind.fields.get(name)
            if places is not None:
                return places.get(self.version, _nowhere(name)) + path[len(name) :]
        known = ", ".join(sorted(self.kind.fields))
        raise ConditionError(
            f"{first}{dot}{rest} is no field of {self.kind.kind}; start with spec, or "
            f"with one of {known}"
        )

    def gate(self, name: str) -> bool:
        """Tell whether a feature gate is on; one that is not mentioned is off.

        A list has the gates by `name`, on unless their `state` is `Disabled`; a map has
        them by name, and they are true or false.
        """
        place = self.kind.fields.get(_FEATURE_GATES, {}).get(self.version)
        gates = at(self.obj, place or f"spec.{_FEATURE_GATES}")
        if isinstance(gates, Mapping):
            return gates.get(name) is True
        if isinstance(gates, list):
            return any(
                isinstance(gate, Mapping)
                and gate.get("name") == name
                and gate.get("state") != "Disabled"
                for gate in gates
            )
        return False


def at(obj: object, path: str) -> Any:
    """Follow a dotted path through maps; `None` where it ends."""
    for step in path.split("."):
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def _longest_first(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _nowhere(name: str) -> str:
    """Return a path that no object has, for a version without the field."""
    return f"\0{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrdState:
    """What is known of a CRD."""

    name: str
    """`plural.group`."""

    versions: tuple[str, ...] = ()
    """Versions that are served."""

    established: bool = True

    @classmethod
    def of(cls, crd: Mapping[str, Any]) -> CrdState:
        """Read a CustomResourceDefinition, whole or stripped."""
        versions = (crd.get("spec") or {}).get("versions") or ()
        conditions = (crd.get("status") or {}).get("conditions") or ()
        return cls(
            name=crd["metadata"]["name"],
            versions=tuple(v["name"] for v in versions if v.get("served")),
            established=any(
                c.get("type") == "Established" and c.get("status") == "True"
                for c in conditions
            ),
        )


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
    return {
        name.removeprefix(_IMAGE).lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith(_IMAGE) and value
    }
