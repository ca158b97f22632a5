"""What is wrong with a ManagedRoost that the API server took: pure.

A CRD may be installed without its rules, and some rules depend on the manager's
settings. What is written and cannot be honoured is refused here too, where going on
would do harm: to install in the wrong cluster, to trust an unverified chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from api.release.chart import SecretReference, ValuesReference
from api.release.v1alpha1 import RELEASE_NAME, ManagedRoost, ManagedRoostSpec
from controllers.release.identity import MAX_NAME
from controllers.release.options import ReleaseOptions
from controllers.versions import InvalidConstraintError, parse_constraint


class Problem(NamedTuple):
    """One field that cannot be used, and why."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def validate(roost: ManagedRoost, options: ReleaseOptions) -> tuple[Problem, ...]:
    """Return everything that is wrong."""
    spec, namespace = roost.spec, roost.metadata.namespace
    return (
        *_chart(spec),
        *_auth(spec),
        *_places(spec, namespace, options),
        *_references(spec, namespace, options),
        *_not_yet(spec),
    )


def _chart(spec: ManagedRoostSpec) -> Iterator[Problem]:
    values, policy = spec.chart.values, spec.chart.upgrade_policy
    if values.inline and values.object:
        yield Problem("spec.chart.values", "set inline or object, not both")
    try:
        parse_constraint(spec.chart.version)
    except InvalidConstraintError as error:
        yield Problem("spec.chart.version", str(error))
    if policy.force and spec.apply_mode != "client":
        yield Problem(
            "spec.chart.upgradePolicy.force",
            "objects are replaced only with applyMode: client; server-side apply "
            "takes fields over without it",
        )


def _auth(spec: ManagedRoostSpec) -> Iterator[Problem]:
    auth = spec.chart.repository.auth
    if auth is None:
        return
    path = "spec.chart.repository.auth"
    if auth.password and not auth.username:
        yield Problem(f"{path}.username", "a password needs a username")
    if auth.token and auth.type != "token":
        yield Problem(f"{path}.type", "a token needs type: token")


def _places(
    spec: ManagedRoostSpec, namespace: str, options: ReleaseOptions
) -> Iterator[Problem]:
    if spec.release_name and (
        len(spec.release_name) > MAX_NAME
        or not re.fullmatch(RELEASE_NAME, spec.release_name)
    ):
        yield Problem(
            "spec.releaseName",
            f"{spec.release_name!r} is no name of at most {MAX_NAME} lower-case "
            "letters, digits, '-' and '.'",
        )
    is_elsewhere = spec.namespace not in {"", namespace}
    account = spec.service_account_name or options.default_service_account
    if is_elsewhere and not (account or options.allow_cross_namespace_target):
        yield Problem(
            "spec.namespace",
            f"to install in {spec.namespace!r} set spec.serviceAccountName, so that "
            "its permissions decide, or start the manager with "
            "--release-allow-cross-namespace-target",
        )


def _references(
    spec: ManagedRoostSpec, namespace: str, options: ReleaseOptions
) -> Iterator[Problem]:
    if options.allow_cross_namespace_refs:
        return
    for path, reference in references(spec):
        if reference.namespace not in {"", namespace}:
            yield Problem(
                f"{path}.namespace",
                f"{reference.namespace!r} is another namespace than the object's: "
                "copy what is needed, or start the manager with "
                "--release-allow-cross-namespace-refs",
            )


def references(
    spec: ManagedRoostSpec,
) -> Iterator[tuple[str, SecretReference | ValuesReference]]:
    """Yield every reference to a ConfigMap or Secret, with its path."""
    repository, values = spec.chart.repository, spec.chart.values
    base = "spec.chart.repository"
    for name, holder in (("auth", repository.auth), ("tls", repository.tls)):
        if holder is not None and holder.secret_ref is not None:
            yield f"{base}.{name}.secretRef", holder.secret_ref
    for name, listed in (
        ("configMapRefs", values.config_map_refs),
        ("secretRefs", values.secret_refs),
    ):
        for index, reference in enumerate(listed):
            yield f"spec.chart.values.{name}[{index}]", reference


def _not_yet(spec: ManagedRoostSpec) -> Iterator[Problem]:
    """Refuse what would do harm if it were passed over."""
    missing = "is not supported by this version; remove it"
    if spec.chart.repository.url.startswith("git+"):
        yield Problem("spec.chart.repository.url", f"a git repository {missing}")
    if spec.chart.verify is not None and spec.chart.verify.required is not False:
        yield Problem("spec.chart.verify", f"verification of signatures {missing}")
    if spec.kube_config is not None:
        yield Problem("spec.kubeConfig", f"another cluster {missing}")
    if spec.approval == "Manual":
        yield Problem("spec.approval", f"Manual {missing}")
