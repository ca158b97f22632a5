"""Events, as a showcase looks for them."""

from __future__ import annotations

from controller_runtime import Client, GroupVersionKind, Json
from controller_runtime.testing.eventually import eventually_list

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

_PATIENCE = 10.0
"""Seconds until an Event must be there: it is written behind what it tells of."""


async def event_about(
    client: Client,
    namespace: str,
    name: str,
    reason: str,
    *,
    mentions: str = "",
    uid: str = "",
) -> Json | None:
    """Return an Event about an object, when it comes; `None` if none does.

    Args:
        client: Reads live.
        namespace: Of object and Event.
        name: Of the object.
        reason: Of the Event.
        mentions: What its note has in it.
        uid: Of the object, if others have had its name.
    """

    def found(events: list[Json]) -> list[Json]:
        return [
            event
            for event in events
            if event["reason"] == reason
            and event["regarding"]["name"] == name
            and mentions in event.get("note", "")
            and uid in {"", event["regarding"].get("uid")}
        ]

    try:
        events = await eventually_list(
            client, EVENT, namespace, found, timeout=_PATIENCE
        )
    except AssertionError:
        return None
    return found(events)[-1]


def told(event: Json | None) -> str:
    """Say what an Event says."""
    return "none came" if event is None else f"{event['reason']}: {event['note']}"
