"""Say whose release it is, without deploying anything."""

from __future__ import annotations

from api.core.v1 import Secret
from controller_runtime import Client, merge_patch
from controllers.release.actions import Work


class Claim:
    """Writes our labels on the newest record."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(self, work: Work, /) -> None:
        if work.newest is None:
            return
        metadata = work.newest.secret["metadata"]
        change = {
            "labels": dict(work.labels),
            "resourceVersion": metadata["resourceVersion"],
        }
        await self._client.patch(
            Secret.gvk,
            metadata["name"],
            metadata["namespace"],
            patch=merge_patch({"metadata": change}),
        )
