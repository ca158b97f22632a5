"""Delete what a release consists of, and its record."""

from __future__ import annotations

from controllers.release.actions import Work
from controllers.release.helm.engine import Engine


class Uninstall:
    """Uninstalls a release; one that is not there is done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, work: Work, /) -> None:
        await self._engine.uninstall(work.order)
