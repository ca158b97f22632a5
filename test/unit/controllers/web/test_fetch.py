"""Documents over real sockets, with limits; the server lives on the test's own loop."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from controller_runtime.testing.clock import FakeClock
from controllers.web import (
    BrokenAnswerError,
    Document,
    Http,
    HttpOptions,
    Login,
    NetworkError,
    NotModified,
    Proxy,
    Reach,
    RedirectError,
    Request,
    StatusError,
    TooLargeError,
    TooSlowError,
    UrlError,
    Validators,
    WebError,
    download,
    fetch,
)

CLOCK = FakeClock(datetime(2026, 11, 21, 12, tzinfo=UTC))

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def always(
    body: bytes = b"index", status: int = 200, headers: dict[str, str] | None = None
) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


async def get(url: str, *, http: Http | None = None, **how: object) -> Document:
    """Fetch with limits that do not matter."""
    request = Request(url=url, **how)  # type: ignore[arg-type]  # fields of Request
    async with Http() as own:
        found = await fetch(http or own, request, limit=1000, timeout=60, clock=CLOCK)
    assert isinstance(found, Document)
    return found


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_document_comes_with_what_is_needed_to_ask_again() -> None:
    """Release 59."""
    stamp = "Sat, 21 Nov 2026 10:00:00 GMT"
    seen: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        return web.Response(
            body=b"index", headers={"ETag": '"v1"', "Last-Modified": stamp}
        )

    async with serving(answer) as url, Http() as http:
        request = Request(url=f"{url}/index.yaml")
        first = await fetch(http, request, limit=10, timeout=5, clock=CLOCK)
        assert isinstance(first, Document)
        again = await fetch(
            http, request, limit=10, timeout=5, clock=CLOCK, known=first.validators
        )

    assert (first.content, first.size) == (b"index", 5)
    assert first.validators == Validators(etag='"v1"', last_modified=stamp)
    assert isinstance(again, NotModified)
    assert seen[1].headers["If-Modified-Since"] == stamp
    assert seen[0].headers["User-Agent"] == "pilothouse"


async def test_a_304_that_nobody_asked_for_is_an_error() -> None:
    async with serving(always(b"", 304)) as url:
        with pytest.raises(StatusError, match="304"):
            await get(url)


@pytest.mark.parametrize("status", [204, 401, 404, 429, 500])
async def test_an_answer_that_is_no_document_says_its_status(status: int) -> None:
    async with serving(always(b"", status, {"Retry-After": "7"})) as url:
        with pytest.raises(StatusError, match=f"{url}/x: .* {status}") as caught:
            await get(f"{url}/x?signature=geheim")

    assert caught.value.status == status
    assert caught.value.retry_after == timedelta(seconds=7)
    assert "geheim" not in str(caught.value)


async def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    async with serving(always(b"x" * 1001)) as url, Http() as http:
        request = Request(url=url)
        target = tmp_path / "index"
        target.write_bytes(b"old")
        with pytest.raises(TooLargeError, match="more than 1000 bytes"):
            await fetch(http, request, limit=1000, timeout=5, clock=CLOCK)
        with pytest.raises(TooLargeError):
            await download(http, request, target, limit=1000, timeout=5, clock=CLOCK)
        whole = await fetch(http, request, limit=1001, timeout=5, clock=CLOCK)

    assert isinstance(whole, Document)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["index"]


async def test_a_document_may_be_compressed_and_its_limit_is_not() -> None:
    body = gzip.compress(b"x" * 100_000)
    headers = {"Content-Encoding": "gzip"}
    async with serving(always(body, headers=headers)) as url, Http() as http:
        request = Request(url=url, compressed=True)
        with pytest.raises(TooLargeError):
            await fetch(http, request, limit=99_999, timeout=5, clock=CLOCK)
        found = await fetch(http, request, limit=100_000, timeout=5, clock=CLOCK)

    assert isinstance(found, Document)
    assert found.content == b"x" * 100_000


async def test_a_document_is_streamed_into_a_file(tmp_path: Path) -> None:
    body = bytes(range(256)) * 10_000
    async with serving(always(body, headers={"ETag": "e"})) as url, Http() as http:
        found = await download(
            http,
            Request(url=url),
            tmp_path / "chart.tgz",
            limit=len(body),
            timeout=3600,  # the clock jumps ahead while a thread writes
            clock=CLOCK,
        )

    assert isinstance(found, Document)
    assert (found.size, found.content) == (len(body), b"")
    assert (tmp_path / "chart.tgz").read_bytes() == body
    assert names(tmp_path) == ["chart.tgz"]


async def test_a_login_goes_to_its_server_and_not_to_where_that_sends_us() -> None:
    """Release 3.5, 58."""
    seen: dict[str, str | None] = {}
    elsewhere_url = ""

    async def home(request: web.BaseRequest) -> web.StreamResponse:
        seen[request.path] = request.headers.get("Authorization")
        if request.path == "/index":
            return web.Response(status=302, headers={"Location": "/moved"})
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": elsewhere_url})
        return web.Response(body=b"")

    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        seen["elsewhere"] = request.headers.get("Authorization")
        return web.Response(body=b"index")

    async with serving(elsewhere) as other, serving(home) as url:
        elsewhere_url = f"{other}/index"
        login = Login.basic(url, "me", "p:w")
        found = await get(f"{url}/index", login=login)
        everywhere = Login.basic(url, "me", "p:w", everywhere=True)
        assert seen == {
            "/index": login.header,
            "/moved": login.header,
            "elsewhere": None,
        }
        await get(f"{url}/index", login=everywhere)

    assert found.url == elsewhere_url
    assert seen["elsewhere"] == login.header


async def test_a_server_that_sends_us_round_and_round_is_left() -> None:
    count = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal count
        count += 1
        return web.Response(status=302, headers={"Location": "/again"})

    async with serving(answer) as url:
        with pytest.raises(RedirectError, match="too often"):
            await get(url)

    assert count == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.example/",
        "http://0.0.0.0/",
        "http://\N{CIRCLED DIGIT ONE}69.254.169.254/",
    ],
)
async def test_a_redirect_to_a_metadata_service_is_not_followed(location: str) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["169.254.169.254"]

    async with (
        serving(always(b"", 302, {"Location": location})) as url,
        Http(resolver=resolver) as http,
    ):
        with pytest.raises(UrlError, match=r"may not be asked|not written in ASCII"):
            await get(url, http=http)


@pytest.mark.parametrize("furthest", [Reach.PUBLIC, Reach.PRIVATE])
async def test_a_loopback_address_is_asked_only_by_who_may(furthest: Reach) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with serving(always()) as url, Http(resolver=resolver) as http:
        name = url.replace("127.0.0.1", "charts.example")
        for where in (url, name):
            with pytest.raises(UrlError, match="loopback address"):
                await get(where, http=http, furthest=furthest)
        assert (await get(name, http=http)).content == b"index"


async def test_a_name_with_several_addresses_is_asked_where_one_may() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["169.254.169.254", "127.0.0.1"]

    async with serving(always()) as url, Http(resolver=resolver) as http:
        name = url.replace("127.0.0.1", "charts.example")
        assert (await get(name, http=http)).content == b"index"


async def test_a_proxy_is_asked_instead_and_looks_the_name_up_itself() -> None:
    seen: list[web.BaseRequest] = []
    looked_up: list[str] = []

    async def proxy(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        return web.Response(body=b"index")

    async def resolver(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    async with serving(proxy) as url, Http(resolver=resolver) as http:
        way = Proxy(
            url=url.replace("127.0.0.1", "proxy.corp"), username="me", password="pw"
        )
        await get("http://charts.example/index.yaml", http=http, proxy=way)

    assert looked_up == ["proxy.corp"]
    assert seen[0].raw_path == "http://charts.example/index.yaml"
    assert seen[0].headers["Proxy-Authorization"].startswith("Basic ")
    assert "pw" not in repr(way)


async def test_silence_ends_a_request() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    loop = asyncio.get_running_loop()
    async with serving(answer) as url:
        began = loop.time()
        with pytest.raises(TooSlowError, match="no answer in time"):
            await get(url)
        assert loop.time() - began == pytest.approx(HttpOptions().silence_timeout)


async def test_drop_by_drop_is_too_slow_in_the_end() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(10)
        return response

    async with serving(answer) as url:
        with pytest.raises(TooSlowError, match="not done after 60 s"):
            await get(url)


async def raw(answer: bytes) -> asyncio.Server:
    """Serve bytes that need not be HTTP."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return await asyncio.start_server(speak, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", NetworkError),
        (b"\x15\x03\x01\x00\x02\x02\x46", BrokenAnswerError),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BrokenAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", NetworkError),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
            BrokenAnswerError,
        ),
    ],
)
async def test_an_answer_that_breaks_off_or_is_none_is_said_to_be(
    answer: bytes, kind: type[WebError]
) -> None:
    server = await raw(answer)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(kind, match=f"GET http://127.0.0.1:{port}/"):
            await get(f"http://127.0.0.1:{port}/")


async def test_nobody_there_is_said_to_be() -> None:
    async with serving(always()) as url:
        pass

    with pytest.raises(NetworkError, match="cannot connect"):
        await get(url)


async def test_an_answer_that_is_not_read_to_its_end_leaves_nothing_open() -> None:
    async with serving(always(b"x" * 5_000_000)) as url, Http() as http:
        async with http.open(Request(url=url)) as answer:
            chunk = await anext(answer.chunks(5_000_000))
        async with http.open(Request(url=url)) as answer:
            assert answer.status == 200

    assert chunk
