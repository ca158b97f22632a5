"""Reloads that are taken back, on a real control plane with a fake node."""

from __future__ import annotations

import pytest

from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import (
    IMAGE,
    REPLICA_SET,
    SECONDS,
    Shop,
    is_rolled_out,
    record,
)
from controller_runtime import (
    GroupVersionKind,
    Json,
)
from controller_runtime.testing.eventually import eventually

QUOTA = GroupVersionKind("", "v1", "ResourceQuota")


@pytest.mark.usefixtures("crd")
async def test_the_pods_from_before_a_reload_that_fails_stay(shop: Shop) -> None:
    """A9: the template is the old one to the letter, so no pod is made anew."""
    await shop.sources("cm/c")
    mine = [{"name": name, "value": "1"} for name in ("ZERO", "ALPHA")]
    pod = {"containers": [{"name": "app", "image": IMAGE, "env": mine}]}
    web = await shop.workload("web", pod=pod, replicas=1, progressDeadlineSeconds=3)
    await shop.reloader(
        watchedResources={"configMaps": ["c"]},
        targets=[{"kind": "Deployment", "name": "web"}],
        onFailure="Rollback",
    )

    async with shop.manager():
        before = await web.when(lambda it: is_rolled_out(it) and record(it))
        # No second pod may come, and the first does not go before.
        await shop.create(QUOTA, "q", spec={"hard": {"pods": "1"}})
        await eventually(
            *(shop.client, QUOTA, "q", shop.namespace),
            lambda quota: quota.get("status", {}).get("used", {}).get("pods") == "1",
            timeout=SECONDS,
        )
        await shop.change("cm/c", "bad")
        await shop.events("ReloadRolledBack", "web")
        after = await web.when(is_rolled_out)
        status = await eventually(
            *(shop.client, ReloaderConfig.gvk, "x", shop.namespace),
            lambda it: _is_back(it.get("status", {})),
            timeout=SECONDS,
        )

    assert after["spec"] == before["spec"]
    assert record(after) != record(before)
    assert len((await shop.client.list(REPLICA_SET, shop.namespace)).items) == 2
    assert [entry["outcome"] for entry in status["status"]["history"]] == [
        "RolloutFailed"
    ]


def _is_back(status: Json) -> bool:
    (row,) = status["targetStatus"]
    return bool(status.get("history")) and row["rolloutState"] == "Complete"
