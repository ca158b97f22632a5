"""Alerts and metrics of a manager on a real control plane; receivers of our own."""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from api.core.v1 import Secret
from conformance.reloads import AUTO, EVENT, Shop, Workload
from controller_runtime import (
    Json,
    SystemClock,
)
from controller_runtime.certificates import CertificateAuthority
from controller_runtime.tls import load_pair
from controllers.reload.alerts.alert import RELOADED, Alert
from controllers.reload.alerts.sender import Sender
from controllers.reload.alerts.sinks import Sink
from controllers.reload.options import AlertFormat, AlertOptions, ReloadOptions
from controllers.reload.workloads import WorkloadKey

PAGE = (Path(__file__).parents[4] / "docs" / "reload-alerts.md").read_text()


ALERT = Alert(
    kind=RELOADED,
    workload=WorkloadKey("Deployment", "shop", "web"),
    changes=(),
    strategy="env-vars",
    time=datetime(2026, 11, 21, 12, tzinfo=UTC),
    text="reloads",
)


class Chat:
    """A receiver that takes messages, and answers when it may."""

    def __init__(self) -> None:
        self.bodies: asyncio.Queue[Json] = asyncio.Queue()
        self.paths: list[str] = []
        self.answers = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.paths.append(request.path)
        self.bodies.put_nowait(await request.json())
        await self.answers.wait()
        return web.Response()

    async def told(self) -> Json:
        """Wait for a message."""
        async with asyncio.timeout(60):
            return await self.bodies.get()


@asynccontextmanager
async def serving(chat: Chat, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    runner = web.ServerRunner(web.Server(chat.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    scheme = "http" if tls is None else "https"
    chat.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/services/T0K3N"
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    chat = Chat()
    async with serving(chat):
        yield chat


async def pair(
    shop: Shop, name: str, annotations: Mapping[str, str] | None = None
) -> Workload:
    """Create a Secret, and a Deployment that uses it."""
    source = f"secret/{name}"
    await shop.sources(source)
    return await shop.workload(name, annotations, uses=[source])


async def test_a_sink_that_hangs_delays_no_reload(shop: Shop, chat: Chat) -> None:
    """Scenario 53: a delivery is given up after 40 seconds, a reload has 20."""
    told = AlertOptions(url=chat.url, format=AlertFormat.JSON)
    both = {f"secret/{name}": await pair(shop, name, AUTO) for name in ("a", "b")}

    async with shop.manager(alerts=told):
        for source, workload in both.items():
            await workload.adopted(source)
        await shop.change("secret/a")
        message = await chat.told()
        await shop.change("secret/b")
        async with asyncio.timeout(20):
            await shop.events("Reloaded", "b")
        chat.answers.set()

    assert message["event"] == "reloaded"
    assert message["workload"]["name"] == "a"
    assert message["sources"][0]["kind"] == "Secret"


@pytest.fixture(scope="module")
def strange_certificate() -> ssl.SSLContext:
    """Return what shows a certificate of an authority that nobody knows."""
    pair = CertificateAuthority.create().server(["localhost"], ["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_pair(context, pair)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_told_nothing(
    strange_certificate: ssl.SSLContext,
) -> None:
    chat, results = Chat(), asyncio.Queue[str]()
    chat.answers.set()
    sender = Sender(
        _url,
        counts=lambda sink, result, *, times: results.put_nowait(result),
        clock=SystemClock(),
    )
    with capture_logs() as logs:
        async with serving(chat, strange_certificate), asyncio.TaskGroup() as tasks:
            tasks.create_task(sender.run())
            sink = Sink(name="chat", format=AlertFormat.JSON, url=chat.url)
            sender.offer(sink, ALERT)
            async with asyncio.timeout(60):
                result = await results.get()
            sender.stop()

    assert (result, chat.paths) == ("failed", [])
    (line,) = [it for it in logs if it["log_level"] == "warning"]
    assert "the certificate is not believed" in line["error"]


async def _url(sink: Sink) -> str:
    return sink.url


@pytest.mark.usefixtures("crd")
async def test_a_config_tells_all_of_its_sinks_and_shows_no_url(
    shop: Shop, chat: Chat
) -> None:
    chat.answers.set()
    url = b64encode(f"{chat.url}/secret\n".encode()).decode()
    await shop.create(Secret.gvk, "chat", data={"url": url})
    spec = {
        "watchedResources": {"secrets": ["a"]},
        "targets": [{"kind": "Deployment", "name": "a"}],
        "alerts": {
            "slack": {"secretRef": {"name": "chat"}},
            "teams": {"url": f"{chat.url}/teams", "format": "adaptive"},
            "googleChat": {"url": f"{chat.url}/gchat"},
            "customWebhook": {"secretRef": {"name": "nobody"}, "format": "json"},
        },
    }
    workload = await pair(shop, "a")
    await shop.reloader(**spec)

    with capture_logs() as logs:
        async with shop.manager(alerts=AlertOptions(allow_loopback=True)) as manager:
            await workload.adopted("secret/a")
            await shop.change("secret/a")
            messages = [await chat.told() for _ in range(3)]
            shown = manager.metrics.exposition().decode()
        events = await shop.client.list(EVENT, shop.namespace)

    assert {path.rpartition("/")[2] for path in chat.paths} == {
        *("secret", "teams", "gchat")
    }
    keys = sorted(min(message) for message in messages)
    assert keys == ["attachments", "attachments", "cards"]
    (trouble,) = [it for it in logs if it["event"] == "alerts cannot be delivered"]
    name = f"ReloaderConfig {shop.namespace}/x"
    assert trouble["sink"] == f"alert sink customWebhook of {name}"
    assert f"Secret {shop.namespace}/nobody, key url is not there" in trouble["error"]
    for text in (str(logs), shown, str(events.items)):
        assert "T0K3N" not in text


async def test_a_running_manager_shows_every_metric_of_the_page(shop: Shop) -> None:
    listed = set(re.findall(r"`([a-z_]+)(?:\{[a-z_,]*\})?`", PAGE))
    wanted = {
        name for name in listed if re.match("(reloader|rest_client|process)_", name)
    }
    workload = await pair(shop, "a", AUTO)
    options = ReloadOptions(
        namespaces=(shop.namespace,), count_by_namespace=True, count_by_workload=True
    )

    async with shop.running(options, metrics="127.0.0.1:0") as manager:
        await workload.adopted("secret/a")
        await shop.change("secret/a")
        await shop.events("Reloaded", "a")
        url = manager.metrics_url
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            text = await answer.text()

    shown = set(re.findall("^# TYPE ([a-z_]+) ", text, re.MULTILINE))
    assert len(wanted) > 25
    assert wanted <= shown
    samples = text.splitlines()
    assert 'reloader_reload_executed_total{success="true"} 1.0' in samples
    assert any(
        it.startswith("reloader_workload_reloads_total{") and 'source="a"' in it
        for it in samples
    )
    assert any(
        it.startswith("reloader_workqueue_adds_total ") and not it.endswith(" 0.0")
        for it in samples
    )
