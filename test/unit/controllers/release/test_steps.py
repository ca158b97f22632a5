"""One step, and what the status remembers of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from api.release.status import ManagedRoostStatus
from api.release.v1alpha1 import ManagedRoost
from conformance.releases import NOON, managed_roost, revision
from controller_runtime import NamespacedName
from controller_runtime.testing.clock import FakeClock
from controllers.release import outcomes
from controllers.release.actions import Work
from controllers.release.chart import ResolvedChart
from controllers.release.counters import at_rest
from controllers.release.desired import Desired
from controllers.release.helm.engine import EngineError, Failure
from controllers.release.locks import Holder
from controllers.release.look import Look
from controllers.release.observe import ROLLBACK_TO
from controllers.release.operations import Operations, ReleaseBusyError
from controllers.release.options import ReleaseOptions
from controllers.release.plan import Step
from controllers.release.records import HelmStatus, Revision
from controllers.release.steps import Steps
from controllers.release.surroundings import Surroundings
from controllers.release.writer import Writer

DESIRED = Desired(
    chart=ResolvedChart(
        name="app", version="1.0.0", digest="sha256:1", path=Path("app.tgz")
    ),
    values={},
    secrets=frozenset(),
    digest="d" * 64,
)


@dataclass
class Scripted:
    """An action with an ending that is known before."""

    error: EngineError | None = None
    works: list[Work] = field(default_factory=list)

    async def run(self, work: Work, /) -> None:
        self.works.append(work)
        if self.error is not None:
            raise self.error


@dataclass
class Notebook(Writer):
    """Remembers statuses and Events."""

    written: list[ManagedRoostStatus] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def write(
        self, roost: ManagedRoost, status: ManagedRoostStatus
    ) -> ManagedRoost:
        self.written.append(status)
        return roost.model_copy(update={"status": status})

    def tell(
        self, roost: ManagedRoost, reason: str, action: str, note: str, *, bad: bool
    ) -> None:
        del roost, action, note, bad
        self.told.append(reason)


def steps_of(
    step: Step,
    action: Scripted,
    notebook: Notebook,
    operations: Operations | None = None,
) -> Steps:
    around = Surroundings(
        ours=Holder("here", 1, "me"),
        is_owner_alive=lambda _: True,
        is_process_alive=lambda _: True,
        clock=FakeClock(NOON),
        randomness=random.Random(1),  # noqa: S311 - no secret
        options=ReleaseOptions(),
    )
    return Steps({step: action}, operations or Operations(), notebook, around)


def look_at(
    revisions: Sequence[Revision], status: ManagedRoostStatus, **more: int
) -> Look:
    return Look(
        roost=managed_roost(),
        status=status,
        desired=DESIRED,
        source=outcomes.source_ready("app", "1.0.0", "sha256:1"),
        revisions=revisions,
        rollback_to=more.get("rollback_to"),
    )


FAILED = EngineError("no", failure=Failure.FAILED)


@pytest.mark.parametrize("due", [None, NOON - timedelta(hours=1)])
async def test_a_release_that_will_not_go_is_left_alone_for_a_while(
    due: object,
) -> None:
    status = ManagedRoostStatus.model_validate({"nextRetryTime": due})
    look = look_at([revision(1, HelmStatus.UNINSTALLING)], status)

    steps = steps_of(Step.UNINSTALL, Scripted(FAILED), Notebook())
    await steps.take(look, Step.UNINSTALL)

    assert look.status.next_retry_time is not None
    assert look.status.next_retry_time > NOON


async def test_nothing_is_announced_while_another_object_is_at_the_release() -> None:
    look = look_at([], ManagedRoostStatus())
    notebook, operations = Notebook(), Operations()
    install = Scripted()
    steps = steps_of(Step.INSTALL, install, notebook, operations)

    async def try_it_too() -> None:
        with pytest.raises(ReleaseBusyError):
            await steps.take(look, Step.INSTALL)

    await operations.run(
        NamespacedName("shop", "other"),
        look.key,
        operation="theirs",
        generation=1,
        work=try_it_too,
    )

    assert notebook.written == []
    assert install.works == []


@pytest.mark.parametrize(("holder", "stays"), [("here/1/me", False), ("x/1/y", True)])
def test_what_this_process_is_no_longer_at_is_forgotten(
    holder: str, stays: bool
) -> None:
    operation = {
        "id": "op",
        "action": "upgrade",
        "holder": holder,
        "startedAt": NOON,
        "deadline": NOON,
    }
    status = ManagedRoostStatus.model_validate({"operation": operation})

    assert (at_rest(status, "here/1/me").operation is not None) is stays


async def test_a_rollback_that_failed_holds_nothing() -> None:
    look = look_at([revision(2), revision(1)], ManagedRoostStatus(), rollback_to=1)

    steps = steps_of(Step.ROLL_BACK, Scripted(FAILED), Notebook())
    await steps.take(look, Step.ROLL_BACK)

    assert look.status.last_attempted is not None
    assert look.status.last_attempted.action != ROLLBACK_TO


async def test_a_rollback_that_was_asked_for_and_done_is_remembered_as_such() -> None:
    look = look_at([revision(2), revision(1)], ManagedRoostStatus(), rollback_to=1)

    steps = steps_of(Step.ROLL_BACK, Scripted(), Notebook())
    await steps.take(look, Step.ROLL_BACK)

    assert look.status.last_attempted is not None
    assert look.status.last_attempted.action == ROLLBACK_TO
