"""Users of a test cluster who may do what their rules say, and nothing else.

    rules ─▶ ClusterRole, or Role ─▶ binding to the user ─▶ kubeconfig, allowed by now

As Go's `Environment.AddUser`, and the rights besides. A test that runs its controller
as such a user finds the rule that is missing before a cluster does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from controller_runtime.testing.envtest.access import Cluster
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.errors import ControlPlaneError

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"

_SECONDS = 20.0
"""Longest that the authoriser may take to hear of new rights."""

_POLL = 0.05

Rule = Mapping[str, Any]
"""As a role has it: `{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}`."""


async def add_user(
    cluster: Cluster,
    name: str,
    groups: Sequence[str] = (),
    *,
    rules: Sequence[Rule] = (),
    role: str = "",
    namespace: str = "",
) -> str:
    """Make a user with exactly these rights, and return a kubeconfig of theirs.

    Args:
        cluster: Where.
        name: Of the user; their role and bindings are called the same.
        groups: Of the user; what is granted to these they may do as well.
        rules: What they may do.
        role: A ClusterRole that there is already, such as `view`.
        namespace: Where they may do it; empty for everywhere.

    Raises:
        ControlPlaneError: The authoriser has not heard of it in time.
        ApiError: The server refused a rule.
    """
    api = cluster.api
    if rules:
        await _grant(api, name, namespace, _role(name, namespace), rules=rules)
    if role:
        reference = {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role}
        await _bind(api, f"{name}-{role}", name, namespace, reference)
    kubeconfig = cluster.kubeconfig(user=name, groups=groups)
    if rules or role:
        await _until_known(api, name, groups, namespace, rules, role)
    return kubeconfig


def _role(name: str, namespace: str) -> Mapping[str, str]:
    kind = "Role" if namespace else "ClusterRole"
    return {"apiGroup": _GROUP, "kind": kind, "name": name}


async def _grant(
    api: Api,
    name: str,
    namespace: str,
    reference: Mapping[str, str],
    *,
    rules: Sequence[Rule],
) -> None:
    kind = reference["kind"]
    role = {"apiVersion": f"{_GROUP}/v1", "kind": kind, "rules": list(rules)}
    await api.apply(
        f"{_folder(namespace)}/{kind.lower()}s/{name}",
        {**role, "metadata": {"name": name}},
    )
    await _bind(api, name, name, namespace, reference)


async def _bind(
    api: Api, binding: str, user: str, namespace: str, reference: Mapping[str, str]
) -> None:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    await api.apply(
        f"{_folder(namespace)}/{kind.lower()}s/{binding}",
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": kind,
            "metadata": {"name": binding},
            "roleRef": reference,
            "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": user}],
        },
    )


def _folder(namespace: str) -> str:
    return f"{_RBAC}/namespaces/{namespace}" if namespace else _RBAC


async def _until_known(
    api: Api,
    name: str,
    groups: Sequence[str],
    namespace: str,
    rules: Sequence[Rule],
    role: str,
) -> None:
    """Wait until the authoriser, which hears of it by a watch, says yes."""
    given = list(rules)
    if role:
        found: Mapping[str, Any] = await api.get(f"{_RBAC}/clusterroles/{role}")
        given += found["rules"]
    questions = [_question(rule, namespace) for rule in given]
    try:
        async with asyncio.timeout(_SECONDS):
            for question in questions:
                while not await _is_allowed(api, name, groups, question):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(_POLL)
    except TimeoutError:
        raise ControlPlaneError(
            f"user {name} has not got their rights after {_SECONDS:g} s"
        ) from None


def _question(rule: Rule, namespace: str) -> Mapping[str, object]:
    """Ask for one of the things that a rule allows."""
    if rule.get("nonResourceURLs"):
        path = str(rule["nonResourceURLs"][0]).rstrip("*")
        return {"nonResourceAttributes": {"path": path, "verb": rule["verbs"][0]}}
    resource, _, subresource = str(rule["resources"][0]).partition("/")
    attributes = {
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "verb": rule["verbs"][0],
        "namespace": namespace,
        "name": (rule.get("resourceNames") or [""])[0],
    }
    return {"resourceAttributes": attributes}


async def _is_allowed(
    api: Api, user: str, groups: Sequence[str], question: Mapping[str, object]
) -> bool:
    review = {"spec": {"user": user, "groups": list(groups), **question}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer: Mapping[str, Any] = await api.post(path, review)
    return bool(answer["status"]["allowed"])
