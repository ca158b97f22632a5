"""How a manager runs: its ports, its election, its caches and controllers.

Defaults are controller-runtime's where it has them; what it leaves off and a manager is
better with, such as the watchdog, is on.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from controller_runtime.cacheoptions import CacheOptions
from controller_runtime.controller import ControllerOptions
from controller_runtime.leaderelection import LeaderElectionOptions
from controller_runtime.meta import GroupVersionKind, Kind
from controller_runtime.recorder import ObjectReference
from controller_runtime.watchdog import WatchdogOptions

_NOWHERE = ObjectReference(GroupVersionKind("", "v1", "Namespace"), "", "default")
"""Where Events are to be found that are about a manager in no pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """How a manager runs."""

    metrics_bind_address: str = ":8080"
    """`host:port` of `/metrics`; `0` serves none."""

    metrics_secure: bool = True
    """Serve `/metrics` over TLS, and only to accounts that may `get` that path, as the
    API server says; see `accessreview`. Off, whoever reaches the port reads it."""

    metrics_tls: ssl.SSLContext | None = None
    """With the certificate of the secure `/metrics`; `None` makes one at the start,
    which clients cannot verify."""

    health_probe_bind_address: str = ":8081"
    """`host:port` of `/healthz` and `/readyz`; `0` serves none."""

    debug_bind_address: str = "0"
    """`host:port` of `/debug`, best of the loopback: it names objects and is open to
    whoever reaches it; `0` serves none."""

    webhook_bind_address: str = ":9443"
    """`host:port` of webhooks, if there are any; `0` serves none."""

    webhook_tls: ssl.SSLContext | None = None
    """What webhooks are served with; it may be told of new certificates at any time."""

    webhook_recover_panic: bool = True
    """Go on after a bug in a webhook, which answers 500 in any case; else the manager
    stops, as it does after one in a reconciler with `recover_panic=False`."""

    watchdog: WatchdogOptions | None = field(default_factory=WatchdogOptions)
    """When a blocked event loop is worth a word; `None` watches it not at all."""

    tune_gc: bool = False
    """Keep the garbage collector from what lives for ever (`garbage`): an application's
    caches fill in two thirds of the time. It changes the whole process, so tests and
    programs that do more than this leave it off."""

    graceful_shutdown_timeout: timedelta | None = timedelta(seconds=30)
    """Longest that stopping may take; zero cancels at once, `None` waits for ever."""

    field_owner: str = "pilothouse"
    """Field manager of writes that name no other."""

    about: ObjectReference = _NOWHERE
    """What Events on the manager itself are about; best its pod."""

    leader_election: LeaderElectionOptions | None = None
    """Which Lease to hold while the last group runs; `None` runs it without."""

    cache: CacheOptions = field(default_factory=CacheOptions)
    """What the cache keeps."""

    disable_cache_for: Collection[Kind] = ()
    """Kinds that the client reads live, such as Secrets that are too many to keep. It
    is for who reads them to declare that; see `Permission`."""

    controller: ControllerOptions = field(default_factory=ControllerOptions)
    """How controllers run that bring no options of their own."""

    group_kind_concurrency: Mapping[str, int] = field(default_factory=dict)
    """Reconciles at once of controllers that do not say, by what they are for:
    `Deployment.apps` or, of the core group, `Pod`."""
