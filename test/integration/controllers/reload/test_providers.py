"""SecretProviderClasses: what a CSI driver tells of the pods that mount them."""

from __future__ import annotations

import json

import pytest

from api.batch.v1 import Job
from api.secretsstore.v1 import (
    SecretProviderClass,
    SecretProviderClassPodStatus,
)
from conformance.reloads import (
    AUTO,
    SECONDS,
    Shop,
    Workload,
    pod_that_uses,
    record,
    variables,
)
from controller_runtime import Json
from controller_runtime.testing.eventually import eventually

STATUS = SecretProviderClassPodStatus.gvk
GROUP = "reloader.stakater.com"
SPC_AUTO = {f"secretproviderclass.{GROUP}/auto": "true"}
SPC_NAMED = {f"secretproviderclass.{GROUP}/reload": "vault"}
SPC_EXCLUDED = {f"secretproviderclasses.exclude.{GROUP}/reload": "vault"}
CM_AUTO = {f"configmap.{GROUP}/auto": "true"}
MARK = "STAKATER_{}_SECRETPROVIDERCLASS"

pytestmark = pytest.mark.usefixtures("served")


def pod_that_mounts(*classes: str) -> Json:
    """Mount classes, and have a ConfigMap in the variables."""
    pod = pod_that_uses("cm/c")
    pod["containers"][0]["volumeMounts"] = [
        {"name": name, "mountPath": f"/{name}"} for name in classes
    ]
    driver = "secrets-store.csi.k8s.io"
    pod["volumes"] = [
        {
            "name": name,
            "csi": {
                "driver": driver,
                "readOnly": True,
                "volumeAttributes": {"secretProviderClass": name},
            },
        }
        for name in classes
    ]
    return pod


class Driver:
    """What the driver writes: a status for each pod and class."""

    def __init__(self, shop: Shop, *classes: str) -> None:
        self.shop = shop
        self.classes = classes

    async def start(self, ignored: str = "") -> None:
        await self.shop.sources("cm/c")
        for name in self.classes:
            noted = {f"{GROUP}/ignore": "true"} if name == ignored else {}
            await self.shop.create(SecretProviderClass.gvk, name, noted)
            for pod in ("pod-1", "pod-2"):
                await self.shop.create(
                    STATUS, f"{pod}-{name}", status=_status(name, "1")
                )

    async def rotate(self, name: str, version: str = "2") -> None:
        for pod in ("pod-1", "pod-2"):
            changes = {"status": _status(name, version)}
            await self.shop.patch(STATUS, f"{pod}-{name}", changes)

    async def touch(self, name: str) -> None:
        changes = {"metadata": {"labels": {"touched": "yes"}}}
        await self.shop.patch(STATUS, f"pod-1-{name}", changes)


def _status(name: str, version: str) -> Json:
    objects = [{"id": "password", "version": version}]
    return {"secretProviderClassName": name, "objects": objects}


async def silent(shop: Shop, driver: Driver, web: Workload, quiet: str) -> None:
    """Rotate a class, and see that another workload reloads afterwards, and not this.

    It is the witness: what is told of classes comes in order.
    """
    pod = pod_that_mounts("last")
    witness = await shop.workload("witness", SPC_AUTO, pod=pod)
    seen = await witness.adopted("spc/last")
    before = await web.template()
    await driver.rotate(quiet)
    await driver.rotate("last")
    await witness.reloaded(seen)
    assert await web.template() == before


async def test_a_class_reloads_what_mounts_it_once_for_all_pods(shop: Shop) -> None:
    """Scenarios 17 and 19: its status counts, and labels of that do not."""
    driver = Driver(shop, "vault")
    await driver.start()
    async with shop.manager():
        web = await shop.workload("web", SPC_AUTO, pod=pod_that_mounts("vault"))
        both = await shop.workload("both", AUTO, pod=pod_that_mounts("vault"))
        before = await web.adopted("spc/vault")
        seen = await both.adopted("spc/vault", "cm/c")

        await driver.touch("vault")
        await shop.change("cm/c")
        seen = await both.reloaded(seen)
        assert await web.template() == before
        await driver.rotate("vault")
        after, seen = await web.reloaded(before), await both.reloaded(seen)

    mark = MARK.format("VAULT")
    assert variables(after) == {"app": {mark}}
    assert variables(seen) == {"app": {mark, "STAKATER_C_CONFIGMAP"}}
    told = await shop.events("Reloaded", "web")
    assert len(told) == 1


