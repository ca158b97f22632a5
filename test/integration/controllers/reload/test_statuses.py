"""The status of ReloaderConfigs on a real control plane: real rollouts, a fake node."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from api.apps.v1 import Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import IMAGE
from controller_runtime import (
    Client,
    HttpTransport,
    Json,
    KubeObject,
    Manager,
    ManagerOptions,
    RestConfig,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually
from controllers.reload import setup
from controllers.reload.digest import secret_digest
from controllers.reload.options import ReloadOptions

pytestmark = pytest.mark.usefixtures("crd")

SECONDS = 60.0
"""Longest wait for a rollout of a few pods, on a machine that is busy."""

SOON = 30.0
"""Longest wait for a hash, by the contract."""

WEB: Json = {"kind": "Deployment", "name": "web"}
NAMES_S: Json = {"watchedResources": {"secrets": ["s"]}, "targets": [WEB]}

WELL = {"Available": "True", "Degraded": "False", "Progressing": "False"}


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[None]:
        """Run a manager with the reload controller, for this namespace alone."""
        async with HttpTransport(self.config) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            )
            manager = Manager(transport, options=addresses)
            setup(manager, ReloadOptions(namespaces=(self.namespace,)))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield
                manager.stop()

    async def create(self, kind: type[KubeObject], name: str, **fields: object) -> None:
        gvk = kind.gvk
        metadata = {"name": name, "namespace": self.namespace}
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def reloader(self, name: str = "x", /, **spec: object) -> None:
        await self.create(ReloaderConfig, name, spec=spec)

    async def secret(self, name: str = "s", value: str = "old") -> None:
        await self.create(Secret, name, data=_data(value))

    async def change(self, value: str = "new", name: str = "s") -> None:
        await self.patch(Secret, name, {"data": _data(value)})

    async def patch(self, kind: type[KubeObject], name: str, changes: Json) -> None:
        await self.client.patch(
            kind.gvk, name, self.namespace, patch=merge_patch(changes)
        )

    async def workload(
        self,
        name: str = "web",
        kind: type[KubeObject] = Deployment,
        *,
        replicas: int = 1,
    ) -> None:
        labels = {"app": name}
        uses = [
            {"secretRef": {"name": "s", "optional": True}},
            {"configMapRef": {"name": "c", "optional": True}},
        ]
        container = {"name": "app", "image": IMAGE, "envFrom": uses}
        spec: Json = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container]},
            },
        }
        if kind is StatefulSet:
            spec["serviceName"] = name
        await self.create(kind, name, spec=spec)

    async def adopted(self, name: str = "x", *, targets: int = 1) -> Json:
        """Wait until all targets run, with what there is."""

        def is_adopted(status: Json) -> bool:
            rows = status.get("targetStatus", [])
            settled = [
                row
                for row in rows
                if row.get("observedHashes") and row.get("rolloutState") == "Complete"
            ]
            return len(settled) == targets

        return await self.status(is_adopted, name)

    async def reloaded(self, name: str = "x", *, count: int = 1) -> Json:
        """Wait until changes were counted, and all that followed is over."""
        return await self.status(
            lambda it: it.get("reloadCount") == count and _conditions(it) == WELL, name
        )

    async def status(self, condition: Callable[[Json], bool], name: str = "x") -> Json:
        """Wait for a status; with it goes the generation."""
        config = await eventually(
            *(self.client, ReloaderConfig.gvk, name, self.namespace),
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


@pytest.fixture
async def shop(client: Client, config: RestConfig, namespace: str) -> Shop:
    return Shop(client, config, namespace)


@pytest.mark.e2e
async def test_a_change_of_a_secret_counts_one(shop: Shop) -> None:
    """Scenarios 1 and 15."""
    await shop.secret()
    await shop.workload(replicas=2)
    await shop.reloader(**NAMES_S)

    async with shop.manager():
        adopted = await shop.adopted()
        assert adopted.get("reloadCount", 0) == 0
        await shop.change()
        status = await shop.reloaded()

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
    await shop.create(ConfigMap, "c", data={"k": "old"})
    await shop.workload()
    watched = {"configMaps": ["c"]}
    await shop.reloader(watchedResources=watched, targets=[WEB])

    async with shop.manager():
        await shop.adopted()
        await shop.patch(ConfigMap, "c", {"data": {"k": "new"}})
        _check(await shop.reloaded())


@pytest.mark.e2e
async def test_a_stateful_set_reloads_by_annotations_and_counts_one(
    shop: Shop,
) -> None:
    """Scenarios 3 and 15."""
    await shop.create(ConfigMap, "c", data={"k": "old"})
    await shop.workload("db", StatefulSet, replicas=2)
    target = {"kind": "StatefulSet", "name": "db"}
    await shop.reloader(
        watchedResources={"configMaps": ["c"]},
        targets=[target],
        reloadStrategy="annotations",
    )

    async with shop.manager():
        await shop.adopted()
        await shop.patch(ConfigMap, "c", {"data": {"k": "new"}})
        _check(await shop.reloaded())


@pytest.mark.e2e
async def test_a_change_that_two_targets_reload_for_counts_one(shop: Shop) -> None:
    """Scenarios 4 and 15."""
    await shop.secret()
    await shop.workload("web")
    await shop.workload("api")
    both = [WEB, {"kind": "Deployment", "name": "api"}]
    await shop.reloader(**NAMES_S | {"targets": both})

    async with shop.manager():
        await shop.adopted(targets=2)
        await shop.change()
        status = await shop.status(
            lambda it: (
                [row.get("reloadCount") for row in it["targetStatus"]] == [1, 1]
                and _conditions(it) == WELL
            )
        )

    assert status["reloadCount"] == 1
    _check(status)


@pytest.mark.e2e
async def test_a_target_that_comes_late_reloads_for_the_next_change(
    shop: Shop,
) -> None:
    """Scenario 10."""
    await shop.secret()
    await shop.reloader(**NAMES_S)

    async with shop.manager():
        missing = await shop.status(lambda it: _conditions(it) != {})
        assert _reasons(missing)["Available"] == "False TargetNotFound"
        assert missing.get("reloadCount", 0) == 0
        await shop.workload()
        adopted = await shop.adopted()
        assert adopted.get("reloadCount", 0) == 0
        assert _conditions(adopted)["Available"] == "True"
        await shop.change()
        _check(await shop.reloaded())


@pytest.mark.e2e
async def test_the_hash_of_a_secret_follows_it_as_it_comes_and_goes(
    shop: Shop,
) -> None:
    """Scenarios 11 and 12."""
    await shop.workload()
    await shop.reloader(**NAMES_S)
    name = f"{shop.namespace}/Secret/s"

    async with shop.manager():
        absent = await shop.status(
            lambda it: _reasons(it).get("Degraded") == "True ResourceNotFound"
        )
        assert "watchedResourceHashes" not in absent
        for value in ("old", "other"):
            await shop.secret(value=value)
            hash_ = secret_digest({"k": value.encode()}).canonical
            async with asyncio.timeout(SOON):
                await shop.status(_holds(name, hash_))
            await shop.client.delete(Secret.gvk, "s", shop.namespace)
            await shop.status(
                lambda it: _reasons(it)["Degraded"] == "True ResourceNotFound"
            )


def _holds(name: str, hash_: str) -> Callable[[Json], bool]:
    return lambda it: it.get("watchedResourceHashes") == {name: hash_}


@pytest.mark.e2e
async def test_two_configs_of_one_secret_count_one_each(shop: Shop) -> None:
    """Scenarios 14 and 15."""
    await shop.secret()
    await shop.workload("web")
    await shop.workload("api")
    await shop.reloader("one", **NAMES_S)
    api = {"kind": "Deployment", "name": "api"}
    await shop.reloader("two", **NAMES_S | {"targets": [api]})

    async with shop.manager():
        await shop.adopted("one")
        await shop.adopted("two")
        await shop.change()
        for name, target in (("one", "web"), ("two", "api")):
            status = await shop.reloaded(name)
            _check(status)
            assert [row["name"] for row in status["targetStatus"]] == [target]


async def test_a_dry_run_is_in_the_status_alone(shop: Shop) -> None:
    """Scenario 54: its witness is a target of another config."""
    await shop.secret()
    await shop.workload("web")
    await shop.workload("api")
    await shop.reloader("dry", **NAMES_S, dryRun=True)
    api = {"kind": "Deployment", "name": "api"}
    await shop.reloader("wet", **NAMES_S | {"targets": [api]})

    async with shop.manager():
        await shop.adopted("wet")
        await shop.status(lambda it: bool(it.get("watchedResourceHashes")), "dry")
        before = await shop.client.get(Deployment.gvk, "web", shop.namespace)
        await shop.change()
        planned = await shop.status(lambda it: bool(it.get("wouldReload")), "dry")
        await shop.reloaded("wet")
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
    await shop.secret()
    await shop.workload()
    paused = WEB | {"pausePeriod": "15s"}
    await shop.reloader(**NAMES_S | {"targets": [paused]})

    async with shop.manager():
        await shop.adopted()
        await shop.change("one")
        first = await shop.status(lambda it: it.get("reloadCount") == 1)
        await shop.change("two")
        held = await shop.status(lambda it: bool(it.get("pending")))
        await shop.change("three")
        last = await shop.reloaded(count=2)

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
    await shop.secret()
    await shop.workload()
    await shop.reloader(**NAMES_S)
    async with shop.manager():
        await shop.adopted()
        await shop.change("one")
        await shop.reloaded()

    await shop.change("two")
    async with shop.manager():
        status = await shop.reloaded(count=2)

    _check(status)
    assert len(status["history"]) == 2


async def test_kubectl_shows_what_it_is_about(shop: Shop) -> None:
    await shop.secret()
    await shop.workload()
    await shop.reloader(**NAMES_S)
    async with shop.manager():
        await shop.adopted()
        await shop.change()
        await shop.reloaded()

    path = f"/apis/reloader.stakater.com/v1alpha1/namespaces/{shop.namespace}"
    answer = await shop.client.transport.request(
        "GET",
        f"{path}/reloaderconfigs",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    assert b'"True"' in answer.body
    assert b'"web"' in answer.body
