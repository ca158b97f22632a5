"""The composition root: the only place that knows every controller.

    Settings ─▶ build ─▶ Manager with the controllers in it ─▶ start

A controller is imported when it is asked for, so that one that does not run costs
neither memory nor start-up time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    CertWatcher,
    Group,
    LeaderElectionOptions,
    Manager,
    ManagerOptions,
    Metrics,
    Scheme,
    Transport,
)
from controllers.settings import Settings

LEASE = "pilothouse"
"""Name of the Lease that replicas stand for."""


def scheme() -> Scheme:
    """Return the kinds that have a model."""
    scheme = Scheme()
    for model in (ConfigMap, Secret, Deployment, StatefulSet, DaemonSet):
        scheme.register(model)
    return scheme


def build(
    settings: Settings,
    transport: Transport,
    metrics: Metrics,
    *,
    lease_transport: Transport | None = None,
) -> Manager:
    """Set up a manager with the controllers that the settings name.

    Args:
        settings: Which, and how.
        transport: For everything but the Lease.
        metrics: Where everything is counted.
        lease_transport: For the Lease; `transport` by default.

    Raises:
        ConfigError: There is to be an election, and the Lease's namespace is unknown.
    """
    certificate = _metrics_certificate(settings, metrics)
    manager = Manager(
        transport,
        scheme=scheme(),
        metrics=metrics,
        lease_transport=lease_transport,
        options=ManagerOptions(
            metrics_bind_address=settings.metrics_bind_address,
            metrics_secure=settings.metrics_secure,
            metrics_tls=certificate.ssl_context if certificate else None,
            health_probe_bind_address=settings.health_probe_bind_address,
            debug_bind_address=settings.debug_bind_address,
            tune_gc=True,
            graceful_shutdown_timeout=settings.graceful_shutdown_timeout,
            leader_election=_election(settings),
        ),
    )
    if certificate is not None:
        manager.add(certificate, group=Group.HTTP)
    for name in settings.controllers:
        _SETUPS[name](manager, settings)
    return manager


def _metrics_certificate(settings: Settings, metrics: Metrics) -> CertWatcher | None:
    """Return what follows the files of a certificate, if one is to be served."""
    folder = settings.metrics_cert_path
    if folder is None or settings.metrics_bind_address in {"", "0"}:
        return None
    return CertWatcher(folder / "tls.crt", folder / "tls.key", metrics=metrics)


def _election(settings: Settings) -> LeaderElectionOptions | None:
    if not settings.leader_elect:
        return None
    return LeaderElectionOptions(
        name=LEASE, namespace=settings.leader_election_namespace
    )


def _reload(manager: Manager, settings: Settings) -> None:
    from controllers.reload import setup  # noqa: PLC0415 - lazy
    from controllers.reload.options import ReloadOptions  # noqa: PLC0415 - lazy

    options = ReloadOptions(
        namespaces=settings.reload.namespaces, workers=settings.reload.workers
    )
    setup(manager, options)


def _autopilot(manager: Manager, settings: Settings) -> None:
    from controllers.autopilot import setup  # noqa: PLC0415 - lazy
    from controllers.autopilot.context import images_from  # noqa: PLC0415 - lazy
    from controllers.autopilot.loader import (  # noqa: PLC0415 - lazy
        load_builtin,
        load_catalog,
    )
    from controllers.autopilot.options import AutopilotOptions  # noqa: PLC0415 - lazy
    from controllers.autopilot.throttle import ThrottleOptions  # noqa: PLC0415 - lazy

    chosen = settings.autopilot
    options = AutopilotOptions(
        catalog=load_catalog(chosen.catalog) if chosen.catalog else load_builtin(),
        namespace=chosen.namespace,
        default_enabled=chosen.default_enabled,
        images=images_from(os.environ),
        metrics_prefix=chosen.metrics_prefix,
        resync=chosen.resync,
        verdict_age=chosen.verdict_age,
        retry_first=chosen.retry_first,
        retry_longest=chosen.retry_longest,
        throttle=ThrottleOptions(
            capacity=chosen.throttle_capacity,
            window=chosen.throttle_window.total_seconds(),
            threshold=chosen.thrash_threshold,
            spacing=chosen.thrash_spacing.total_seconds(),
        ),
    )
    setup(manager, options)


_SETUPS: Mapping[str, Callable[[Manager, Settings], None]] = {
    "reload": _reload,
    "autopilot": _autopilot,
}
