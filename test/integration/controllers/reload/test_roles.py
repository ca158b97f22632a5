"""`reloader` under the original's role and under its own, on a real API server.

The role that the original's chart gives lets workloads be listed and patched, and not
watched. Its own is what `pilothouse rbac reloader` writes, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from structlog.testing import capture_logs

from api.apps.v1 import Deployment, StatefulSet
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Metrics,
    RestConfig,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.credentials import StaticCredentials
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.rbac import RoleOptions
from controllers.reload.record import RECORD
from controllers.reloader.about import NAME
from controllers.reloader.command import compose
from controllers.reloader.rbac import roles
from controllers.reloader.settings import LEASE, read

ROLE = GroupVersionKind("rbac.authorization.k8s.io", "v1", "Role")
BINDING = GroupVersionKind("rbac.authorization.k8s.io", "v1", "RoleBinding")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
CORE_EVENT = GroupVersionKind("", "v1", "Event")
LEASE_KIND = GroupVersionKind("coordination.k8s.io", "v1", "Lease")
ROOT = Path(__file__).parents[4]
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
        await self._create(ConfigMap.gvk, "c", data={"k": "0"})

    async def give_original_role(self, *, without: str = "") -> None:
        """Give the account the role of the original, maybe without an API group."""
        given = [it for it in rules() if not without or without not in it["apiGroups"]]
        await self._create(ROLE, ACCOUNT, rules=given)
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

    async def give_own_role(self, *arguments: str) -> list[Json]:
        """Give the account what is written for these flags, and return that."""
        options = RoleOptions(
            name=f"reloader-{self.namespace}",
            service_account=f"{self.namespace}/{ACCOUNT}",
        )
        written = roles(arguments, {}, options, self.namespace)
        documents: list[Json] = list(yaml.safe_load_all(written.text))
        for document in documents:
            await self.client.create(document)
        return documents

    async def write_kubeconfig(self, admins: Path) -> Path:
        """Write one like the administrator's, for the account."""
        config = yaml.safe_load(await asyncio.to_thread(admins.read_text))
        config["users"][0]["user"] = {"token": await self._token()}
        path = admins.with_name(f"{self.namespace}-{ACCOUNT}")
        path.touch(mode=0o600)
        await asyncio.to_thread(path.write_text, yaml.safe_dump(config))
        return path

    async def batch(self, gvk: GroupVersionKind, name: str) -> None:
        """Create a Job of which no pod ever runs, or a CronJob of such."""
        source = {"configMapRef": {"name": "c"}}
        container = {"name": "app", "image": "registry.example/a", "envFrom": [source]}
        pod = {"restartPolicy": "Never", "nodeSelector": {"no": "node"}}
        template = {"spec": {**pod, "containers": [container]}}
        spec: Json = {"template": template}
        if gvk == CronJob.gvk:
            spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
        await self._create(gvk, name, spec=spec)

    async def runs(self, count: int) -> None:
        """Wait until the CronJob `tick` has run so often."""

        def are_there(jobs: list[Json]) -> bool:
            owners = [job["metadata"].get("ownerReferences", []) for job in jobs]
            return sum(any(o["name"] == "tick" for o in one) for one in owners) == count

        await eventually_list(
            self.client, Job.gvk, self.namespace, are_there, timeout=60
        )

    async def started_anew(self, name: str, uid: str) -> str:
        """Wait until a Job has another uid, and return that."""

        def is_new(obj: Json) -> bool:
            return obj["metadata"]["uid"] != uid and bool(_marker(obj))

        job = await eventually(
            self.client, Job.gvk, name, self.namespace, is_new, timeout=60
        )
        return str(job["metadata"]["uid"])

    async def told(self, kind: str, reason: str) -> Json:
        """Wait for an Event, and return it as v1 has it."""

        def find(events: list[Json]) -> Json | None:
            return next(
                (
                    event
                    for event in events
                    if (event["involvedObject"]["kind"], event["reason"])
                    == (kind, reason)
                ),
                None,
            )

        def is_there(events: list[Json]) -> bool:
            return find(events) is not None

        events = await eventually_list(
            self.client, CORE_EVENT, self.namespace, is_there, timeout=60
        )
        found = find(events)
        assert found is not None
        return found

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


@pytest.fixture
def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def previewed(port: int) -> Any:
    url = f"http://127.0.0.1:{port}/preview?ns=shop&kind=Deployment&name=web"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.json()


