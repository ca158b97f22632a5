"""What the reload controller may do, besides the watches that it declares."""

from __future__ import annotations

from collections.abc import Iterator

from api.apps.v1 import ControllerRevision
from api.batch.v1 import CronJob, Job
from api.reload.v1alpha1 import ReloaderConfig
from api.secretsstore.v1 import SecretProviderClass
from controller_runtime import Permission
from controllers.reload.options import ReloadOptions, optional_workloads
from controllers.reload.restarter import POD
from controllers.reload.sources import SourceKind
from controllers.reload.views import NAMESPACE
from controllers.reload.workloads import WORKLOADS


def permissions(options: ReloadOptions) -> Iterator[Permission]:
    """Yield what is asked for besides the watches that are declared."""
    where = options.namespaces or None
    if where is None:
        yield Permission(NAMESPACE, ("list", "watch"))
    for kind, model in WORKLOADS.items():
        if kind not in options.ignored_workloads:
            yield Permission(model, ("patch",), namespaces=where)
    if Job.gvk.kind not in options.ignored_workloads:
        yield Permission(Job, ("create", "delete"), namespaces=where)
        notes = ("list", "create", "delete")
        yield Permission(ControllerRevision, notes, namespaces=where)
    elif CronJob.gvk.kind not in options.ignored_workloads:
        yield Permission(Job, ("list", "create"), namespaces=where)
    yield Permission(ReloaderConfig, ("list", "watch"), namespaces=where)
    for optional in optional_workloads(options).values():
        yield Permission(optional, ("list", "watch", "patch"), namespaces=where)
    if SourceKind.SECRET_PROVIDER_CLASS not in options.ignored_sources:
        for spc in (SecretProviderClass, SourceKind.SECRET_PROVIDER_CLASS.model):
            yield Permission(spc, ("list", "watch"), namespaces=where)


def permissions_to_evict(options: ReloadOptions) -> Iterator[Permission]:
    """Yield what evictions take: any ReloaderConfig may ask for them."""
    if not options.dry_run:
        where = options.namespaces or None
        yield Permission(POD, ("list",), namespaces=where)
        yield Permission(POD, ("create",), subresource="eviction", namespaces=where)
