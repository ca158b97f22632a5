"""What became of reloads is kept for each config until it is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from api.core.v1 import PodTemplateSpec
from api.reload.status import ReloadOutcome
from controller_runtime import Meta, NamespacedName
from controllers.reload.gates import Turn
from controllers.reload.news import News, Outcome, Topic
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import RECORD
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.status.journal import KEPT, Journal
from controllers.reload.workloads import Workload, WorkloadKey

NOW = datetime(2026, 1, 1, 12, 0, 0, 500, tzinfo=UTC)
ONE, OTHER = NamespacedName("shop", "one"), NamespacedName("shop", "other")
SECRET = SourceKey(SourceKind.SECRET, "shop", "s")
SETTINGS = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")


def workload(name: str = "web", **record: str) -> Workload:
    record = {key.replace("_", "/"): value for key, value in record.items()}
    meta = Meta(name=name, namespace="shop", annotations={RECORD: json.dumps(record)})
    key = WorkloadKey("Deployment", "shop", name)
    return Workload(key, meta, PodTemplateSpec())


def marker(
    source: SourceKey = SECRET,
    *configs: NamespacedName,
    version: str = "5",
) -> Marker:
    return Marker(
        source, "app", "V", "x", "x", configs=configs or (ONE,), version=version
    )


def news(
    has: str = "b",
    *,
    topic: Topic = Topic.RELOADED,
    name: str = "web",
    version: str = "5",
    error: Exception | None = None,
) -> News:
    plan = Plan({"secret/s": has}, (marker(version=version),))
    outcome = Outcome("Any", "does", topic)
    return News(workload(name, secret_s="a"), plan, outcome, NOW, error=error)


@pytest.fixture
def woken() -> list[NamespacedName]:
    return []


@pytest.fixture
def journal(woken: list[NamespacedName]) -> Journal:
    return Journal(woken.append)


def test_a_config_is_told_of_the_changes_that_it_wants_and_no_others(
    journal: Journal, woken: list[NamespacedName]
) -> None:
    record = {"secret/s": "b", "cm/c": "d"}
    markers = (marker(SECRET, ONE), marker(SETTINGS, OTHER, ONE))
    plan = Plan(record, markers)
    before = workload(secret_s="a", cm_c="c")

    journal(News(before, plan, Outcome("Reloaded", "reloads"), NOW))

    (one,), (other,) = journal.of(ONE), journal.of(OTHER)
    assert [(it.source, it.has) for it in one.changes] == [
        (SECRET, "b"),
        (SETTINGS, "d"),
    ]
    assert one.had == {"shop/Secret/s": "a", "shop/ConfigMap/c": "c"}
    assert [it.source for it in other.changes] == [SETTINGS]
    assert one.at == NOW.replace(microsecond=0)
    assert woken == [ONE, OTHER]


def test_what_waits_wakes_its_config_and_is_no_reload(
    journal: Journal, woken: list[NamespacedName]
) -> None:
    journal(news(topic=Topic.HELD))

    assert woken == [ONE]
    assert journal.of(ONE) == ()


def test_a_failure_says_why_and_changes_nothing(journal: Journal) -> None:
    journal(news(topic=Topic.FAILED, error=RuntimeError("no")))
    journal(news())

    failed, reloaded = journal.of(ONE)
    assert (failed.outcome, failed.error) == (ReloadOutcome.FAILED, "no")
    assert reloaded.changes[0].is_first


def test_what_is_written_is_dropped_and_what_came_since_stays(
    journal: Journal,
) -> None:
    journal(news("b"))
    seen = journal.of(ONE)
    journal(news("c", version="6"))

    journal.written(ONE, seen)

    (left,) = journal.of(ONE)
    assert left.changes[0].has == "c"
    journal.written(ONE, seen)  # a second time, to no effect
    assert journal.of(ONE) == (left,)


def test_a_status_that_cannot_be_written_costs_bounded_memory(
    journal: Journal,
) -> None:
    for version in range(KEPT + 10):
        journal(news(str(version), version=str(version)))

    assert len(journal.of(ONE)) == KEPT


@pytest.mark.parametrize(
    ("told", "firsts"),
    [
        pytest.param([("5", "b"), ("5", "b")], [1, 0], id="two workloads"),
        pytest.param([("5", "b"), ("6", "b")], [1, 0], id="its labels change"),
        pytest.param([("5", "b"), ("6", "a"), ("7", "b")], [1, 1, 1], id="there, back"),
        pytest.param(
            [("5", "b"), ("6", "c"), ("5", "b"), ("6", "c")],
            [1, 1, 0, 0],
            id="the second workload is late",
        ),
        pytest.param([("6", "c"), ("5", "b")], [1, 1], id="the first is late"),
        pytest.param([("6", "b"), ("5", "b")], [1, 0], id="late, and the same"),
        pytest.param([("9", "b"), ("10", "c"), ("9", "b")], [1, 1, 0], id="digits"),
        pytest.param([("5", "b"), ("", "gone")], [1, 1], id="it goes"),
        pytest.param([("5", "b"), ("5", "of other keys")], [1, 0], id="other keys"),
    ],
)
def test_changes_of_a_source_are_told_apart_however_late_they_are_told(
    journal: Journal, told: list[tuple[str, str]], firsts: list[int]
) -> None:
    for number, (version, has) in enumerate(told):
        journal(news(has, name=f"w{number}", version=version))

    changes = [reload.changes[0] for reload in journal.of(ONE)]
    assert [int(change.is_first) for change in changes] == firsts


def test_late_news_are_not_the_last_content(journal: Journal) -> None:
    journal(news("c", version="6"))
    journal(news("b", version="5"))

    last, late = (reload.changes[0] for reload in journal.of(ONE))
    assert (last.is_last, late.is_last) == (True, False)


def test_a_workload_is_in_flight_between_begin_and_end(journal: Journal) -> None:
    web = workload()
    turn = Turn(web, ReloadPolicy({}, AnnotationKeys()), Plan({}), NOW, 0.0)

    assert journal.ask(turn) is None
    journal.begin(turn)
    assert journal.is_in_flight(web.key)
    journal.end(turn, is_reloaded=False)
    assert not journal.is_in_flight(web.key)


def test_a_config_that_is_gone_leaves_nothing(journal: Journal) -> None:
    journal(news("b"))

    journal.forget_config(ONE)

    assert journal.of(ONE) == ()
    journal(news("b"))
    assert journal.of(ONE)[0].changes[0].is_first
