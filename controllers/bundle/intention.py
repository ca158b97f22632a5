"""What a spec asks for, read and checked: spec and settings in, `Intention` out. Pure.

what cannot be read                       InvalidURL, InvalidConstraint, InvalidSpec
what this version does not act on, and
  must not be ignored                     NotImplemented: nothing is deployed
  does no harm meanwhile                  told in the condition `Unsupported`
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from api.bundle.v1alpha1 import (
    BundleSpec,
    DeletionPolicy,
    DriftMode,
    RegistrySpec,
    RollbackHold,
    UpdateMode,
    ValuesMode,
    WerfBundle,
)
from controller_runtime import Json
from controllers.bundle.errors import BlockedError
from controllers.bundle.fingerprint import tag_hash
from controllers.bundle.options import BundleOptions
from controllers.bundle.versions import selection_hash
from controllers.oci import InvalidReferenceError, Repository, parse_repository
from controllers.versions import (
    Constraint,
    InvalidConstraintError,
    TagFilter,
    parse_constraint,
    tag_filter,
)

GROUP = "werf.io"

RECONCILE_REQUESTED = f"{GROUP}/reconcile-requested-at"
ROLLBACK = f"{GROUP}/rollback-to-version"
APPROVE = f"{GROUP}/approve"

_RELEASE_MAX = 53
_RELEASE = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """A spec that makes sense."""

    registry: RegistrySpec
    repository: Repository
    constraint: Constraint
    keeps: TagFilter | None
    namespace: str
    """Where the release and its Job are."""
    release: str
    service_account: str
    """Empty for the namespace's default one."""
    image: str
    selection: str
    """See `selection_hash`."""


def readable(body: Json) -> WerfBundle | None:
    """Return a bundle as the server has it; `None` for one that cannot be read.

    For indexes, where an error would end the controller for all bundles: a field may
    have a value that only another version knows.
    """
    try:
        return WerfBundle.model_validate(body)
    except ValidationError:
        return None


def target_namespace(bundle: WerfBundle) -> str:
    """Return where a bundle is deployed."""
    return bundle.spec.converge.target_namespace or bundle.metadata.namespace


def release_name(bundle: WerfBundle) -> str:
    """Return the Helm release of a bundle: at most 53 characters."""
    given, name = bundle.spec.converge.release_name, bundle.metadata.name
    if given:
        return given
    if len(name) <= _RELEASE_MAX and _RELEASE.fullmatch(name):
        return name
    return f"{name[:40].replace('.', '-').rstrip('-')}-{tag_hash(name)}"


def read_intention(bundle: WerfBundle, options: BundleOptions) -> Intention:
    """Read the spec of a bundle.

    Raises:
        BlockedError: It cannot be acted on; its author has to change it.
    """
    spec = bundle.spec
    unheeded = sorted(_must_not_be_ignored(spec))
    if unheeded:
        raise _invalid(
            "NotImplemented",
            f"this version does not act on {' and '.join(unheeded)}, and deploying "
            "without would not be what was asked for: remove it",
        )
    _check_settings(spec, options)
    return Intention(
        registry=spec.registry,
        repository=_repository(spec.registry.url),
        constraint=_constraint(spec.registry.version_constraint),
        keeps=_filter(spec.registry),
        namespace=target_namespace(bundle),
        release=release_name(bundle),
        service_account=spec.converge.service_account_name or "",
        image=spec.converge.image or options.werf_image,
        selection=selection_hash(spec.registry),
    )


def unsupported(spec: BundleSpec, annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Name what is set, is not acted on, and does no harm meanwhile."""
    return tuple(_may_be_ignored(spec, annotations))


def _may_be_ignored(spec: BundleSpec, annotations: Mapping[str, str]) -> Iterator[str]:
    drift = spec.converge.drift_detection
    if drift is not None and (
        drift.enabled is not None
        or drift.mode
        not in {
            None,
            DriftMode.DISABLED,
        }
    ):
        yield "spec.converge.driftDetection"
    if spec.converge.values_mode is not ValuesMode.FILE:
        yield "spec.converge.valuesMode Set (values are given as a file)"
    if spec.deletion_policy is not DeletionPolicy.RETAIN:
        yield "spec.deletionPolicy Uninstall (the release stays)"
    if spec.rollback_hold is not RollbackHold.NEXT_VERSION:
        yield "spec.rollbackHold"
    for annotation in (ROLLBACK, APPROVE):
        if annotation in annotations:
            yield f"the annotation {annotation}"


def _must_not_be_ignored(spec: BundleSpec) -> Iterator[str]:
    if spec.registry.verify is not None:
        yield "spec.registry.verify"
    if spec.registry.proxy_secret_ref is not None:
        yield "spec.registry.proxySecretRef"
    if spec.update_policy.mode is not UpdateMode.AUTOMATIC:
        yield f"spec.updatePolicy.mode {spec.update_policy.mode}"
    if spec.update_policy.windows:
        yield "spec.updatePolicy.windows"


def _check_settings(spec: BundleSpec, options: BundleOptions) -> None:
    image = spec.converge.image
    if image and not options.allows_image(image):
        raise _invalid(
            "InvalidSpec",
            f"spec.converge.image {image} is not among the images that the manager "
            f"allows: {', '.join(options.allowed_werf_images)}",
        )
    tls = spec.registry.tls_config
    if options.allow_insecure:
        return
    if spec.registry.insecure or (tls is not None and tls.insecure_skip_verify):
        raise _invalid(
            "InvalidSpec",
            "spec.registry asks for a connection that nobody vouches for (insecure or "
            "insecureSkipVerify), which the manager does not allow: name the "
            "registry's authority in tlsConfig.caSecretRef",
        )


def _repository(url: str) -> Repository:
    try:
        return parse_repository(url)
    except InvalidReferenceError as error:
        raise _invalid("InvalidURL", f"spec.registry.url: {error}") from None


def _constraint(text: str) -> Constraint:
    try:
        return parse_constraint(text)
    except InvalidConstraintError as error:
        raise _invalid(
            "InvalidConstraint", f"spec.registry.versionConstraint: {error}"
        ) from None


def _filter(registry: RegistrySpec) -> TagFilter | None:
    wanted = registry.tag_filter
    if wanted is None:
        return None
    try:
        return tag_filter(wanted.include, wanted.exclude)
    except InvalidConstraintError as error:
        raise _invalid(
            "InvalidConstraint", f"spec.registry.tagFilter: {error}"
        ) from None


def _invalid(reason: str, message: str) -> BlockedError:
    return BlockedError(message, reason=reason, is_stalled=True)
