"""Whose release it is, when several bundles name it."""

from __future__ import annotations

import pytest

from api.bundle.v1alpha1 import WerfBundle
from controller_runtime.testing.clock import FakeClock
from controllers.bundle import status
from controllers.bundle.access import check_release
from controllers.bundle.errors import BlockedError
from controllers.bundle.options import BundleOptions
from controllers.bundle.status import Draft

OPTIONS = BundleOptions()


def bundle(namespace: str, created: str, *, refusal: str = "") -> WerfBundle:
    """Make a bundle that names the release `app` in the namespace `shop`."""
    made = WerfBundle.model_validate(
        {
            "metadata": {
                "name": "app",
                "namespace": namespace,
                "uid": namespace,
                "creationTimestamp": f"2026-01-0{created}T00:00:00Z",
            },
            "spec": {
                "registry": {"url": "registry.example/app"},
                "converge": {"targetNamespace": "shop"},
            },
        }
    )
    if not refusal:
        return made
    draft = Draft(made, FakeClock().now())
    error = BlockedError("no", condition="PreflightPassed", reason=refusal)
    status.blocked(draft, error)
    return made.model_copy(update={"status": draft.status})


def test_a_release_belongs_to_the_oldest_that_names_it() -> None:
    """Scenario 47."""
    older, younger = bundle("shop", "1"), bundle("team", "2")

    check_release(older, [older, younger], OPTIONS)
    with pytest.raises(BlockedError, match="WerfBundle shop/app") as caught:
        check_release(younger, [older, younger], OPTIONS)
    assert caught.value.reason == "ReleaseConflict"


@pytest.mark.parametrize(
    "reason", ["CrossNamespaceForbidden", "ServiceAccountRequired"]
)
def test_a_bundle_that_may_not_deploy_there_keeps_nobody_from_a_release(
    reason: str,
) -> None:
    """Section 2.5: a name that was taken in advance, from another namespace."""
    mine = bundle("shop", "2")

    check_release(mine, [bundle("thief", "1", refusal=reason), mine], OPTIONS)


def test_a_bundle_that_waits_for_its_account_keeps_its_release() -> None:
    waiting = bundle("team", "1", refusal="ServiceAccountNotFound")
    mine = bundle("shop", "2")

    with pytest.raises(BlockedError):
        check_release(mine, [waiting, mine], OPTIONS)
