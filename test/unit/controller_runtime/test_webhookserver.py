"""The webhook port as the API server and a kubelet see it, over TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller_runtime.errors import AlreadyStartedError, ConfigError
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.metrics import Metrics
from controller_runtime.testing.envtest.certificates import CertificateAuthority
from controller_runtime.webhook import (
    AdmissionRequest,
    AdmissionResponse,
    Hub,
    Spoke,
    allow,
)
from controller_runtime.webhookserver import WebhookServer

WIDGET = GroupVersionKind("example.com", "v1", "Widget")
OLD = GroupVersionKind("example.com", "v0", "Widget")
PATH = "/validate-example-com-v1-widget"
PREFIX = "controller_runtime_webhook"


class World:
    """A server on the loopback, with an authority that its clients believe."""

    def __init__(self, folder: Path, *, client_ca: bool = False) -> None:
        self.folder = folder
        self.authority = CertificateAuthority.create()
        self.metrics = Metrics()
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.serve("one.example.com")
        if client_ca:
            self.tls.verify_mode = ssl.CERT_REQUIRED
            self.tls.load_verify_locations(cadata=self.authority.pem.decode())
        self.server = WebhookServer("127.0.0.1:0", metrics=self.metrics, tls=self.tls)

    def serve(self, name: str) -> None:
        """Load a new certificate into the context that serves."""
        pair = self.authority.server([name], ["127.0.0.1"])
        self.tls.load_cert_chain(*pair.write(self.folder, "tls"))

    def client(self, *, certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if certificate:
            pair = self.authority.client("apiserver")
            context.load_cert_chain(*pair.write(self.folder, "client"))
        return context

    @asynccontextmanager
    async def running(self) -> AsyncIterator[WebhookServer]:
        async with asyncio.TaskGroup() as tasks:
            await self.server.bind()
            running = tasks.create_task(self.server.run())
            yield self.server
            running.cancel()
        await self.server.close()  # it may not even have begun to run

    @asynccontextmanager
    async def session(
        self, *, certificate: bool = False
    ) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(ssl=self.client(certificate=certificate))
        async with aiohttp.ClientSession(self.server.url, connector=connector) as made:
            yield made

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def say_yes(_: AdmissionRequest) -> AdmissionResponse:
    return allow()


def review(uid: str = "u-1") -> Json:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": uid, "operation": "CREATE"},
    }


async def ask(
    session: aiohttp.ClientSession, body: Any = None, path: str = PATH
) -> Json:
    body = json.dumps(review()).encode() if body is None else body
    headers = {"Content-Type": "application/json"}
    async with session.post(path, data=body, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        found: Json = (await response.json())["response"]
        return found


@pytest.mark.behaviour("W1", "W2")
async def test_a_review_is_answered_over_tls(world: World) -> None:
    world.server.validate(WIDGET, say_yes)

    async with world.running(), world.session() as session:
        answer = await ask(session)

    assert answer == {"uid": "u-1", "allowed": True, "status": {"code": 200}}


@pytest.mark.behaviour("W1")
async def test_whatever_goes_wrong_the_transport_says_200(world: World) -> None:
    async def fail(_: AdmissionRequest) -> AdmissionResponse:
        raise ZeroDivisionError

    world.server.validate(WIDGET, fail)
    codes = {}

    async with world.running(), world.session() as session:
        for body in (b"", b"{", BytesIO(b" " * (7 * 2**20 + 1)), None):
            answer = await ask(session, body)
            codes[answer["status"]["code"]] = answer["uid"]

    assert codes == {400: "", 413: "", 500: "u-1"}


async def test_a_body_of_the_longest_length_is_read(world: World) -> None:
    world.server.validate(WIDGET, say_yes)
    body = json.dumps(review()).encode().ljust(7 * 2**20)

    async with world.running(), world.session() as session:
        assert (await ask(session, BytesIO(body)))["allowed"] is True


@pytest.mark.behaviour("W5")
async def test_requests_are_counted_and_timed_and_none_stays_in_flight(
    world: World,
) -> None:
    in_flight = []

    async def look(request: AdmissionRequest) -> AdmissionResponse:
        in_flight.append(world.metric(f"{PREFIX}_requests_in_flight", webhook=PATH))
        if len(in_flight) > 1:
            raise ZeroDivisionError
        return allow()

    world.server.validate(WIDGET, look)
    async with world.running(), world.session() as session:
        await ask(session)
        await ask(session)
        await ask(session, b"{")

    def requests(code: str) -> float | None:
        return world.metric(f"{PREFIX}_requests_total", webhook=PATH, code=code)

    assert in_flight == [1, 1]
    assert world.metric(f"{PREFIX}_requests_in_flight", webhook=PATH) == 0
    assert world.metric(f"{PREFIX}_panics_total") == 1
    assert world.metric(f"{PREFIX}_latency_seconds_count", webhook=PATH) == 3
    assert [requests(code) for code in ("200", "400", "500")] == [1, 1, 1]


async def test_metrics_have_the_names_of_go_and_begin_at_zero(world: World) -> None:
    world.server.validate(WIDGET, say_yes)

    lines = world.metrics.exposition().decode().splitlines()

    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {name for name in names if "webhook" in name and "_created" not in name} == {
        "controller_runtime_webhook_latency_seconds",
        "controller_runtime_webhook_requests_total",
        "controller_runtime_webhook_requests_in_flight",
        "controller_runtime_webhook_panics_total",
        "controller_runtime_conversion_webhook_panics_total",
    }
    for line in (
        f'{PREFIX}_requests_total{{code="200",webhook="{PATH}"}} 0.0',
        f'{PREFIX}_requests_total{{code="500",webhook="{PATH}"}} 0.0',
        f'{PREFIX}_requests_in_flight{{webhook="{PATH}"}} 0.0',
        f'{PREFIX}_latency_seconds_count{{webhook="{PATH}"}} 0.0',
        f"{PREFIX}_panics_total 0.0",
        "controller_runtime_conversion_webhook_panics_total 0.0",
    ):
        assert line in lines


def test_a_manager_without_webhooks_has_no_metrics_of_them() -> None:
    assert b"webhook" not in Metrics().exposition()


@pytest.mark.behaviour("W5", "W8")
async def test_a_bug_in_a_conversion_has_a_metric_of_its_own(world: World) -> None:
    def fail(_: Json) -> Json:
        raise ZeroDivisionError

    world.server.convert(Hub(WIDGET, Spoke(OLD, fail, fail)))
    request = {
        "uid": "c-1",
        "desiredAPIVersion": "example.com/v1",
        "objects": [{"apiVersion": "example.com/v0", "kind": "Widget"}],
    }
    async with world.running(), world.session() as session:
        answer = await ask(session, json.dumps({"request": request}), "/convert")

    assert (answer["uid"], answer["result"]["status"]) == ("c-1", "Failure")
    assert world.metric("controller_runtime_conversion_webhook_panics_total") == 1
    assert world.metric(f"{PREFIX}_panics_total") == 0
    assert world.metric(f"{PREFIX}_requests_total", webhook="/convert", code="500") == 1


async def test_a_handler_has_as_long_as_the_api_server_waits(world: World) -> None:
    async def dawdle(_: AdmissionRequest) -> AdmissionResponse:
        await asyncio.sleep(100)
        return allow()

    world.server.validate(WIDGET, dawdle)
    loop = asyncio.get_running_loop()
    took = {}

    async with world.running(), world.session() as session:
        for query in ("?timeout=3s", "?timeout=90s", "?timeout=x", ""):
            began = loop.time()
            answer = await ask(session, path=f"{PATH}{query}")
            assert answer["status"]["code"] == 504
            took[query] = round(loop.time() - began)

    assert took == {"?timeout=3s": 3, "?timeout=90s": 30, "?timeout=x": 30, "": 30}


@pytest.mark.behaviour("W6")
async def test_a_new_certificate_is_that_of_new_connections_and_drops_none(
    world: World,
) -> None:
    world.server.validate(WIDGET, say_yes)

    async with world.running(), world.session() as session:
        await ask(session)
        before = await certificate_of(world)
        world.serve("two.example.com")
        after = await certificate_of(world)
        await ask(session)
        assert session.connector is not None
        served = len(session.connector._conns)

    assert ("one.example.com" in before, "two.example.com" in after) == (True, True)
    assert served == 1


@pytest.mark.behaviour("W6")
async def test_half_a_pair_leaves_the_old_certificate_in_place(world: World) -> None:
    async with world.running():
        (world.folder / "tls.crt").write_bytes(b"-----BEGIN CERT")
        with pytest.raises(ssl.SSLError):
            world.tls.load_cert_chain(
                world.folder / "tls.crt", world.folder / "tls.key"
            )

        assert "one.example.com" in await certificate_of(world)


async def certificate_of(world: World) -> str:
    """Return the names in the certificate that a new connection is shown."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.server.port, ssl=world.client()
    )
    shown = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    assert reader.at_eof()
    return str(shown["subjectAltName"])


