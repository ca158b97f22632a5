"""The judge of a reload soak: what it lets pass, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from soak.reload.judge import Evidence, judge
from soak.reload.sights import Sight
from soak.reload.world import Source, Workload, World

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CM = Source("ConfigMap", "c")
SECRET = Source("Secret", "s")
VERSIONS: Mapping[Source, Sequence[str]] = {CM: ["one", "two", "three"], SECRET: ["x"]}
BOTH = (CM, SECRET)

SHOP = Workload("Deployment", "shop", BOTH, ())
NIGHT = Workload("CronJob", "night", (CM,), ())
WORK = Workload("Job", "work", (CM,), ())


def record(text: str) -> Mapping[str, str]:
    """Return what a workload has noted that uses a version of the ConfigMap."""
    return {
        CM.recorded: CM.digest(text).recorded,
        SECRET.recorded: SECRET.digest("x").recorded,
    }


def sight(
    workload: Workload,
    version: int,
    text: str,
    template: str = "",
    *,
    uid: str = "1",
    is_gone: bool = False,
) -> Sight:
    return Sight(
        *(workload.kind, workload.name, uid, version, is_gone),
        template=template or text,
        record=record(text),
        markers=frozenset(),
    )


def run(version: int, *texts: str) -> Sight:
    """Return a Job of the CronJob, for versions of the ConfigMap."""
    return Sight(
        *("Job", f"night-{version}", f"run-{version}", version, False),
        template="",
        record={},
        markers=frozenset(CM.digest(text).marker for text in texts),
        owner="1",
    )


def problems(
    *sights: Sight, workload: Workload = SHOP, **other: object
) -> Mapping[str, str]:
    """Return what is wrong by rule, for the rules that are broken."""
    made = Evidence(
        world=World(BOTH, frozenset(), (workload,)),
        versions=VERSIONS,
        written=dict.fromkeys(("one", "two", "three", "x"), NOON),
        sights=sights,
        settled=1.0,
        planned={"KillAt": 2},
        done={"KillAt": 2},
        struck=5,
        changes=3,
        kills=2,
        blind=0,
    )
    verdicts = judge(replace(made, **other))  # type: ignore[arg-type]
    return {it.rule: "; ".join(it.problems) for it in verdicts if not it.is_good}


def test_one_restart_for_each_version_is_as_it_should_be() -> None:
    assert not problems(
        sight(SHOP, 1, "one"), sight(SHOP, 2, "two"), sight(SHOP, 3, "three")
    )


def test_a_version_may_be_skipped() -> None:
    assert not problems(sight(SHOP, 1, "one"), sight(SHOP, 2, "three"))


def test_a_restart_with_the_record_of_before_is_for_nothing() -> None:
    found = problems(
        sight(SHOP, 1, "one"),
        sight(SHOP, 2, "three"),
        sight(SHOP, 3, "three", template="again"),
    )

    assert found == {
        "nothing twice": "Deployment/shop at version 3 restarted for nothing"
    }


def test_a_record_that_moves_without_a_restart_has_swallowed_a_change() -> None:
    found = problems(sight(SHOP, 1, "one"), sight(SHOP, 2, "three", template="one"))

    assert found == {
        "nothing swallowed": "Deployment/shop at version 2 took cm/c without a restart"
    }


@pytest.mark.parametrize(("seconds", "is_read"), [(5, False), (30, True)])
def test_a_job_may_be_made_with_more_than_it_was_made_for(
    seconds: int, *, is_read: bool
) -> None:
    created = (NOON + timedelta(seconds=seconds)).isoformat()
    first = sight(WORK, 1, "one")._replace(created=created)
    last = sight(WORK, 2, "two", template="one")._replace(created=created)

    versions = {CM: ["one", "two"], SECRET: ["x"]}
    found = problems(first, last, workload=WORK, versions=versions)

    assert not found if is_read else set(found) == {"nothing swallowed"}


def test_restarts_out_of_sight_are_counted_by_generation() -> None:
    first = sight(SHOP, 1, "one")._replace(generation=1)
    last = sight(SHOP, 2, "three")

    assert not problems(first, last._replace(generation=3))
    assert problems(first, last._replace(generation=4)) == {
        "nothing twice": "Deployment/shop at version 2 restarted 3 times for 2"
    }


def test_a_restart_for_an_older_version_goes_back() -> None:
    found = problems(
        sight(SHOP, 1, "one"),
        sight(SHOP, 2, "three"),
        sight(SHOP, 3, "two"),
        sight(SHOP, 4, "three", template="again"),
    )

    assert "version 3 went back to an older cm/c" in found["nothing twice"]


def test_a_workload_that_lacks_the_last_version_was_missed() -> None:
    found = problems(sight(SHOP, 1, "one"), sight(SHOP, 2, "two"))

    assert found == {"nothing missed": "Deployment/shop lacks the last cm/c"}


def test_a_workload_that_is_gone_was_missed() -> None:
    found = problems(
        sight(WORK, 1, "three"), sight(WORK, 2, "three", is_gone=True), workload=WORK
    )

    assert found == {"nothing missed": "Job/work is not there"}


def test_a_workload_that_was_made_anew_starts_with_what_it_finds() -> None:
    assert not problems(
        sight(SHOP, 1, "one"),
        sight(SHOP, 2, "one", is_gone=True),
        sight(SHOP, 3, "three", template="one", uid="2"),
    )


def test_a_job_that_starts_anew_for_nothing_is_noticed() -> None:
    found = problems(
        sight(WORK, 1, "one"),
        sight(WORK, 2, "three", uid="2"),
        sight(WORK, 3, "three", uid="3"),
        workload=WORK,
    )

    assert found == {"nothing twice": "Job/work at version 3 restarted for nothing"}


def test_a_cron_job_runs_once_for_each_version() -> None:
    assert not problems(
        sight(NIGHT, 1, "one", template="same"),
        run(2, "two"),
        sight(NIGHT, 3, "two", template="same"),
        run(4, "three"),
        sight(NIGHT, 5, "three", template="same"),
        workload=NIGHT,
    )


def test_a_cron_job_that_runs_twice_for_a_version_is_noticed() -> None:
    found = problems(
        sight(NIGHT, 1, "one", template="same"),
        run(2, "three"),
        run(3, "three"),
        sight(NIGHT, 4, "three", template="same"),
        workload=NIGHT,
    )

    assert found == {"nothing twice": "Job/night-3 at version 3 ran for nothing new"}


def test_a_cron_job_whose_record_moves_without_a_run_has_swallowed_a_change() -> None:
    found = problems(
        sight(NIGHT, 1, "one", template="same"),
        sight(NIGHT, 2, "three", template="same"),
        workload=NIGHT,
    )

    assert found == {
        "nothing swallowed": "CronJob/night at version 2 took cm/c without a run"
    }


def test_what_did_not_come_in_time_was_missed() -> None:
    found = problems(sight(SHOP, 1, "three"), settled=None)

    assert found == {"nothing missed": "not all of it came in time"}


def test_a_blow_that_met_nothing_proves_nothing() -> None:
    found = problems(sight(SHOP, 1, "three"), done={}, struck=0)

    assert found["exercised"] == (
        "2 times planned and 0 times done: KillAt; no request met a fault"
    )


def test_a_manager_that_ends_without_a_reason_is_noticed() -> None:
    found = problems(sight(SHOP, 1, "three"), odd=["a ended with code 2"])

    assert found == {"ends": "a ended with code 2"}
