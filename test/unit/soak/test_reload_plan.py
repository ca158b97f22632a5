"""A plan is drawn from its seed alone, with every kind of blow and workload in it."""

from __future__ import annotations

import pytest

from soak.reload.plan import (
    Delete,
    KillAll,
    KillAt,
    KillServer,
    KillSoon,
    Plan,
    Recreate,
    TakeLease,
    Update,
    draw,
    heavy_blows,
)
from soak.reload.world import PLURALS, Source

SEEDS = range(30)


@pytest.mark.parametrize("changes", [50, 200])
def test_the_same_seed_gives_the_same_plan(changes: int) -> None:
    assert draw(7, changes) == draw(7, changes)
    assert draw(7, changes) != draw(8, changes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("changes", [50, 200])
def test_every_heavy_blow_is_struck_in_every_plan(seed: int, changes: int) -> None:
    kinds = {type(blow) for blow in heavy_blows(draw(seed, changes))}

    assert kinds == {KillAll, KillAt, KillServer, KillSoon, TakeLease}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_of_workload_uses_something_in_every_plan(seed: int) -> None:
    world = draw(seed, 50).world

    assert {it.kind for it in world.workloads} == set(PLURALS)
    assert all(it.sources for it in world.workloads)
    assert {it for w in world.workloads for it in w.sources} == set(world.sources)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("changes", [50, 200])
def test_every_source_is_there_in_the_end(seed: int, changes: int) -> None:
    plan = draw(seed, changes)

    assert not _gone(plan)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_manager_that_dies_at_a_write_has_a_reason_to_write(seed: int) -> None:
    for step in draw(seed, 200).steps:
        if isinstance(step.blow, KillAt):
            assert isinstance(step.change, Update)
            assert set(step.change.sources) <= set(step.blow.workload.sources)


def test_too_few_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="39 changes leave no room"):
        draw(1, 39)


def _gone(plan: Plan) -> set[Source]:
    gone = set(plan.world.absent)
    for step in plan.steps:
        match step.change:
            case Update(sources):
                gone -= set(sources)
            case Recreate(source, _):
                gone -= {source}
            case Delete(source):
                gone.add(source)
            case _:
                pass
    return gone
