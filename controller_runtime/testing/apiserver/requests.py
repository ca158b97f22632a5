"""What a request asks for: its path, verb and options (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller_runtime.meta import GroupVersionKind
from controller_runtime.testing.apiserver import status
from controller_runtime.testing.apiserver.resources import Resource


class Target(NamedTuple):
    """What a path below `/api` or `/apis` is about."""

    resource: Resource | None
    """None: discovery of the group and version."""
    prefix: str
    """`/api/v1` or `/apis/apps/v1`."""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Catalogue:
    """The resources that are served now, by path."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources: dict[tuple[str, str], Resource] = {}
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._resources[resource.prefix, resource.plural] = resource

    def remove(self, resource: Resource) -> None:
        del self._resources[resource.prefix, resource.plural]

    def of_kind(self, gvk: GroupVersionKind) -> Resource:
        """Return the resource of a kind.

        Raises:
            LookupError: It is not served; a mistake of the test.
        """
        for resource in self._resources.values():
            if resource.gvk == gvk:
                return resource
        raise LookupError(f"{gvk} is not registered with the API server")

    def at(self, prefix: str) -> list[Resource]:
        """Return the resources of one group and version."""
        return [r for r in self._resources.values() if r.prefix == prefix]

    def groups(self) -> dict[str, list[str]]:
        """Return the versions of every group but the core, in order of addition."""
        groups: dict[str, list[str]] = {}
        for resource in self._resources.values():
            versions = groups.setdefault(resource.gvk.group, [])
            if resource.gvk.version not in versions:
                versions.append(resource.gvk.version)
        groups.pop("", None)
        return groups

    def target(self, path: str) -> Target | None:
        """Read a path; None if it leads nowhere that has objects.

        Raises:
            StatusError: 404, the group and version are served, but not this.
        """
        parts = path.strip("/").split("/")
        length = 2 if parts[0] == "api" else 3
        prefix = "/" + "/".join(parts[:length])
        if len(parts) < length or not self.at(prefix):
            return None
        rest = parts[length:]
        if not rest:
            return Target(None, prefix)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            is_own = prefix == "/api/v1" and rest[2] in {"status", "finalize"}
            if not is_own:
                namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (*rest, "", "")[:3]
        resource = self._resources.get((prefix, plural))
        if resource is None or len(rest) > 3:
            raise status.no_such_resource()
        if bool(namespace) > resource.namespaced:
            raise status.no_such_resource()
        if name and resource.namespaced and not namespace:
            raise status.no_such_resource()
        if subresource and subresource not in resource.subresources:
            raise status.no_such_resource()
        return Target(resource, prefix, namespace, name, subresource)


_VERBS = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> str:
    """Return the verb as RBAC and audit logs call it.

    Raises:
        StatusError: 405, the path does not take the method.
    """
    verb = _VERBS.get((method, bool(target.name)))
    if verb is None or not _is_allowed(verb, target):
        raise status.method_not_allowed()
    is_watch = query.get("watch", "false").lower() not in {"false", "0"}
    return "watch" if verb == "list" and is_watch else verb


def _is_allowed(verb: str, target: Target) -> bool:
    resource = target.resource
    if resource is None:
        return verb == "list"
    if verb in {"create", "deletecollection"}:
        return bool(target.namespace) == resource.namespaced
    if target.subresource == "finalize":
        return verb == "update"
    return verb != "delete" or not target.subresource
