"""The manager under exactly the role that `pilothouse rbac` writes, and no more.

What it asks of a real API server is recorded. A refused request means that the role
lacks something; a permission that no request needed means that it has too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import aiohttp
import yaml

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.argoproj.v1alpha1 import Rollout
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap, Secret
from api.openshift.v1 import DeploymentConfig
from api.reload.v1alpha1 import ReloaderConfig
from api.secretsstore.v1 import SecretProviderClass, SecretProviderClassPodStatus
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    InvalidError,
    Json,
    ListenOptions,
    Manager,
    Metrics,
    ObjectReference,
    RequestOptions,
    Response,
    RestConfig,
    Roles,
    Scheme,
    Transport,
    load_restconfig,
    merge_patch,
)
from controller_runtime.credentials import StaticCredentials
from controller_runtime.resources import usual_plural
from controller_runtime.testing.envtest import (
    Cluster,
    ControlPlane,
    ControlPlaneOptions,
)
from controller_runtime.testing.envtest.crds import install_crds
from controller_runtime.testing.eventually import eventually, eventually_list
from controller_runtime.testing.permissions import RecordingTransport
from controllers.manager import build
from controllers.rbac import RoleOptions, manifest
from controllers.reload.record import RECORD
from controllers.reload.rollouts.restarts import RESTARTING
from controllers.settings import ReloadSettings, Settings

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")
CONFIGS = (
    Path(__file__).parents[3]
    / "config/crd/bases/reloader.stakater.com_reloaderconfigs.yaml"
)
QUIET = "kube-public"
"""A namespace in which nothing happens, so that nothing is written there."""

KINDS = (Deployment.gvk, StatefulSet.gvk, DaemonSet.gvk, CronJob.gvk, Job.gvk)
OPTIONAL = (Rollout.gvk, DeploymentConfig.gvk)
CLASSES = (SecretProviderClass.gvk, SecretProviderClassPodStatus.gvk)
CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")

SETTINGS = Settings(
    controllers=("reload",),
    metrics_bind_address="127.0.0.1:0",
    health_probe_bind_address="0",
    debug_bind_address="0",
    leader_elect=True,
)


class NoStreams:
    """A transport to a server of before 1.32, which cannot stream a collection."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        return await self._transport.request(method, path, **options)

    def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        if "sendInitialEvents" in options["params"]:
            raise InvalidError("sendInitialEvents is forbidden", status=422)
        return self._transport.stream(path, **options)


