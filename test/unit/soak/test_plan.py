"""A plan is drawn from its seed alone, and has every kind of fault in it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from soak.plan import (
    HASTY,
    PATIENT,
    REPLICAS,
    Freeze,
    Kill,
    KillServer,
    PauseStore,
    Role,
    Trouble,
    draw,
)

MINUTE = 45.0
TEN_MINUTES = 510.0
SEEDS = range(50)


@pytest.mark.parametrize("seconds", [MINUTE, TEN_MINUTES])
def test_the_same_seed_gives_the_same_plan(seconds: float) -> None:
    assert draw(7, seconds) == draw(7, seconds)
    assert draw(7, seconds) != draw(8, seconds)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [MINUTE, TEN_MINUTES])
def test_every_process_is_struck_in_every_plan(seed: int, seconds: float) -> None:
    blows = {due.blow for due in draw(seed, seconds).heavy}

    assert {Freeze(Role.LEADER), Kill(Role.LEADER)} <= blows
    assert {KillServer, PauseStore} <= {type(blow) for blow in blows}


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_minutes_have_all_kinds_of_trouble_on_both_ways(seed: int) -> None:
    plan = draw(seed, TEN_MINUTES)

    for name in REPLICAS:
        found = {it.blow.trouble for it in plan.light if it.blow.replica == name}
        assert found == set(Trouble)
    assert {it.blow.status for it in plan.light} >= {401, 403, 409, 410, 429, 500, 504}


def test_ten_minutes_pause_etcd_for_20_s_and_have_the_default_lease() -> None:
    plan = draw(1, TEN_MINUTES)

    assert PauseStore(20) in {due.blow for due in plan.heavy}
    assert (plan.tempo.lease, plan.tempo.renew, plan.tempo.retry) == (15, 10, 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [MINUTE, TEN_MINUTES])
def test_faults_are_in_order_and_between_the_quiet_and_the_calm(
    seed: int, seconds: float
) -> None:
    plan = draw(seed, seconds)

    for hand in (plan.heavy, plan.light):
        times = [due.at for due in hand]
        assert times == sorted(times)
        assert plan.storm <= times[0]
        assert times[-1] < seconds


@pytest.mark.parametrize("seed", SEEDS)
def test_in_the_gale_no_manager_is_struck(seed: int) -> None:
    plan = draw(seed, TEN_MINUTES)
    late = {type(due.blow) for due in plan.heavy if due.at >= plan.gale}

    assert late == {KillServer}
    assert plan.seconds - plan.gale > 150


@pytest.mark.parametrize("seed", SEEDS)
def test_heavy_blows_leave_time_to_recover(seed: int) -> None:
    plan = draw(seed, TEN_MINUTES)
    times = [due.at for due in plan.heavy]

    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert min(gaps) >= plan.tempo.between > plan.tempo.lease + 10


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stall_that_stays_silent_is_for_soaks_that_can_wait(seed: int) -> None:
    for seconds, may in ((MINUTE, False), (TEN_MINUTES, True)):
        stalls = [
            due.blow
            for due in draw(seed, seconds).light
            if due.blow.trouble is Trouble.STALL
        ]
        assert any(not blow.breaks for blow in stalls) is may


def test_tempos_are_leases_that_the_framework_takes() -> None:
    for tempo in (HASTY, PATIENT):
        assert tempo.lease > tempo.renew > 1.2 * tempo.retry


def test_a_plan_is_shown_with_its_seed_and_its_blows() -> None:
    first, *blows = draw(42, MINUTE).describe()

    assert "seed 42" in first
    assert len(blows) == len(draw(42, MINUTE).heavy)
    assert any("leader frozen" in line for line in blows)


def test_too_short_a_soak_is_refused() -> None:
    with pytest.raises(ValueError, match="no time"):
        draw(1, 10)
