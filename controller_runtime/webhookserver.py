"""The port on which the API server calls a manager's webhooks.

    POST /mutate-…   ─▶ AdmissionWebhook  ─┐
    POST /validate-… ─▶ AdmissionWebhook  ─┼─▶ 200 and a review, counted and timed
    POST /convert    ─▶ ConversionWebhook ─┘

HTTPS on every replica, leader or not: the Service sends a request to any of them. It
starts before the caches, since the first list of a kind may need its conversion, and
ends after them, for the last.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

from controller_runtime.errors import ConfigError
from controller_runtime.httpmessage import Reply
from controller_runtime.httpserver import HttpServer, Posted
from controller_runtime.meta import Kind, kind_of
from controller_runtime.metrics import HookMetrics, Metrics
from controller_runtime.webhook import (
    BODY_MAX,
    CONVERT_PATH,
    AdmissionHandler,
    AdmissionWebhook,
    Conversions,
    ConversionWebhook,
    Hook,
    Hub,
    WebhookOptions,
    WebhookRule,
    mutate_path,
    validate_path,
)
from controller_runtime.webhook.admission import TIMEOUT
from controller_runtime.webhook.configuration import check_path

_FLAG = "--webhook-bind-address"

_SHUTDOWN = timedelta(seconds=10)
"""As long as the API server waits for an answer, unless a configuration says more."""

_TIMEOUT = re.compile(r"(\d{1,2})s")
"""How the API server says how long it waits, as `?timeout=10s`."""

_DIAL_TIMEOUT = 10.0
"""Seconds; controller-runtime's StartedChecker has the same."""

_JSON = "application/json"


class Counter(Protocol):
    """Counts; one of `prometheus_client` is one."""

    def inc(self) -> None:
        """Count one more."""
        ...


