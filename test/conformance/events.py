"""Events as they are written, on any API server, and as kubectl reads them.

A test gets a `client` and a `namespace` of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controller_runtime.client import Client
from controller_runtime.clock import SystemClock
from controller_runtime.eventwriter import CORE_EVENT, EVENT
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.metrics import Metrics
from controller_runtime.recorder import (
    EventBroadcaster,
    EventRecorder,
    ObjectReference,
    reference,
)

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


async def subject(client: Client, namespace: str) -> ObjectReference:
    """Make an object that Events can be about."""
    metadata = {"name": "web", "namespace": namespace}
    made = await client.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    )
    return reference(CONFIG_MAP, made)


class Recording:
    """A recorder whose Events are written."""

    def __init__(self, client: Client) -> None:
        self.metrics = Metrics()
        self.events = EventBroadcaster(
            client, clock=SystemClock(), metrics=self.metrics
        )
        self.recorder: EventRecorder = self.events.recorder("reload", instance="host")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.events.run())
            await asyncio.sleep(0)  # who is cancelled before he begins never begins
            yield
            running.cancel()

    def tell(self, about: ObjectReference, note: str = "restarted it") -> None:
        self.recorder.event(
            about, type="Warning", reason="Changed", action="Restart", note=note
        )

    async def written(self, count: int) -> None:
        """Wait until so many writes have succeeded."""
        labels = {"controller": "reload"}
        name = "controller_runtime_events_written_total"
        async with asyncio.timeout(10):
            while self.metrics.registry.get_sample_value(name, labels) != count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)

    @property
    def has_dropped(self) -> bool:
        names = ["controller_runtime_events_dropped_total"]
        found = self.metrics.registry.restricted_registry(names).collect()
        return any(metric.samples for metric in found)


async def events_of(
    client: Client, kind: GroupVersionKind, about: ObjectReference
) -> list[Json]:
    """Return the Events about an object, found as `kubectl describe` finds them."""
    field = "involvedObject" if kind == CORE_EVENT else "regarding"
    selector = f"{field}.uid={about.uid},{field}.name={about.name}"
    return (await client.list(kind, about.namespace, field_selector=selector)).items


@pytest.mark.behaviour("E1")
async def test_kubectl_finds_what_it_shows(client: Client, namespace: str) -> None:
    about = await subject(client, namespace)
    it = Recording(client)

    async with it.running():
        it.tell(about, "restarted it: " + "ü" * 2000)

    (new,) = await events_of(client, EVENT, about)
    (old,) = await events_of(client, CORE_EVENT, about)
    assert (old["type"], old["reason"], old["action"]) == (
        "Warning",
        "Changed",
        "Restart",
    )
    assert old["message"] == new["note"]
    assert old["message"].startswith("restarted it: ü")
    assert old["message"].endswith("ü…")
    assert (old["reportingComponent"], old["reportingInstance"]) == ("reload", "host")
    assert old["involvedObject"] == new["regarding"] == about.to_json()
    assert old["eventTime"] == new["eventTime"]
    assert old["metadata"]["name"].startswith("web.")
    assert not it.has_dropped


@pytest.mark.behaviour("E1")
async def test_an_event_about_what_has_no_namespace_is_taken(client: Client) -> None:
    node = ObjectReference(
        GroupVersionKind("", "v1", "Node"), "", "worker", uid="no-such-uid"
    )
    it = Recording(client)

    async with it.running():
        it.tell(node)

    assert not it.has_dropped
    default = node._replace(namespace="default")
    events = await events_of(client, EVENT, default)
    assert events
    for event in events:
        await client.delete(EVENT, event["metadata"]["name"], "default")


@pytest.mark.behaviour("E1")
async def test_words_that_are_too_long_are_cut(client: Client, namespace: str) -> None:
    about = await subject(client, namespace)
    it = Recording(client)

    async with it.running():
        it.recorder.event(about, reason="R" * 200, action="A" * 200, note="n")

    (event,) = await events_of(client, EVENT, about)
    assert event["reason"] == "R" * 125 + "…"
    assert not it.has_dropped


@pytest.mark.behaviour("E3")
@pytest.mark.behaviour("E6")
async def test_a_series_is_patched_and_its_end_is_told(
    client: Client, namespace: str
) -> None:
    about = await subject(client, namespace)
    it = Recording(client)

    async with it.running():
        it.tell(about)
        await it.written(1)
        (first,) = await events_of(client, EVENT, about)
        it.tell(about)
        await it.written(2)
        (second,) = await events_of(client, EVENT, about)
        for _ in range(5):
            it.tell(about)

    (last,) = await events_of(client, EVENT, about)
    (old,) = await events_of(client, CORE_EVENT, about)
    assert "series" not in first
    assert second["series"]["count"] == 2
    assert last["series"]["count"] == 7
    assert last["series"]["lastObservedTime"] > last["eventTime"]
    assert last["metadata"]["uid"] == first["metadata"]["uid"]
    assert old["series"] == last["series"]
    assert not it.has_dropped


@pytest.mark.behaviour("E3")
async def test_a_series_may_be_one_from_the_start(
    client: Client, namespace: str
) -> None:
    about = await subject(client, namespace)
    it = Recording(client)
    for _ in range(3):
        it.tell(about)

    async with it.running():
        await it.written(1)

    (event,) = await events_of(client, EVENT, about)
    assert event["series"]["count"] == 3
    assert not it.has_dropped


@pytest.mark.behaviour("E4")
async def test_a_series_that_the_server_forgot_is_created_anew(
    client: Client, namespace: str
) -> None:
    about = await subject(client, namespace)
    it = Recording(client)

    async with it.running():
        it.tell(about)
        await it.written(1)
        (first,) = await events_of(client, EVENT, about)
        await client.delete(EVENT, first["metadata"]["name"], namespace)
        it.tell(about)
        await it.written(2)

    (again,) = await events_of(client, EVENT, about)
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert again["metadata"]["name"] == first["metadata"]["name"]
    assert again["series"]["count"] == 2
    assert not it.has_dropped
