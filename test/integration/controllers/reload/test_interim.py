"""Secrets that others make, and that are empty for a moment (A20)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.core.v1 import ConfigMap, Secret
from conformance.reloads import AUTO, Shop
from controller_runtime import Json

SECRET = "secret/s"

EMPTY: Json = {"data": {"k": None}}

CERTIFICATE = {"annotations": {"cert-manager.io/certificate-name": "s"}}


async def owned(shop: Shop) -> Json:
    """Return metadata of what another object owns."""
    owner = await shop.create(ConfigMap.gvk, "owner")
    uid = owner["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    return {"ownerReferences": [reference]}


@pytest.mark.parametrize("maker", ["owner", "certificate"])
async def test_a_secret_that_is_filled_again_reloads_for_its_content_alone(
    shop: Shop, maker: str
) -> None:
    await shop.sources(SECRET)
    metadata = await owned(shop) if maker == "owner" else CERTIFICATE
    await shop.patch(Secret.gvk, "s", {"metadata": metadata})
    web = await shop.workload("web", AUTO, uses=[SECRET])

    async with shop.manager():
        before = await web.adopted(SECRET)
        async with shop.nothing_reloads(web):
            await shop.patch(Secret.gvk, "s", EMPTY)
            (held,) = await shop.events("ReloadHeld", "web")
            await shop.change(SECRET, "old")
        await shop.patch(Secret.gvk, "s", EMPTY)
        await shop.change(SECRET, "new")
        await web.reloaded(before)
        reloads = await shop.events("Reloaded", "web")

    assert f"Secret {shop.namespace}/s is empty" in held["note"]
    assert len(reloads) == 1


async def test_a_secret_that_stays_empty_counts_after_a_while(shop: Shop) -> None:
    await shop.sources(SECRET)
    await shop.patch(Secret.gvk, "s", {"metadata": await owned(shop)})
    web = await shop.workload("web", AUTO, uses=[SECRET])

    async with shop.manager(interim=timedelta(seconds=1)):
        before = await web.adopted(SECRET)
        await shop.patch(Secret.gvk, "s", EMPTY)
        await web.reloaded(before)
