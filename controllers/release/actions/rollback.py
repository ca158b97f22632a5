"""Create a revision that equals an earlier one."""

from __future__ import annotations

from controllers.release.actions import Work
from controllers.release.helm.engine import Engine


class RollBack:
    """Rolls a release back to a revision that Helm still has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, work: Work, /) -> None:
        await self._engine.rollback(work.order, revision=work.revision)
