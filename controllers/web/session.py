"""Connections to other people's servers: the only module that knows aiohttp.

    Request ──▶ look names up, drop what is out of reach ──▶ connect, ask
       ▲                                                          │
       └── next_hop ◀── 3xx ◀─────────────────────────────────────┤
                                 Answer: bytes up to a limit ◀────┘

One pool serves everyone in the process. Connections are shared by those who ask the
same host with the same `Tls` and `Proxy`, and by no one else. Nothing is retried here:
whoever asks knows when asking again makes sense.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from controllers.web.addresses import (
    Reach,
    Resolver,
    host_reach,
    literal_reach,
    reach_of,
    system_resolver,
)
from controllers.web.errors import (
    BrokenAnswerError,
    NetworkError,
    TlsError,
    TooLargeError,
    TooSlowError,
    UrlError,
    WebError,
)
from controllers.web.requests import Origin, Request, next_hop, origin_of
from controllers.web.tls import Tls, tls_context

_CONTEXTS = 256
"""TLS settings remembered; a context with the system's authorities takes 0.5 MB."""

_LINE = 32 << 10
"""Longest header; tokens of registries are a few thousand bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How servers are asked."""

    user_agent: str = "pilothouse"
    """Who we say we are."""

    connect_timeout: float = 5.0
    """Seconds to reach a server, TLS included."""

    silence_timeout: float = 15.0
    """Seconds without a byte after which an answer has failed. How long all of it may
    take is for the caller to say, with `asyncio.timeout`."""

    connections: int = 100
    """Most connections at a time; the rest wait."""

    keep_alive: float = 30.0
    """Seconds that an idle connection is kept."""


class Answer:
    """What a server answers; its bytes come while the request is open."""

    def __init__(self, request: Request, response: aiohttp.ClientResponse) -> None:
        self.request = request
        """The one that was answered, after redirects."""
        self._response = response

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The first of each name; case does not matter."""
        return self._response.headers

    def all(self, name: str) -> Sequence[str]:
        """Return every header of a name."""
        return self._response.headers.getall(name, [])

    def chunks(self, limit: int) -> Chunks:
        """Yield the body as it comes.

        Args:
            limit: Most bytes altogether.

        Raises:
            TooLargeError: There are more; while reading.
            WebError: The rest did not come; while reading.
        """
        return Chunks(self.request, self._response.content, limit)

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raises as `chunks` does."""
        return b"".join([chunk async for chunk in self.chunks(limit)])


class Chunks:
    """The body of an answer, up to a limit."""

    def __init__(
        self, request: Request, content: aiohttp.StreamReader, limit: int
    ) -> None:
        self._request = request
        self._content = content
        self._limit = limit
        self._size = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with _failures(self._request):
            chunk = await self._content.readany()
        if not chunk:
            raise StopAsyncIteration
        self._size += len(chunk)
        if self._size > self._limit:
            raise TooLargeError(
                f"{self._request}: the answer has more than {self._limit} bytes"
            )
        return chunk


