"""Write `config/rbac`: the role of the manager, and roles of those who use its kinds.

`role.yaml` is what `pilothouse rbac` writes for all controllers, two replicas and
secure metrics in the namespace `pilothouse-system`. `users.yaml` adds kinds to the
roles `view`, `edit` and `admin` that every cluster has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import Json, KubeObject
from controller_runtime.resources import usual_plural
from controllers.rbac import RoleOptions, manifest
from controllers.settings import CONTROLLERS, Settings

ROLE = Path(__file__).parents[1] / "config" / "rbac" / "role.yaml"

USERS = ROLE.with_name("users.yaml")

NAMESPACE = "pilothouse-system"

FOR_USERS: tuple[type[KubeObject], ...] = (ReloaderConfig,)
"""Kinds that give nobody more than `edit` does. A bundle or a release acts with the
rights of an account that it names: who may write these is for the cluster to say."""

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]

_ROLES = {
    "viewer": ("view", _READ),
    "editor": ("edit", [*_READ, *_WRITE]),
    "admin": ("admin", [*_READ, *_WRITE]),
}
"""Name → the role of the cluster that it becomes part of, and its verbs."""


def text() -> str:
    """Return what `role.yaml` should have."""
    settings = Settings(
        controllers=CONTROLLERS,
        leader_elect=True,
        leader_election_namespace=NAMESPACE,
    )
    return manifest(settings, RoleOptions()).text


def users() -> str:
    """Return what `users.yaml` should have."""
    roles = [role for kind in FOR_USERS for role in _users_of(kind)]
    body = yaml.safe_dump_all(roles, explicit_start=True, sort_keys=False)
    return f"# Written by hack/gen_rbac.py.\n{body}"


def _users_of(kind: type[KubeObject]) -> Iterator[Json]:
    group, plural = kind.gvk.group, usual_plural(kind.gvk.kind)
    for name, (role, verbs) in _ROLES.items():
        label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
        yield {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"{plural}-{name}", "labels": {label: "true"}},
            "rules": [
                _rule(group, plural, verbs),
                _rule(group, f"{plural}/status", ["get"]),
            ],
        }


def _rule(group: str, resource: str, verbs: list[str]) -> Json:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


if __name__ == "__main__":
    ROLE.parent.mkdir(parents=True, exist_ok=True)
    ROLE.write_text(text(), encoding="utf-8")
    USERS.write_text(users(), encoding="utf-8")
