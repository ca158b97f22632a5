"""Create the next revision."""

from __future__ import annotations

from controllers.release.actions import Work
from controllers.release.helm.engine import Engine


class Upgrade:
    """Upgrades a release, also one whose first install failed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, work: Work, /) -> None:
        await self._engine.upgrade(work.order)
