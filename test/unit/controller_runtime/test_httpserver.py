"""What kubelet, Prometheus and `kubectl get --raw` see of a process."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import aiohttp
import pytest

from controller_runtime.accessreview import Refusal
from controller_runtime.errors import AlreadyStartedError, ConfigError
from controller_runtime.httpmessage import Query, Reply
from controller_runtime.httpserver import HttpServer, Posted, Probes
from controller_runtime.testing.envtest.certificates import CertificateAuthority

FLAG = "--health-probe-bind-address"


class Answer(NamedTuple):
    status: int
    text: str


def fail() -> None:
    raise OSError("the database password is hunter2")


async def fail_later() -> None:
    await asyncio.sleep(1)
    fail()


async def pass_later() -> None:
    await asyncio.sleep(1)


async def hang() -> None:
    await asyncio.Event().wait()


def on_loopback(name: str = "health probes") -> HttpServer:
    return HttpServer("127.0.0.1:0", name=name, flag=FLAG)


@asynccontextmanager
async def serving(server: HttpServer) -> AsyncIterator[HttpServer]:
    await server.bind()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        yield server
        running.cancel()
    await server.close()  # it may not even have begun to run


async def get(server: HttpServer, path: str, *, method: str = "GET") -> Answer:
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.request(method, path) as response,
    ):
        return Answer(response.status, await response.text())


async def ask(prepare: Callable[[Probes], None], path: str) -> Answer:
    probes, server = Probes(), on_loopback()
    prepare(probes)
    server.add_probes(probes)
    async with serving(server):
        return await get(server, path)


async def test_probes_without_checks_of_ours_answer_ok() -> None:
    def nothing(probes: Probes) -> None:
        pass

    assert await ask(nothing, "/healthz") == (200, "ok")
    assert await ask(nothing, "/readyz") == (200, "ok")
    verbose = await ask(nothing, "/readyz?verbose")
    assert verbose == (200, "[+]ping ok\nreadyz check passed\n")


async def test_a_failed_check_fails_the_probe_and_withholds_the_reason() -> None:
    def prepare(probes: Probes) -> None:
        probes.add_ready_check("cache-sync", pass_later)
        probes.add_ready_check("database", fail)
        probes.add_ready_check("webhook", fail_later)

    status, text = await ask(prepare, "/readyz")
    assert status == 500
    assert text == (
        "[+]cache-sync ok\n"
        "[-]database failed: reason withheld\n"
        "[-]webhook failed: reason withheld\n"
        "readyz check failed\n"
    )
    assert await ask(prepare, "/healthz") == (200, "ok")


async def test_a_check_can_be_left_out() -> None:
    def prepare(probes: Probes) -> None:
        probes.add_ready_check("cache-sync", pass_later)
        probes.add_ready_check("database", fail)
        probes.add_ready_check("webhook", fail)

    status, text = await ask(
        prepare, "/readyz?verbose&exclude=database&exclude=webhook&exclude=nonsense"
    )

    assert status == 200
    assert text == (
        "[+]cache-sync ok\n"
        "[+]database excluded: ok\n"
        "[+]webhook excluded: ok\n"
        'warn: some health checks cannot be excluded: no matches for "nonsense"\n'
        "readyz check passed\n"
    )


async def test_every_check_has_a_path_of_its_own() -> None:
    def prepare(probes: Probes) -> None:
        probes.add_health_check("database", fail)
        probes.add_health_check("disk", pass_later)

    assert await ask(prepare, "/healthz/disk") == (200, "ok")
    assert await ask(prepare, "/healthz/ping") == (200, "ok")
    status, text = await ask(prepare, "/healthz/database")
    assert status == 500
    assert "hunter2" not in text
    assert (await ask(prepare, "/healthz/nonsense")).status == 404
    assert (await ask(prepare, "/readyz/database")).status == 404


async def test_a_check_that_hangs_fails_after_ten_seconds() -> None:
    probes, server = Probes(), on_loopback()
    probes.add_ready_check("stuck", hang)
    server.add_probes(probes)
    loop = asyncio.get_running_loop()

    async with serving(server):
        began = loop.time()
        answer = await get(server, "/readyz")

        assert answer.status == 500
        assert loop.time() - began == pytest.approx(10)


@pytest.mark.behaviour("M9")
async def test_checks_come_before_the_server_starts() -> None:
    probes, server = Probes(), on_loopback()
    server.add_probes(probes)
    probes.add_ready_check("once", pass_later)

    with pytest.raises(AlreadyStartedError, match="already"):
        probes.add_ready_check("once", pass_later)
    await server.bind()
    with pytest.raises(AlreadyStartedError, match="late"):
        probes.add_ready_check("late", pass_later)
    with pytest.raises(AlreadyStartedError, match="late"):
        probes.add_health_check("late", pass_later)
    with pytest.raises(AlreadyStartedError, match="/debug"):
        server.add_route("/debug", echo)
    await server.close()


async def echo(path: str, query: Query) -> Reply:
    return Reply(f"{path} {dict(query)}".encode(), status=202, content_type="a/b")


async def test_metrics_are_served_as_prometheus_text() -> None:
    server = on_loopback("metrics")
    server.add_metrics(lambda: b"up 1\n")

    async with (
        serving(server),
        aiohttp.ClientSession(server.url) as session,
        session.get("/metrics") as response,
    ):
        assert response.status == 200
        assert await response.text() == "up 1\n"
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_route_takes_what_is_below_it_and_the_query() -> None:
    server = on_loopback()
    server.add_route("/debug", echo)

    async with serving(server):
        below = await get(server, "/debug/keys/a?x=1&x=2")
        assert below == (202, "keys/a {'x': ['1', '2']}")
        assert (await get(server, "/debug")).status == 202
        assert (await get(server, "/debugger")).status == 404
        assert (await get(server, "/")).status == 404
        assert (await get(server, "/debug", method="POST")).status == 405


async def test_a_taken_path_is_an_error() -> None:
    server = on_loopback()
    server.add_route("/debug", echo)

    with pytest.raises(AlreadyStartedError, match="/debug already"):
        server.add_route("/debug", echo)


async def test_a_taken_port_is_an_early_error_that_names_flag_and_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = HttpServer(
            f"127.0.0.1:{port}", name="metrics", flag="--metrics-bind-address"
        )

        with pytest.raises(ConfigError) as caught:
            await server.bind()

    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port} for metrics: the address is in use; "
        "choose another with --metrics-bind-address"
    )


async def test_port_0_takes_a_free_one_and_tells_which() -> None:
    one, two = on_loopback(), HttpServer(":0", name="metrics", flag="--m")
    assert (one.port, one.url) == (0, "")

    await one.bind()
    await two.bind()

    assert 0 < one.port != two.port > 0
    assert one.url == f"http://127.0.0.1:{one.port}"
    await one.close()
    await two.close()


@pytest.mark.parametrize("address", ["", "0"])
async def test_a_server_that_is_off_takes_no_port(address: str) -> None:
    server = HttpServer(address, name="metrics", flag="--metrics-bind-address")

    await server.run()

    assert not server.is_on
    assert server.port == 0


@pytest.mark.parametrize("address", ["8080", "nonsense", ":70000", ":http", "::1"])
def test_an_address_that_cannot_be_read_is_an_error_with_the_flag(address: str) -> None:
    with pytest.raises(ConfigError, match=f"{FLAG}={address}"):
        HttpServer(address, name="health probes", flag=FLAG)


@pytest.mark.behaviour("W7")
async def test_a_request_in_flight_ends_before_the_server_does() -> None:
    server = on_loopback()
    loop = asyncio.get_running_loop()

    async def slow(path: str, query: Query) -> Reply:
        await asyncio.sleep(3)
        return Reply(b"done")

    server.add_route("/slow", slow)
    await server.bind()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        answer = tasks.create_task(get(server, "/slow"))
        await asyncio.sleep(1)
        running.cancel()

    assert answer.result() == (200, "done")
    assert loop.time() == pytest.approx(3, abs=0.5)


@pytest.mark.behaviour("M7")
async def test_the_port_is_free_again_afterwards() -> None:
    first = on_loopback()
    async with serving(first):
        port = first.port

    again = HttpServer(f"127.0.0.1:{port}", name="again", flag=FLAG)
    await again.bind()

    assert again.port == port
    await again.close()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server on the loopback serves with, and what its clients trust."""
    authority = CertificateAuthority.create()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with TemporaryDirectory() as folder:
        pair = authority.server(["localhost"], ["127.0.0.1"])
        ours.load_cert_chain(*pair.write(Path(folder), "tls"))
    return ours, ssl.create_default_context(cadata=authority.pem.decode())


