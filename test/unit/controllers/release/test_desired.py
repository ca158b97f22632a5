"""What a ManagedRoost asks for, and when it is asked again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from api.release.v1alpha1 import ManagedRoost
from conformance.releases import managed_roost
from controller_runtime import Client
from controllers.release.chart import ResolvedChart
from controllers.release.desired import Desirer
from controllers.release.failures import Again
from controllers.release.helm.engine import EngineError, Failure
from controllers.release.sources import DesireError, SourceReader
from controllers.release.values import Composer, Sources, Template, Values

NOBODY = cast(Client, None)
"""Of objects that refer to nothing, nothing is read."""


class Found(SourceReader):
    """Has every chart."""

    def __init__(self) -> None:
        pass

    async def chart(self, roost: ManagedRoost) -> ResolvedChart:
        del roost
        return ResolvedChart(name="app", version="1", digest="x", path=Path("app.tgz"))


class Failing(Composer):
    """Cannot read values."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    async def compose(
        self, sources: Sources, template: Template | None = None
    ) -> Values:
        del sources, template
        raise EngineError("no", failure=self.failure)


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (Failure.ENGINE, Again.RETRY),
        (Failure.INVALID, Again.CHANGE),
        (Failure.CANCELLED, Again.SOON),
    ],
)
async def test_workers_that_cannot_start_are_started_ever_more_seldom(
    failure: Failure, again: Again
) -> None:
    desirer = Desirer(NOBODY, Found(), Failing(failure))

    with pytest.raises(DesireError) as caught:
        await desirer.desired(managed_roost())

    assert caught.value.again is again
