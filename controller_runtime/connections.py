"""The connections to one API server: which may carry a request, and how often.

    request ─▶ kept connection ─▶ has the server hung up meanwhile? ─no─▶ sent
                      ▲                     │ yes
                      └──── the next one ◀──┘      … or a new one, at the end

A server ends connections that lie idle, and when it is about to stop. What comes from
it while nothing is asked is such an end, although the event loop may not have come to
it yet. So each kept connection is looked at right before it is used, and nothing is
lost with it: whatever the method, the request goes out on another one.

A connection that breaks after that takes a request along. A read is made once more, by
the HTTP library. A write is not: the server may have done it, and a second one would be
told of a conflict, or of an object that is not there. Go's `net/http` draws the same
line (`shouldRetryRequest`); RFC 9110, section 9.2.2, would let PUT and DELETE be
repeated, but what Kubernetes answers to them depends on what was there before.
"""

from __future__ import annotations

import select
import ssl
import weakref
from typing import NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from controller_runtime.restconfig import RestConfig

_CALLS = 100
"""Short calls at a time; the rest wait. An API server serves 400 reads and 200 writes
at a time to everybody (`--max-requests-inflight`)."""

_KEEP_ALIVE = 60.0
"""Seconds that an idle connection is kept; the API server keeps its end for 90."""

_READS = frozenset({"GET", "HEAD"})


class Sessions(NamedTuple):
    """Two pools of connections, so that they cannot starve each other."""

    calls: aiohttp.ClientSession
    watches: aiohttp.ClientSession

    @classmethod
    def to(cls, config: RestConfig, context: ssl.SSLContext | bool) -> Sessions:
        """Make them; nothing is connected yet."""
        return cls(_session(config, context, _CALLS), _session(config, context, 0))

    async def close(self) -> None:
        """Break all connections."""
        try:
            await self.calls.close()
        finally:  # a cancellation must not leave the other one open
            await self.watches.close()


class BrokenError(Exception):
    """A write was under way when its connection broke; `error` is how.

    It is none of the HTTP library's errors, which the library answers to by itself.
    """

    def __init__(self, error: aiohttp.ClientConnectionError) -> None:
        super().__init__(str(error))
        self.error = error


class Connector(aiohttp.TCPConnector):
    """A pool that gives no connection away which the server has ended."""

    def __init__(self, *, limit: int, context: ssl.SSLContext | bool) -> None:
        super().__init__(limit=limit, ssl=context, keepalive_timeout=_KEEP_ALIVE)
        self._used = weakref.WeakSet[ResponseHandler]()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                return connection
            if protocol not in self._used:
                # Before its first request, TLS may still have something to say.
                self._used.add(protocol)
                return connection
            if not _has_word(connection):
                return connection
            connection.close()


async def send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Be a middleware that leaves the library no write to repeat.

    Raises:
        BrokenError: Instead of an error that the library would answer to by repeating.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method in _READS:
            raise
        raise BrokenError(error) from error


def hang_up(response: aiohttp.ClientResponse) -> None:
    """End a connection that may still receive, at once.

    Closing would wait for TLS to say goodbye, which outlives whoever leaves a watch.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _has_word(connection: Connection) -> bool:
    """Tell whether the server has said something that nobody has read: its end."""
    transport = connection.transport
    if transport is None:
        return True
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False  # nobody can tell
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _session(
    config: RestConfig, context: ssl.SSLContext | bool, limit: int
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=Connector(limit=limit, context=context),
        # Compression costs both sides more time than a cluster network saves.
        headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(send_once,),
    )
