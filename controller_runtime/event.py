"""What happened to an object, as a watch tells it.

Events carry versions of the object as the store holds them and live until the
handlers of one batch have run; a request, which outlives them, never mentions them.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from controller_runtime.meta import RawObject


class Created(NamedTuple):
    """An object that the store did not have."""

    object: RawObject
    is_initial: bool = False
    """Part of the first list, or told to a handler that came late."""


class Updated(NamedTuple):
    """Another version of an object that the store has; both as the store had them."""

    old: RawObject
    object: RawObject

    @property
    def is_resync(self) -> bool:
        """The object is the same version: a reminder, not a change."""
        return (
            self.old.meta.resource_version == self.object.meta.resource_version
            and self.old.meta.uid == self.object.meta.uid
        )


class Deleted(NamedTuple):
    """An object that is gone."""

    object: RawObject
    """Its last known version."""
    state_unknown: bool = False
    """The deletion itself was missed, so the last version may have been another."""


class Generic(NamedTuple):
    """Something outside the cluster that concerns an object."""

    object: RawObject


Event: TypeAlias = Created | Updated | Deleted | Generic
