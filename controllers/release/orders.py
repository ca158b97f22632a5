"""What is asked of Helm for a ManagedRoost: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from api.release.v1alpha1 import ManagedRoost, ManagedRoostSpec
from controllers.release.desired import Desired
from controllers.release.helm.engine import Apply, Cluster, OperationOptions, Order
from controllers.release.identity import release_key, release_labels
from controllers.release.options import ReleaseOptions
from controllers.release.plan import Step
from controllers.release.unsupported import disables_all_hooks

_APPLY = {
    "ssa": Apply.SERVER_SIDE,
    "client": Apply.CLIENT_SIDE,
    "auto": Apply.AUTO,
}


def account(roost: ManagedRoost, options: ReleaseOptions) -> str:
    """Return the service account that acts, of the object's namespace; or empty."""
    return roost.spec.service_account_name or options.default_service_account


def cluster_for(roost: ManagedRoost, options: ReleaseOptions) -> Cluster:
    """Return whom Helm acts as.

    No groups are named: the server gives a service account its own, and to name them
    would take a permission for each.
    """
    name = account(roost, options)
    if not name:
        return Cluster()
    return Cluster(user=f"system:serviceaccount:{roost.metadata.namespace}:{name}")


def timeout_of(spec: ManagedRoostSpec, step: Step) -> timedelta:
    """Return the longest that a step waits for objects."""
    match step:
        case Step.UPGRADE | Step.ROLL_BACK:
            return spec.chart.upgrade_policy.timeout or spec.timeout
        case Step.UNINSTALL:
            return spec.uninstall.timeout or spec.timeout
        case _:
            return spec.timeout


def order_for(
    roost: ManagedRoost,
    step: Step,
    *,
    operation: str,
    options: ReleaseOptions,
    desired: Desired | None = None,
    keep_history: bool = False,
) -> Order:
    """Return what to ask of Helm.

    Args:
        roost: Whose release it is.
        step: What is to be done.
        operation: Its id.
        options: Of the controller.
        desired: Chart and values, for a step that deploys.
        keep_history: Keep the record of what is uninstalled.
    """
    key, spec = release_key(roost), roost.spec
    return Order(
        operation=operation,
        release=key.name,
        namespace=key.namespace,
        cluster=cluster_for(roost, options),
        chart=desired.chart.path if desired else None,
        values=desired.values if desired else {},
        secrets=desired.secrets if desired else frozenset(),
        options=replace(
            _options(roost, spec, step, desired), keep_history=keep_history
        ),
    )


def _options(
    roost: ManagedRoost, spec: ManagedRoostSpec, step: Step, desired: Desired | None
) -> OperationOptions:
    policy, mode = spec.chart.upgrade_policy, spec.apply_mode
    is_uninstall = step is Step.UNINSTALL
    return OperationOptions(
        timeout=timeout_of(spec, step),
        apply=_APPLY[mode],
        labels=release_labels(roost, desired.digest) if desired else {},
        create_namespace=_creates_namespace(roost, step),
        take_ownership=spec.take_ownership,
        force_conflicts=mode == "ssa",
        force_replace=policy.force and mode == "client",
        cleanup_on_fail=policy.cleanup_on_fail,
        max_history=spec.max_history,
        disable_hooks=spec.uninstall.disable_hooks if is_uninstall else _no_hooks(spec),
        skip_crds=spec.install.crds == "Skip",
        propagation=spec.uninstall.deletion_propagation,
    )


def _creates_namespace(roost: ManagedRoost, step: Step) -> bool:
    """Tell whether the namespace may be missing: that of the object is there.

    Helm writes it also where it exists, which few accounts may.
    """
    is_elsewhere = release_key(roost).namespace != roost.metadata.namespace
    return roost.spec.create_namespace and step is Step.INSTALL and is_elsewhere


def _no_hooks(spec: ManagedRoostSpec) -> bool:
    hooks = spec.chart.hooks
    return hooks is not None and disables_all_hooks(
        hooks.model_dump(by_alias=True, exclude_none=True)
    )
