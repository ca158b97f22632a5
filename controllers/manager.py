"""The composition root: the only place that knows every controller.

    Settings, RestConfig ─▶ build ─▶ Manager, a part of it for each controller ─▶ start

A controller is imported when it is asked for, so that one that does not run costs
neither memory nor start-up time. Each is a part of the manager (`Manager.part`): one
whose CRD is absent waits for it, and says so in `/readyz?verbose`. What is forbidden to
one that the user named stops the manager; one that runs because all do is switched off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from socket import gethostname

from controller_runtime import (
    CacheOptions,
    CertWatcher,
    Group,
    GroupVersionKind,
    KindOptions,
    KubeObject,
    LeaderElectionOptions,
    Manager,
    ManagerOptions,
    Metrics,
    NamespaceOptions,
    ObjectReference,
    RestConfig,
    Scheme,
    Transport,
)
from controllers.settings import CONTROLLERS, Settings

_POD = GroupVersionKind("", "v1", "Pod")


def scheme(controllers: Iterable[str] = CONTROLLERS) -> Scheme:
    """Return the kinds that have a model, and that one of these controllers knows."""
    scheme = Scheme()
    for name in controllers:
        for model in _MODELS[name]():
            scheme.register(model)
    return scheme


def build(
    settings: Settings,
    transport: Transport,
    metrics: Metrics,
    *,
    config: RestConfig | None = None,
    lease_transport: Transport | None = None,
) -> Manager:
    """Set up a manager with the controllers that the settings name.

    Args:
        settings: Which, and how.
        transport: For everything but the Lease.
        metrics: Where everything is counted.
        config: How the API server is reached, for those who reach it in their own way;
            may be left out for a manager that is looked at, and not started.
        lease_transport: For the Lease; `transport` by default.

    Raises:
        ConfigError: There is to be an election, and the Lease's namespace is unknown.
    """
    certificate = _metrics_certificate(settings, metrics)
    manager = Manager(
        transport,
        scheme=scheme(settings.controllers),
        metrics=metrics,
        lease_transport=lease_transport,
        options=ManagerOptions(
            metrics_bind_address=settings.metrics_bind_address,
            metrics_secure=settings.metrics_secure,
            metrics_tls=certificate.ssl_context if certificate else None,
            health_probe_bind_address=settings.health_probe_bind_address,
            debug_bind_address=settings.debug_bind_address,
            cache=_cache(settings),
            tune_gc=True,
            graceful_shutdown_timeout=settings.graceful_shutdown_timeout,
            leader_election=_election(settings),
            about=_about(config or _NOWHERE),
        ),
    )
    if certificate is not None:
        manager.add(certificate, group=Group.HTTP)
    for name in settings.controllers:
        with manager.part(name, required=settings.is_named(name)):
            _SETUPS[name](manager, settings, config or _NOWHERE)
    return manager


def _about(config: RestConfig) -> ObjectReference:
    """Return what Events on the manager are about: the pod that it runs in, if any."""
    if not config.in_pod:
        return ManagerOptions().about
    return ObjectReference(_POD, config.namespace, gethostname())


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
        name=settings.leader_election_name,
        namespace=settings.leader_election_namespace,
    )


def _cache(settings: Settings) -> CacheOptions:
    """Keep what controllers read by kind to the namespaces that they work in."""
    places = dict.fromkeys(settings.release.namespaces, NamespaceOptions())
    if not places or "release" not in settings.controllers:
        return CacheOptions()
    from api.release.v1alpha1 import ManagedRoost  # noqa: PLC0415 - lazy

    return CacheOptions(by_object={ManagedRoost: KindOptions(namespaces=places)})


def _reload_models() -> Iterable[type[KubeObject]]:
    from api.apps.v1 import DaemonSet, Deployment, StatefulSet  # noqa: PLC0415 - lazy
    from api.core.v1 import ConfigMap, Secret  # noqa: PLC0415 - lazy

    return ConfigMap, Secret, Deployment, StatefulSet, DaemonSet


def _reload(manager: Manager, settings: Settings, _: RestConfig) -> None:
    from controllers.reload import setup  # noqa: PLC0415 - lazy
    from controllers.reload.choices import from_settings  # noqa: PLC0415 - lazy

    setup(manager, from_settings(settings.reload.model_dump()))


_NOWHERE = RestConfig(server="https://nowhere.invalid")


def _bundle_models() -> Iterable[type[KubeObject]]:
    from api.batch.v1 import Job  # noqa: PLC0415 - lazy
    from api.bundle.v1alpha1 import WerfBundle  # noqa: PLC0415 - lazy
    from api.core.v1 import ConfigMap, Secret  # noqa: PLC0415 - lazy

    return WerfBundle, Job, ConfigMap, Secret


def _bundle(manager: Manager, settings: Settings, _: RestConfig) -> None:
    from controllers.bundle import setup  # noqa: PLC0415 - lazy
    from controllers.bundle.options import (  # noqa: PLC0415 - lazy
        BundleOptions,
        CrossNamespacePolicy,
    )

    given = settings.bundle
    options = BundleOptions(
        namespaces=given.namespaces,
        workers=given.workers,
        werf_image=given.werf_image,
        allowed_werf_images=given.allowed_werf_images,
        cross_namespace_policy=CrossNamespacePolicy(given.cross_namespace_policy),
        allow_insecure=given.allow_insecure,
        watch_values=given.watch_values,
        max_active_jobs=given.max_active_jobs,
        bundle_max_size=given.max_size,
    )
    setup(manager, options)


def _release_models() -> Iterable[type[KubeObject]]:
    from api.core.v1 import ConfigMap, Secret  # noqa: PLC0415 - lazy
    from api.release.v1alpha1 import ManagedRoost  # noqa: PLC0415 - lazy

    return ManagedRoost, ConfigMap, Secret


def _release(manager: Manager, settings: Settings, config: RestConfig) -> None:
    from controllers.release import setup  # noqa: PLC0415 - lazy
    from controllers.release.options import ReleaseOptions  # noqa: PLC0415 - lazy
    from controllers.release.parts import real_parts  # noqa: PLC0415 - lazy

    said = settings.release
    options = ReleaseOptions(
        namespaces=said.namespaces,
        workers=said.workers,
        helm_workers=said.helm_workers,
        default_service_account=said.default_service_account,
        allow_cross_namespace_refs=said.allow_cross_namespace_refs,
        allow_cross_namespace_target=said.allow_cross_namespace_target,
        allow_plain_http=said.allow_plain_http,
        registry_config=said.registry_config,
        cache=said.cache,
        cache_bytes=said.cache_bytes,
        requeue_dependency=said.requeue_dependency,
        leads=settings.leader_elect,
    )
    setup(manager, options, real_parts(manager, options, config))


def _autopilot_models() -> Iterable[type[KubeObject]]:
    return ()  # it follows kinds that a catalogue names


def _autopilot(manager: Manager, settings: Settings, _: RestConfig) -> None:
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
        override_managers=chosen.override_managers,
        throttle=ThrottleOptions(
            capacity=chosen.throttle_capacity,
            window=chosen.throttle_window.total_seconds(),
            threshold=chosen.thrash_threshold,
            spacing=chosen.thrash_spacing.total_seconds(),
        ),
    )
    setup(manager, options)


_MODELS: Mapping[str, Callable[[], Iterable[type[KubeObject]]]] = {
    "reload": _reload_models,
    "bundle": _bundle_models,
    "release": _release_models,
    "autopilot": _autopilot_models,
}

_SETUPS: Mapping[str, Callable[[Manager, Settings, RestConfig], None]] = {
    "reload": _reload,
    "bundle": _bundle,
    "release": _release,
    "autopilot": _autopilot,
}
