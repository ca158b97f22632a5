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
from controller_runtime.meta import GroupVersionKind, Json, KubeObject, read_meta
from controller_runtime.recorder import (
    EVENT,
    EventRecorder,
    ObjectReference,
    cut,
    reference,
    series_key,
)
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import FakeClock
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
WEB = ObjectReference(CONFIG_MAP, "shop", "web", uid="u-1", resource_version="7")


class Widget(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Widget")


class Drops(list[str]):
    """Reasons for which Events were dropped."""


@asynccontextmanager
async def client_of(server: ApiServer) -> AsyncIterator[Client]:
    async with HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


def recorder_for(client: Client, *, limit: int = 1000) -> tuple[EventRecorder, Drops]:
    drops = Drops()
    recorder = EventRecorder(
        client,
        controller="reload",
        instance="reload-host-1",
        clock=FakeClock(datetime(2030, 1, 1, 12, 0, 0, 250, tzinfo=UTC)),
        randomness=random.Random(0),  # noqa: S311 - jitter, no secret
        limit=limit,
        dropped=drops.append,
    )
    return recorder, drops


def record(
    recorder: EventRecorder, note: str = "restarted it", **changes: object
) -> None:
    about = changes.get("regarding", WEB)
    assert isinstance(about, ObjectReference | KubeObject)
    recorder.event(about, reason="Changed", action="Restart", note=note)


async def run_for(recorder: EventRecorder, seconds: float) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recorder.run())
        await asyncio.sleep(seconds)
        running.cancel()


def written(server: ApiServer) -> list[Json]:
    return [object_ for _, object_ in server.storage.items("events")]


@pytest.mark.behaviour("E1")
async def test_an_event_says_what_was_done_to_what_by_whom_and_when() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)

        recorder.event(
            WEB,
            type="Warning",
            reason="Changed",
            action="Restart",
            note="restarted it",
            related=ObjectReference(CONFIG_MAP, "shop", "other"),
        )
        await run_for(recorder, 1)

        (stored,) = written(server)
        event = server.read(EVENT, stored["metadata"]["name"], "shop")
    assert re.fullmatch(r"web\.[0-9a-f]{16}", event["metadata"]["name"])
    assert event["eventTime"] == "2030-01-01T12:00:00.000250Z"
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
    assert drops == []


@pytest.mark.behaviour("E1")
async def test_an_event_about_a_cluster_scoped_object_is_in_default() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, _ = recorder_for(client)
        node = ObjectReference(GroupVersionKind("", "v1", "Node"), "", "worker")

        record(recorder, regarding=node)
        await run_for(recorder, 1)

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
        recorder, drops = recorder_for(client)

        record(recorder, regarding=WEB._replace(name=name))
        await run_for(recorder, 1)

        (event,) = written(server)
    assert event["metadata"]["name"].startswith(start)
    assert drops == []


async def test_events_of_one_moment_have_different_names() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)

        for _ in range(5):
            record(recorder)
        await run_for(recorder, 1)

        assert len(written(server)) == 5
    assert drops == []


@pytest.mark.behaviour("E1")
def test_a_note_is_cut_at_the_end_of_a_character() -> None:
    assert cut("ü" * 512, 1024) == "ü" * 512
    shortened = cut("ü" * 600, 1024)
    assert shortened == "ü" * 510 + "…"
    assert len(shortened.encode()) <= 1024


@pytest.mark.behaviour("E1")
async def test_the_server_takes_the_longest_note() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)

        record(recorder, "€" * 5000)
        await run_for(recorder, 1)

        assert len(written(server)) == 1
    assert drops == []


@pytest.mark.behaviour("E2")
async def test_what_does_not_fit_the_queue_is_dropped_and_counted() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client, limit=2)

        for note in ("first", "second", "third"):
            record(recorder, note)
        await run_for(recorder, 1)

        assert [event["message"] for event in written(server)] == ["first", "second"]
    assert drops == ["queue full"]


