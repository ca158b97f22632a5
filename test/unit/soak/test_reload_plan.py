"""A plan is drawn from its seed alone, with every kind of blow and workload in it."""

from __future__ import annotations

import pytest

from soak.plan import KillServer
from soak.reload.plan import (
    Change,
    Delete,
    Forbid,
    FreezeAt,
    KillAll,
    KillAt,
    KillSoon,
    Plan,
    Recreate,
    TakeLease,
    Update,
    Usurp,
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

    assert kinds == {
        *(KillAt, FreezeAt, Usurp, KillAll, KillServer, KillSoon, TakeLease),
    }


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
@pytest.mark.parametrize("changes", [50, 200])
def test_who_is_struck_at_a_write_has_a_reason_to_write(
    seed: int, changes: int
) -> None:
    plan = draw(seed, changes)
    gone = set(plan.world.absent)

    for step in plan.steps:
        if isinstance(step.blow, (KillAt, FreezeAt, Usurp)):
            assert isinstance(step.change, Update)
            assert set(step.change.sources) <= set(step.blow.write.workload.sources)
            assert not set(step.change.sources) & gone
        _follow(step.change, gone)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_workload_is_forbidden_that_a_manager_is_struck_at(seed: int) -> None:
    blows = [step.blow for step in draw(seed, 200).steps]
    struck = {
        b.write.workload for b in blows if isinstance(b, (KillAt, FreezeAt, Usurp))
    }

    assert not struck & {blow.workload for blow in blows if isinstance(blow, Forbid)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("changes", [50, 200])
def test_every_blow_finds_its_change(seed: int, changes: int) -> None:
    plan = draw(seed, changes)

    assert len(heavy_blows(plan)) == len(range(4, changes - 2, 6))


def test_too_few_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="49 changes leave no room"):
        draw(1, 49)


def _gone(plan: Plan) -> set[Source]:
    gone = set(plan.world.absent)
    for step in plan.steps:
        _follow(step.change, gone)
    return gone


def _follow(change: Change, gone: set[Source]) -> None:
    match change:
        case Update(sources):
            gone -= set(sources)
        case Recreate(source, _):
            gone -= {source}
        case Delete(source):
            gone.add(source)
        case _:
            pass
