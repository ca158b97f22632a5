"""Connections of an HTTP server: how long each may take, and how all of them end.

    accepted ─▶ idle ──first byte──▶ headers ──complete──▶ request ──answered──▶ idle
                 │ 90 s                │ 32 s                 │ (its handler's business)
                 └──────────┬──────────┘                      │ stop: some seconds
                            ▼                                 ▼
                          closed ◀────────────────────────────┘

The limits are those of controller-runtime's servers (`internal/httpserver`). Headers
have at most 128 fields of 8 KiB, which together are the 1 MiB of Go's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from aiohttp import web

from controller_runtime.httpmessage import Answer, Query, Reply

_IDLE = 90.0
"""Seconds that a connection is kept without a request."""

_HEADERS = 32.0
"""Seconds from a request's first byte to the end of its headers; also a handshake's."""

_GOODBYE = 2.0
"""Seconds that a client may take to confirm the end of a connection."""


async def listen(
    answer: Answer,
    listener: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
    shutdown_seconds: float,
) -> None:
    """Serve until cancelled, and then until what is in flight has ended.

    Args:
        answer: Answers requests.
        listener: Is listened on already; it is closed at the end.
        tls: Serve HTTPS with this.
        shutdown_seconds: How long requests in flight may take to end; they are
            cancelled after that.
    """
    loop = asyncio.get_running_loop()
    connections = _Connections(answer)
    server = await loop.create_server(
        connections,
        sock=listener,
        ssl=tls,
        ssl_handshake_timeout=_HEADERS if tls else None,
        ssl_shutdown_timeout=_GOODBYE if tls else None,
    )
    try:
        await loop.create_future()  # until cancelled
    finally:
        server.close()
        await connections.end(shutdown_seconds)


class _Connections(web.Server):
    """Makes the protocol of each connection, and knows which are open."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(self._timed)
        self._answer = answer
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._none_is_open = asyncio.Event()
        self._none_is_open.set()
        self._has_ended = False

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        return _Connection(self, loop=loop, keepalive_timeout=_IDLE, access_log=None)

    def connection_made(
        self, handler: web.RequestHandler, transport: asyncio.Transport
    ) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport
        self._none_is_open.clear()
        if self._has_ended:
            transport.abort()  # its handshake was longer than everything else

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)
        if not self._open:
            self._none_is_open.set()

    async def end(self, seconds: float) -> None:
        """Let requests end, and leave no connection open."""
        await asyncio.sleep(0)  # what was accepted already is a request in flight
        self._has_ended = True
        self.pre_shutdown()
        await self.shutdown(seconds)
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._none_is_open.wait()
        except TimeoutError:
            for transport in tuple(self._open.values()):
                transport.abort()

    async def _timed(self, request: web.BaseRequest) -> web.Response:
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101 - made by __call__
        connection.begin()
        try:
            return _response(await self._answer(_Request(request)))
        finally:
            connection.finish()


class _Request:
    """A request of the library, as what is asked."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    @property
    def method(self) -> str:
        return self._request.method

    @property
    def path(self) -> str:
        return self._request.path

    @property
    def query(self) -> Query:
        query = self._request.query
        return {name: query.getall(name) for name in query}

    def header(self, name: str) -> str:
        return self._request.headers.get(name, "")

    async def body(self, limit: int) -> bytes | None:
        body = bytearray()
        async for part in self._request.content.iter_any():
            body += part
            if len(body) > limit:
                return None
        return bytes(body)


def _response(reply: Reply) -> web.Response:
    headers = {
        "Content-Type": reply.content_type,
        "X-Content-Type-Options": "nosniff",
    }
    if reply.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=reply.body, status=reply.status, headers=headers)


class _Connection(web.RequestHandler):
    """Closes itself when the headers of a request take too long."""

    __slots__ = ("_is_answering", "_until")

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        keepalive_timeout: float,
        access_log: None,
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=keepalive_timeout,
            access_log=access_log,  # type: ignore[arg-type] # None means none
        )
        self._is_answering = False
        self._until: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if not self._is_answering and self._until is None:
            loop = asyncio.get_running_loop()
            self._until = loop.call_later(_HEADERS, self.force_close)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def begin(self) -> None:
        """Note that the headers are complete."""
        self._is_answering = True
        self._disarm()

    def finish(self) -> None:
        """Note that the next bytes are those of another request."""
        self._is_answering = False

    def _disarm(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None
