"""What the transport makes of an API server's answers, over real sockets.

The server lives on the test's own loop, whose clock is virtual: an idle minute passes
at once, and how long something took is an assertion.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
import structlog.testing
from aiohttp import web

from controller_runtime.credentials import Credentials, StaticCredentials
from controller_runtime.errors import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ServerError,
    StalledError,
    TooManyRequestsError,
    UnauthorizedError,
)
from controller_runtime.metrics import Metrics
from controller_runtime.restconfig import RestConfig
from controller_runtime.transport import TRANSPORT_ERRORS, HttpTransport

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def connected(
    answer: Answer,
    *,
    credentials: Credentials | None = None,
    metrics: Metrics | None = None,
    path: str = "",
) -> AsyncIterator[HttpTransport]:
    """Serve `answer`, whatever is asked, and connect to it."""
    served = web.Server(answer, handler_cancellation=True)
    runner = web.ServerRunner(served, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
    config = RestConfig(server=server, credentials=credentials)
    try:
        async with HttpTransport(config, metrics=metrics) as transport:
            yield transport
    finally:
        await runner.cleanup()


def always(
    status: int, body: object = b"", headers: dict[str, str] | None = None
) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=content, headers=headers)

    return answer


def stream_of(*chunks: bytes, then: float | None = None) -> Answer:
    """Send chunks; `then` waits that long before it ends, or breaks off."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if then is not None:
            await asyncio.sleep(then)
        return response

    return answer


async def test_an_answer_comes_with_its_status_headers_and_body() -> None:
    async with connected(always(201, b"{}", {"Audit-Id": "7"})) as transport:
        status, headers, body = await transport.request("POST", "/api", body=b"{}")

    assert (status, headers["audit-id"], body) == (201, "7", b"{}")


async def test_a_request_says_what_it_sends_and_what_it_accepts() -> None:
    seen: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        return web.Response(body=await request.read())

    async with connected(answer, path="/k8s/clusters/c-1") as transport:
        echoed = await transport.request(
            "PATCH",
            "/api/v1/nodes/a",
            params={"fieldManager": "me & you"},
            body=b'{"a":1}',
            content_type="application/merge-patch+json",
        )

    assert echoed.body == b'{"a":1}'
    assert seen[0].method == "PATCH"
    assert seen[0].path == "/k8s/clusters/c-1/api/v1/nodes/a"
    assert dict(seen[0].query) == {"fieldManager": "me & you"}
    assert seen[0].headers["Content-Type"] == "application/merge-patch+json"
    assert seen[0].headers["Accept"] == "application/json"
    assert seen[0].headers["Accept-Encoding"] == "identity"


async def test_a_name_with_a_question_mark_stays_a_name() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response([request.path, dict(request.query)])

    async with connected(answer) as transport:
        answer_ = await transport.request("GET", "/apis/g/v1/roles/a?b#c d:e")

    assert json.loads(answer_.body) == ["/apis/g/v1/roles/a?b#c d:e", {}]


async def test_a_body_of_several_megabytes_goes_out_and_comes_back() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        request._client_max_size = 1 << 30
        return web.Response(body=await request.read())

    large = b"x" * (5 << 20)

    async with connected(answer) as transport:
        echoed = await transport.request("PUT", "/", body=large)

    assert echoed.body == large


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", BadRequestError),
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (410, "Expired", ExpiredError),
        (410, "Gone", ExpiredError),
        (422, "Invalid", InvalidError),
        (429, "TooManyRequests", TooManyRequestsError),
        (500, "InternalError", ServerError),
        (503, "ServiceUnavailable", ServerError),
        (504, "Timeout", ServerError),
        (405, "MethodNotAllowed", ApiError),
    ],
)
async def test_what_a_caller_can_do_next_decides_the_class_of_an_error(
    status: int, reason: str, error: type[ApiError]
) -> None:
    answer = always(status, {"kind": "Status", "message": "no", "reason": reason})

    async with connected(answer) as transport:
        with pytest.raises(ApiError) as caught:
            await transport.request("GET", "/api/v1/pods")

    assert type(caught.value) is error
    assert (caught.value.status, caught.value.reason) == (status, reason)


