"""Refusals that name a kind or an object, worded as kube-apiserver words them."""

from __future__ import annotations

from collections.abc import Iterable

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import Cause, StatusError, join

MODIFIED = (
    "the object has been modified; please apply your changes to the latest version "
    "and try again"
)


def details(resource: Resource, name: str) -> Json:
    """Return the `details` that name an object."""
    group = {"group": resource.gvk.group} if resource.gvk.group else {}
    return {"name": name, **group, "kind": resource.plural}


def success(resource: Resource, name: str, uid: str) -> Json:
    """Return the Status that answers a completed deletion."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**details(resource, name), "uid": uid},
    }


def not_found(resource: Resource, name: str) -> StatusError:
    """Say that there is no such object."""
    message = f'{resource.qualified} "{name}" not found'
    return StatusError(404, "NotFound", message, details=details(resource, name))


def namespace_not_found(namespace: str) -> StatusError:
    """Say that there is no such namespace to create something in."""
    message = f'namespaces "{namespace}" not found'
    about = {"name": namespace, "kind": "namespaces"}
    return StatusError(404, "NotFound", message, details=about)


def namespace_terminating(resource: Resource, namespace: str, name: str) -> StatusError:
    """Say that nothing can be created in a namespace that is going away."""
    about = f'{resource.qualified} "{name}"' if name else resource.qualified
    message = (
        f"{about} is forbidden: unable to create new content in namespace {namespace} "
        "because it is being terminated"
    )
    cause = Cause(
        "metadata.namespace",
        "NamespaceTerminating",
        f"namespace {namespace} is being terminated",
    )
    found = {**details(resource, name), "causes": [cause.body()]}
    return StatusError(403, "Forbidden", message, details=found)


def already_exists(resource: Resource, name: str) -> StatusError:
    """Say that the name is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details=details(resource, name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> StatusError:
    """Say that the object is not what the writer took it for."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, details=details(resource, name))


def precondition_failed(resource: Resource, name: str, why: str) -> StatusError:
    """Say that a deletion was meant for another object; it names the Kind."""
    kind = resource.qualified_kind
    message = f'Operation cannot be fulfilled on {kind} "{name}": {why}'
    about = {**details(resource, name), "kind": resource.gvk.kind}
    return StatusError(409, "Conflict", message, details=about)


def invalid(resource: Resource, name: str, causes: Iterable[Cause]) -> StatusError:
    """Refuse an object for the fields that `causes` name."""
    return _invalid(resource, resource.gvk.kind, resource.qualified_kind, name, causes)


def version_required(resource: Resource, name: str) -> StatusError:
    """Refuse a PUT without a resourceVersion; here the server names the plural."""
    detail = "must be specified for an update"
    cause = Cause.invalid("metadata.resourceVersion", 0, detail)
    return _invalid(resource, resource.plural, resource.qualified, name, [cause])


def _invalid(
    resource: Resource, kind: str, qualified: str, name: str, causes: Iterable[Cause]
) -> StatusError:
    found = list(causes)
    about: Json = {"name": name} if name else {}
    if resource.gvk.group and not resource.stored_as:
        about["group"] = resource.gvk.group
    about |= {"kind": kind, "causes": [cause.body() for cause in found]}
    message = f'{qualified} "{name}" is invalid: {join(found)}'
    return StatusError(422, "Invalid", message, details=about)
