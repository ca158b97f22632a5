"""What people see of a ManagedRoost: its status, and Events.

A status is written when it says something new, whole and under a field manager of its
own, so that what we no longer say goes away. Same status, no write.
"""

from __future__ import annotations

from api.release.status import ManagedRoostStatus
from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    Client,
    Clock,
    EventRecorder,
    Json,
    NotFoundError,
    reference,
)

FIELD_MANAGER = "roost-keeper"
"""Owner of the status, as in the original."""


class Writer:
    """Writes statuses and Events."""

    def __init__(self, client: Client, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock

    async def write(
        self, roost: ManagedRoost, status: ManagedRoostStatus
    ) -> ManagedRoost:
        """Write a status, if it is news; return the object that has it."""
        if _said(status) == _said(roost.status):
            return roost
        now = self._clock.now().replace(microsecond=0)
        status = status.model_copy(update={"last_update_time": now})
        metadata = roost.metadata
        said: Json = {
            "apiVersion": roost.gvk.api_version,
            "kind": roost.gvk.kind,
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
            },
            "status": _json(status),
        }
        try:
            written = await self._client.apply(
                said, force=True, subresource="status", field_owner=FIELD_MANAGER
            )
        except NotFoundError:
            return roost  # gone meanwhile, and the cache will say so
        version = str(written["metadata"]["resourceVersion"])
        metadata = metadata.model_copy(update={"resource_version": version})
        return roost.model_copy(update={"status": status, "metadata": metadata})

    def tell(
        self, roost: ManagedRoost, reason: str, action: str, note: str, *, bad: bool
    ) -> None:
        """Record an Event about an object."""
        self._recorder.event(
            reference(ManagedRoost, roost),
            type="Warning" if bad else "Normal",
            reason=reason,
            action=action,
            note=note,
        )


def _json(status: ManagedRoostStatus) -> Json:
    said: Json = status.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {name: value for name, value in said.items() if value not in ([], {}, "")}


def _said(status: ManagedRoostStatus) -> Json:
    said = _json(status)
    said.pop("lastUpdateTime", None)
    return said
