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
    parts = [part for part in path.strip("/").split("/") if part]
    head = {"api": 2, "apis": 3}.get(parts[0] if parts else "", len(parts) + 1)
    if len(parts) <= head:  # discovery, or not of the API at all
        return RequestInfo(method.lower(), path=path)
    group = parts[1] if head == 3 else ""
    rest, verb = parts[head:], _VERBS.get(method, "")
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
