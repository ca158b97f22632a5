"""Bundles of werf, kept deployed: polled in a registry, applied by Jobs.

    intention  spec → what is wanted (pure)       registry   look at it; is it a bundle?
    versions   which tag is the candidate (pure)  artifact   bytes → chart (pure)
    sources    ConfigMaps, Secrets: find, read    values     documents → one (pure)
    documents  YAML of strangers, bounded (pure)  job        apply → Job, Secrets (pure)
    access     may the Job run there?             jobs       find, make and remove Jobs
    outcomes   how a Job ended                    logs       log → why it ended (pure)
    schedule   all waits (pure)                   fingerprint  hashes (pure)
    polling    when to ask, and what for          applying   is a Job due? start it
    status     outcome → status, Events (pure)    controller one pass over one bundle

The manager never has the rights of what it deploys: `werf bundle apply` runs in a Job,
as the ServiceAccount that the bundle names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from api.batch.v1 import Job
from api.bundle.v1alpha1 import WerfBundle
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Backoff,
    Controller,
    ControllerOptions,
    ExponentialLimiter,
    Group,
    GroupVersionKind,
    Informer,
    KindSource,
    KubeObject,
    Manager,
    NamespacedName,
    Permission,
    RawObject,
    ReflectorOptions,
    Request,
    annotation_changed,
    for_object,
    generation_changed,
    index_by_body,
    mapped,
    strip_managed_fields,
)
from controllers.bundle.access import NAMESPACE, SERVICE_ACCOUNT, release_key
from controllers.bundle.controller import BY_RELEASE, BundleReconciler, World
from controllers.bundle.job import BUNDLE, OURS
from controllers.bundle.jobs import BY_LIFE, BY_UID, Jobs, life_of, uid_of
from controllers.bundle.options import BundleOptions
from controllers.bundle.outcomes import POD, Outcomes
from controllers.bundle.registry import Poller, Registries
from controllers.bundle.sources import (
    NO_HELM_RELEASES,
    Sources,
    index_value,
    index_values,
)

_NAME = "bundle"

_BY_SOURCE = "source"

_AFTER_FAILURE = Backoff(base=1.0, ceiling=300.0)
"""Seconds until a pass is tried again that the API server did not let through."""


def setup(manager: Manager, options: BundleOptions) -> None:
    """Add the bundle controller to a manager that has not started."""
    registries = Registries(manager.clock)
    # Controllers ask registries until they have ended, which is before this group.
    manager.add(registries, group=Group.HTTP)
    bundles, jobs, watched = _sources(manager, options)
    sources = {kind: informer for kind, (_, informer) in watched.items()}
    world = World(
        client=manager.api_reader,
        scheme=manager.scheme,
        bundles=bundles[1],
        sources=Sources(manager.api_reader, sources),
        jobs=Jobs(manager.api_reader, jobs[1], manager.scheme),
        outcomes=Outcomes(manager.api_reader),
        poller=Poller(registries.client, options),
        clock=manager.clock,
        randomness=manager.random,
    )
    controller = Controller(
        _NAME,
        BundleReconciler(world, manager.recorder(_NAME), options),
        sources=[bundles[0], jobs[0], *(source for source, _ in watched.values())],
        options=ControllerOptions(max_concurrent_reconciles=options.workers),
        kind=WerfBundle,
        limiter=ExponentialLimiter(_AFTER_FAILURE),
        metrics=manager.metrics,
        randomness=manager.random,
        permissions=list(_permissions(options)),
    )
    manager.add(controller)


Fed = tuple[KindSource[Request], Informer]
"""What queues bundles, and the store behind it."""


def _sources(
    manager: Manager, options: BundleOptions
) -> tuple[Fed, Fed, dict[type[KubeObject], Fed]]:
    """Declare what is watched: bundles and our Jobs whole, of the others metadata."""
    places = options.namespaces
    whole = manager.cache.view(
        ReflectorOptions(namespaces=places, transform=strip_managed_fields)
    )
    bundles = whole.declare(WerfBundle)
    bundles.add_index(BY_RELEASE, index_by_body(release_key))
    bundles.add_index(_BY_SOURCE, index_by_body(index_values))
    changes = generation_changed() | annotation_changed()
    ours = manager.cache.view(
        ReflectorOptions(
            namespaces=places, label_selector=OURS, transform=strip_managed_fields
        )
    )
    jobs = ours.declare(Job)
    jobs.add_index(BY_UID, uid_of)
    jobs.add_index(BY_LIFE, index_by_body(life_of))
    watched: dict[type[KubeObject], Fed] = {}
    for kind in (ConfigMap, Secret) if options.watch_values else ():
        view = manager.cache.view(
            ReflectorOptions(
                namespaces=places,
                metadata_only=True,
                field_selector=NO_HELM_RELEASES if kind is Secret else "",
            )
        )
        handler = mapped(_namers(bundles, kind))
        watched[kind] = (KindSource(view, kind, handler), view.declare(kind))
    return (
        (KindSource(whole, WerfBundle, for_object(), [changes]), bundles),
        (KindSource(ours, Job, mapped(_owner)), jobs),
        watched,
    )


def _owner(entry: RawObject) -> Iterator[Request]:
    """Return the bundle that a Job is for: in another namespace it has no owner."""
    namespace, slash, name = entry.meta.annotations.get(BUNDLE, "").partition("/")
    if slash:
        yield NamespacedName(namespace, name)


def _namers(
    bundles: Informer, kind: type[KubeObject]
) -> Callable[[RawObject], Iterator[Request]]:
    """Return what finds the bundles that name an object."""

    def requests(entry: RawObject) -> Iterator[Request]:
        value = index_value(kind, entry.key)
        return (bundle.key for bundle in bundles.by_index(_BY_SOURCE, value))

    return requests


def _permissions(options: BundleOptions) -> Iterator[Permission]:
    """Say what is asked besides the watches. No kind that a bundle may contain."""
    places = options.namespaces or None
    asked: list[tuple[type[KubeObject] | GroupVersionKind, tuple[str, ...], str]] = [
        (WerfBundle, ("patch",), ""),
        (WerfBundle, ("patch",), "status"),
        # Blocking owner references need it where OwnerReferencesPermissionEnforcement
        # is on, as on OpenShift.
        (WerfBundle, ("update",), "finalizers"),
        (Job, ("create", "get", "patch", "delete"), ""),
        (Job, ("update",), "finalizers"),
        (POD, ("list",), ""),
        (POD, ("get",), "log"),
        (Secret, ("get", "create", "delete"), ""),
        (ConfigMap, ("get", "list", "create", "delete"), ""),
        (SERVICE_ACCOUNT, ("get",), ""),
        (NAMESPACE, ("get",), ""),
    ]
    for kind, verbs, subresource in asked:
        yield Permission(kind, verbs, subresource=subresource, namespaces=places)
