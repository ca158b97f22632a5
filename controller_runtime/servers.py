"""The ports of a manager: metrics, probes, `/debug` and, if there are any, webhooks.

    construct ─▶ bind: all ports, or none ─▶ (the manager runs them) ─▶ close the rest

Every port is taken before anything else starts, so that one that is in use is an error
at the start. Webhooks are loaded with the first that is added: a manager without them
has no use for the memory.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from controller_runtime.accessreview import AccessReviewer
from controller_runtime.clock import Clock
from controller_runtime.debug import Inspector
from controller_runtime.httpserver import Handler, HttpServer, Probes
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.metrics import Metrics
from controller_runtime.rbac import Permission
from controller_runtime.selfsigned import load_self_signed, server_context
from controller_runtime.transport import Transport

if TYPE_CHECKING:  # imported by a manager that serves webhooks, and by no other
    from controller_runtime.webhookserver import WebhookServer


class Servers:
    """The HTTP servers of one manager, which binds them and runs them."""

    def __init__(
        self,
        options: ManagerOptions,
        *,
        transport: Transport,
        metrics: Metrics,
        probes: Probes,
        inspector: Inspector,
        clock: Clock,
        randomness: random.Random,
    ) -> None:
        """Describe the servers; no port is taken yet.

        Args:
            options: The addresses, and who may read the metrics.
            transport: Asks the API server who that is.
            metrics: What `/metrics` shows.
            probes: What `/healthz` and `/readyz` answer.
            inspector: What `/debug` shows.
            clock: Dates a certificate that is made at the start.
            randomness: Where the reviewer's jitter comes from.

        Raises:
            ConfigError: An address cannot be read.
        """
        self.permissions: Sequence[Permission] = ()
        """What they ask of the API server."""
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._self_signed: ssl.SSLContext | None = None
        self._exposition = self._metrics_server(transport, randomness)
        self._exposition.add_metrics(metrics.exposition)
        self._probes = HttpServer(
            options.health_probe_bind_address,
            name="health probes",
            flag="--health-probe-bind-address",
        )
        self._probes.add_probes(probes)
        self._debug = HttpServer(
            options.debug_bind_address, name="debug", flag="--debug-bind-address"
        )
        self._debug.add_route("/debug", inspector.answer)
        self.webhooks: WebhookServer | None = None
        """Where webhooks are added, once there are any."""

    @property
    def http(self) -> Sequence[HttpServer]:
        """Those that answer from the beginning to the end."""
        return (self._exposition, self._probes, self._debug)

    @property
    def metrics_url(self) -> str:
        """Where `/metrics` is reached from this machine; empty before `bind`."""
        url = self._exposition.url
        return f"{url}/metrics" if url else ""

    @property
    def debug_url(self) -> str:
        """Where `/debug` is reached from this machine; empty before `bind`."""
        return f"{self._debug.url}/debug" if self._debug.url else ""

    def add_debug_route(self, path: str, handler: Handler) -> None:
        """Serve a path beside `/debug`."""
        self._debug.add_route(path, handler)

    def add_webhooks(self) -> WebhookServer:
        """Have a port for webhooks, too."""
        from controller_runtime.webhookserver import (  # noqa: PLC0415 - costs memory
            WebhookServer,
        )

        self.webhooks = WebhookServer(
            self._options.webhook_bind_address,
            metrics=self._metrics,
            tls=self._options.webhook_tls,
            recover_panic=self._options.webhook_recover_panic,
        )
        return self.webhooks

    async def bind(self) -> None:
        """Take all ports.

        Raises:
            ConfigError: One cannot be had.
        """
        if (tls := self._self_signed) is not None:
            await asyncio.to_thread(load_self_signed, tls, clock=self._clock)
        for server in self._all():
            await server.bind()

    async def close(self) -> None:
        """Give back the ports of those that never ran."""
        for server in self._all():
            await server.close()

    def _all(self) -> Iterator[HttpServer | WebhookServer]:
        yield from self.http
        if self.webhooks is not None:
            yield self.webhooks

    def _metrics_server(
        self, transport: Transport, randomness: random.Random
    ) -> HttpServer:
        address = self._options.metrics_bind_address
        name, flag = "metrics", "--metrics-bind-address"
        server = HttpServer(address, name=name, flag=flag)
        if not (self._options.metrics_secure and server.is_on):
            return server
        tls = self._options.metrics_tls
        if tls is None:
            tls = self._self_signed = server_context()
        guard = AccessReviewer(transport, randomness=randomness)
        self.permissions = guard.permissions
        return HttpServer(address, name=name, flag=flag, tls=tls, guard=guard)
