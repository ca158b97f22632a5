"""May the Job run there: namespace, account, policy, and whose release it is.

    Namespace       there, and not on its way out
    ServiceAccount  there, and named if the target is another namespace
    policy          Allow; Annotated: account or namespace name the bundle; Deny
    release         belongs to the oldest bundle that names it and may

Whoever may write a bundle decides what runs as the account it names: the policy keeps
that from being anybody's account in any namespace. What the account may do is found
out by the Job; existence is not permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from api.bundle.v1alpha1 import WerfBundle
from controller_runtime import (
    Client,
    ForbiddenError,
    GroupVersionKind,
    Json,
    NotFoundError,
    find_condition,
)
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import (
    Intention,
    readable,
    release_name,
    target_namespace,
)
from controllers.bundle.options import BundleOptions, CrossNamespacePolicy

PASSED = "PreflightPassed"

NAMESPACE = GroupVersionKind("", "v1", "Namespace")
SERVICE_ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")

_REFUSED = frozenset({"CrossNamespaceForbidden", "ServiceAccountRequired"})
"""Why a bundle may not deploy to another namespace."""

ALLOW_FROM = "werf.io/allow-bundles-from"
"""On a ServiceAccount or Namespace: `namespace`, `namespace/name` or `*`, with commas
between them."""


def release_key(body: Json) -> tuple[str, ...]:
    """Return whose release a bundle claims, for `index_by_body`."""
    bundle = readable(body)
    if bundle is None:
        return ()
    return (f"{target_namespace(bundle)}/{release_name(bundle)}",)


def check_release(
    bundle: WerfBundle, claims: Iterable[WerfBundle], options: BundleOptions
) -> None:
    """Refuse a release that an older bundle has.

    One that may not deploy there has none: or whoever may write bundles anywhere could
    keep others from their own releases.

    Args:
        bundle: Who wants it.
        claims: Every bundle that names the release, this one perhaps included.
        options: When to look again.

    Raises:
        BlockedError: It belongs to another one.
    """
    older = [
        claim
        for claim in claims
        if claim.metadata.uid != bundle.metadata.uid
        and _age(claim) < _age(bundle)
        and not _is_refused(claim)
    ]
    if not older:
        return
    owner = min(older, key=_age)
    raise BlockedError(
        f"the release {release_name(bundle)} in {target_namespace(bundle)} belongs to "
        f"WerfBundle {owner.key}, which is older: choose another "
        "spec.converge.releaseName",
        condition=PASSED,
        reason="ReleaseConflict",
        is_stalled=True,
        retry_after=options.preflight_retry * 2,
    )


def _age(bundle: WerfBundle) -> tuple[str, str]:
    """Sort the oldest first; times have whole seconds."""
    return bundle.metadata.creation_timestamp or "", bundle.metadata.uid


def _is_refused(bundle: WerfBundle) -> bool:
    """Tell whether a bundle was found to have no business where it wants to deploy."""
    passed = find_condition(bundle.status.conditions, PASSED)
    return passed is not None and passed.status == "False" and passed.reason in _REFUSED


async def check_target(
    client: Client, bundle: WerfBundle, intention: Intention, options: BundleOptions
) -> None:
    """Look at the target namespace and at the account, live.

    Raises:
        BlockedError: The Job must not, or cannot, run there.
    """
    own = bundle.metadata.namespace
    if intention.namespace != own:
        _check_named(intention, own)
    gates = [
        gate
        for gate in (
            await _namespace(client, intention.namespace, options),
            await _account(client, intention, options),
        )
        if gate is not None
    ]
    if intention.namespace != own:
        _check_policy(bundle, options, gates)


async def _namespace(client: Client, name: str, options: BundleOptions) -> Json | None:
    """Return the target namespace; `None` if it must not be looked at.

    A manager whose rights are in some namespaces alone may have none on the namespaces
    themselves. It goes on: what is missing shows when the Job is made.
    """
    try:
        namespace = await client.get(NAMESPACE, name)
    except ForbiddenError:
        return None
    except NotFoundError:
        raise _blocked(
            "NamespaceNotFound",
            f"namespace {name!r} not found: create it, or change "
            "spec.converge.targetNamespace",
            options.preflight_retry,
        ) from None
    if "deletionTimestamp" in namespace["metadata"]:
        raise _blocked(
            "NamespaceTerminating",
            f"namespace {name!r} is being deleted",
            options.preflight_retry,
        )
    return namespace


async def _account(
    client: Client, intention: Intention, options: BundleOptions
) -> Json | None:
    """Return the account that the bundle names, if it names one."""
    name, namespace = intention.service_account, intention.namespace
    if not name:
        return None
    try:
        return await client.get(SERVICE_ACCOUNT, name, namespace)
    except NotFoundError:
        raise _blocked(
            "ServiceAccountNotFound",
            f"ServiceAccount '{name}' not found in namespace '{namespace}'",
            options.preflight_retry,
        ) from None
    except ForbiddenError as error:
        raise _blocked(
            "ReadForbidden",
            f"the manager may not look at ServiceAccount {namespace}/{name}: {error}",
            options.preflight_retry * 4,
        ) from None


def _check_named(intention: Intention, own: str) -> None:
    if not intention.service_account:
        raise BlockedError(
            f"spec.converge.serviceAccountName is required to deploy from {own} to "
            f"{intention.namespace}",
            condition=PASSED,
            reason="ServiceAccountRequired",
            is_stalled=True,
        )


def _check_policy(
    bundle: WerfBundle, options: BundleOptions, gates: Iterable[Json]
) -> None:
    own, name = bundle.metadata.namespace, bundle.metadata.name
    policy = options.cross_namespace_policy
    if policy is CrossNamespacePolicy.ALLOW:
        return
    remedy = "the manager allows no bundle to leave its namespace"
    if policy is CrossNamespacePolicy.ANNOTATED:
        if any(_admits(gate["metadata"], own, name) for gate in gates):
            return
        remedy = f"annotate the ServiceAccount or Namespace with {ALLOW_FROM}: {own}"
    raise BlockedError(
        f"WerfBundle {own}/{name} may not deploy to {target_namespace(bundle)}: "
        f"{remedy}",
        condition=PASSED,
        reason="CrossNamespaceForbidden",
        is_stalled=True,
        retry_after=options.preflight_retry * 4,
    )


def _admits(metadata: Mapping[str, object], namespace: str, name: str) -> bool:
    annotations = metadata.get("annotations")
    said = annotations.get(ALLOW_FROM, "") if isinstance(annotations, dict) else ""
    admitted = {each.strip() for each in said.split(",")}
    return bool({"*", namespace, f"{namespace}/{name}"} & admitted)


def _blocked(reason: str, message: str, retry_after: timedelta) -> BlockedError:
    return BlockedError(
        message, condition=PASSED, reason=reason, retry_after=retry_after
    )
