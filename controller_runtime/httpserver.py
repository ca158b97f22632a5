"""What a manager answers over HTTP: metrics, probes, webhooks, each on its port.

    construct ─▶ add routes, checks ─▶ bind ─▶ run ─▶ (cancelled) requests end, closed
                                                └─ first connection ─▶ httplistener

`bind` comes first and by itself, so that a port that is taken is an error at the start
and not a line in a log. The probes answer as kube-apiserver's `/healthz` and `/readyz`
do: kubelet and users of `kubectl get --raw` know the format.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import inspect
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeAlias

import structlog

from controller_runtime.accessreview import Refusal
from controller_runtime.errors import AlreadyStartedError, ConfigError
from controller_runtime.httpmessage import HttpRequest, Query, Reply

log = structlog.get_logger(__name__)

Check: TypeAlias = Callable[[], Awaitable[str | None] | str | None]
"""Raises when something is wrong; the reason goes to the log, not to who asks. What it
returns is a remark, which who asks with `?verbose` does see."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SHUTDOWN = timedelta(seconds=5)

_LISTENER = "controller_runtime.httplistener"

_BODY_TIMEOUT = 30.0
"""Seconds that a body may take to arrive."""

_CHECK_TIMEOUT = 10.0
"""Seconds after which a check has failed; kubelet has long given up by then."""


Handler: TypeAlias = Callable[[str, Query], Awaitable[Reply]]
"""(rest of the path below the route, query) → reply."""


class Guard(Protocol):
    """Decides who is served."""

    async def check(self, method: str, path: str, authorization: str) -> Refusal | None:
        """Say why a request is refused, if it is; the last is the header or empty."""
        ...


class Posted(NamedTuple):
    """What a client sent."""

    content_type: str
    """The header as it came; may be empty."""

    body: bytes | None
    """`None` when it is longer than the route takes."""

    query: Query


PostHandler: TypeAlias = Callable[[Posted], Awaitable[Reply]]


class _PostRoute(NamedTuple):
    handler: PostHandler
    body_max: int


class Probes:
    """The health and readiness checks of a process."""

    def __init__(self) -> None:
        self._health: dict[str, Check] = {"ping": _ping}
        self._ready: dict[str, Check] = {}
        self._is_frozen = False

    def add_health_check(self, name: str, check: Check) -> None:
        """Let `check` decide whether the process must be restarted.

        Raises:
            AlreadyStartedError: The probes answer already, or the name is taken.
        """
        self._add(self._health, name, check)

    def add_ready_check(self, name: str, check: Check) -> None:
        """Let `check` decide whether the process does its work.

        Raises:
            AlreadyStartedError: The probes answer already, or the name is taken.
        """
        self._add(self._ready, name, check)

    def freeze(self) -> None:
        """Take no more checks."""
        self._is_frozen = True

    async def healthz(self, path: str, query: Query) -> Reply:
        """Answer `/healthz` and `/healthz/NAME`."""
        return await _answer("healthz", self._health, path, query)

    async def readyz(self, path: str, query: Query) -> Reply:
        """Answer `/readyz` and `/readyz/NAME`."""
        return await _answer("readyz", self._ready or {"ping": _ping}, path, query)

    def _add(self, checks: dict[str, Check], name: str, check: Check) -> None:
        if self._is_frozen:
            raise AlreadyStartedError(f"cannot add the check {name!r}: probes are up")
        if name in checks:
            raise AlreadyStartedError(f"there is a check {name!r} already")
        checks[name] = check