@asynccontextmanager
async def reloader(
    *arguments: str, kubeconfig: Path, namespace: str
) -> AsyncIterator[list[str]]:
    """Run `python -m controllers reloader`; its log is whole in the end."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
    there = {"POD_NAME": "one", "POD_NAMESPACE": namespace}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controllers", "reloader"),
        *arguments,
        cwd=ROOT,
        env=clean
        | there
        | {"RELOADER_NAMESPACE": namespace, "KUBECONFIG": str(kubeconfig)},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    log: list[str] = []
    try:
        yield log
        process.terminate()
        async with asyncio.timeout(60):
            _, err = await process.communicate()
        log.extend(err.decode().splitlines())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_workloads_that_may_not_be_watched_reload(shop: Shop) -> None:
    """Scenario 56."""
    await shop.give_original_role()
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


async def test_events_are_written_as_the_original_writes_them(shop: Shop) -> None:
    """Scenario 56: its role names them in the core group."""
    await shop.give_original_role()
    await shop.workload(Deployment.gvk, "web")
    with capture_logs() as logs:
        async with shop.running():
            old = await shop.adopted(Deployment.gvk, "web")
            await shop.change("1")
            await shop.recorded(Deployment.gvk, "web", old)
            event = await shop.told("Deployment", "Reloaded")

    assert event["source"]["component"] == "reloader-configmaps"
    assert event["count"] == 1
    assert event["firstTimestamp"] == event["lastTimestamp"]
    (told,) = [log for log in logs if log["event"] == "events are written as core/v1"]
    assert told["log_level"] == "warning"
    assert [log for log in logs if log["event"] == "events are refused"] == []


async def test_jobs_and_cron_jobs_that_may_not_be_patched_reload(shop: Shop) -> None:
    """Scenario 56: of CronJobs that role gives `list` and `get` alone."""
    await shop.give_original_role()
    await shop.batch(CronJob.gvk, "tick")
    await shop.batch(Job.gvk, "once")
    uid = (await shop.client.get(Job.gvk, "once", shop.namespace))["metadata"]["uid"]
    with capture_logs() as logs:
        async with shop.running():
            await shop.workload(Deployment.gvk, "witness")
            old = await shop.adopted(Deployment.gvk, "witness")
            for count in (1, 2):
                await shop.change(str(count))
                await shop.runs(count)
                uid = await shop.started_anew("once", uid)
                old = await shop.recorded(Deployment.gvk, "witness", old)
            await shop.runs(2)

    kept = [log["kind"] for log in logs if "kept in memory" in log["event"]]
    assert sorted(kept) == ["CronJob", "Job"]


async def test_kinds_that_may_not_even_be_listed_are_left_out(
    shop: Shop, kubeconfig: Path, free_port: int
) -> None:
    """Older charts of the original say nothing of Jobs."""
    await shop.give_original_role(without="batch")
    await shop.workload(Deployment.gvk, "web")
    path = await shop.write_kubeconfig(kubeconfig)
    port = f"--metrics-bind-address=127.0.0.1:{free_port}"
    flags = (port, "--debounce=0", f"--namespaces={shop.namespace}")
    async with reloader(*flags, kubeconfig=path, namespace=shop.namespace) as log:
        old = await shop.adopted(Deployment.gvk, "web")
        await shop.change("1")
        await shop.recorded(Deployment.gvk, "web", old)

    assert sum("kind is left out" in line and "batch/v1" in line for line in log) == 2


async def test_one_that_came_since_the_last_list_is_not_taken_for_new(
    shop: Shop,
) -> None:
    """Scenario 56: what is not known before the change, the list after it finds."""
    await shop.give_original_role()
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
    await shop.give_original_role()
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


@pytest.mark.parametrize("is_scoped", [True, False], ids=["scoped", "everywhere"])
async def test_its_own_role_is_enough_for_all_that_it_does(
    is_scoped: bool, tmp_path: Path, free_port: int
) -> None:
    namespace = "shop"
    scope = [f"--namespaces={namespace}"] if is_scoped else []
    flags = ["--enable-ha", "--debounce=0", *scope]
    async with ControlPlane(ControlPlaneOptions()) as cluster:
        admins = await cluster.write_kubeconfig(tmp_path / "admin")
        config = await asyncio.to_thread(
            load_restconfig, kubeconfig=admins, environ={}, home=tmp_path
        )
        async with HttpTransport(config) as transport:
            shop = Shop(Client(transport, scheme=Scheme()), config, namespace)
            await shop.client.create(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
            )
            await shop.open()
            documents = await shop.give_own_role(*flags)
            await shop.workload(Deployment.gvk, "web")
            path = await shop.write_kubeconfig(admins)
            port = f"--metrics-bind-address=127.0.0.1:{free_port}"
            async with reloader(
                *(port, *flags), kubeconfig=path, namespace=namespace
            ) as log:
                old = await shop.adopted(Deployment.gvk, "web")
                preview = await previewed(free_port)
                await shop.change("1")
                await shop.recorded(Deployment.gvk, "web", old)
                await eventually_list(
                    shop.client, EVENT, namespace, _tells_of_a_reload, timeout=60
                )
                lease = await shop.client.get(LEASE_KIND, LEASE, namespace)
                about = await shop.client.get(ConfigMap.gvk, NAME, namespace)

    (reason,) = preview["sources"]
    assert (reason["source"], reason["rule"]) == ("shop/ConfigMap/c", "auto")
    assert lease["spec"]["holderIdentity"] == "one"
    assert about["data"]["reloaderOptions"]
    assert log
    assert [line for line in log if "forbidden" in line.lower()] == []
    assert ("ClusterRole" in _kinds(documents)) == (not is_scoped)


def _kinds(documents: list[Json]) -> set[str]:
    return {document["kind"] for document in documents}


def _tells_of_a_reload(events: list[Json]) -> bool:
    return any(event["reason"] == "Reloaded" for event in events)
