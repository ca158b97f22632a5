"""`run`: the manager alone, against the cluster that the kubeconfig names.

Before anything starts, the API server is asked for its version, so that a wrong
address, a refused certificate or a server that is down is one sentence and not a
log full of retries. After that the manager outlives whatever the server does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import structlog

from controller_runtime import (
    TRANSPORT_ERRORS,
    ApiError,
    ConfigError,
    ForbiddenError,
    HttpTransport,
    Metrics,
    RestConfig,
    ServerError,
    Transport,
    UnauthorizedError,
    configure_logging,
    load_restconfig,
    on_stop_signal,
)
from controllers.manager import build
from controllers.settings import Settings, unknown_variables, version

log = structlog.get_logger(__name__)


async def run_manager(settings: Settings, *, ask: bool) -> int:
    """Run until a signal; return the exit code.

    Raises:
        ControllerRuntimeError: With a sentence for the user.
    """
    configure_logging(settings.log_format, settings.log_level)
    config = load_restconfig(
        kubeconfig=settings.kubeconfig,
        context=settings.context,
        environ=os.environ,
        home=Path.home(),
    )
    metrics = Metrics()
    async with (
        HttpTransport(config, metrics=metrics) as transport,
        HttpTransport(config, metrics=metrics) as lease_transport,
    ):
        server = await server_version(transport, config)
        if ask and not confirmed(config, server, await _remark(transport, settings)):
            return 1
        manager = build(
            settings,
            transport,
            metrics,
            config=config,
            lease_transport=lease_transport,
        )
        for name in unknown_variables(os.environ):
            log.warning("variable without effect, is it misspelt?", variable=name)
        log.info(
            "starting",
            version=version(),
            server=config.server,
            kubernetes=server,
            controllers=list(settings.controllers),
        )
        with on_stop_signal(manager.stop):
            await manager.start()
    log.info("stopped")
    return 0


async def server_version(transport: Transport, config: RestConfig) -> str:
    """Return the version of the API server, such as `v1.36.3`.

    Raises:
        ConfigError: It cannot be reached, or does not answer as one.
    """
    try:
        answer = await transport.request("GET", "/version", timeout=10)
        return str(json.loads(answer.body)["gitVersion"])
    except (UnauthorizedError, ForbiddenError) as error:
        raise ConfigError(
            f"the API server {config.server} ({config.source}) refuses the "
            f"credentials: {error}"
        ) from error
    except ServerError as error:
        raise ConfigError(
            f"the API server {config.server} ({config.source}) is in trouble: {error}; "
            "try again when it is well"
        ) from error
    except TRANSPORT_ERRORS as error:
        raise ConfigError(
            f"cannot reach the API server {config.server} ({config.source}): "
            f"{str(error) or type(error).__name__}; is the cluster up, and is this "
            "the right context?"
        ) from error
    except (ApiError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{config.server} ({config.source}) is no API server: it does not answer "
            "/version as one does"
        ) from error


async def _remark(transport: Transport, settings: Settings) -> str:
    # models cost memory
    from controllers.crds import kinds_of, missing  # noqa: PLC0415

    return await missing(transport, kinds_of(settings.controllers))


def confirmed(
    config: RestConfig, server: str, remark: str = "", *, what: str = "the manager"
) -> bool:
    """Show which cluster it is and let the user decide; `YES=1` is a yes.

    Args:
        config: How the cluster is reached.
        server: Its version.
        remark: What is missing there, and what comes of it.
        what: What would run.

    Raises:
        ConfigError: There is nobody to ask.
    """
    where = f"context {config.context or '(none)'} from {config.source}"
    sys.stderr.write(f"Server:  {config.server} ({server})\nContext: {where}\n")
    if remark:
        sys.stderr.write(f"Missing: {remark}\n")
    if os.environ.get("YES") == "1":
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{what} would run against this cluster and there is no terminal to ask "
            "on; set YES=1 to go ahead"
        )
    sys.stderr.write(f"Run {what} against this cluster? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
