"""Fill the queue of a controller before its replica leads.

standby: sources start, and sync, and fill the queue
elected: the controller runs, and works at once
stopped without having led: sources and queue are closed
"""

from __future__ import annotations

import asyncio
from typing import Any

from controller_runtime.controller import Controller


class WarmUp:
    """Keeps a controller warm; runs on every replica."""

    def __init__(self, controller: Controller[Any]) -> None:
        """Describe it."""
        self.name = f"{controller.name} warm-up"
        self._controller = controller

    async def run(self) -> None:
        """Start the sources and hold them until cancelled.

        Raises:
            SyncTimeoutError: A source did not sync in time; the text names it.
            Exception: What a source raised; several come as an ExceptionGroup.
        """
        try:
            await self._controller.warm_up()
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            self._controller.discard()
