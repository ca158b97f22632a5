"""What a ManagedRoost depends on, as values of an index: pure.

ManagedRoost ─▶ its release, and the ConfigMaps and Secrets that it names
Secret, ConfigMap, release record ─▶ the value to look for
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from api.core.v1 import ConfigMap, Secret
from api.release.v1alpha1 import ManagedRoost
from controller_runtime import Json, RawObject
from controllers.release.identity import release_key
from controllers.release.validation import references

INDEX = "release-uses"


def uses(body: Json) -> Iterable[str]:
    """Return the values of a ManagedRoost; none of one that cannot be read."""
    try:
        roost = ManagedRoost.model_validate(body)
    except ValidationError:
        return ()
    found = {f"release/{release_key(roost)}"}
    for path, reference in references(roost.spec):
        kind = ConfigMap if "configMapRefs" in path else Secret
        namespace = reference.namespace or roost.metadata.namespace
        found.add(f"{kind.gvk.kind}/{namespace}/{reference.name}")
    return sorted(found)


def used(kind: type[ConfigMap | Secret], entry: RawObject) -> str:
    """Return the value of a ConfigMap or a Secret."""
    return f"{kind.gvk.kind}/{entry.meta.namespace}/{entry.meta.name}"


def recorded(entry: RawObject) -> str:
    """Return the value of the release that a record is of."""
    return f"release/{entry.meta.namespace}/{entry.meta.labels.get('name', '')}"