class HttpServer:
    """Serves some routes on one address."""

    def __init__(
        self,
        address: str,
        *,
        name: str,
        flag: str,
        tls: ssl.SSLContext | None = None,
        guard: Guard | None = None,
        shutdown: timedelta = _SHUTDOWN,
    ) -> None:
        """Describe a server.

        Args:
            address: `host:port`, `:port` for all addresses, port 0 for a free one;
                `0` or empty serves nothing.
            name: What it serves, for messages.
            flag: The flag that sets the address, for messages.
            tls: Serve HTTPS with this. A certificate that is loaded into it later is
                that of the connections made from then on.
            guard: Asked before anything is answered; `None` serves everybody.
            shutdown: How long requests in flight may take to end.

        Raises:
            ConfigError: The address cannot be read.
        """
        self.name = f"{name} server"
        self._what = name
        self._flag = flag
        self._tls = tls
        self._guard = guard
        self._shutdown = shutdown
        self._address = address
        self._endpoint = _endpoint(address, flag)
        self._routes: dict[str, Handler] = {}
        self._post_routes: dict[str, _PostRoute] = {}
        self._probes: Probes | None = None
        self._socket: socket.socket | None = None

    @property
    def is_on(self) -> bool:
        """Whether it serves anything at all."""
        return self._endpoint is not None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `bind`, or if it serves nothing."""
        port: int = self._socket.getsockname()[1] if self._socket is not None else 0
        return port

    @property
    def host(self) -> str:
        """The address it is reached at from this machine; empty before `bind`."""
        host: str = self._socket.getsockname()[0] if self._socket is not None else ""
        any_address = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        return "127.0.0.1" if host in any_address else host

    @property
    def url(self) -> str:
        """Where it is reached from this machine; empty before `bind`."""
        if self._socket is None:
            return ""
        scheme = "http" if self._tls is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def add_route(self, path: str, handler: Handler) -> None:
        """Serve `path` and what is below it.

        Raises:
            AlreadyStartedError: The server is bound, or the path is taken.
        """
        if self._socket is not None:
            raise AlreadyStartedError(f"cannot serve {path}: {self.name} is bound")
        if path in self._routes:
            raise AlreadyStartedError(f"{self.name} serves {path} already")
        self._routes[path] = handler

    def add_post_route(self, path: str, handler: PostHandler, *, body_max: int) -> None:
        """Take what is posted to exactly `path`, up to `body_max` bytes.

        Raises:
            AlreadyStartedError: The server is bound.
            ConfigError: The path is taken.
        """
        if self._socket is not None:
            raise AlreadyStartedError(f"cannot serve {path}: {self.name} is bound")
        if path in self._post_routes:
            raise ConfigError(f"{self.name} serves {path} already; choose another path")
        self._post_routes[path] = _PostRoute(handler, body_max)

    def add_metrics(self, exposition: Callable[[], bytes]) -> None:
        """Serve `/metrics` in the Prometheus text format."""

        async def metrics(path: str, _query: Query) -> Reply:
            if path:
                return _NOT_FOUND
            return Reply(exposition(), content_type=_METRICS_TYPE)

        self.add_route("/metrics", metrics)

    def add_probes(self, probes: Probes) -> None:
        """Serve `/healthz` and `/readyz`."""
        self._probes = probes
        self.add_route("/healthz", probes.healthz)
        self.add_route("/readyz", probes.readyz)

    async def bind(self) -> None:
        """Take the port.

        Raises:
            ConfigError: It cannot be had.
        """
        if self._endpoint is None or self._socket is not None:
            return
        host, port = self._endpoint
        try:
            self._socket = _listener(host, port)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self._address} for {self._what}: "
                f"{_why(error)}; choose another with {self._flag}"
            ) from error
        if self._probes is not None:
            self._probes.freeze()

    async def close(self) -> None:
        """Give the port back, if it was taken and `run` never came."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def run(self) -> None:
        """Serve until cancelled, and then until requests in flight have ended."""
        await self.bind()
        if self._socket is None:
            return
        log.debug("serving", what=self._what, url=self.url)
        try:
            await _readable(self._socket)
            await _load_listener()
            from controller_runtime.httplistener import listen  # noqa: PLC0415 - see there

            await listen(
                self._handle,
                self._socket,
                tls=self._tls,
                shutdown_seconds=self._shutdown.total_seconds(),
            )
        finally:
            await self.close()

    async def _handle(self, request: HttpRequest) -> Reply:
        return await self._refusal(request) or await self._reply(request)

    async def _refusal(self, request: HttpRequest) -> Reply | None:
        if self._guard is None:
            return None
        authorization = request.header("Authorization")
        refusal = await self._guard.check(request.method, request.path, authorization)
        return refusal and Reply(f"{refusal.text}\n".encode(), refusal.status)

    async def _reply(self, request: HttpRequest) -> Reply:
        path = request.path
        if path in self._post_routes:
            return await self._reply_to_post(request, self._post_routes[path])
        if request.method not in {"GET", "HEAD"}:
            return _NOT_ALLOWED
        for route, handler in self._routes.items():
            if path == route or path.startswith(f"{route}/"):
                return await handler(path[len(route) :].strip("/"), request.query)
        return _NOT_FOUND

    async def _reply_to_post(self, request: HttpRequest, route: _PostRoute) -> Reply:
        if request.method != "POST":
            return _NOT_ALLOWED
        try:
            async with asyncio.timeout(_BODY_TIMEOUT):
                body = await request.body(route.body_max)
        except TimeoutError:
            return _TOO_SLOW
        content_type = request.header("Content-Type")
        return await route.handler(Posted(content_type, body, request.query))