class Site:
    """A cluster, a namespace in it, and an account that has some roles."""

    def __init__(
        self, cluster: Cluster, client: Client, config: RestConfig, namespace: str
    ) -> None:
        self.cluster = cluster
        self.client = client
        self.kinds: tuple[GroupVersionKind, ...] = KINDS
        self.config = config
        self.namespace = namespace

    async def roles(self, settings: Settings, options: RoleOptions) -> Roles:
        """Give the account what `pilothouse rbac` writes, and return what that is."""
        options = replace(options, service_account=f"{self.namespace}/{options.name}")
        documents = list(yaml.safe_load_all(manifest(settings, options).text))
        for document in documents:
            await self.client.create(document)
        return Roles.read(options.name, documents)

    async def account(self, name: str) -> str:
        """Make a ServiceAccount and return a token of it."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        api = self.client.transport
        body = f'{{"metadata": {{"name": "{name}"}}}}'
        await api.request("POST", path, body=body.encode())
        answer = await api.request("POST", f"{path}/{name}/token", body=b"{}")
        token: str = yaml.safe_load(answer.body)["status"]["token"]
        return token

    def config_of(self, token: str) -> RestConfig:
        return replace(
            self.config,
            client_certificate=None,
            credentials=StaticCredentials.bearer(token),
        )

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "annotations": {"reloader.stakater.com/auto": "true"},
        }
        await self.client.create({**head, "metadata": metadata, **fields})

    async def open_shop(self) -> None:
        """Create workloads of all kinds that use a ConfigMap and a Secret."""
        await self.create(ConfigMap.gvk, "c", data={"k": "old"})
        await self.create(Secret.gvk, "s", stringData={"k": "old"})
        for gvk in self.kinds:
            await self.create(gvk, "shop", spec=_spec(gvk))

    async def install_optional_kinds(self) -> None:
        """Have the server serve what it need not, and use it."""
        for gvk in (*OPTIONAL, *CLASSES):
            await self.client.create(_crd(gvk))
        for gvk in (*OPTIONAL, *CLASSES):
            await eventually(self.client, CRD, _crd_name(gvk), "", _is_established)
        self.kinds += OPTIONAL

    async def configure(self) -> None:
        """Have a ReloaderConfig, and say its CRD."""
        await install_crds(self.cluster.api, CONFIGS)
        target = {"kind": "Deployment", "name": "shop"}
        evicted = {"kind": "StatefulSet", "name": "evicted"}
        targets = [target, {**evicted, "rolloutStrategy": "restart"}]
        await self.create(ReloaderConfig.gvk, "shop", spec={"targets": targets})

    async def open_evicted(self, *, has_controllers: bool) -> None:
        """Create a workload whose pods are evicted, with a pod.

        Args:
            has_controllers: Somebody makes the pod, and another one in its place.
        """
        labels = {"app": "evicted"}
        spec = _spec(StatefulSet.gvk) | {"selector": {"matchLabels": labels}}
        spec["template"]["metadata"]["labels"] = labels
        spec["replicas"] = int(has_controllers)
        await self.create(StatefulSet.gvk, "evicted", spec=spec)
        if has_controllers:
            return
        owner = await self.client.get(StatefulSet.gvk, "evicted", self.namespace)
        reference = {
            "apiVersion": StatefulSet.gvk.api_version,
            "kind": StatefulSet.gvk.kind,
            "name": "evicted",
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
        metadata = {
            "name": "evicted-0",
            "namespace": self.namespace,
            "labels": labels,
            "ownerReferences": [reference],
        }
        containers = [{"name": "app", "image": "registry.example/app"}]
        head = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        await self.client.create({**head, "spec": {"containers": containers}})

    async def evicted(self, since: str = "") -> str:
        """Wait until its record is another one, and return it."""

        def is_new(obj: Json) -> bool:
            is_over = RESTARTING not in obj["metadata"]["annotations"]
            return is_over and _record(obj) not in {"", since}

        gvk = StatefulSet.gvk
        obj = await eventually(
            *(self.client, gvk, "evicted", self.namespace, is_new), timeout=90
        )
        return _record(obj)

    async def stated(self) -> None:
        """Wait until the ReloaderConfig has a status."""

        def is_stated(obj: Json) -> bool:
            return bool(obj.get("status", {}).get("conditions"))

        gvk = ReloaderConfig.gvk
        await eventually(self.client, gvk, "shop", self.namespace, is_stated)

    async def change(self, value: str) -> None:
        patch = merge_patch({"stringData": {"k": value}})
        await self.client.patch(Secret.gvk, "s", self.namespace, patch=patch)

    async def reloaded(self, since: Mapping[str, str]) -> dict[str, str]:
        """Wait until every workload has another record, and return the records."""
        return {gvk.kind: await self._record(gvk, since) for gvk in self.kinds}

    async def _record(self, gvk: GroupVersionKind, since: Mapping[str, str]) -> str:
        def is_new(obj: Json) -> bool:
            return _record(obj) not in {"", since.get(gvk.kind, "")}

        obj = await eventually(self.client, gvk, "shop", self.namespace, is_new)
        return _record(obj)

    async def told(self) -> None:
        """Wait until every workload has an Event of its reload."""

        def are_told(events: list[Json]) -> bool:
            reloads = [e for e in events if e["reason"] == "Reloaded"]
            return len({e["regarding"]["kind"] for e in reloads}) == len(self.kinds)

        await eventually_list(self.client, EVENT, self.namespace, are_told, timeout=60)

    async def tell_twice(self, manager: Manager) -> None:
        """Have the manager write an Event, and then that it happened again."""
        recorder = manager.recorder("test")
        about = ObjectReference(ConfigMap.gvk, self.namespace, "c")
        for count in (1, 2):
            recorder.event(about, reason="Tested", action="Test", note="twice")
            is_written = _counting("Tested", count)
            await eventually_list(
                self.client, EVENT, self.namespace, is_written, timeout=60
            )


def _counting(reason: str, count: int) -> Callable[[list[Json]], bool]:
    """Return whether Events tell that something happened so many times."""

    def is_so(events: list[Json]) -> bool:
        found = (e for e in events if e["reason"] == reason)
        times: int = sum(e.get("series", {}).get("count", 1) for e in found)
        return times == count

    return is_so


def _record(obj: Json) -> str:
    return str(obj["metadata"].get("annotations", {}).get(RECORD, ""))


def _spec(gvk: GroupVersionKind) -> Json:
    labels = {"app": "shop"}
    sources = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]
    container = {"name": "app", "image": "registry.example/app", "envFrom": sources}
    template: Json = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container]},
    }
    if gvk.group == "batch":
        # Of no node: a Job that ends is not started anew.
        template["spec"] |= {"restartPolicy": "Never", "nodeSelector": {"no": "node"}}
        job = {"template": template}
        is_job = gvk == Job.gvk
        return job if is_job else {"schedule": "@daily", "jobTemplate": {"spec": job}}
    spec: Json = {"selector": {"matchLabels": labels}, "template": template}
    return spec | ({"serviceName": "shop"} if gvk == StatefulSet.gvk else {})


def _crd_name(gvk: GroupVersionKind) -> str:
    return f"{usual_plural(gvk.kind)}.{gvk.group}"


def _crd(gvk: GroupVersionKind) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": gvk.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    plural = usual_plural(gvk.kind)
    names = {"kind": gvk.kind, "plural": plural, "singular": gvk.kind.lower()}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": _crd_name(gvk)},
        "spec": {
            "group": gvk.group,
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }


def _is_established(crd: Json) -> bool:
    conditions = crd.get("status", {}).get("conditions", [])
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@asynccontextmanager
async def site(cluster: Cluster, folder: Path, namespace: str) -> AsyncIterator[Site]:
    path = await cluster.write_kubeconfig(folder / "admin")
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=path, environ={}, home=folder
    )
    async with HttpTransport(config) as transport:
        yield Site(cluster, Client(transport, scheme=Scheme()), config, namespace)


@asynccontextmanager
async def running(
    settings: Settings, transport: Transport, config: RestConfig
) -> AsyncIterator[Manager]:
    manager = build(settings, transport, Metrics(), config=config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.start())
        await manager.elected()
        yield manager
        manager.stop()


async def scrape(manager: Manager, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(manager.metrics_url, ssl=False) as response,
    ):
        return response.status


async def test_the_manager_needs_all_of_its_role_and_nothing_else(
    tmp_path: Path,
) -> None:
    settings = SETTINGS.model_copy(update={"leader_election_namespace": "shop"})
    async with (
        ControlPlane(ControlPlaneOptions()) as cluster,
        site(cluster, tmp_path, "shop") as shop,
    ):
        await shop.client.create(_namespace("shop"))
        token = await shop.account("pilothouse")
        roles = await shop.roles(settings, RoleOptions())
        await shop.install_optional_kinds()
        await shop.configure()
        await shop.open_shop()
        await shop.open_evicted(has_controllers=False)

        config = shop.config_of(token)
        async with HttpTransport(config) as transport:
            recording = RecordingTransport(transport)
            async with running(settings, recording, config) as manager:
                adopted, evicted = await shop.reloaded({}), await shop.evicted()
                await shop.change("new")
                await shop.reloaded(adopted)
                await shop.evicted(evicted)
                await shop.told()
                await shop.stated()
                await shop.tell_twice(manager)
                assert await scrape(manager, token) == 403
            async with running(settings, NoStreams(recording), config):
                before = await shop.reloaded({})
                await shop.change("newer")
                await shop.reloaded(before)

    assert recording.forbidden == []
    assert roles.unused(recording.requests) == []


async def test_limited_to_namespaces_it_needs_roles_there_and_no_cluster_role(
    control_plane: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with site(control_plane, tmp_path, namespace) as shop:
        settings = SETTINGS.model_copy(
            update={
                "metrics_secure": False,
                "leader_election_namespace": namespace,
                "reload": ReloadSettings(
                    namespaces=(namespace, QUIET), optional_kinds=False
                ),
            }
        )
        options = RoleOptions(name=f"pilothouse-{namespace}", namespaced=True)
        token = await shop.account(options.name)
        roles = await shop.roles(settings, options)
        await shop.configure()
        await shop.open_shop()
        await shop.open_evicted(has_controllers=True)

        config = shop.config_of(token)
        async with HttpTransport(config) as transport:
            recording = RecordingTransport(transport)
            async with running(settings, recording, config) as manager:
                adopted, evicted = await shop.reloaded({}), await shop.evicted()
                await shop.change("new")
                await shop.reloaded(adopted)
                await shop.evicted(evicted)
                await shop.told()
                await shop.stated()
                await shop.tell_twice(manager)
            async with running(settings, NoStreams(recording), config):
                await shop.reloaded({})

    assert roles.cluster == ()
    assert recording.forbidden == []
    unused = roles.unused(recording.requests)
    assert {str(it) for it in unused if it.namespace != QUIET} == set()
    assert {it.verb for it in unused} <= {"create", "delete", "list", "patch"}


async def test_metrics_are_for_accounts_whose_role_has_the_path(
    control_plane: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with site(control_plane, tmp_path, namespace) as shop:
        settings = SETTINGS.model_copy(
            update={
                "leader_election_namespace": namespace,
                "reload": ReloadSettings(namespaces=(namespace,), optional_kinds=False),
            }
        )
        options = RoleOptions(name=f"pilothouse-{namespace}")
        token = await shop.account(options.name)
        await shop.roles(settings, options)
        reader = await shop.account("reader")
        stranger = await shop.account("stranger")
        await shop.client.create(_reads(f"{options.name}-metrics-reader", namespace))

        config = shop.config_of(token)
        async with (
            HttpTransport(config) as transport,
            running(settings, transport, config) as manager,
        ):
            assert await scrape(manager, reader) == 200
            assert await scrape(manager, stranger) == 403
            assert await scrape(manager) == 401
            assert await scrape(manager, "made.up.token") == 401


def _namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _reads(role: str, namespace: str) -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [account],
    }
