"""What an HTTP request asks of an API server, in the words of its authorizer.

    GET /apis/apps/v1/namespaces/shop/deployments?watch=1
        ─▶ watch deployments.apps in shop

The verb is what roles and audit logs call it: a GET is `get`, `list` or `watch`, and a
DELETE without a name `deletecollection`. The rules are kube-apiserver's
(`RequestInfoFactory` of k8s.io/apiserver `pkg/endpoints/request`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}

_OF_NAMESPACES = frozenset({"status", "finalize"})
"""Subresources of the kind Namespace; what else follows its name is a resource."""

_SPECIAL = frozenset({"proxy", "watch"})
"""Verbs that paths of old began with, and the server still reads."""

_FALSE = frozenset({"0", "false"})

_NO_PARAMS: Mapping[str, str] = {}


class RequestInfo(NamedTuple):
    """One request, as an authorizer sees it."""

    verb: str
    """Such as `list`; of what is no resource, the method in lower case."""

    group: str = ""
    """Empty for the core group."""

    resource: str = ""
    """Plural, such as `deployments`; empty for what is no resource."""

    subresource: str = ""

    namespace: str = ""
    """Empty for all namespaces, and for what is in none."""

    name: str = ""
    """Empty for a collection, and for a creation: the path does not have it."""

    path: str = ""
    """Of what is no resource, such as `/version`; empty otherwise."""

    @property
    def full_resource(self) -> str:
        """The resource as a role names it, such as `deployments/status`."""
        return "/".join(filter(None, (self.resource, self.subresource)))

    def __str__(self) -> str:
        if self.path:
            return f"{self.verb} {self.path}"
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return " ".join(
            filter(
                None,
                (
                    self.verb,
                    "/".join(filter(None, (resource, self.subresource))),
                    self.name,
                    f"in {self.namespace}" if self.namespace else "",
                ),
            )
        )


def request_info(
    method: str, path: str, params: Mapping[str, str] = _NO_PARAMS
) -> RequestInfo:
    """Read a request.

    Args:
        method: Such as `GET`.
        path: Absolute, below the server's URL, not percent-encoded.
        params: The query.
    """
    head, rest = _split(path)
    if not rest:  # discovery, or not of the API at all
        return RequestInfo(method.lower(), path=path)
    group = head[1] if len(head) == 3 else ""
    verb = _VERBS.get(method, "")
    if rest[0] in _SPECIAL:
        if len(rest) == 1:
            return RequestInfo(method.lower(), path=path)
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACES:
            rest = rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    if verb == "proxy":
        subresource = ""
    if verb == "get" and not name:
        verb = "watch" if _is_watch(params) else "list"
        name = _selected_name(params)
    if verb == "delete" and not name:
        verb = "deletecollection"
    return RequestInfo(verb, group, resource, subresource, namespace, name)


def path_template(path: str) -> str:
    """Return a path of the API with placeholders for the names in it.

    `/apis/apps/v1/namespaces/shop/deployments/web` is
    `/apis/apps/v1/namespaces/{namespace}/deployments/{name}`; what is no resource, such
    as `/version`, names no objects and stays.
    """
    info = request_info("", path)
    if not info.resource:
        return path
    head, _ = _split(path)
    if info.namespace and info.resource != "namespaces":
        head += ["namespaces", "{namespace}"]
    name = "{name}" if info.name else ""
    return "/" + "/".join(filter(None, [*head, info.resource, name, info.subresource]))


def _split(path: str) -> tuple[list[str], list[str]]:
    """Return group and version of a path, and what is below them, if anything is."""
    parts = [part for part in path.split("/") if part]
    length = {"api": 2, "apis": 3}.get(parts[0] if parts else "", len(parts))
    return parts[:length], parts[length:]


def _is_watch(params: Mapping[str, str]) -> bool:
    return "watch" in params and params["watch"].lower() not in _FALSE


def _selected_name(params: Mapping[str, str]) -> str:
    """Return the one name that a field selector leaves, if it leaves one."""
    for term in params.get("fieldSelector", "").split(","):
        field, equals, name = term.strip().partition("=")
        name = name.removeprefix("=")
        if field == "metadata.name" and equals and not set("/%") & set(name):
            return name
    return ""
