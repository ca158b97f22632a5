"""Jobs that others have left between their end and their new start, brought back.

    start ─▶ list notes ─▶ 10 s ─▶ list ─▶ 80 s ─▶ list
                └─ of each: owed from now on, and looked at

That is asked more than once because two may lead for a moment: who was cut off from its
Lease notes and deletes until it finds out, when the next one has begun already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from controller_runtime import ForbiddenError
from controllers.reload.workloads import WorkloadKey
from controllers.reload.writing.ledger import AGAIN, TROUBLE, Ledger, Owed

log = structlog.get_logger(__name__)

_ROUNDS = (0.0, 10.0, 80.0)
"""Seconds until notes are listed, once more each time. Who led before acts until its
Lease runs out, in 15 s, and a request of its may take the server a minute."""


class Recall:
    """Brings back what others have left, and cleans up; a runnable."""

    name = "reload-owed-jobs"

    def __init__(
        self,
        ledger: Ledger,
        namespaces: Iterable[str],
        owe: Callable[[Owed], None],
        look: Callable[[WorkloadKey], None],
    ) -> None:
        """Begin without asking anybody.

        Args:
            ledger: Where it is noted.
            namespaces: Where to look; none means everywhere.
            owe: Takes each over.
            look: Makes the controller look at a Job.
        """
        self._ledger = ledger
        self._namespaces = tuple(namespaces) or ("",)
        self._owe = owe
        self._look = look

    async def run(self) -> None:
        """Ask as often as it takes, and clean up, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ledger.strike_left())
            for pause in _ROUNDS:
                await asyncio.sleep(pause)
                if not await self._recall():
                    return

    async def _recall(self) -> bool:
        """Ask until there is an answer; tell whether it is worth to ask once more."""
        while True:
            try:
                await self._take_over()
            except ForbiddenError as error:
                log.warning("Jobs of before a crash are not found", error=str(error))
                return False
            except TROUBLE as error:
                log.info("Jobs of before a crash: asking again", error=str(error))
                await asyncio.sleep(AGAIN)
            else:
                return True

    async def _take_over(self) -> None:
        for owed in await self._ledger.recall(self._namespaces):
            self._owe(owed)
            self._look(owed.workload.key)
