"""A proxy in front of a real API server that makes the way there fail on purpose.

    client ─HTTP─▶ TestingProxy ─HTTPS, as config says─▶ API server

    async with TestingProxy(config) as proxy:
        client = HttpTransport(proxy.config())
        proxy.faults.on(verb="watch", resource="configmaps").cut(after=3)
        proxy.faults.on(verb="list").answer(429, retry_after=2)
        …
        assert not proxy.requests.of("list")

Faults and the log of requests are those of `testing.apiserver`: one vocabulary,
whichever server is behind. Besides, the whole way can be taken away (`stop`, `start`),
broken (`disconnect`) or held up (`pause`, `resume`).

It ends the client's connection and makes requests of its own with the credentials of
its config: whoever reaches its port on the loopback acts as that account.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp import web

from controller_runtime.connections import BrokenError, Connector, send_once
from controller_runtime.requestinfo import request_info
from controller_runtime.restconfig import RestConfig
from controller_runtime.testing.apiserver import answers, status
from controller_runtime.testing.apiserver.faults import (
    Effect,
    Fault,
    Faults,
    Recorded,
    Requests,
)
from controller_runtime.testing.apiserver.status import StatusError
from controller_runtime.wire import Lines

_CLOSING_SECONDS = 0.1
"""What `stop` leaves handlers whose connection it has just broken."""

_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
"""Headers that end with the connection (RFC 9110, section 7.6.1)."""

_GARBAGE = b'{"type":"MODIFIED","object":{"kind":\x00}}\n'
_HALF_A_LINE = b'{"type":"MODIFIED","object":{"kind":"Conf'


class TestingProxy:
    """The way to the API server of `config`, at the mercy of a test."""

    __test__ = False  # pytest collects classes that begin with Test

    def __init__(self, config: RestConfig) -> None:
        self.faults = Faults()
        self.requests = Requests()
        self.port = 0
        """Where it listens; the same from the first start on."""
        self._upstream = config
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None
        self._flows = asyncio.Event()
        self._flows.set()

    async def __aenter__(self) -> Self:
        context = await asyncio.to_thread(self._upstream.tls)
        self._session = aiohttp.ClientSession(
            connector=Connector(limit=0, context=context),
            middlewares=(send_once,),
            timeout=aiohttp.ClientTimeout(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if self._session is not None:
            await self._session.close()

    def config(self) -> RestConfig:
        """Return how a client reaches the API server through it."""
        return replace(
            self._upstream,
            server=f"http://127.0.0.1:{self.port}",
            credentials=None,
            client_certificate=None,
            source="a testing proxy",
        )

    async def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_SECONDS)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Go away: connections break, new ones are refused."""
        self.disconnect()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def disconnect(self) -> None:
        """Break every connection of a client, without a goodbye."""
        if self._runner is None or self._runner.server is None:
            return
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def pause(self) -> None:
        """Let nothing through, in either direction, until `resume`; cut nothing."""
        self._flows.clear()

    def resume(self) -> None:
        """Let everything through again, what was held up included."""
        self._flows.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        record = _record(request)
        self.requests.append(record)
        try:
            return await self._serve(request, record)
        except StatusError as error:
            return answers.refusal(error)
        except (aiohttp.ClientError, BrokenError):
            answers.cut(request)  # the server's failure is the client's
            raise asyncio.CancelledError from None

    async def _serve(
        self, request: web.BaseRequest, record: Recorded
    ) -> web.StreamResponse:
        await self._flows.wait()
        if seconds := self.faults.seconds(Effect.DELAY, record):
            await asyncio.sleep(seconds)
        fault = self.faults.strike(record)
        if fault is not None:
            await _refuse(request, record, fault)
        lag = self.faults.seconds(Effect.LAG, record)
        warnings = self.faults.warnings(record)
        async with await self._forward(request) as answer:
            response = web.StreamResponse(
                status=answer.status, headers=_passed_on(answer.headers)
            )
            for text in warnings:
                response.headers.add("Warning", f'299 - "{text}"')
            way = _Way(request, response, fault, lag)
            if record.verb == "watch" and answer.status == 200:
                return await self._tell(way, answer)
            return await self._hand_over(way, answer)

    async def _forward(self, request: web.BaseRequest) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("use the proxy inside `async with`")
        headers = [it for it in _passed_on(request.headers) if it[0].lower() != "host"]
        credentials = self._upstream.credentials
        login = None if credentials is None else await credentials.authorization()
        if login is not None:
            headers.append(("Authorization", login))
        return await self._session.request(
            request.method,
            self._upstream.server + request.raw_path,
            headers=headers,
            data=await answers.read_body(request) or None,
            allow_redirects=False,
            server_hostname=self._upstream.server_name,
        )

    async def _hand_over(
        self, way: _Way, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        body = await answer.read()
        if way.fault is not None:
            way.fault.served += 1
        await self._flows.wait()
        if way.fault is not None and way.fault.effect is Effect.CUT:
            answers.cut(way.request)
        if way.fault is not None and way.fault.effect is Effect.CORRUPT:
            body = _GARBAGE
        way.response.content_length = len(body)
        with contextlib.suppress(ConnectionError):
            await way.response.prepare(way.request)
            await way.response.write(body)
            await way.response.write_eof()
        return way.response

    async def _tell(
        self, way: _Way, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        way.response.enable_chunked_encoding()
        with contextlib.suppress(ConnectionError):
            await way.response.prepare(way.request)
            async for line in _events(answer, way.fault):
                await self._flows.wait()
                if way.lag:
                    await asyncio.sleep(way.lag)
                if line:
                    await way.response.write(line)
                elif not await _strikes_on(way):
                    return way.response
            await way.response.write_eof()
        return way.response


class _Way(NamedTuple):
    """Where an answer goes, and what happens to it on the way."""

    request: web.BaseRequest
    response: web.StreamResponse
    fault: Fault | None
    lag: float


async def _refuse(request: web.BaseRequest, record: Recorded, fault: Fault) -> None:
    """Let a fault have the request, unless it is about the answer."""
    is_watch = record.verb == "watch"
    if fault.effect is Effect.ANSWER:
        raise status.generic(
            fault.status,
            fault.message,
            reason=fault.reason,
            retry_after=fault.retry_after,
        )
    stalls = fault.effect is Effect.STALL and not is_watch
    if fault.effect is Effect.HANG or stalls:
        await asyncio.Event().wait()
    if fault.effect is Effect.CUT and not fault.handled and not is_watch:
        answers.cut(request)
        raise asyncio.CancelledError


async def _events(
    answer: aiohttp.ClientResponse, fault: Fault | None
) -> AsyncIterator[bytes]:
    """Yield the lines of a watch, and an empty one where the fault is to strike."""
    lines, told = Lines(), 0
    if fault is not None and fault.after == 0:
        yield b""
    async for chunk in answer.content.iter_any():
        for line in lines.feed(chunk):
            yield line + b"\n"
            told += 1
            if fault is not None and told == fault.after:
                yield b""


async def _strikes_on(way: _Way) -> bool:
    """Let the fault strike a watch; return whether the watch goes on."""
    assert way.fault is not None  # noqa: S101 - for the type checker
    if way.fault.effect is Effect.STALL:
        await asyncio.Event().wait()
    if way.fault.effect is Effect.CORRUPT:
        await way.response.write(_GARBAGE)
        return True
    await way.response.write(_HALF_A_LINE)
    if way.request.transport is not None:
        way.request.transport.close()
    return False


def _passed_on(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [it for it in headers.items() if it[0].lower() not in _BY_HOP]


def _record(request: web.BaseRequest) -> Recorded:
    """Note a request; what it is about is read from its path alone."""
    watch = {name: request.query[name] for name in ("watch",) if name in request.query}
    info = request_info(request.method, request.path, watch)
    return Recorded(
        method=request.method,
        path=request.path,
        params=dict(request.query),
        verb=info.verb if info.resource else "",
        resource=info.resource,
        namespace="" if info.resource == "namespaces" else info.namespace,
        name=info.name,
        subresource=info.subresource,
        content_type=request.headers.get("Content-Type", ""),
        user_agent=request.headers.get("User-Agent", ""),
        time=asyncio.get_running_loop().time(),
    )