class Http:
    """A pool of connections. Enter it to open it."""

    def __init__(
        self, options: HttpOptions | None = None, *, resolver: Resolver | None = None
    ) -> None:
        self._options = options or HttpOptions()
        self._resolver = resolver or system_resolver
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._sessions: Mapping[Reach, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        self._sessions = {
            reach: self._session(reach)
            for reach in Reach
            if reach is not Reach.FORBIDDEN
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        sessions, self._sessions = self._sessions, {}
        # Each closes what it has in one go, and one that is cancelled keeps no other
        # from it.
        async with AsyncExitStack() as closing:
            for session in sessions.values():
                closing.push_async_callback(session.close)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[Answer]:
        """Ask, follow redirects, and yield the answer; its status may be any.

        Leaving closes the connection unless the body was read to its end.

        Raises:
            WebError: There is no answer; the class says why.
        """
        while True:
            response = await self._send(request)
            try:
                onward = next_hop(
                    request, response.status, response.headers.get("Location")
                )
                if onward is None:
                    yield Answer(request, response)
                    return
                request = onward
            finally:
                response.release()

    async def reach(self, host: str) -> Reach:
        """Say how far away a host is.

        Raises:
            NetworkError: There is no such name.
        """
        try:
            return await host_reach(host, self._resolver)
        except OSError:
            raise NetworkError(f"no address is known for {host}") from None

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        origin = origin_of(request.url)
        _refuse_literal(request, origin)
        login, proxy = request.login, request.proxy
        hops = (request.url, proxy.url if proxy is not None else "")
        is_secret = any(hop.lower().startswith("https:") for hop in hops)
        context = await self._context(request.tls) if is_secret else True
        headers = {
            **request.headers,
            "Accept-Encoding": "gzip" if request.compressed else "identity",
        }
        if login is not None and login.is_for(request.url):
            headers["Authorization"] = login.header
        tunnel = proxy.headers if proxy is not None else {}
        if origin.scheme == "http":  # there is no tunnel: the proxy reads the request
            headers.update(tunnel)
        # Behind a proxy, the proxy's is the only address that is looked up here.
        reach = Reach.LOCAL if proxy is not None else request.furthest
        with _failures(request):
            return await self._entered(reach).request(
                request.method,
                request.url,
                headers=headers,
                data=request.body,
                ssl=context,
                proxy=proxy.url if proxy is not None else None,
                proxy_headers=tunnel,
                allow_redirects=False,
                auto_decompress=request.compressed,
            )

    async def _context(self, tls: Tls) -> ssl.SSLContext:
        """Return the context of settings; connections are pooled by it."""
        context = self._contexts.pop(tls, None)
        if context is None:
            made = await asyncio.to_thread(tls_context, tls)
            context = self._contexts.pop(tls, made)  # somebody may have been faster
        self._contexts[tls] = context  # now the newest
        if len(self._contexts) > _CONTEXTS:
            del self._contexts[next(iter(self._contexts))]
        return context

    def _entered(self, reach: Reach) -> aiohttp.ClientSession:
        try:
            return self._sessions[reach]
        except KeyError:
            raise RuntimeError("use Http inside `async with`") from None

    def _session(self, furthest: Reach) -> aiohttp.ClientSession:
        options = self._options
        connector = aiohttp.TCPConnector(
            limit=options.connections,
            keepalive_timeout=options.keep_alive,
            resolver=_GuardedResolver(self._resolver, furthest),
        )
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=None,
            sock_connect=options.connect_timeout,
            sock_read=options.silence_timeout,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers={"User-Agent": options.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_LINE,
            max_line_size=_LINE,
        )


class _GuardedResolver(AbstractResolver):
    """Looks names up and leaves out the addresses that are out of reach."""

    def __init__(self, resolver: Resolver, furthest: Reach) -> None:
        self._resolver = resolver
        self._furthest = furthest

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        found = await self._resolver(host, port)
        allowed = [each for each in found if reach_of(each) <= self._furthest]
        if found and not allowed:
            raise _out_of_reach(host, max(map(reach_of, found)))
        return [_resolved(host, port, address) for address in allowed]

    async def close(self) -> None:
        pass


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    ip = ipaddress.ip_address(address.partition("%")[0])
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET if ip.version == 4 else socket.AF_INET6,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


def _refuse_literal(request: Request, origin: Origin) -> None:
    # The library does not ask the resolver about these.
    reach = literal_reach(origin.host)
    if reach is not None and reach > request.furthest:
        raise _out_of_reach(origin.host, reach)


def _out_of_reach(host: str, reach: Reach) -> UrlError:
    kind = {
        Reach.PRIVATE: "a private address",
        Reach.LOCAL: "a loopback address",
        Reach.FORBIDDEN: "a link-local, metadata or otherwise special address",
    }[Reach(reach)]
    return UrlError(f"{host} has {kind}, which may not be asked here")


@contextmanager
def _failures(request: Request) -> Iterator[None]:
    """Turn whatever the library raises into an error of ours."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _translated(request, error) from None


def _translated(request: Request, error: Exception) -> WebError:
    match error:
        case TimeoutError():
            return TooSlowError(f"{request}: no answer in time")
        case aiohttp.ClientHttpProxyError():
            return NetworkError(f"{request}: the proxy answers {error.status}")
        case aiohttp.ClientConnectorDNSError():
            return NetworkError(f"{request}: no address is known for the host")
        case aiohttp.ClientResponseError():
            return BrokenAnswerError(f"{request}: the answer is not HTTP")
        case aiohttp.InvalidURL() | ValueError() if not isinstance(error, OSError):
            return UrlError(f"{request}: no URL that can be asked")
        case _:
            return _broken(request, error)


def _broken(request: Request, error: Exception) -> WebError:
    refusal = _tls_refusal(error)
    if refusal is not None:
        return TlsError(f"{request}: {refusal}")
    match error:
        case aiohttp.ClientConnectorError():
            return NetworkError(f"{request}: cannot connect: {_reason(error.os_error)}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return NetworkError(f"{request}: the connection broke")
        case OSError():
            return NetworkError(f"{request}: the connection broke: {_reason(error)}")
        case _:
            return NetworkError(f"{request}: no answer ({type(error).__name__})")


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _tls_refusal(error: Exception) -> str | None:
    """Say what TLS did not like, if it was TLS."""
    inner = (getattr(error, name, None) for name in ("certificate_error", "os_error"))
    for each in (*inner, error.__cause__, error):
        if isinstance(each, ssl.SSLCertVerificationError | ssl.CertificateError):
            why = getattr(each, "verify_message", "") or type(each).__name__
            return f"the certificate is not believed: {why}"
        if isinstance(each, ssl.SSLError):
            return _alert(each)
    return None


_PLAIN = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
)


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or "no reason given"
    if reason in _PLAIN:
        return "the port does not speak TLS; if it is meant to be plain HTTP, say so"
    return f"the TLS handshake failed: {reason.lower().replace('_', ' ')}"
