"""Reloads that alerts are about, on an API server and a clock that does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap
from controller_runtime import (
    Client,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload import setup
from controllers.reload.options import AlertFormat, AlertOptions, ReloadOptions


class Chat:
    """A receiver that takes messages, and answers when it is told to."""

    def __init__(self) -> None:
        self.bodies: list[Json] = []
        self.answers = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.bodies.append(await request.json())
        await self.answers.wait()
        return web.Response()


@asynccontextmanager
async def chatting() -> AsyncIterator[Chat]:
    chat = Chat()
    runner = web.ServerRunner(web.Server(chat.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    chat.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield chat
    finally:
        await runner.cleanup()


class Shop:
    """An API server with a Deployment and its ConfigMap, and a manager."""

    def __init__(self, server: ApiServer, client: Client, manager: Manager) -> None:
        self.server = server
        self.client = client
        self.manager = manager

    async def delay(self, value: str) -> float:
        """Change the ConfigMap; return the seconds until the Deployment is patched."""
        self.server.requests.clear()
        changes = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap, "c", "shop", patch=changes)
        await asyncio.sleep(5)
        (change,) = self.server.requests.of("patch", "configmaps")
        (patch,) = self.server.requests.of("patch", "deployments")
        return patch.time - change.time

    def counted(self, result: str) -> float:
        return self.sample("alerts_total", sink="json", result=result)

    def sample(self, name: str, **labels: str) -> float:
        registry = self.manager.metrics.registry
        return registry.get_sample_value(f"reloader_{name}", labels) or 0


@asynccontextmanager
async def shop(alerts: AlertOptions) -> AsyncIterator[Shop]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        client = Client(transport, scheme=Scheme())
        await _fill(client)
        manager = Manager(
            transport,
            options=ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            ),
        )
        setup(manager, ReloadOptions(alerts=alerts))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            await asyncio.sleep(5)
            yield Shop(server, client, manager)
            manager.stop()


async def _fill(client: Client) -> None:
    def document(api: str, kind: str, name: str, **fields: object) -> Json:
        metadata = {
            "name": name,
            "namespace": "shop",
            "annotations": {"reloader.stakater.com/auto": "true"},
        }
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}

    await client.create(document("v1", "ConfigMap", "c", data={"k": "old"}))
    ignored = document("v1", "ConfigMap", "ignored", data={"k": "old"})
    ignored["metadata"]["annotations"] = {"reloader.stakater.com/ignore": "true"}
    await client.create(ignored)
    container = {
        "name": "app",
        "image": "x",
        "envFrom": [{"configMapRef": {"name": "c"}}],
    }
    labels = {"app": "web"}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container]},
        },
    }
    api = Deployment.gvk.api_version
    await client.create(document(api, "Deployment", "web", spec=spec))


async def test_a_sink_that_hangs_does_not_delay_a_reload() -> None:
    """Scenario 53."""
    async with shop(AlertOptions()) as quiet:
        usual = await quiet.delay("1")

    async with chatting() as chat:
        told = AlertOptions(url=chat.url, format=AlertFormat.JSON)
        async with shop(told) as loud:
            delays = [await loud.delay(value) for value in ("1", "2", "3")]
            hanging = len(chat.bodies)
            sent = loud.counted("sent")
            chat.answers.set()

    assert hanging >= 1
    assert sent == 0
    assert delays == pytest.approx([usual] * 3, abs=0.1)


async def test_a_reload_is_told_with_its_source_and_counted() -> None:
    async with chatting() as chat:
        chat.answers.set()
        told = AlertOptions(url=chat.url, format=AlertFormat.JSON, info="eu-1")
        async with shop(told) as loud:
            await loud.delay("new")
            assert loud.counted("sent") == 1

    (body,) = chat.bodies
    assert body["event"] == "reloaded"
    assert body["cluster"] == "eu-1"
    assert body["workload"] == {
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
    }
    assert [(it["kind"], it["name"]) for it in body["sources"]] == [("ConfigMap", "c")]


async def test_events_of_sources_are_counted_by_why_nothing_restarts() -> None:
    async with shop(AlertOptions()) as quiet:
        client = quiet.client
        labels = merge_patch({"metadata": {"labels": {"a": "b"}}})
        await client.patch(ConfigMap, "c", "shop", patch=labels)
        data = merge_patch({"data": {"k": "new"}})
        await client.patch(ConfigMap, "ignored", "shop", patch=data)
        await asyncio.sleep(5)
        skipped = {
            reason: quiet.sample("skipped_total", reason=reason)
            for reason in ("no_data_change", "ignored_or_not_selected")
        }
        seen = {"event_type": "update", "resource_type": "configmaps"}
        received = quiet.sample("events_received_total", **seen)
        processed = quiet.sample("events_processed_total", **seen, result="skipped")

    assert skipped == {"no_data_change": 1, "ignored_or_not_selected": 1}
    assert received == processed == 2
