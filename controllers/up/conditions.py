"""Conditions, as a table shows them."""

from __future__ import annotations

from controller_runtime import Json


def conditions(obj: Json) -> str:
    """Return a line for each condition: `Ready=True Synced`."""
    found = obj.get("status", {}).get("conditions", [])
    return "\n".join(
        f"{each['type']}={each['status']} {each.get('reason', '')}".rstrip()
        for each in found
    )
