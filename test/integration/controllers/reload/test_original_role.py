"""`reloader` under the role that the original's chart gives, on a real API server.

That role lets workloads be listed and patched, and not watched.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Metrics,
    RestConfig,
    merge_patch,
)
from controller_runtime.credentials import StaticCredentials
from controller_runtime.testing.eventually import eventually
from controllers.reload.rollout import RECORD
from controllers.reloader.command import compose
from controllers.reloader.settings import read

ROLE = GroupVersionKind("rbac.authorization.k8s.io", "v1", "Role")
BINDING = GroupVersionKind("rbac.authorization.k8s.io", "v1", "RoleBinding")
ACCOUNT = "reloader"

POLL = timedelta(seconds=2)

SEEN = ["get", "list"]


def rules(*more: str) -> list[Json]:
    """Return what the original's chart writes; `more` verbs are for workloads."""

    def rule(group: str, resources: list[str], *verbs: str) -> Json:
        return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}

    workloads = ["deployments", "daemonsets", "statefulsets"]
    return [
        rule("", ["secrets", "configmaps"], *SEEN, "watch"),
        rule("apps", workloads, *SEEN, "update", "patch", *more),
        rule("batch", ["cronjobs"], *SEEN, *more),
        rule("batch", ["jobs"], *SEEN, "create", "delete", *more),
        rule("", ["events"], "create", "patch"),
    ]


class Shop:
    """A namespace, and an account in it that has the original's role."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace
        self.metrics = Metrics()

    async def open(self) -> None:
        await self._create(ROLE, ACCOUNT, rules=rules())
        group = ROLE.group
        account = {
            "kind": "ServiceAccount",
            "name": ACCOUNT,
            "namespace": self.namespace,
        }
        await self._create(
            BINDING,
            ACCOUNT,
            subjects=[account],
            roleRef={"apiGroup": group, "kind": ROLE.kind, "name": ACCOUNT},
        )
        await self._create(ConfigMap.gvk, "c", data={"k": "0"})

    async def workload(self, gvk: GroupVersionKind, name: str) -> None:
        labels = {"app": name}
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "registry.example/a", "envFrom": [source]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self._create(gvk, name, spec=spec)

    async def change(self, value: str) -> None:
        patch = merge_patch({"data": {"k": value}})
        await self.client.patch(ConfigMap.gvk, "c", self.namespace, patch=patch)

    async def adopted(self, gvk: GroupVersionKind, name: str) -> str:
        return await self.recorded(gvk, name, "")

    async def recorded(self, gvk: GroupVersionKind, name: str, not_this: str) -> str:
        """Wait for another record, and return it."""

        def is_new(obj: Json) -> bool:
            return _record(obj) not in {"", not_this}

        obj = await eventually(
            self.client, gvk, name, self.namespace, is_new, timeout=60
        )
        return _record(obj)

    async def reloaded(self, gvk: GroupVersionKind, name: str) -> str:
        """Wait until it has a marker, and return that."""

        def is_marked(obj: Json) -> bool:
            return bool(_marker(obj))

        obj = await eventually(
            self.client, gvk, name, self.namespace, is_marked, timeout=60
        )
        return _marker(obj)

    async def allow_watch(self) -> None:
        patch = merge_patch({"rules": rules("watch")})
        await self.client.patch(ROLE, ACCOUNT, self.namespace, patch=patch)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Manager]:
        settings = read(
            [
                f"--namespaces={self.namespace}",
                "--metrics-bind-address=127.0.0.1:0",
                "--debounce=0",
            ],
            {},
        )
        settings = replace(settings, options=replace(settings.options, poll=POLL))
        config = replace(
            self.config,
            client_certificate=None,
            credentials=StaticCredentials.bearer(await self._token()),
        )
        async with HttpTransport(config) as transport:
            manager = compose(settings, transport, self.metrics)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                await manager.elected()
                yield manager
                manager.stop()

    def unwatched(self) -> dict[str, float]:
        """Return the metric for each kind of workload."""
        return dict(_samples(self.metrics))

    async def _create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "annotations": {"reloader.stakater.com/auto": "true"},
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata}
        await self.client.create({**head, **fields})

    async def _token(self) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        api = self.client.transport
        await api.request("POST", path, body=b'{"metadata": {"name": "reloader"}}')
        answer = await api.request("POST", f"{path}/{ACCOUNT}/token", body=b"{}")
        token: str = json.loads(answer.body)["status"]["token"]
        return token


def _record(obj: Json) -> str:
    return str(obj["metadata"].get("annotations", {}).get(RECORD, ""))


def _marker(obj: Json) -> str:
    (container,) = obj["spec"]["template"]["spec"]["containers"]
    values = {entry["name"]: entry["value"] for entry in container.get("env", [])}
    return str(values.get("STAKATER_C_CONFIGMAP", ""))


def _samples(metrics: Metrics) -> Iterator[tuple[str, float]]:
    for family in metrics.registry.collect():
        if family.name == "controller_runtime_cache_unwatched":
            for sample in family.samples:
                yield sample.labels["kind"], sample.value


@pytest.fixture
async def shop(client: Client, config: RestConfig, namespace: str) -> Shop:
    found = Shop(client, config, namespace)
    await found.open()
    return found


async def test_workloads_that_may_not_be_watched_reload(shop: Shop) -> None:
    """Scenario 56."""
    kinds = (Deployment.gvk, StatefulSet.gvk)
    for gvk in kinds:
        await shop.workload(gvk, "early")
    with capture_logs() as logs:
        async with shop.running():
            before = [await shop.adopted(gvk, "early") for gvk in kinds]
            await shop.change("1")
            for gvk, old in zip(kinds, before, strict=True):
                await shop.recorded(gvk, "early", old)
                assert await shop.reloaded(gvk, "early")
            unwatched = shop.unwatched()

    assert unwatched["Deployment.apps"] == 1
    assert unwatched["ConfigMap"] == 0
    warned = [log["kind"] for log in logs if "may not be watched" in log["event"]]
    assert sorted(warned) == sorted(set(warned))
    assert "Deployment (apps/v1)" in warned


async def test_one_that_came_since_the_last_list_is_not_taken_for_new(
    shop: Shop,
) -> None:
    """Scenario 56: what is not known before the change, the list after it finds."""
    await shop.workload(Deployment.gvk, "early")
    async with shop.running():
        old = await shop.adopted(Deployment.gvk, "early")
        await shop.workload(Deployment.gvk, "late")
        await shop.change("1")
        await shop.recorded(Deployment.gvk, "early", old)
        await shop.adopted(Deployment.gvk, "late")

        assert await shop.reloaded(Deployment.gvk, "late")


async def test_watches_start_when_they_are_allowed(shop: Shop) -> None:
    """Scenario 56: nothing has to be restarted for it."""
    await shop.workload(Deployment.gvk, "early")
    async with shop.running() as manager:
        old = await shop.adopted(Deployment.gvk, "early")
        await shop.allow_watch()
        async with asyncio.timeout(60):
            while any(store.unwatched for store in manager.cache.report()):  # noqa: ASYNC110 - a state, no event
                await asyncio.sleep(0.1)
        await shop.change("1")
        await shop.recorded(Deployment.gvk, "early", old)

        assert await shop.reloaded(Deployment.gvk, "early")
    assert Secret.gvk.kind in shop.unwatched()