async def test_auto_for_config_maps_is_not_for_classes(shop: Shop) -> None:
    """Scenario 19."""
    driver = Driver(shop, "vault", "last")
    await driver.start()
    async with shop.manager():
        web = await shop.workload("web", CM_AUTO, pod=pod_that_mounts("vault"))
        await web.adopted("cm/c")
        await silent(shop, driver, web, "vault")


@pytest.mark.parametrize("where", ["said", "noted"])
async def test_a_class_that_is_excluded_reloads_nothing_and_another_does(
    shop: Shop, where: str
) -> None:
    """Scenarios 20 and 23: on the workload, or on its pod template."""
    driver = Driver(shop, "vault", "other", "last")
    await driver.start()
    said = AUTO | (SPC_EXCLUDED if where == "said" else {})
    noted = SPC_EXCLUDED if where == "noted" else {}
    async with shop.manager():
        web = await shop.workload(
            "web", said, noted=noted, pod=pod_that_mounts("vault", "other")
        )
        before = await web.adopted("spc/other")
        await silent(shop, driver, web, "vault")
        await driver.rotate("other")
        after = await web.reloaded(before)

    assert variables(after) == {"app": {MARK.format("OTHER")}}


async def test_a_class_that_is_to_be_ignored_reloads_nothing(shop: Shop) -> None:
    """Scenario 20."""
    driver = Driver(shop, "vault", "last")
    await driver.start(ignored="vault")
    async with shop.manager():
        web = await shop.workload("web", AUTO, pod=pod_that_mounts("vault"))
        await web.adopted("cm/c")
        await silent(shop, driver, web, "vault")


@pytest.mark.parametrize("noted", [SPC_AUTO, SPC_NAMED], ids=["auto", "named"])
async def test_a_pod_template_may_ask_for_a_class(
    shop: Shop, noted: dict[str, str]
) -> None:
    """Scenario 23."""
    driver = Driver(shop, "vault")
    await driver.start()
    async with shop.manager():
        web = await shop.workload("web", noted=noted, pod=pod_that_mounts("vault"))
        before = await web.adopted("spc/vault")
        await driver.rotate("vault")
        await web.reloaded(before)


@pytest.mark.parametrize("asks", [SPC_AUTO, SPC_NAMED, AUTO])
async def test_a_class_that_an_init_container_mounts_is_seen(
    shop: Shop, asks: dict[str, str]
) -> None:
    """Scenario 16, the part of SecretProviderClasses; the first container is marked."""
    driver = Driver(shop, "vault")
    await driver.start()
    pod = pod_that_mounts("vault")
    mounts = pod["containers"][0].pop("volumeMounts")
    init = {**pod["containers"][0], "name": "prepare", "volumeMounts": mounts}
    pod["initContainers"] = [init]
    async with shop.manager():
        web = await shop.workload("web", asks, pod=pod)
        before = await web.adopted("spc/vault")
        await driver.rotate("vault")
        after = await web.reloaded(before)

    assert variables(after) == {"app": {MARK.format("VAULT")}, "prepare": set()}


async def test_an_annotation_may_tell_of_a_class(shop: Shop) -> None:
    """Scenario 17: under the strategy `annotations`."""
    driver = Driver(shop, "vault")
    await driver.start()
    asks = SPC_AUTO | {f"{GROUP}/reload-strategy": "annotations"}
    async with shop.manager():
        web = await shop.workload("web", asks, pod=pod_that_mounts("vault"))
        before = await web.adopted("spc/vault")
        await driver.rotate("vault")
        after = await web.reloaded(before)

    told = json.loads(after["metadata"]["annotations"][f"{GROUP}/last-reloaded-from"])
    assert (told["type"], told["name"]) == ("SECRETPROVIDERCLASS", "vault")
    assert variables(after) == {"app": set()}


async def test_a_job_that_mounts_a_class_is_started_anew(shop: Shop) -> None:
    """Scenario 26, the part of SecretProviderClasses."""
    driver = Driver(shop, "vault")
    await driver.start()
    idle: Json = {"restartPolicy": "Never", "nodeSelector": {"there": "is-none"}}
    template = {"spec": pod_that_mounts("vault") | idle}
    job = await shop.create(Job.gvk, "x", SPC_AUTO, spec={"template": template})
    async with shop.manager():
        where = (shop.client, Job.gvk, "x", shop.namespace)
        await eventually(*where, record, timeout=SECONDS)
        await driver.rotate("vault")
        after = await eventually(
            *where,
            lambda it: it["metadata"]["uid"] != job["metadata"]["uid"],
            timeout=SECONDS,
        )

    assert variables(after["spec"]["template"]) == {"app": {MARK.format("VAULT")}}
