"""HTTP to one API server: with `connections`, all that knows the HTTP library.

Two pools of connections, so that they cannot starve each other:

    request ─▶ short calls: 100 connections, kept alive; the bound is the throttle
    stream  ─▶ watches: one connection each, without bound, closed when it is left

What an answer leads to, as in client-go's `rest/request.go` and `rest/with_retry.go`:

    < 300                       the answer
    401                         credentials are refreshed, and asked once more
    429, 503 with Retry-After   that pause, and once more, up to ten times; the server
                                did nothing, so any method may be repeated
    other 5xx with Retry-After  the same, for reads
    everything else             an `ApiError`, at once

Failures of the network pass as they are (`TRANSPORT_ERRORS`). Nothing else of the
library gets out. A write that met with one was sent once: it may have been done, and it
is the caller's to find out.
"""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from http.client import responses
from typing import NamedTuple, NotRequired, Protocol, Self, TypedDict, Unpack
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
import structlog

from controller_runtime.connections import BrokenError, Sessions, hang_up
from controller_runtime.credentials import CertificateIssuer, ClientCertificate
from controller_runtime.errors import ApiError, StalledError, error_for
from controller_runtime.metrics import Metrics
from controller_runtime.nesting import UNREADABLE
from controller_runtime.restconfig import RestConfig

log = structlog.get_logger(__name__)

JSON = "application/json"

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError)
"""What a request raises when no answer came; `TimeoutError` is an `OSError`."""

NOT_SENT_ERRORS: tuple[type[Exception], ...] = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
)
"""Those among them after which the server cannot have done anything."""

_CONNECT_TIMEOUT = 10.0
"""Seconds to reach the server."""

_RETRIES = 10
"""Times that a request is repeated because the server asked for it (client-go)."""

_WARNINGS_KEPT = 1000
"""Distinct warnings remembered as logged."""

_SILENCE_TIMEOUT = 90.0
"""Seconds without a byte after which a call has failed, whatever its own timeout. The
API server itself gives up after 60 (`--request-timeout`)."""

_CALL = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT, sock_read=_SILENCE_TIMEOUT)

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""A warning of the API server (RFC 7234, 5.5); group 1 is its text."""

_NO_PARAMS: Mapping[str, str] = {}


class Response(NamedTuple):
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    """Case of the names does not matter."""
    body: bytes


class RequestOptions(TypedDict, total=False):
    """What a request may say besides what it is about."""

    params: Mapping[str, str]
    """The query; empty by default."""

    body: bytes | None
    """Sent as it is."""

    content_type: str
    """Of the body; JSON by default."""

    accept: str
    """Media types that the answer may have; JSON by default."""

    timeout: float | None
    """Seconds for each attempt, 30 by default, `None` as long as bytes come. Pauses
    that the server asks for do not count: a deadline for all is the caller's to set."""


class ListenOptions(TypedDict):
    """What a watch says besides what it is about."""

    params: Mapping[str, str]
    """The query."""

    idle_timeout: float
    """Seconds without a byte after which it has stalled."""

    accept: NotRequired[str]
    """Media types that the answer may have; JSON by default."""