@pytest.mark.behaviour("W6")
async def test_with_a_client_authority_only_its_clients_are_answered(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, client_ca=True)
    world.server.validate(WIDGET, say_yes)

    async with world.running():
        async with world.session(certificate=True) as session:
            assert (await ask(session))["allowed"] is True
        async with world.session() as session:
            with pytest.raises(aiohttp.ClientError):
                await ask(session)


@pytest.mark.behaviour("W6")
async def test_nothing_below_tls_1_2_is_spoken(world: World) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")

    async with world.running():
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", world.server.port, ssl=old)


async def test_a_context_that_allows_less_than_tls_1_2_is_refused() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED

    with pytest.raises(ConfigError, match=r"TLS 1\.2 or later"):
        WebhookServer(":0", metrics=Metrics(), tls=tls)


@pytest.mark.behaviour("M9", "W6")
@pytest.mark.parametrize("client_ca", [False, True])
async def test_it_is_ready_from_when_it_answers_tls_until_it_ends(
    tmp_path: Path, *, client_ca: bool
) -> None:
    world = World(tmp_path, client_ca=client_ca)
    with pytest.raises(ConnectionError, match="has not started"):
        await world.server.check()

    async with world.running() as server:
        await server.check()

    with pytest.raises(ConnectionError, match="has not started"):
        await world.server.check()


