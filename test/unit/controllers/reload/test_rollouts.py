"""Rollouts that are followed to their end."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Json, Meta, NamespacedName
from controllers.reload.gates import Turn
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import REVISION
from controllers.reload.rollouts import CLUSTER, Rollouts, describe_end
from controllers.reload.rollouts.progress import Stage
from controllers.reload.rollouts.restarts import RESTARTING, Restarting
from controllers.reload.terms import Limit, Terms
from controllers.reload.workloads import Workload, WorkloadKey

KEY = WorkloadKey("StatefulSet", "shop", "web")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = NamespacedName("shop", "config")
SCOPES = (CLUSTER, ("namespace", "shop"), ("config", *CONFIG))


def workload(
    generation: int,
    updated: int = 0,
    *,
    observed: int | None = None,
    ready: int = 3,
    kind: str = "StatefulSet",
    uid: str = "u",
    annotations: dict[str, str] | None = None,
    **spec: object,
) -> Workload:
    meta = Meta(
        name="web",
        namespace="shop",
        uid=uid,
        generation=generation,
        annotations=annotations or {},
    )
    status: Json = {
        "observedGeneration": generation if observed is None else observed,
        "replicas": 3,
        "updatedReplicas": updated,
        "currentReplicas": 3,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentRevision": "b" if updated == 3 else "a",
        "updateRevision": "b",
    }
    raw = {
        "metadata": {"generation": generation},
        "spec": {"replicas": 3, **spec},
        "status": status,
    }
    key = WorkloadKey(kind, "shop", "web")
    return Workload(key, meta, PodTemplateSpec(), json.dumps(raw).encode())


def policy(*, evicts: bool = False) -> ReloadPolicy:
    terms = Terms(max_concurrent=(Limit(CONFIG, 2),))
    return ReloadPolicy({}, AnnotationKeys(), evicts=evicts, terms=terms)


def turn(of: Workload, *, evicts: bool = False, at: float = 0.0) -> Turn:
    return Turn(of, policy(evicts=evicts), Plan({}), NOW, at)


class Followed:
    """Rollouts, of which one was begun, and whom they tell."""

    def __init__(self, of: Workload | None = None, *, evicts: bool = False) -> None:
        self.rollouts = Rollouts(timeout=600)
        self.told: list[WorkloadKey] = []
        self.rollouts.subscribe(self.told.append)
        self.turn = turn(of or workload(1, 3), evicts=evicts)
        self.rollouts.begin(self.turn)
        self.rollouts.end(self.turn, is_reloaded=True)

    def places(self) -> list[int]:
        return [self.rollouts.taken(scope) for scope in SCOPES]


def test_a_rollout_takes_its_places_until_all_pods_are_new() -> None:
    followed = Followed()

    assert followed.rollouts.look(workload(2, 1), 5) is None
    assert followed.places() == [1, 1, 1]
    ended = followed.rollouts.look(workload(2, 3), 12)

    assert ended is not None
    assert (ended.stage, ended.seconds) == (Stage.COMPLETE, 12)
    assert followed.places() == [0, 0, 0]
    assert followed.told == [KEY]
    assert KEY not in followed.rollouts
    assert describe_end(ended) == "has rolled out within 12 s"


def test_what_the_cache_has_from_before_the_reload_is_not_its_end() -> None:
    followed = Followed()

    assert followed.rollouts.look(workload(1, 3), 1) is None
    assert followed.rollouts.look(workload(2, 3, observed=1), 1) is None
    assert KEY in followed.rollouts


def test_a_reload_that_is_refused_gives_its_places_back() -> None:
    rollouts = Rollouts(timeout=600)
    of = turn(workload(1, 3))

    rollouts.begin(of)
    assert len(rollouts) == 1
    rollouts.end(of, is_reloaded=False)

    assert len(rollouts) == 0
    assert KEY not in rollouts


def test_a_refused_second_reload_leaves_the_first_followed() -> None:
    followed = Followed()
    again = turn(workload(2, 1), at=9)

    followed.rollouts.begin(again)
    followed.rollouts.end(again, is_reloaded=False)

    ended = followed.rollouts.look(workload(2, 3), 12)
    assert ended is not None
    assert ended.seconds == 12


def test_a_second_reload_is_the_one_that_is_followed() -> None:
    followed = Followed()
    again = turn(workload(2, 1), at=9)
    followed.rollouts.begin(again)
    followed.rollouts.end(again, is_reloaded=True)

    assert followed.places() == [1, 1, 1]
    assert followed.rollouts.look(workload(2, 3), 10) is None
    ended = followed.rollouts.look(workload(3, 3), 12)
    assert ended is not None
    assert ended.seconds == 3


def test_without_headway_a_rollout_fails_and_waits_for_nobody_any_more() -> None:
    followed = Followed()
    stuck = workload(2, 1, ready=2)

    assert followed.rollouts.look(stuck, 100) is None
    assert followed.rollouts.seconds_left(KEY, 100) == 600
    assert followed.rollouts.look(stuck, 699) is None
    ended = followed.rollouts.look(stuck, 700)

    assert ended is not None
    assert ended.is_timeout
    assert "no headway" in describe_end(ended)
    assert followed.places() == [0, 0, 0]
    assert followed.rollouts.stage(KEY) is Stage.FAILED
    assert followed.rollouts.seconds_left(KEY, 700) is None


def test_headway_is_more_pods_than_ever() -> None:
    followed = Followed()

    followed.rollouts.look(workload(2, 1, ready=3), 100)
    followed.rollouts.look(workload(2, 1, ready=2), 200)
    followed.rollouts.look(workload(2, 1, ready=3), 300)  # a pod that comes and goes
    assert followed.rollouts.seconds_left(KEY, 300) == 400
    followed.rollouts.look(workload(2, 2, ready=3), 400)
    assert followed.rollouts.seconds_left(KEY, 400) == 600


def test_a_failure_is_told_once_and_an_end_after_it_as_well() -> None:
    followed = Followed()
    stuck = workload(2, 1)
    followed.rollouts.look(stuck, 0)
    assert followed.rollouts.look(stuck, 600) is not None

    assert followed.rollouts.look(stuck, 1300) is None
    ended = followed.rollouts.look(workload(2, 3), 1400)

    assert ended is not None
    assert ended.stage is Stage.COMPLETE
    assert followed.told == [KEY, KEY]


def test_a_deployment_that_allows_for_more_time_gets_it() -> None:
    of = workload(1, 3, kind="Deployment", progressDeadlineSeconds=3600)
    followed = Followed(of)

    assert followed.rollouts.seconds_left(of.key, 0) == 3630


def test_a_pause_takes_no_place_and_no_time() -> None:
    of = workload(1, 3, kind="Deployment")
    paused = workload(2, 0, kind="Deployment", paused=True)
    followed = Followed(of)

    assert followed.rollouts.look(paused, 900) is None
    assert followed.places() == [0, 0, 0]
    assert followed.told == [of.key]
    assert followed.rollouts.look(workload(2, 0, kind="Deployment"), 1000) is None
    assert followed.places() == [1, 1, 1]
    assert followed.rollouts.seconds_left(of.key, 1000) == 500


def test_what_is_created_anew_rolls_out_no_more() -> None:
    followed = Followed()

    assert followed.rollouts.look(workload(1, 3, uid="other"), 1) is None
    assert KEY not in followed.rollouts


def test_what_is_gone_frees_its_places() -> None:
    followed = Followed()

    followed.rollouts.forget(KEY)

    assert followed.places() == [0, 0, 0]
    assert followed.told == [KEY]


@pytest.mark.parametrize(
    "of",
    [
        workload(1, 3, kind="CronJob"),
        workload(1, 3, kind="Job"),
        workload(1, 3, updateStrategy={"type": "OnDelete"}),
    ],
    ids=["CronJob", "Job", "OnDelete"],
)
def test_what_does_not_roll_out_by_itself_takes_no_place(of: Workload) -> None:
    assert len(Followed(of).rollouts) == 0


# --- restarts ----------------------------------------------------------------------


def test_a_restart_is_over_when_that_is_said_whatever_the_status_says() -> None:
    followed = Followed(evicts=True)

    assert followed.rollouts.look(workload(1, 3), 5) is None
    assert followed.places() == [1, 1, 1]
    ended = followed.rollouts.finish(KEY, 9)

    assert ended is not None
    assert (ended.stage, ended.seconds) == (Stage.COMPLETE, 9)
    assert followed.places() == [0, 0, 0]
    assert followed.rollouts.finish(KEY, 10) is None


def test_an_eviction_is_headway() -> None:
    followed = Followed(evicts=True)
    followed.rollouts.look(workload(1, 3), 5)

    followed.rollouts.touch(KEY, 500)

    assert followed.rollouts.seconds_left(KEY, 500) == 600


# --- another process ---------------------------------------------------------------


def ours(generation: int) -> dict[str, str]:
    return {REVISION: str(generation)}


def deployment(*, made: int, revision: int) -> Workload:
    annotations = {
        REVISION: str(made),
        "deployment.kubernetes.io/revision": str(revision),
    }
    return workload(9, 1, kind="Deployment", annotations=annotations)


@pytest.mark.parametrize(
    ("of", "is_followed"),
    [
        (workload(2, 1, annotations=ours(2)), True),
        (workload(2, 3, observed=1, annotations=ours(2)), True),
        (workload(2, 3, annotations=ours(2)), False),
        (workload(2, 3, ready=1, annotations=ours(2)), False),  # a pod that failed
        (workload(3, 1, annotations=ours(2)), False),  # somebody else's rollout
        (workload(2, 1), False),
        (deployment(made=7, revision=6), True),  # its controller has not looked yet
        (deployment(made=7, revision=7), True),
        (deployment(made=7, revision=8), False),  # somebody else's
        (workload(2, 3, annotations={RESTARTING: Restarting("a").text}), True),
    ],
)
def test_what_another_process_began_is_followed_on(
    of: Workload, *, is_followed: bool
) -> None:
    rollouts = Rollouts(timeout=600)

    rollouts.inherit(of, policy(), 0)

    assert (of.key in rollouts) is is_followed
    assert len(rollouts) == is_followed


def test_the_end_of_an_inherited_rollout_is_told() -> None:
    rollouts = Rollouts(timeout=600)
    rollouts.inherit(workload(2, 1, annotations=ours(2)), policy(), 0)

    ended = rollouts.look(workload(2, 3, annotations=ours(2)), 5)

    assert ended is not None
    assert ended.stage is Stage.COMPLETE


def test_that_an_inherited_rollout_is_stuck_may_have_been_told() -> None:
    rollouts = Rollouts(timeout=600)
    stuck = workload(2, 1, annotations=ours(2))
    rollouts.inherit(stuck, policy(), 0)

    assert rollouts.look(stuck, 600) is None
    assert rollouts.stage(KEY) is Stage.FAILED