class Transport(Protocol):
    """Carries requests to an API server. The seam for fakes and simulations.

    What stands around another transport passes the options on as they are.
    """

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        """Make one request and read the whole answer.

        Args:
            method: Such as `GET`.
            path: Absolute, below the server's URL, not percent-encoded.
            options: See `RequestOptions`.

        Raises:
            ApiError: The server refused; the class says why.
            TimeoutError: No whole answer in time. A write may have been done.
            OSError: The server cannot be reached, or the connection broke.
        """
        ...

    def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a watch and yield its bytes as they come, in chunks of any size.

        Leaving the context closes the connection. A pause that the server asks for is
        left to the caller, who has a backoff of its own: see `ApiError.retry_after`.

        Raises:
            ApiError: The server refused; on entering.
            StalledError: Not a byte for `idle_timeout` seconds; on entering or reading.
        """
        ...


class HttpTransport:
    """A `Transport` over HTTP/1.1. Enter it to open its connections."""

    def __init__(self, config: RestConfig, *, metrics: Metrics | None = None) -> None:
        self.config = config
        self._metrics = metrics
        self._host = urlsplit(config.server).netloc
        self._credentials = config.credentials
        issuer: object = config.credentials
        self._issuer = issuer if isinstance(issuer, CertificateIssuer) else None
        self._issued: ClientCertificate | None = None
        self._sessions: Sessions | None = None
        self._renewing = asyncio.Lock()
        self._warned: set[str] = set()

    async def __aenter__(self) -> Self:
        self._sessions = await self._connect(None)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sessions is not None:
            sessions, self._sessions = self._sessions, None
            await sessions.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] = _NO_PARAMS,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = 30.0,
    ) -> Response:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        call = _Call(method, path, params, headers, body)
        retries, renewed = 0, self._credentials is None
        while True:
            login = await self._login()
            answer = await self._attempt(call, login, timeout)
            if answer.status < 300:
                return answer
            if answer.status == 401 and not renewed:
                renewed = True
                await self._renew(login)
                continue
            pause = _pause(method, answer)
            if pause is None or retries == _RETRIES:
                raise _error(method, path, answer)
            retries += 1
            log.debug("server asks to wait", path=path, seconds=pause, retry=retries)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = JSON,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        call = _Call("GET", path, params, {"Accept": accept}, None)
        stalled = f"GET {path}: nothing came for {idle_timeout:g} s"
        try:
            with self._failures(call):
                response = await self._open_stream(call, idle_timeout)
        except aiohttp.SocketTimeoutError as error:
            raise StalledError(stalled) from error
        try:
            yield _Chunks(response.content, stalled)
        finally:
            hang_up(response)

    async def _open_stream(
        self, call: _Call, idle_timeout: float
    ) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(
            sock_connect=_CONNECT_TIMEOUT, sock_read=idle_timeout
        )
        login = await self._login()
        response = await self._send(self._entered().watches, call, login, timeout)
        if response.status == 401 and self._credentials is not None:
            response.close()
            await self._renew(login)
            login = await self._login()
            response = await self._send(self._entered().watches, call, login, timeout)
        if response.status >= 300:
            async with response:
                raise _error(call.method, call.path, await _read(response))
        return response

    async def _attempt(
        self, call: _Call, login: _Login, timeout: float | None
    ) -> Response:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with self._failures(call):
            async with (
                asyncio.timeout(timeout),
                await self._send(self._entered().calls, call, login, _CALL) as response,
            ):
                answer = await _read(response)
        if self._metrics is not None:
            self._metrics.request_duration(call.method, self._host, loop.time() - began)
        return answer

    async def _send(
        self,
        session: aiohttp.ClientSession,
        call: _Call,
        login: _Login,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = call.headers
        if login.authorization is not None:
            headers = {**headers, "Authorization": login.authorization}
        try:
            response = await session.request(
                call.method,
                self.config.server + quote(call.path, safe="/:@!$&'()*+,;=~"),
                params=call.params,
                data=_payload(call.body),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                proxy=self.config.proxy_url,
                server_hostname=self.config.server_name,
            )
        except aiohttp.ClientResponseError as error:
            # Its text and repr have the URL of a proxy and the headers of the request.
            text = f"{call.method} {call.path}: {error.status} {error.message}"
            raise aiohttp.ClientError(text) from None
        except BrokenError as broken:
            raise broken.error from None
        self._count(call, response.status)
        if "Warning" in response.headers:
            self._warn(response.headers.getall("Warning"))
        return response

    def _entered(self) -> Sessions:
        if self._sessions is None:
            raise RuntimeError("use the transport inside `async with`")
        return self._sessions

    async def _connect(self, issued: ClientCertificate | None) -> Sessions:
        context: ssl.SSLContext | bool = True
        hops = (self.config.server, self.config.proxy_url or "")
        if any(hop.lower().startswith("https:") for hop in hops):
            context = await asyncio.to_thread(self.config.tls, issued)
        return Sessions.to(self.config, context)

    async def _login(self) -> _Login:
        """Ask who we are; a new certificate means new connections."""
        if self._credentials is None:
            return _Login(None, None)
        if self._issuer is not None:
            issued = await self._issuer.client_certificate()
            if issued != self._issued:
                await self._reconnect(issued)
        return _Login(await self._credentials.authorization(), self._issued)

    async def _reconnect(self, issued: ClientCertificate | None) -> None:
        stale = sessions = await self._connect(issued)
        if issued != self._issued:  # nobody was faster
            stale, self._sessions, self._issued = self._entered(), sessions, issued
        # As client-go does, this breaks what is under way on the old connections.
        await stale.close()

    async def _renew(self, refused: _Login) -> None:
        """Refresh the credentials once, however many requests were refused."""
        if self._credentials is None:
            return
        async with self._renewing:
            if await self._login() == refused:
                await self._credentials.refresh()

    def _count(self, call: _Call, code: int | str) -> None:
        if self._metrics is not None:
            self._metrics.requests(code, call.method, self._host)

    @contextmanager
    def _failures(self, call: _Call) -> Iterator[None]:
        try:
            yield
        except TRANSPORT_ERRORS as error:
            self._count(call, "<error>")
            # Timeouts say nothing by themselves, and the arguments of others may have
            # the password of the proxy.
            error.args = (str(error) or f"{call.method} {call.path}: not in time",)
            raise

    def _warn(self, headers: Sequence[str]) -> None:
        for header in headers:
            for text in _WARNING.findall(header):
                if text not in self._warned and len(self._warned) < _WARNINGS_KEPT:
                    self._warned.add(text)
                    log.warning("server warns", text=re.sub(r"\\(.)", r"\1", text))


class _Call(NamedTuple):
    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | None


class _Login(NamedTuple):
    """As whom a request was made."""

    authorization: str | None
    certificate: ClientCertificate | None


class _Chunks:
    """The body of a watch: whatever has come, never a line, which has no bound."""

    def __init__(self, content: aiohttp.StreamReader, stalled: str) -> None:
        self._content = content
        self._stalled = stalled

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except aiohttp.SocketTimeoutError as error:
            raise StalledError(self._stalled) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


async def _read(response: aiohttp.ClientResponse) -> Response:
    # However large: aiohttp collects chunks as they come and joins them once.
    return Response(response.status, response.headers, await response.read())


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # From 1 MiB, aiohttp wants what it can send in pieces.
    return body if body is None or len(body) < 1 << 20 else io.BytesIO(body)


def _pause(method: str, answer: Response) -> float | None:
    """Return how long to wait before the same request may be made again."""
    untouched = answer.status in {429, 503}
    harmless = answer.status >= 500 and method == "GET"
    return _retry_after(answer) if untouched or harmless else None


def _retry_after(answer: Response) -> float | None:
    # Whole seconds, never a date: so the API server writes it.
    text = answer.headers.get("Retry-After", "")
    return float(text) if re.fullmatch("[0-9]{1,6}", text) else None


class _Status(msgspec.Struct):
    """`metav1.Status`, as far as an error needs it."""

    message: str | None = None
    reason: str | None = None
    details: dict[str, object] | None = None


_status_decoder = msgspec.json.Decoder(_Status)


def _error(method: str, path: str, answer: Response) -> ApiError:
    try:
        status = _status_decoder.decode(answer.body)
    except UNREADABLE:
        status = _Status()
    reason = status.reason or ""
    pause = _retry_after(answer)
    return error_for(answer.status, reason)(
        f"{method} {path}: {status.message or _summary(answer)}",
        status=answer.status,
        reason=reason,
        details=status.details,
        retry_after=None if pause is None else timedelta(seconds=pause),
    )


def _summary(answer: Response) -> str:
    """Say what an answer without a Status amounts to: proxies send such."""
    text = " ".join(answer.body.decode(errors="replace").split())
    if text and not text.startswith("<"):
        return text[:200]  # enough of a message, too little of a dump
    return f"{answer.status} {responses.get(answer.status, '')}".strip()
