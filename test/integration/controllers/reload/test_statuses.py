"""The status of ReloaderConfigs on a real control plane: real rollouts, a fake node."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from api.apps.v1 import Deployment, StatefulSet
from api.core.v1 import Secret
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import SECONDS, Shop
from controller_runtime import Json
from controller_runtime.testing.eventually import eventually
from controllers.reload.sources.digest import secret_digest

pytestmark = pytest.mark.usefixtures("crd")

SOON = 30.0
"""Longest wait for a hash, by the contract."""

WEB: Json = {"kind": "Deployment", "name": "web"}
NAMES_S: Json = {"watchedResources": {"secrets": ["s"]}, "targets": [WEB]}

USED = ["secret/s", "cm/c"]

WELL = {"Available": "True", "Degraded": "False", "Progressing": "False"}


async def until_adopted(shop: Shop, name: str = "x", *, targets: int = 1) -> Json:
    """Wait until all targets run, with what there is."""

    def is_adopted(status: Json) -> bool:
        rows = status.get("targetStatus", [])
        settled = [
            row
            for row in rows
            if row.get("observedHashes") and row.get("rolloutState") == "Complete"
        ]
        return len(settled) == targets

    return await until_status(shop, is_adopted, name)


async def until_reloaded(shop: Shop, name: str = "x", *, count: int = 1) -> Json:
    """Wait until changes were counted, and all that followed is over."""
    return await until_status(
        shop,
        lambda it: it.get("reloadCount") == count and _conditions(it) == WELL,
        name,
    )


async def until_status(
    shop: Shop, condition: Callable[[Json], bool], name: str = "x"
) -> Json:
    """Wait for a status; with it goes the generation."""
    config = await eventually(
        *(shop.client, ReloaderConfig.gvk, name, shop.namespace),
        lambda obj: condition(obj.get("status", {})),
        timeout=SECONDS,
    )
    status: Json = config["status"]
    return status | {"generation": config["metadata"]["generation"]}


def _data(value: str) -> dict[str, str]:
    return {"k": b64encode(value.encode()).decode()}


def _conditions(status: Json) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status.get("conditions", [])}


def _reasons(status: Json) -> dict[str, str]:
    return {
        c["type"]: f"{c['status']} {c['reason']}" for c in status.get("conditions", [])
    }


def _check(status: Json) -> None:
    """Scenario 15."""
    moment = datetime.fromisoformat(status["lastReloadTime"])
    assert moment.tzinfo is not None
    assert _conditions(status) == WELL
    assert status["observedGeneration"] == status["generation"]
    observed = {c["observedGeneration"] for c in status["conditions"]}
    assert observed == {status["generation"]}


@pytest.mark.e2e
async def test_a_change_of_a_secret_counts_one(shop: Shop) -> None:
    """Scenarios 1 and 15."""
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=2)
    await shop.reloader(**NAMES_S)

    async with shop.manager():
        adopted = await until_adopted(shop)
        assert adopted.get("reloadCount", 0) == 0
        await shop.change("secret/s")
        status = await until_reloaded(shop)

    _check(status)
    (row,) = status["targetStatus"]
    assert (row["kind"], row["name"], row["reloadCount"]) == ("Deployment", "web", 1)
    assert row["lastReloadTime"] == status["lastReloadTime"]
    assert row["rolloutState"] == "Complete"
    hash_ = secret_digest({"k": b"new"}).canonical
    name = f"{shop.namespace}/Secret/s"
    assert status["watchedResourceHashes"] == {name: hash_}
    assert row["observedHashes"] == {name: hash_[:20]}


@pytest.mark.e2e
async def test_a_change_of_a_config_map_counts_one(shop: Shop) -> None:
    """Scenarios 2 and 15."""
    await shop.sources("cm/c")
    await shop.workload("web", uses=USED, replicas=1)
    watched = {"configMaps": ["c"]}
    await shop.reloader(watchedResources=watched, targets=[WEB])

    async with shop.manager():
        await until_adopted(shop)
        await shop.change("cm/c")
        _check(await until_reloaded(shop))


@pytest.mark.e2e
async def test_a_stateful_set_reloads_by_annotations_and_counts_one(
    shop: Shop,
) -> None:
    """Scenarios 3 and 15."""
    await shop.sources("cm/c")
    await shop.workload("db", gvk=StatefulSet.gvk, uses=USED, replicas=2)
    target = {"kind": "StatefulSet", "name": "db"}
    await shop.reloader(
        watchedResources={"configMaps": ["c"]},
        targets=[target],
        reloadStrategy="annotations",
    )

    async with shop.manager():
        await until_adopted(shop)
        await shop.change("cm/c")
        _check(await until_reloaded(shop))


@pytest.mark.e2e
async def test_a_change_that_two_targets_reload_for_counts_one(shop: Shop) -> None:
    """Scenarios 4 and 15."""
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=1)
    await shop.workload("api", uses=USED, replicas=1)
    both = [WEB, {"kind": "Deployment", "name": "api"}]
    await shop.reloader(**NAMES_S | {"targets": both})

    async with shop.manager():
        await until_adopted(shop, targets=2)
        await shop.change("secret/s")
        status = await until_status(
            shop,
            lambda it: (
                [row.get("reloadCount") for row in it["targetStatus"]] == [1, 1]
                and _conditions(it) == WELL
            ),
        )

    assert status["reloadCount"] == 1
    _check(status)


@pytest.mark.e2e
async def test_a_target_that_comes_late_reloads_for_the_next_change(
    shop: Shop,
) -> None:
    """Scenario 10."""
    await shop.sources("secret/s")
    await shop.reloader(**NAMES_S)

    async with shop.manager():
        missing = await until_status(shop, lambda it: _conditions(it) != {})
        assert _reasons(missing)["Available"] == "False TargetNotFound"
        assert missing.get("reloadCount", 0) == 0
        await shop.workload("web", uses=USED, replicas=1)
        adopted = await until_adopted(shop)
        assert adopted.get("reloadCount", 0) == 0
        assert _conditions(adopted)["Available"] == "True"
        await shop.change("secret/s")
        _check(await until_reloaded(shop))


@pytest.mark.e2e
async def test_the_hash_of_a_secret_follows_it_as_it_comes_and_goes(
    shop: Shop,
) -> None:
    """Scenarios 11 and 12."""
    await shop.workload("web", uses=USED, replicas=1)
    await shop.reloader(**NAMES_S)
    name = f"{shop.namespace}/Secret/s"

    async with shop.manager():
        absent = await until_status(
            shop, lambda it: _reasons(it).get("Degraded") == "True ResourceNotFound"
        )
        assert "watchedResourceHashes" not in absent
        for value in ("old", "other"):
            await shop.create(Secret.gvk, "s", data=_data(value))
            hash_ = secret_digest({"k": value.encode()}).canonical
            async with asyncio.timeout(SOON):
                await until_status(shop, _holds(name, hash_))
            await shop.client.delete(Secret.gvk, "s", shop.namespace)
            await until_status(
                shop, lambda it: _reasons(it)["Degraded"] == "True ResourceNotFound"
            )


def _holds(name: str, hash_: str) -> Callable[[Json], bool]:
    return lambda it: it.get("watchedResourceHashes") == {name: hash_}


@pytest.mark.e2e
async def test_two_configs_of_one_secret_count_one_each(shop: Shop) -> None:
    """Scenarios 14 and 15."""
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=1)
    await shop.workload("api", uses=USED, replicas=1)
    await shop.reloader("one", **NAMES_S)
    api = {"kind": "Deployment", "name": "api"}
    await shop.reloader("two", **NAMES_S | {"targets": [api]})

    async with shop.manager():
        await until_adopted(shop, "one")
        await until_adopted(shop, "two")
        await shop.change("secret/s")
        for name, target in (("one", "web"), ("two", "api")):
            status = await until_reloaded(shop, name)
            _check(status)
            assert [row["name"] for row in status["targetStatus"]] == [target]


async def test_a_dry_run_is_in_the_status_alone(shop: Shop) -> None:
    """Scenario 54: its witness is a target of another config."""
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=1)
    await shop.workload("api", uses=USED, replicas=1)
    await shop.reloader("dry", **NAMES_S, dryRun=True)
    api = {"kind": "Deployment", "name": "api"}
    await shop.reloader("wet", **NAMES_S | {"targets": [api]})

    async with shop.manager():
        await until_adopted(shop, "wet")
        await until_status(
            shop, lambda it: bool(it.get("watchedResourceHashes")), "dry"
        )
        before = await shop.client.get(Deployment.gvk, "web", shop.namespace)
        await shop.change("secret/s")
        planned = await until_status(
            shop, lambda it: bool(it.get("wouldReload")), "dry"
        )
        await until_reloaded(shop, "wet")
        after = await shop.client.get(Deployment.gvk, "web", shop.namespace)

    (one,) = planned["wouldReload"]
    assert one["workload"] == f"{shop.namespace}/Deployment/web"
    assert planned.get("reloadCount", 0) == 0
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.e2e
async def test_a_change_during_a_pause_counts_when_the_pause_is_over(
    shop: Shop,
) -> None:
    """Scenario 13: the minute is 15 seconds here."""
    period = timedelta(seconds=15)
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=1)
    paused = WEB | {"pausePeriod": "15s"}
    await shop.reloader(**NAMES_S | {"targets": [paused]})

    async with shop.manager():
        await until_adopted(shop)
        await shop.change("secret/s", "one")
        first = await until_status(shop, lambda it: it.get("reloadCount") == 1)
        await shop.change("secret/s", "two")
        held = await until_status(shop, lambda it: bool(it.get("pending")))
        await shop.change("secret/s", "three")
        last = await until_reloaded(shop, count=2)

    assert held["reloadCount"] == 1
    (row,) = held["targetStatus"]
    until = datetime.fromisoformat(row["pausedUntil"])
    began, ended = (
        datetime.fromisoformat(it["lastReloadTime"]) for it in (first, last)
    )
    assert began + period <= until + timedelta(seconds=1)
    # Statuses have whole seconds.
    assert ended - began >= period - timedelta(seconds=1)
    deployment = await shop.client.get(Deployment.gvk, "web", shop.namespace)
    revision = "deployment.kubernetes.io/revision"
    assert deployment["metadata"]["annotations"][revision] == "3"
    hash_ = secret_digest({"k": b"three"}).canonical
    assert last["watchedResourceHashes"] == {f"{shop.namespace}/Secret/s": hash_}


async def test_counts_go_on_in_the_next_manager(shop: Shop) -> None:
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=1)
    await shop.reloader(**NAMES_S)
    async with shop.manager():
        await until_adopted(shop)
        await shop.change("secret/s", "one")
        await until_reloaded(shop)

    await shop.change("secret/s", "two")
    async with shop.manager():
        status = await until_reloaded(shop, count=2)

    _check(status)
    assert len(status["history"]) == 2


async def test_kubectl_shows_what_it_is_about(shop: Shop) -> None:
    await shop.sources("secret/s")
    await shop.workload("web", uses=USED, replicas=1)
    await shop.reloader(**NAMES_S)
    async with shop.manager():
        await until_adopted(shop)
        await shop.change("secret/s")
        await until_reloaded(shop)

    path = f"/apis/reloader.stakater.com/v1alpha1/namespaces/{shop.namespace}"
    answer = await shop.client.transport.request(
        "GET",
        f"{path}/reloaderconfigs",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    assert b'"True"' in answer.body
    assert b'"web"' in answer.body