_NOT_ALLOWED = Reply(b"method not allowed\n", 405)
_TOO_SLOW = Reply(b"the body took too long\n", 408)
_NOT_FOUND = Reply(b"404 page not found\n", 404)


async def _readable(listener: socket.socket) -> None:
    """Wait until somebody connects."""
    loop, connected = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, connected.set)
    try:
        await connected.wait()
    finally:
        loop.remove_reader(listener)


async def _load_listener() -> None:
    """Import what serves, beside the loop: it is a long import."""
    if _LISTENER not in sys.modules:
        await asyncio.to_thread(importlib.import_module, _LISTENER)


async def _answer(
    route: str, checks: Mapping[str, Check], path: str, query: Query
) -> Reply:
    if path:
        return await _answer_one(route, checks, path)
    excluded = set(query.get("exclude", ()))
    lines, failed = [], []
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif (remark := await _passed(route, name, check)) is not None:
            lines.append(f"[+]{name} ok: {remark}" if remark else f"[+]{name} ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld")
            failed.append(name)
    unknown = sorted(excluded - checks.keys())
    if unknown:
        names = ", ".join(f'"{name}"' for name in unknown)
        lines.append(
            f"warn: some health checks cannot be excluded: no matches for {names}"
        )
    if failed:
        return Reply("\n".join([*lines, f"{route} check failed", ""]).encode(), 500)
    if "verbose" not in query:
        return Reply(b"ok")
    return Reply("\n".join([*lines, f"{route} check passed", ""]).encode())


async def _answer_one(route: str, checks: Mapping[str, Check], name: str) -> Reply:
    if name not in checks:
        return _NOT_FOUND
    if await _passed(route, name, checks[name]) is not None:
        return Reply(b"ok")
    return Reply(b"internal server error: reason withheld\n", 500)


async def _passed(route: str, name: str, check: Check) -> str | None:
    """Return the remark of a check, which may be empty; `None` when it failed."""
    try:
        answer = check()
        if inspect.isawaitable(answer):
            async with asyncio.timeout(_CHECK_TIMEOUT):
                answer = await answer
    except Exception as error:  # noqa: BLE001 - any failure means: not healthy
        log.info("check failed", probe=route, check=name, error=str(error))
        return None
    return answer or ""


def _ping() -> None:
    """Pass: the loop runs, or nobody would be answered."""


def _endpoint(address: str, flag: str) -> tuple[str, int] | None:
    if address in {"", "0"}:
        return None
    host, colon, port = address.rpartition(":")
    is_bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or is_bare or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"{flag}={address} is no address: host:port or :port is, or 0 for none"
        )
    return host.strip("[]"), int(port)


def _listener(host: str, port: int) -> socket.socket:
    """Listen on one address, or on all of both families where the system can."""
    if not host and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                raise  # IPv6 is there, the port is not
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use"
    return error.strerror or str(error)
