"""Which news becomes an alert, and who is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from api.core.v1 import PodTemplateSpec
from api.reload.alerts import Alerts
from controller_runtime import Meta, NamespacedName
from controllers.reload.alerts.alert import EVENTS, Alert
from controllers.reload.alerts.desk import AlertDesk
from controllers.reload.alerts.sinks import Sink
from controllers.reload.gates import Hold, HoldReason
from controllers.reload.news import News, Outcome, Topic
from controllers.reload.options import AlertFormat, AlertOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import Workload, WorkloadKey

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE, TWO = NamespacedName("shop", "one"), NamespacedName("shop", "two")
URL = "https://hooks.example/x"
ALL = AlertOptions(
    url=URL, format=AlertFormat.SLACK, events=frozenset({"reloaded", "failed"})
)

RELOADED = Outcome("Reloaded", "reloads")
FAILED = Outcome("ReloadFail", "cannot be reloaded: no", Topic.FAILED)


def news(
    outcome: Outcome = RELOADED,
    *configs: NamespacedName,
    change: str = "1",
    error: Exception | None = None,
) -> News:
    key = WorkloadKey("Deployment", "shop", "web")
    source = SourceKey(SourceKind.SECRET, "shop", "db")
    marker = Marker(source, "app", "V", "abc", "abc", configs)
    plan = Plan({}, (marker,), change=change)
    workload = Workload(key, Meta(name="web", namespace="shop"), PodTemplateSpec())
    return News(workload, plan, outcome, NOW, error=error)


class Told:
    """A desk, and what it had sent."""

    def __init__(
        self, options: AlertOptions, configs: dict[NamespacedName, Alerts]
    ) -> None:
        self.found: list[tuple[str, str]] = []
        """The sinks, and the events that they are told."""
        self.desk = AlertDesk(self._offer, options, configs.get)

    def _offer(self, sink: Sink, alert: Alert) -> None:
        who = "settings" if sink.owner is None else sink.owner.name
        self.found.append((f"{who} {sink.name}", alert.kind.event))


def slack() -> Alerts:
    return Alerts.model_validate({"slack": {"url": URL}, "teams": {"url": URL}})


def test_the_sink_of_the_settings_is_told_of_reloads_alone_as_in_the_original() -> None:
    told = Told(AlertOptions(url=URL, format=AlertFormat.SLACK), {})

    told.desk(news())
    told.desk(news(FAILED))

    assert told.found == [("settings slack", "reloaded")]


def test_it_may_be_told_of_failures_too() -> None:
    told = Told(ALL, {})

    told.desk(news(FAILED))

    assert told.found == [("settings slack", "failed")]


def test_every_sink_of_every_config_that_wants_the_reload_is_told() -> None:
    told = Told(AlertOptions(), {ONE: slack(), TWO: slack()})

    told.desk(news(RELOADED, ONE, TWO))
    told.desk(news(FAILED, TWO))

    assert told.found == [
        ("one slack", "reloaded"),
        ("one teams", "reloaded"),
        ("two slack", "reloaded"),
        ("two teams", "reloaded"),
        ("two slack", "failed"),
        ("two teams", "failed"),
    ]


def test_a_config_that_is_gone_is_told_nothing() -> None:
    told = Told(AlertOptions(), {})

    told.desk(news(RELOADED, ONE))

    assert told.found == []


def test_a_failure_is_told_once_for_each_change_until_it_succeeds() -> None:
    told = Told(ALL, {})

    for again in (
        *(news(FAILED), news(FAILED), news(FAILED, change="2")),
        *(news(change="2"), news(FAILED, change="2")),
    ):
        told.desk(again)

    assert [event for _, event in told.found] == [
        *("failed", "failed"),
        *("reloaded", "failed"),
    ]


@pytest.mark.parametrize("topic", [Topic.SETTLED, Topic.SKIPPED])
def test_a_failure_that_is_over_without_a_reload_is_told_when_it_comes_again(
    topic: Topic,
) -> None:
    told = Told(ALL, {})

    for again in (news(FAILED), news(Outcome("", "", topic)), news(FAILED)):
        told.desk(again)

    assert [event for _, event in told.found] == ["failed", "failed"]


@pytest.mark.parametrize("topic", [Topic.ROLLED_OUT, Topic.STUCK, Topic.HELD])
def test_the_end_of_a_rollout_neither_ends_nor_repeats_the_failure_of_the_next_reload(
    topic: Topic,
) -> None:
    told = Told(ALL, {})

    for again in (news(FAILED), news(Outcome("", "", topic)), news(FAILED)):
        told.desk(again)

    assert [event for _, event in told.found] == ["failed"]


def test_a_change_that_fails_again_long_after_it_was_taken_back_is_told_again() -> None:
    told = Told(ALL, {})

    for minutes in (0, 5, 10, 15, 60):
        told.desk(news(FAILED)._replace(now=NOW + timedelta(minutes=minutes)))

    assert [event for _, event in told.found] == ["failed", "failed"]


def test_a_storm_is_told_once_until_it_has_been_over_for_five_minutes() -> None:
    told = Told(AlertOptions(), {ONE: slack()})
    held = news(Outcome("ReloadHeld", "waits", Topic.HELD), ONE)
    # The storm brake's own reason.
    held = held._replace(hold=Hold(cast(HoldReason, "Throttled"), "for a minute"))

    for minute in (0, 1, 4, 8, 20):
        told.desk(held._replace(now=NOW + timedelta(minutes=minute)))
        told.desk(news())

    assert told.found == [("one slack", "throttled"), ("one teams", "throttled")] * 2


@pytest.mark.parametrize(
    "topic", [Topic.HELD, Topic.PLANNED, Topic.SETTLED, Topic.SKIPPED]
)
def test_what_restarts_nothing_is_no_alert(topic: Topic) -> None:
    told = Told(ALL, {ONE: slack()})

    told.desk(news(Outcome("X", "x", topic), ONE))

    assert told.found == []


def test_every_topic_that_names_an_event_is_told_under_its_name() -> None:
    shared = set(EVENTS) & {topic.value for topic in Topic}

    for topic in map(Topic, shared):
        told = Told(AlertOptions(), {ONE: slack()})
        told.desk(news(Outcome("X", "x", topic), ONE))
        assert {event for _, event in told.found} == {topic.value}
    assert {"reloaded", "failed"} <= shared
