"""Create the first revision."""

from __future__ import annotations

from controllers.release.actions import Work
from controllers.release.helm.engine import Engine


class Install:
    """Installs a release that has no record."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, work: Work, /) -> None:
        await self._engine.install(work.order)