async def test_with_a_tls_context_it_serves_https() -> None:
    ours, theirs = contexts()
    server = HttpServer("127.0.0.1:0", name="metrics", flag=FLAG, tls=ours)
    server.add_metrics(lambda: b"up 1\n")

    async with (
        serving(server),
        aiohttp.ClientSession(server.url) as session,
        session.get("/metrics", ssl=theirs) as response,
    ):
        assert server.url.startswith("https://127.0.0.1:")
        assert await response.text() == "up 1\n"


async def test_a_client_that_speaks_no_tls_gets_no_answer_from_https() -> None:
    ours, _ = contexts()
    server = HttpServer("127.0.0.1:0", name="metrics", flag=FLAG, tls=ours)

    async with serving(server), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{server.port}/metrics")


class Porter:
    """Lets in who knows the word, and remembers who came."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    async def check(self, method: str, path: str, authorization: str) -> Refusal | None:
        self.seen.append((method, path, authorization))
        if not authorization:
            return Refusal(401, "say who you are")
        return None if authorization == "Bearer sesame" else Refusal(403, "not you")


@asynccontextmanager
async def guarded(porter: Porter) -> AsyncIterator[aiohttp.ClientSession]:
    server = HttpServer("127.0.0.1:0", name="metrics", flag=FLAG, guard=porter)
    server.add_metrics(lambda: b"up 1\n")
    async with serving(server), aiohttp.ClientSession(server.url) as session:
        yield session


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({}, 401, "say who you are\n"),
        ({"Authorization": "Bearer x"}, 403, "not you\n"),
        ({"Authorization": "Bearer sesame"}, 200, "up 1\n"),
    ],
)
async def test_a_guard_decides_who_is_served(
    headers: dict[str, str], status: int, body: str
) -> None:
    async with (
        guarded(Porter()) as session,
        session.get("/metrics", headers=headers) as response,
    ):
        assert response.status == status
        assert await response.text() == body
        assert (response.headers.get("WWW-Authenticate") == "Bearer") is (status == 401)


async def test_a_guard_is_asked_before_anything_is_answered() -> None:
    porter = Porter()

    async with guarded(porter) as session:
        async with session.get("/nowhere?a=b") as nowhere:
            assert nowhere.status == 401
        async with session.post("/metrics") as posted:
            assert posted.status == 401

    assert porter.seen == [("GET", "/nowhere", ""), ("POST", "/metrics", "")]


async def repeat(posted: Posted) -> Reply:
    if posted.body is None:
        return Reply(b"too long", 413)
    return Reply(posted.content_type.encode() + b":" + posted.body)


async def post(server: HttpServer, path: str, body: object) -> Answer:
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.post(path, data=body, headers={"Content-Type": "a/b"}) as response,
    ):
        return Answer(response.status, await response.text())


async def test_a_post_route_takes_a_body_at_exactly_its_path() -> None:
    server = on_loopback()
    server.add_post_route("/echo", repeat, body_max=5)

    async with serving(server):
        assert await post(server, "/echo", b"12345") == (200, "a/b:12345")
        assert await post(server, "/echo?timeout=1s", b"") == (200, "a/b:")
        assert (await post(server, "/echo/more", b"1")).status == 405
        assert (await get(server, "/echo")).status == 405


@pytest.mark.behaviour("W1")
@pytest.mark.parametrize("size", [6, 3_000_000])
async def test_a_body_that_is_too_long_is_left_to_the_route(size: int) -> None:
    server = on_loopback()
    server.add_post_route("/echo", repeat, body_max=5)

    async with serving(server):
        assert await post(server, "/echo", BytesIO(b"x" * size)) == (413, "too long")


async def test_a_body_without_an_end_is_too_long_too() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    server = on_loopback()
    server.add_post_route("/echo", repeat, body_max=5000)

    async with serving(server):
        assert await post(server, "/echo", endless()) == (413, "too long")


async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    server = on_loopback()
    server.add_post_route("/echo", repeat, body_max=5)
    loop = asyncio.get_running_loop()

    async with serving(server), connected(server) as (reader, writer):
        began = loop.time()
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12")
        assert b" 408 " in await reader.readline()

        assert loop.time() - began == pytest.approx(30)


async def test_two_routes_at_one_path_are_a_mistake() -> None:
    server = on_loopback()
    server.add_post_route("/echo", repeat, body_max=5)

    with pytest.raises(ConfigError, match="serves /echo already"):
        server.add_post_route("/echo", repeat, body_max=5)


async def test_post_routes_come_before_the_server_is_bound() -> None:
    server = on_loopback()
    await server.bind()

    with pytest.raises(AlreadyStartedError, match="is bound"):
        server.add_post_route("/echo", repeat, body_max=5)
    await server.close()


@asynccontextmanager
async def connected(
    server: HttpServer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.behaviour("W7")
async def test_a_connection_without_a_request_is_closed_after_ninety_seconds() -> None:
    server, loop = on_loopback(), asyncio.get_running_loop()
    server.add_probes(Probes())

    async with serving(server), connected(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"ok")
        began = loop.time()

        assert await reader.read() == b""
        assert loop.time() - began == pytest.approx(90)


@pytest.mark.behaviour("W7")
async def test_headers_that_come_drop_by_drop_are_cut_off_after_32_seconds() -> None:
    server, loop = on_loopback(), asyncio.get_running_loop()
    server.add_probes(Probes())

    async with serving(server), connected(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        began = loop.time()
        for drop in b"Host: x" * 10:
            writer.write(bytes([drop]))
            await asyncio.sleep(1)
            if reader.at_eof():
                break

        assert 32 <= loop.time() - began < 34


@pytest.mark.behaviour("W7")
async def test_a_slow_answer_is_not_cut_off() -> None:
    async def slow(_path: str, _query: Query) -> Reply:
        await asyncio.sleep(200)
        return Reply(b"done")

    server = on_loopback()
    server.add_route("/slow", slow)

    async with serving(server):
        assert await get(server, "/slow") == (200, "done")


@pytest.mark.behaviour("W7")
async def test_headers_of_more_than_a_mebibyte_are_refused() -> None:
    server = on_loopback()
    server.add_probes(Probes())

    async with serving(server), connected(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for n in range(200):
            writer.write(b"X-%d: %s\r\n" % (n, b"x" * 8000))
        writer.write(b"\r\n")

        assert b" 400 " in await reader.readline()


@pytest.mark.behaviour("W7")
async def test_over_tls_too_a_request_in_flight_is_answered_before_the_end() -> None:
    async def slow(_: Posted) -> Reply:
        await asyncio.sleep(4)
        return Reply(b"done")

    ours, theirs = contexts()
    server = HttpServer("127.0.0.1:0", name="x", flag=FLAG, tls=ours)
    server.add_post_route("/slow", slow, body_max=10)
    loop = asyncio.get_running_loop()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        await asyncio.sleep(1)
        port, began = server.port, loop.time()
        async with connected(server, theirs) as (reader, writer):
            writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(1)
            running.cancel()
            await asyncio.sleep(1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            answer = await reader.read()

    assert answer.endswith(b"done")
    assert loop.time() - began == pytest.approx(4)


async def test_a_client_that_never_says_goodbye_holds_nobody_up() -> None:
    ours, theirs = contexts()
    server = HttpServer("127.0.0.1:0", name="x", flag=FLAG, tls=ours)
    loop = asyncio.get_running_loop()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        await asyncio.sleep(1)
        async with connected(server, theirs) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined] # a TLS one's
            began = loop.time()
            running.cancel()
            await asyncio.wait({running})

            assert loop.time() - began < 5
            writer.transport.abort()
