"""The manager with the reload controller in it, and everything on one port.

:9090   /metrics   /live   /healthz   /readyz   /preview
:6060   /debug     with `--enable-pprof`
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import structlog

from controller_runtime import (
    Client,
    Group,
    HttpServer,
    HttpTransport,
    Manager,
    ManagerOptions,
    Metrics,
    Scheme,
    Transport,
    configure_logging,
    load_restconfig,
    on_stop_signal,
)
from controllers.reload import setup
from controllers.reload.preview import Preview
from controllers.reload.writing.webhook import Notify, Webhook
from controllers.reloader.about import About
from controllers.reloader.flags import usage
from controllers.reloader.readable import readable
from controllers.reloader.settings import FLAGS, VARIABLES, ReloaderSettings, read
from controllers.run import server_version
from controllers.settings import version
from controllers.web import Http

log = structlog.get_logger(__name__)


async def run_reloader(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run until a signal; return the exit code.

    Raises:
        ControllerRuntimeError: With a sentence for the user.
    """
    settings = read(arguments, environ)
    configure_logging(settings.log_format, settings.log_level, timestamp_key="time")
    for remark in settings.remarks:
        log.warning("setting without effect", setting=remark)
    config = load_restconfig(environ=environ, home=Path.home())
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        transport, lease_transport = [
            await stack.enter_async_context(HttpTransport(config, metrics=metrics))
            for _ in range(2)
        ]
        server = await server_version(transport, config)
        client = Client(transport, scheme=Scheme())
        settings = replace(settings, options=await readable(settings.options, client))
        notify = None
        if settings.webhook_url:
            http = await stack.enter_async_context(Http())
            notify = Webhook(http, settings.webhook_url)
        manager = compose(
            *(settings, transport, metrics),
            lease_transport=lease_transport,
            notify=notify,
            release=version(),
        )
        log.info("starting", version=version(), kubernetes=server, pid=os.getpid())
        with on_stop_signal(manager.stop):
            await manager.start()
    log.info("stopped")
    return 0


def compose(
    settings: ReloaderSettings,
    transport: Transport,
    metrics: Metrics,
    *,
    lease_transport: Transport | None = None,
    notify: Notify | None = None,
    release: str = "",
) -> Manager:
    """Set up the manager.

    Args:
        settings: What to run.
        transport: For everything but the Lease.
        metrics: Where everything is counted.
        lease_transport: For the Lease; `transport` by default.
        notify: Told of changes, instead of a reload.
        release: The version of this program.

    Raises:
        ConfigError: A selector or an address cannot be read.
    """
    manager = Manager(
        transport,
        metrics=metrics,
        lease_transport=lease_transport,
        options=ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            debug_bind_address=settings.debug_address,
            tune_gc=True,
            leader_election=settings.election,
        ),
    )
    about = About(manager.api_reader, settings, version=release)
    manager.add(about, group=Group.OTHERS)
    preview = setup(manager, settings.options, notify=notify)
    for server in _servers(settings, manager, preview):
        manager.add(server, group=Group.HTTP)
    return manager


def _servers(
    settings: ReloaderSettings, manager: Manager, preview: Preview
) -> Sequence[HttpServer]:
    port = HttpServer(
        settings.bind_address, name="metrics and probes", flag="--metrics-bind-address"
    )
    port.add_metrics(manager.metrics.exposition)
    port.add_probes(manager.probes)
    port.add_route("/live", manager.probes.healthz)
    port.add_route("/preview", preview.answer)
    probes = HttpServer(
        settings.probe_address, name="probes", flag="--health-probe-bind-address"
    )
    probes.add_probes(manager.probes)
    return port, probes


def help_text() -> str:
    """Say which flags and variables there are."""
    return usage(FLAGS, VARIABLES)