async def test_an_error_says_what_was_asked_and_what_the_server_said() -> None:
    message = 'configmaps is forbidden: User "x" cannot list resource "configmaps"'
    details = {"kind": "configmaps"}
    status = {"message": message, "reason": "Forbidden", "details": details}

    async with connected(always(403, status)) as transport:
        with pytest.raises(ForbiddenError) as caught:
            await transport.request("GET", "/api/v1/configmaps", params={"limit": "1"})

    assert str(caught.value) == f"GET /api/v1/configmaps: {message}"
    assert caught.value.details == details


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"404 page\n not found", "404 page not found"),
        (b"x" * 1000, "x" * 200),
        (b"<html><body>proxy says no</body></html>", "404 Not Found"),
        (b"", "404 Not Found"),
        (b"[]", "[]"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
async def test_an_answer_without_a_status_makes_a_short_message(
    body: bytes, text: str
) -> None:
    async with connected(always(404, body)) as transport:
        with pytest.raises(NotFoundError) as caught:
            await transport.request("GET", "/api")

    assert str(caught.value) == f"GET /api: {text}"


async def test_a_redirect_is_not_followed() -> None:
    elsewhere = {"Location": "http://127.0.0.1:1/elsewhere"}

    async with connected(always(302, b"", elsewhere)) as transport:
        with pytest.raises(ApiError, match="GET /api: 302 Found"):
            await transport.request("GET", "/api")


class Rotating:
    """Credentials of which each refresh gives the next."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = itertools.chain(tokens)
        self._current = next(self._tokens)
        self.refreshed = 0

    async def authorization(self) -> str | None:
        return f"Bearer {self._current}"

    async def refresh(self) -> None:
        self.refreshed += 1
        self._current = next(self._tokens, self._current)


def guarded(token: str, seen: list[str]) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization", ""))
        welcome = seen[-1] == f"Bearer {token}"
        return web.Response(status=200 if welcome else 401, body=b"{}")

    return answer


@pytest.mark.behaviour("R12")
async def test_credentials_that_are_refused_are_refreshed_and_tried_once_more() -> None:
    credentials, seen = Rotating("old", "new"), list[str]()

    async with connected(guarded("new", seen), credentials=credentials) as transport:
        await transport.request("GET", "/api")

    assert seen == ["Bearer old", "Bearer new"]


@pytest.mark.behaviour("R12")
async def test_credentials_that_are_refused_twice_are_an_error() -> None:
    credentials, seen = Rotating("old", "older"), list[str]()

    async with connected(guarded("new", seen), credentials=credentials) as transport:
        with pytest.raises(UnauthorizedError):
            await transport.request("GET", "/api")

    assert seen == ["Bearer old", "Bearer older"]


@pytest.mark.behaviour("R12")
async def test_requests_that_are_refused_together_refresh_the_credentials_once() -> (
    None
):
    credentials, seen = Rotating("old", "new", "newest"), list[str]()

    async with (
        connected(guarded("new", seen), credentials=credentials) as transport,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(5):
            tasks.create_task(transport.request("GET", "/api"))

    assert credentials.refreshed == 1


@pytest.mark.behaviour("R12")
async def test_a_watch_that_is_refused_is_opened_once_more_with_new_credentials() -> (
    None
):
    credentials, seen = Rotating("old", "new"), list[str]()

    async with (
        connected(guarded("new", seen), credentials=credentials) as transport,
        transport.stream("/watch", params={}, idle_timeout=60) as chunks,
    ):
        assert [chunk async for chunk in chunks] == [b"{}"]

    assert seen == ["Bearer old", "Bearer new"]


async def test_without_credentials_a_refusal_is_an_error_at_once() -> None:
    seen = list[str]()

    async with connected(guarded("new", seen)) as transport:
        with pytest.raises(UnauthorizedError):
            await transport.request("GET", "/api")

    assert seen == [""]


def shedding(times: int, status: int, seconds: str, asked: list[float]) -> Answer:
    """Ask to wait some times, then answer; `asked` gets the loop's time."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) <= times:
            return web.Response(status=status, headers={"Retry-After": seconds})
        return web.Response(body=b"{}")

    return answer


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_asks_to_wait_is_asked_again_exactly_then(
    method: str, status: int
) -> None:
    asked = list[float]()

    async with connected(shedding(2, status, "7", asked)) as transport:
        answer = await transport.request(method, "/api")

    assert answer.status == 200
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert pauses == pytest.approx([7, 7])


async def test_a_server_that_asks_to_wait_is_asked_again_ten_times() -> None:
    asked = list[float]()

    async with connected(shedding(100, 429, "5", asked)) as transport:
        with pytest.raises(TooManyRequestsError) as caught:
            await transport.request("GET", "/api", timeout=30)

    assert len(asked) == 1 + 10
    assert asked[-1] - asked[0] == pytest.approx(50)
    assert caught.value.retry_after == timedelta(seconds=5)


async def test_of_other_failures_a_read_is_repeated_and_a_write_is_not() -> None:
    reads, writes = list[float](), list[float]()

    async with connected(shedding(1, 500, "1", reads)) as transport:
        await transport.request("GET", "/api")
    async with connected(shedding(1, 500, "1", writes)) as transport:
        with pytest.raises(ServerError) as caught:
            await transport.request("POST", "/api")

    assert (len(reads), len(writes)) == (2, 1)
    assert caught.value.retry_after == timedelta(seconds=1)


@pytest.mark.parametrize("seconds", ["", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_without_a_number_of_seconds_a_refusal_is_an_error_at_once(
    seconds: str,
) -> None:
    asked = list[float]()

    async with connected(shedding(1, 429, seconds, asked)) as transport:
        with pytest.raises(TooManyRequestsError) as caught:
            await transport.request("GET", "/api")

    assert caught.value.retry_after is None


async def test_a_watch_that_is_refused_leaves_the_pause_to_its_caller() -> None:
    async with connected(always(429, b"", {"Retry-After": "3"})) as transport:
        with pytest.raises(TooManyRequestsError) as caught:
            async with transport.stream("/watch", params={}, idle_timeout=60):
                pass

    assert caught.value.retry_after == timedelta(seconds=3)


async def test_a_request_that_takes_too_long_times_out_and_says_which(
    looptime: float,
) -> None:
    async with connected(stream_of(b"{", then=3600)) as transport:
        with pytest.raises(TimeoutError, match="GET /api: not in time"):
            await transport.request("GET", "/api", timeout=7.5)

        assert looptime == 7.5


async def test_without_a_timeout_a_silent_server_still_ends_a_request(
    looptime: float,
) -> None:
    async with connected(stream_of(b"{", then=3600)) as transport:
        with pytest.raises(TimeoutError):
            await transport.request("GET", "/api", timeout=None)

        assert looptime == 90


async def test_a_server_that_is_not_there_is_an_error_of_the_system() -> None:
    async with connected(always(200)) as transport:
        gone = transport.config

    async with HttpTransport(gone) as transport:
        with pytest.raises(OSError, match="Cannot connect"):
            await transport.request("GET", "/api")


@pytest.mark.behaviour("R11")
async def test_a_watch_without_a_byte_for_too_long_has_stalled(
    looptime: float,
) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await asyncio.sleep(60)
            await response.write(b"{}\n")
        await asyncio.sleep(3600)
        return response

    async with (
        connected(answer) as transport,
        transport.stream("/watch", params={}, idle_timeout=70) as chunks,
    ):
        received = [(await anext(chunks), float(looptime)) for _ in range(3)]
        with pytest.raises(StalledError, match="GET /watch: nothing came for 70 s"):
            await anext(chunks)

        assert received == [(b"{}\n", 60), (b"{}\n", 120), (b"{}\n", 180)]
        assert looptime == 180 + 70


@pytest.mark.behaviour("R11")
async def test_a_watch_that_never_begins_has_stalled(looptime: float) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    async with connected(answer) as transport:
        with pytest.raises(StalledError):
            async with transport.stream("/watch", params={}, idle_timeout=70):
                pass

        assert looptime == 70


@pytest.mark.behaviour("R15")
async def test_a_line_longer_than_four_megabytes_passes_through_a_watch() -> None:
    line = b'{"data":"' + b"x" * (6 << 20) + b'"}\n'

    async with (
        connected(stream_of(line)) as transport,
        transport.stream("/watch", params={}, idle_timeout=60) as chunks,
    ):
        received = b"".join([chunk async for chunk in chunks])

    assert received == line


async def test_chunks_come_as_they_are_sent_and_end_with_the_watch() -> None:
    answer = stream_of(b"{}\n", b"{}\n", then=60)

    async with (
        connected(answer) as transport,
        transport.stream("/watch", params={"watch": "1"}, idle_timeout=90) as chunks,
    ):
        assert b"".join([chunk async for chunk in chunks]) == b"{}\n{}\n"


async def test_a_watch_that_breaks_off_is_an_error_of_the_network() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        await asyncio.sleep(1)
        assert request.transport is not None
        request.transport.abort()
        return response

    async with (
        connected(answer) as transport,
        transport.stream("/watch", params={}, idle_timeout=90) as chunks,
    ):
        assert await anext(chunks) == b"{}\n"
        with pytest.raises(TRANSPORT_ERRORS):
            await anext(chunks)


@pytest.mark.parametrize("how", ["leaving", "cancelling"])
async def test_a_watch_that_is_left_is_closed_at_once(
    how: str, looptime: float
) -> None:
    opened, closed = asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        opened.set()
        try:
            await asyncio.sleep(3600)
        finally:
            closed.set()
        return response

    async def watch(transport: HttpTransport) -> None:
        async with transport.stream("/watch", params={}, idle_timeout=7200) as chunks:
            async for _ in chunks:
                if how == "leaving":
                    return

    async with connected(answer) as transport, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(transport))
        await opened.wait()
        if how == "cancelling":
            watching.cancel()
        await closed.wait()

        assert looptime == 0, "the server learns of it at its next write only"


async def test_watches_do_not_take_connections_from_requests() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/api":
            return web.Response(body=b"{}")
        return await stream_of(b"{}\n", then=3600)(request)

    async with connected(answer) as transport, asyncio.TaskGroup() as tasks:

        async def watch() -> None:
            async with transport.stream("/w", params={}, idle_timeout=7200) as chunks:
                async for _ in chunks:
                    opened.release()

        opened = asyncio.Semaphore(0)
        watches = [tasks.create_task(watch()) for _ in range(110)]
        for _ in watches:
            await opened.acquire()
        await transport.request("GET", "/api", timeout=1)
        for task in watches:
            task.cancel()


async def test_requests_are_counted_by_code_and_timed() -> None:
    metrics = Metrics()
    codes = iter([200, 404])

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=next(codes), body=b"{}")

    async with connected(answer, metrics=metrics) as transport:
        host = transport.config.server.removeprefix("http://")
        await transport.request("GET", "/api")
        with pytest.raises(NotFoundError):
            await transport.request("GET", "/api")
    async with HttpTransport(transport.config, metrics=metrics) as nowhere:
        with pytest.raises(OSError, match="Cannot connect"):
            await nowhere.request("GET", "/api")

    def count(code: str) -> float | None:
        labels = {"code": code, "method": "GET", "host": host}
        return metrics.registry.get_sample_value("rest_client_requests_total", labels)

    assert (count("200"), count("404"), count("<error>")) == (1, 1, 1)
    timed = metrics.registry.get_sample_value(
        "rest_client_request_duration_seconds_count", {"verb": "GET", "host": host}
    )
    assert timed == 2


async def test_each_warning_of_the_server_is_logged_once() -> None:
    headers = {"Warning": r'299 - "v1beta1 is \"old\"", 299 - "unknown field" "date"'}

    async with connected(always(200, b"{}", headers)) as transport:
        with structlog.testing.capture_logs() as logs:
            await transport.request("GET", "/api")
            await transport.request("GET", "/api")

    assert [entry["text"] for entry in logs] == ['v1beta1 is "old"', "unknown field"]


async def test_a_malformed_answer_does_not_carry_the_token_into_the_error() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"NOT HTTP AT ALL\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = RestConfig(server=url, credentials=StaticCredentials.bearer("s3cret"))

    async with server, HttpTransport(config) as transport:
        with pytest.raises(aiohttp.ClientError) as caught:
            await transport.request("GET", "/api")

    assert "s3cret" not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("server", ["http://a.example", "https://a.example"])
async def test_a_proxy_that_refuses_does_not_carry_its_password_into_the_error(
    server: str,
) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=407)

    async with connected(answer) as proxy:
        url = proxy.config.server.replace("//", "//user:s3cret@")
        config = RestConfig(server=server, proxy_url=url, insecure_skip_tls_verify=True)
        async with HttpTransport(config) as transport:
            with pytest.raises((ApiError, aiohttp.ClientError), match="407") as caught:
                await transport.request("GET", "/api")

    assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.args}"


async def test_a_transport_that_is_not_entered_says_how_to_use_it() -> None:
    transport = HttpTransport(RestConfig(server="http://127.0.0.1:1"))

    with pytest.raises(RuntimeError, match="async with"):
        await transport.request("GET", "/api")
