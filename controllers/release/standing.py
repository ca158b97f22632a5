"""Whether we may make releases in our own name, where an object names no account.

    no account ──SelfSubjectAccessReview: create Secrets there?──▶ yes: as ourselves
                                                              └──▶ no: refused

Helm renders before it writes, and a template may look up what the account may read and
fail with it in the message. Our own account reads Secrets everywhere, so a chart must
not be rendered as us for somebody who could not have it installed: with the role that
`pilothouse rbac` writes, every object needs an account of its own.
"""

from __future__ import annotations

from api.release.v1alpha1 import ManagedRoost
from controller_runtime import Client, GroupVersionKind, Json
from controllers.release.identity import release_key
from controllers.release.options import ReleaseOptions
from controllers.release.orders import account

ACCESS_REVIEW = GroupVersionKind(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview"
)


class Standing:
    """Asks the API server what we may do."""

    def __init__(self, client: Client, options: ReleaseOptions) -> None:
        self._client = client
        self._options = options

    async def objection(self, roost: ManagedRoost) -> str:
        """Say why nobody can make the release of an object; empty if somebody can.

        Raises:
            ApiError: The API server cannot be asked.
        """
        if account(roost, self._options):
            return ""
        namespace = release_key(roost).namespace
        answer = await self._client.create(_review(namespace))
        if answer.get("status", {}).get("allowed"):
            return ""
        return (
            "no account is named, and that of the manager may not create Secrets in "
            f"the namespace {namespace}, as Helm has to; set spec.serviceAccountName "
            "to an account that may"
        )


def _review(namespace: str) -> Json:
    wanted = {"namespace": namespace, "verb": "create", "resource": "secrets"}
    return {
        "apiVersion": ACCESS_REVIEW.api_version,
        "kind": ACCESS_REVIEW.kind,
        "spec": {"resourceAttributes": wanted},
    }