class WebhookServer:
    """Serves webhooks, and knows the rules to tell the API server of."""

    name = "webhook server"

    def __init__(
        self,
        address: str,
        *,
        metrics: Metrics,
        tls: ssl.SSLContext | None = None,
        recover_panic: bool = True,
    ) -> None:
        """Describe a server.

        Args:
            address: `host:port` or `:port`; `0` serves nothing.
            metrics: Where to count.
            tls: Serve with this. A certificate that is loaded into it later is that
                of the connections made from then on; one that requires certificates
                of clients lets in those alone. Without it, `bind` fails.
            recover_panic: Go on after a bug in a handler, which is answered and counted
                in any case; else `run` raises it.

        Raises:
            ConfigError: The address cannot be read, or `tls` allows less than TLS 1.2.
        """
        if tls is not None and tls.minimum_version < ssl.TLSVersion.TLSv1_2:
            raise ConfigError(
                "webhooks are served with TLS 1.2 or later: set the context's "
                "minimum_version"
            )
        self._tls = tls
        self._metrics = metrics.webhooks()
        self._rules: list[WebhookRule] = []
        self._conversions: Conversions | None = None
        self._server = HttpServer(
            address, name="webhook", flag=_FLAG, tls=tls, shutdown=_SHUTDOWN
        )
        self._dialling = _dialling_tls()
        self._recovers = recover_panic
        self._bug: BaseException | None = None
        self._failed = asyncio.Event()

    @property
    def rules(self) -> Sequence[WebhookRule]:
        """What `webhook_configurations` needs to know."""
        return tuple(self._rules)

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `bind`, or if it serves nothing."""
        return self._server.port

    @property
    def url(self) -> str:
        """Where it is reached from this machine; empty before `bind`."""
        return self._server.url

    def mutate(
        self,
        kind: Kind,
        handler: AdmissionHandler,
        *,
        path: str = "",
        options: WebhookOptions | None = None,
    ) -> None:
        """Let a handler change objects of a kind before they are stored.

        Args:
            kind: What it is about.
            handler: Of `defaulting`, of `multi_mutating`, or any other.
            path: By default `/mutate-<group, with dashes>-<version>-<kind>`.
            options: Which requests it gets.

        Raises:
            AlreadyStartedError: The server is bound.
            ConfigError: The path is taken, or cannot be one.
        """
        rule = WebhookRule(
            kind=kind_of(kind),
            path=path or mutate_path(kind_of(kind)),
            mutates=True,
            options=options or WebhookOptions(),
        )
        self._admit(rule, handler)

    def validate(
        self,
        kind: Kind,
        handler: AdmissionHandler,
        *,
        path: str = "",
        options: WebhookOptions | None = None,
    ) -> None:
        """Let a handler refuse what is done to objects of a kind.

        Arguments and errors are those of `mutate`; the default path begins with
        `/validate-`.
        """
        rule = WebhookRule(
            kind=kind_of(kind),
            path=path or validate_path(kind_of(kind)),
            mutates=False,
            options=options or WebhookOptions(),
        )
        self._admit(rule, handler)

    def convert(self, hub: Hub[Any]) -> None:
        """Convert the versions of a kind at `/convert`.

        Raises:
            AlreadyStartedError: The server is bound.
            ConfigError: The kind is converted already.
        """
        if self._conversions is None:
            conversions = Conversions()
            on_panic = self._panicking(self._metrics.conversion_panics)
            hook = ConversionWebhook(CONVERT_PATH, conversions, on_panic=on_panic)
            self.register(CONVERT_PATH, hook)
            self._conversions = conversions
        self._conversions.add(hub)

    def register(self, path: str, hook: Hook) -> None:
        """Serve any other webhook.

        Raises:
            AlreadyStartedError: The server is bound.
            ConfigError: The path is taken, or cannot be one.
        """
        served = _Served(hook, self._metrics.hook(check_path(path)))
        self._server.add_post_route(path, served.answer, body_max=BODY_MAX)

    async def bind(self) -> None:
        """Take the port.

        Raises:
            ConfigError: It cannot be had, or there is no TLS to serve with.
        """
        if self._server.is_on and self._tls is None:
            raise ConfigError(
                "the API server calls webhooks over TLS alone: give the manager a "
                f"context in ManagerOptions(webhook_tls=…), or set {_FLAG}=0"
            )
        await self._server.bind()

    async def close(self) -> None:
        """Give the port back, if it was taken and `run` never came."""
        await self._server.close()

    async def run(self) -> None:
        """Serve until cancelled, and then until requests in flight have ended.

        Raises:
            Exception: A bug in a handler, where these are not to be recovered from.
        """
        await self.bind()
        if self._recovers or not self._server.is_on:
            await self._server.run()
            return
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._server.run())
            await self._failed.wait()
            serving.cancel()
        if self._bug is not None:
            raise self._bug

    async def check(self) -> None:
        """Raise unless webhooks are served: the readiness check, which dials.

        Raises:
            OSError: There is no TLS server at the port.
            TimeoutError: It has not answered after ten seconds.
        """
        if not self._server.is_on:
            return
        if not self._server.port:
            raise ConnectionError("the webhook server has not started")
        async with asyncio.timeout(_DIAL_TIMEOUT):
            _, writer = await asyncio.open_connection(
                self._server.host, self._server.port, ssl=self._dialling
            )
            writer.close()
            # Where certificates of clients are required, the goodbye is an alert.
            with suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()

    def _admit(self, rule: WebhookRule, handler: AdmissionHandler) -> None:
        on_panic = self._panicking(self._metrics.panics)
        hook = AdmissionWebhook(rule.path, handler, on_panic=on_panic)
        self.register(rule.path, hook)
        self._rules.append(rule)

    def _panicking(self, counter: Counter) -> Callable[[BaseException], None]:
        """Return what counts bugs and, where none is survived, ends `run`."""

        def on_panic(error: BaseException) -> None:
            counter.inc()
            if not self._recovers:
                self._bug = self._bug or error
                self._failed.set()

        return on_panic


class _Served:
    """A webhook as a route, counted and timed."""

    def __init__(self, hook: Hook, metrics: HookMetrics) -> None:
        self._hook = hook
        self._metrics = metrics

    async def answer(self, posted: Posted) -> Reply:
        with self._metrics.in_flight.track_inprogress(), self._metrics.latency.time():
            answer = await self._hook.answer(
                posted.content_type, posted.body, seconds=_seconds(posted)
            )
        self._metrics.requests(answer.code).inc()
        return Reply(answer.body, content_type=_JSON)


def _seconds(posted: Posted) -> float:
    """Return how long whoever asks will wait."""
    said = _TIMEOUT.fullmatch("".join(posted.query.get("timeout", ())[:1]))
    return min(float(said[1]), TIMEOUT) if said else TIMEOUT


def _dialling_tls() -> ssl.SSLContext:
    """Return a context that believes anybody: the question is whether one is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
