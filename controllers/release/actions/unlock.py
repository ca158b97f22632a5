"""Say that an operation has failed which nobody is at any more."""

from __future__ import annotations

import asyncio

from controller_runtime import Client
from controllers.release.actions import Work
from controllers.release.records import unlocked


class Unlock:
    """Rewrites a pending record, unless somebody else has written it meanwhile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(self, work: Work, /) -> None:
        if work.newest is None:
            return
        description = f"unlocked by pilothouse: {work.reason}"
        record = await asyncio.to_thread(
            unlocked, work.newest.secret, description=description
        )
        await self._client.update(record)