@pytest.mark.behaviour("M9")
async def test_a_port_that_is_bound_and_not_served_is_not_ready(world: World) -> None:
    loop = asyncio.get_running_loop()
    await world.server.bind()
    began = loop.time()

    with pytest.raises(TimeoutError):
        await world.server.check()

    assert loop.time() - began == pytest.approx(10)
    await world.server.close()


async def test_a_path_is_served_once(world: World) -> None:
    world.server.validate(WIDGET, say_yes)

    with pytest.raises(ConfigError, match=f"serves {PATH} already"):
        world.server.validate(WIDGET, say_yes)
    with pytest.raises(ConfigError, match="no path of a webhook"):
        world.server.mutate(WIDGET, say_yes, path="nowhere")
    assert [rule.path for rule in world.server.rules] == [PATH]


async def test_nothing_is_added_once_the_port_is_taken(world: World) -> None:
    async with world.running():
        with pytest.raises(AlreadyStartedError):
            world.server.validate(WIDGET, say_yes)
        with pytest.raises(AlreadyStartedError):
            world.server.convert(Hub(WIDGET))


async def test_without_tls_there_are_no_webhooks() -> None:
    server = WebhookServer("127.0.0.1:0", metrics=Metrics())

    with pytest.raises(ConfigError, match="over TLS alone"):
        await server.bind()


async def test_an_address_of_zero_serves_nothing_and_is_ready() -> None:
    server = WebhookServer("0", metrics=Metrics())
    server.validate(WIDGET, say_yes)

    await server.run()
    await server.check()

    assert (server.port, server.url) == (0, "")


async def test_rules_are_told_with_their_default_paths(world: World) -> None:
    world.server.mutate(WIDGET, say_yes)
    world.server.validate(WIDGET, say_yes, path="/v")

    assert [(rule.mutates, rule.path, rule.kind) for rule in world.server.rules] == [
        (True, "/mutate-example-com-v1-widget", WIDGET),
        (False, "/v", WIDGET),
    ]