@pytest.mark.behaviour("E4")
async def test_an_unreachable_server_is_tried_twelve_times_in_two_minutes() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)
        record(recorder, "lost")
        record(recorder, "kept")
        await client.resource(EVENT)  # found out before the outage
        outage = server.faults.on(verb="create", times=12).cut()

        await run_for(recorder, 150)

        assert outage.struck == 12
        assert [event["message"] for event in written(server)] == ["kept"]
        tries = [request.time for request in server.requests.of("create")]
    assert drops == ["unreachable"]
    pauses = [later - sooner for sooner, later in pairwise(tries[:12])]
    assert all(7.5 <= pause <= 12.5 for pause in pauses)
    assert len(set(pauses)) > 1


@pytest.mark.behaviour("E4")
async def test_an_answer_that_is_not_from_the_api_server_is_not_final() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)
        record(recorder)
        server.faults.on(verb="create").corrupt()

        await run_for(recorder, 30)

        # The first try was carried out: its name is taken, and that is success.
        assert len(server.requests.of("create")) == 2
        assert len(written(server)) == 1
    assert drops == []


@pytest.mark.behaviour("E4")
@pytest.mark.parametrize("status", [403, 404, 422, 500])
async def test_an_event_that_the_server_refuses_is_dropped_at_once(status: int) -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)
        record(recorder)
        server.faults.on(verb="create").answer(status)

        await run_for(recorder, 60)

        assert len(server.requests.of("create")) == 1
    assert drops == ["refused"]


@pytest.mark.behaviour("E4")
async def test_a_reason_for_refusals_is_said_once() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)
        for _ in range(3):
            record(recorder)
        server.faults.on(verb="create", times=None).answer(403)

        with structlog.testing.capture_logs() as logs:
            await run_for(recorder, 60)

    assert drops == ["refused"] * 3
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["reason"] for entry in warnings] == ["Forbidden"]


@pytest.mark.behaviour("E6")
async def test_what_waits_at_the_end_is_written() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)
        server.faults.on(verb="create", times=None).delay(1)

        for _ in range(3):
            record(recorder)
        await run_for(recorder, 0.5)

        assert len(written(server)) == 3
    assert drops == []


@pytest.mark.behaviour("E6")
async def test_the_end_does_not_wait_for_a_server_that_is_gone() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, drops = recorder_for(client)
        loop = asyncio.get_running_loop()
        server.faults.on(verb="create", times=None).hang()

        for _ in range(3):
            record(recorder)
        await run_for(recorder, 1)

        assert loop.time() == pytest.approx(6, abs=0.5)
    assert drops == ["stopped"] * 3


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
    assert reference(CONFIG_MAP, meta) == ObjectReference(CONFIG_MAP, "shop", "web")


async def test_an_event_may_be_about_a_model() -> None:
    async with ApiServer() as server, client_of(server) as client:
        recorder, _ = recorder_for(client)
        widget = Widget.model_validate({"metadata": {"name": "w", "namespace": "shop"}})

        record(recorder, regarding=widget)
        await run_for(recorder, 1)

        (event,) = written(server)
    assert event["involvedObject"]["kind"] == "Widget"


@pytest.mark.behaviour("E3")
def test_a_series_is_of_one_reason_action_and_object() -> None:
    event: Json = {
        "type": "Normal",
        "action": "Restart",
        "reason": "Changed",
        "reportingController": "reload",
        "reportingInstance": "host",
        "regarding": WEB.to_json(),
        "note": "once",
        "eventTime": "2030-01-01T00:00:00.000000Z",
    }

    assert series_key(event) == series_key({**event, "note": "twice", "eventTime": ""})
    for name in ("type", "action", "reason", "reportingInstance"):
        assert series_key(event) != series_key({**event, name: "other"})
    other = WEB._replace(name="other").to_json()
    assert series_key(event) != series_key({**event, "regarding": other})
    assert series_key(event) != series_key({**event, "related": other})


def test_time_that_stands_still_makes_no_equal_names() -> None:
    clock = FakeClock()
    recorder = EventRecorder.__new__(EventRecorder)
    recorder._last_stamp = 0

    stamps = [recorder._stamp(clock.now()) for _ in range(3)]
    clock.advance(timedelta(seconds=-5))
    stamps.append(recorder._stamp(clock.now()))

    assert stamps == sorted(set(stamps))
