"""What becomes of an Event between the reconciler that records it and the server."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import ClassVar

import pytest
import structlog.testing

from controller_runtime.client import Client
from controller_runtime.eventwriter import EVENT
from controller_runtime.meta import GroupVersionKind, Json, KubeObject, read_meta
from controller_runtime.metrics import Metrics
from controller_runtime.recorder import (
    EventBroadcaster,
    ObjectReference,
    cut,
    reference,
)
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import FakeClock
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.events")

from conformance.events import *  # noqa: E402, F403 - the tests

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
WEB = ObjectReference(CONFIG_MAP, "shop", "web", uid="u-1", resource_version="7")


class Widget(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Widget")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ApiServer() as server, client_of(server) as client:
        yield client


@pytest.fixture
def namespace() -> str:
    return "shop"


@asynccontextmanager
async def client_of(server: ApiServer) -> AsyncIterator[Client]:
    async with HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


class LoopClock:
    """Moves with the virtual loop."""

    def now(self) -> datetime:
        return START + timedelta(seconds=now())


class Recorder:
    """A recorder with a broadcaster of its own, on the clock of the loop."""

    def __init__(self, client: Client, *, limit: int = 1000) -> None:
        self.metrics = Metrics()
        self.events = EventBroadcaster(
            client,
            clock=LoopClock(),
            randomness=random.Random(0),  # noqa: S311 - jitter, no secret
            metrics=self.metrics,
            limit=limit,
        )
        self.recorder = self.events.recorder("reload", instance="reload-host-1")

    def record(
        self,
        note: str = "restarted it",
        *,
        regarding: ObjectReference | KubeObject = WEB,
        action: str = "Restart",
    ) -> None:
        self.recorder.event(regarding, reason="Changed", action=action, note=note)

    def record_each(self, *actions: str) -> None:
        """Record Events that have nothing in common."""
        for action in actions:
            self.record(action=action)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.events.run())
            yield
            running.cancel()

    async def run_for(self, seconds: float) -> None:
        async with self.running():
            await asyncio.sleep(seconds)

    @property
    def drops(self) -> dict[str, float]:
        """Reason → Events that were dropped."""
        found = self.metrics.registry.collect()
        return {
            sample.labels["reason"]: sample.value
            for metric in found
            if metric.name == "controller_runtime_events_dropped"
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    @property
    def writes(self) -> float:
        name = "controller_runtime_events_written_total"
        labels = {"controller": "reload"}
        return self.metrics.registry.get_sample_value(name, labels) or 0


def now() -> float:
    return asyncio.get_running_loop().time()


def verbs(server: ApiServer) -> list[str]:
    """What was asked about Events."""
    return [request.verb for request in server.requests.of(resource="events")]


def counts(server: ApiServer) -> dict[str, int]:
    """Action → how often the server was told that it was done."""
    return {
        event["action"]: event.get("series", {}).get("count", 1)
        for event in written(server)
    }


def written(server: ApiServer) -> list[Json]:
    return [object_ for _, object_ in server.storage.items("events")]


@pytest.mark.behaviour("E1")
async def test_an_event_says_what_was_done_to_what_by_whom_and_when() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        it.recorder.event(
            WEB,
            type="Warning",
            reason="Changed",
            action="Restart",
            note="restarted it",
            related=ObjectReference(CONFIG_MAP, "shop", "other"),
        )
        await it.run_for(1)

        (stored,) = written(server)
        event = server.read(EVENT, stored["metadata"]["name"], "shop")
    assert re.fullmatch(r"web\.[0-9a-f]{16}", event["metadata"]["name"])
    assert re.fullmatch(r"2030-01-01T12:00:00\.\d{6}Z", event["eventTime"])
    assert event["reportingController"] == "reload"
    assert event["reportingInstance"] == "reload-host-1"
    assert event["regarding"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "shop",
        "name": "web",
        "uid": "u-1",
        "resourceVersion": "7",
    }
    assert event["related"]["name"] == "other"
    assert (event["type"], event["reason"]) == ("Warning", "Changed")
    assert (event["action"], event["note"]) == ("Restart", "restarted it")
    assert it.drops == {}


@pytest.mark.behaviour("E1")
async def test_an_event_about_a_cluster_scoped_object_is_in_default() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        node = ObjectReference(GroupVersionKind("", "v1", "Node"), "", "worker")

        it.record(regarding=node)
        await it.run_for(1)

        (event,) = written(server)
    assert event["metadata"]["namespace"] == "default"


@pytest.mark.behaviour("E1")
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("web", "web."),
        ("w" * 253, "w" * 236 + "."),
        ("w" * 235 + "-" * 10, "w" * 235 + "."),
        ("system:masters", "event."),
    ],
)
async def test_the_name_of_an_event_is_one_that_the_server_takes(
    name: str, start: str
) -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        it.record(regarding=WEB._replace(name=name))
        await it.run_for(1)

        (event,) = written(server)
    assert event["metadata"]["name"].startswith(start)
    assert it.drops == {}


async def test_events_of_one_moment_have_different_names() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        it.record_each(*"abcde")
        await it.run_for(1)

        assert len(written(server)) == 5
    assert it.drops == {}


@pytest.mark.behaviour("E1")
def test_a_note_is_cut_at_the_end_of_a_character() -> None:
    assert cut("ü" * 512, 1024) == "ü" * 512
    shortened = cut("ü" * 600, 1024)
    assert shortened == "ü" * 510 + "…"
    assert len(shortened.encode()) <= 1024


@pytest.mark.behaviour("E1")
async def test_the_server_takes_the_longest_note() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        it.record("€" * 5000)
        await it.run_for(1)

        assert len(written(server)) == 1
    assert it.drops == {}


@pytest.mark.behaviour("E2")
async def test_what_does_not_fit_the_queue_is_dropped_and_counted() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client, limit=2)

        it.record_each("first", "second", "third")
        await it.run_for(1)

        assert {event["action"] for event in written(server)} == {"first", "second"}
    assert it.drops == {"queue full": 1}


@pytest.mark.behaviour("E4")
async def test_an_unreachable_server_is_tried_twelve_times_in_two_minutes() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        it.record()
        await client.resource(EVENT)  # found out before the outage
        outage = server.faults.on(verb="create", times=None).cut()

        await it.run_for(300)

        assert outage.struck == 12
        assert written(server) == []
        tries = [request.time for request in server.requests.of("create")]
    assert it.drops == {"unreachable": 1}
    pauses = [later - sooner for sooner, later in pairwise(tries[:12])]
    assert all(7.5 <= pause <= 12.5 for pause in pauses)
    assert len(set(pauses)) > 1


@pytest.mark.behaviour("E4")
async def test_an_answer_that_is_not_from_the_api_server_is_not_final() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        it.record()
        server.faults.on(verb="create").corrupt()

        await it.run_for(30)

        # The first try was carried out: its name is taken, and that is success.
        assert len(server.requests.of("create")) == 2
        assert len(written(server)) == 1
    assert it.drops == {}


@pytest.mark.behaviour("E4")
@pytest.mark.parametrize(
    ("status", "requests"),
    [(403, 2), (404, 1), (422, 1), (500, 1)],  # 403: either API is asked
)
async def test_an_event_that_the_server_refuses_is_dropped_at_once(
    status: int, requests: int
) -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        it.record()
        server.faults.on(verb="create", times=None).answer(status)

        await it.run_for(60)

        assert len(server.requests.of("create")) == requests
    assert it.drops == {"refused": 1}


async def test_a_namespace_that_goes_away_is_no_reason_to_warn() -> None:
    async with (
        ApiServer(require_namespaces=True) as server,
        client_of(server) as client,
    ):
        metadata = {"name": "shop", "finalizers": ["example.com/hold"]}
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        await client.delete(GroupVersionKind("", "v1", "Namespace"), "shop")
        it = Recorder(client)
        it.record()

        with structlog.testing.capture_logs() as logs:
            await it.run_for(60)

    assert it.drops == {"refused": 1}
    assert [e for e in logs if e["log_level"] == "warning"] == []


@pytest.mark.behaviour("E4")
async def test_a_reason_for_refusals_is_said_once() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        it.record_each(*"abc")
        server.faults.on(verb="create", times=None).answer(403)

        with structlog.testing.capture_logs() as logs:
            await it.run_for(60)

    assert it.drops == {"refused": 3}
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["reason"] for entry in warnings] == ["Forbidden"]


@pytest.mark.behaviour("E6")
async def test_what_waits_at_the_end_is_written() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        server.faults.on(verb="create", times=None).delay(1)

        it.record_each(*"abc")
        await it.run_for(0.5)

        assert len(written(server)) == 3
    assert it.drops == {}


@pytest.mark.behaviour("E6")
async def test_the_end_does_not_wait_for_a_server_that_is_gone() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        loop = asyncio.get_running_loop()
        server.faults.on(verb="create", times=None).hang()

        it.record_each(*"abc")
        await it.run_for(1)

        assert loop.time() == pytest.approx(6, abs=0.5)
    assert it.drops == {"stopped": 3}


@pytest.mark.behaviour("E3")
async def test_the_second_of_a_kind_makes_a_series_and_the_third_makes_no_call() -> (
    None
):
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            it.record("first")
            await asyncio.sleep(10)
            it.record("second")
            await asyncio.sleep(10)
            for _ in range(20):
                it.record("more")
                await asyncio.sleep(1)

            assert verbs(server) == ["create", "patch"]
            (event,) = written(server)
            assert event["series"]["count"] == 2
            assert event["series"]["lastObservedTime"].startswith("2030-01-01T12:00:10")
            assert event["message"] == "first"
    assert it.writes == 3  # the end told the rest
    assert it.drops == {}


@pytest.mark.behaviour("E3")
async def test_a_series_that_goes_on_is_told_again_every_half_hour() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            for _ in range(65):
                it.record()
                await asyncio.sleep(60)

            patches = [request.time for request in server.requests.of("patch")]
            assert patches == pytest.approx([60, 60 + 1800, 60 + 3600], abs=1)
            assert counts(server) == {"Restart": 62}


@pytest.mark.behaviour("E3")
async def test_six_minutes_of_silence_end_a_series_with_its_final_count() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            for _ in range(5):
                it.record()
                await asyncio.sleep(60)
            await asyncio.sleep(5 * 60 - 5)
            assert counts(server) == {"Restart": 2}
            await asyncio.sleep(10)
            assert counts(server) == {"Restart": 5}

            it.record("another")
            await asyncio.sleep(1)

            assert [event["message"] for event in written(server)] == [
                "restarted it",
                "another",
            ]
    assert it.drops == {}


@pytest.mark.behaviour("E3")
async def test_what_happened_once_is_forgotten_after_six_minutes() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            it.record()
            await asyncio.sleep(361)
            it.record()
            await asyncio.sleep(1)

            assert verbs(server) == ["create", "create"]


@pytest.mark.behaviour("E3")
async def test_another_version_of_the_object_is_another_series() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        it.record()
        it.record(regarding=WEB._replace(resource_version="8"))
        await it.run_for(1)

        assert verbs(server) == ["create", "create"]


async def test_what_happens_before_the_first_write_goes_with_it() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        for _ in range(5):
            it.record()
        await it.run_for(1)

        assert verbs(server) == ["create"]
        assert counts(server) == {"Restart": 5}


@pytest.mark.behaviour("E4")
async def test_a_series_whose_event_the_server_forgot_is_created_anew() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            it.record()
            await asyncio.sleep(1)
            (event,) = written(server)
            await client.delete(EVENT, event["metadata"]["name"], "shop")
            it.record()
            await asyncio.sleep(1)

            (again,) = written(server)
    assert again["metadata"]["uid"] != event["metadata"]["uid"]
    assert again["metadata"]["name"] == event["metadata"]["name"]
    assert again["series"]["count"] == 2
    assert it.drops == {}


@pytest.mark.behaviour("E4")
async def test_a_series_that_exists_after_all_is_tried_again() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            # It was created, which nobody here heard.
            server.faults.on(verb="create").cut(handled=True)
            it.record()
            await asyncio.sleep(1)
            it.record()
            await asyncio.sleep(60)

            assert verbs(server) == ["create", "create", "patch"]
            assert counts(server) == {"Restart": 2}
    assert it.drops == {}


@pytest.mark.behaviour("E4")
async def test_a_refused_series_is_not_sent_again_for_every_event() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        server.faults.on(verb="create", times=None).answer(403)
        async with it.running():
            for _ in range(100):
                it.record()
                await asyncio.sleep(1)

            assert verbs(server) == ["create"] * 4  # by either API, twice


@pytest.mark.behaviour("E4")
async def test_events_that_have_to_wait_hold_up_no_others() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        await client.resource(EVENT)
        async with it.running():
            server.faults.on(verb="create", times=20).cut()
            it.record_each(*(f"bad{n}" for n in range(20)))
            await asyncio.sleep(1)
            it.record_each("good")
            await asyncio.sleep(1)

            assert counts(server) == {"good": 1}
            await asyncio.sleep(20)
            assert len(written(server)) == 21
    assert it.drops == {}


@pytest.mark.behaviour("E4")
async def test_a_server_that_hangs_is_left_after_ten_seconds() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        await client.resource(EVENT)
        async with it.running():
            server.faults.on(verb="create", times=8).hang()
            it.record_each(*(f"bad{n}" for n in range(8)))
            await asyncio.sleep(1)
            it.record_each("good")
            await asyncio.sleep(9.5)

            assert counts(server) == {"good": 1}


async def test_what_cannot_be_sent_at_all_is_dropped_and_stops_nothing() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        unsendable = WEB._replace(uid=object())  # type: ignore[arg-type] # a user's bug

        it.record(regarding=unsendable)
        it.record(action="Other")
        await it.run_for(1)

        assert counts(server) == {"Other": 1}
    assert it.drops == {"broken": 1}


@pytest.mark.behaviour("E6")
async def test_the_end_tells_the_counts_that_only_memory_has() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        async with it.running():
            for _ in range(7):
                it.record()
                await asyncio.sleep(1)
            assert counts(server) == {"Restart": 2}

        assert counts(server) == {"Restart": 7}
    assert it.drops == {}


@pytest.mark.behaviour("E6")
async def test_what_waited_for_another_try_gets_it_at_the_end() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        await client.resource(EVENT)
        server.faults.on(verb="create", times=3).cut()
        it.record()

        await it.run_for(1)

        assert counts(server) == {"Restart": 1}
        assert now() < 1 + 5
    assert it.drops == {}


@pytest.mark.behaviour("E5")
async def test_events_that_differ_are_neither_gathered_nor_limited() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)

        it.record_each(*(f"action{n}" for n in range(100)))
        await it.run_for(1)

        assert len(written(server)) == 100
    assert it.drops == {}


@pytest.mark.behaviour("E2")
async def test_after_the_end_an_event_is_dropped_and_counted() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        await it.run_for(1)

        it.record()

    assert it.drops == {"stopped": 1}


def test_a_reference_can_be_made_of_every_form_of_an_object() -> None:
    data: Json = {
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "u-1",
            "resourceVersion": "7",
        }
    }
    meta = read_meta(b'{"metadata":{"name":"web","namespace":"shop"}}')

    assert reference(Widget, Widget.model_validate(data)) == ObjectReference(
        Widget.gvk, "shop", "web", "u-1", "7"
    )
    assert reference(CONFIG_MAP, data) == reference(Widget, data)._replace(
        gvk=CONFIG_MAP
    )
    assert reference(CONFIG_MAP, meta) == ObjectReference(CONFIG_MAP, "shop", "web")


async def test_an_event_may_be_about_a_model() -> None:
    async with ApiServer() as server, client_of(server) as client:
        it = Recorder(client)
        widget = Widget.model_validate({"metadata": {"name": "w", "namespace": "shop"}})

        it.record(regarding=widget)
        await it.run_for(1)

        (event,) = written(server)
    assert event["involvedObject"]["kind"] == "Widget"


def test_time_that_stands_still_makes_no_equal_names() -> None:
    clock = FakeClock()
    events = EventBroadcaster.__new__(EventBroadcaster)
    events._last_stamp = 0

    stamps = [events._stamp(clock.now()) for _ in range(3)]
    clock.advance(timedelta(seconds=-5))
    stamps.append(events._stamp(clock.now()))

    assert stamps == sorted(set(stamps))
