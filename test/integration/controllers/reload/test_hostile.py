"""ReloaderConfigs that the server takes, and nobody would write: all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    ApiError,
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
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD

pytestmark = pytest.mark.usefixtures("crd")

SECONDS = 60.0

TARGET: Json = {"kind": "Deployment", "name": "web"}
USES: Json = {"autoReloadAll": True, "targets": [TARGET]}
SLOW = "(?:[a-z0-9]?){500}(?:[a-y]?){400}"

ODD: dict[str, Json] = {
    "pause-for-ever": {**USES, "targets": [{**TARGET, "pausePeriod": "80000000h"}]},
    "pause-without-end": {
        **USES,
        "targets": [{**TARGET, "pausePeriod": "9" * 40 + "h"}],
    },
    "interval-for-ever": {**USES, "minInterval": "80000000h"},
    "window-never": {**USES, "window": {"schedule": "0 0 30 2 *", "duration": "1h"}},
    "window-nowhere": {
        **USES,
        "window": {"schedule": "0 0 1 1 *", "duration": "1h", "timeZone": "../etc/x"},
    },
    "patterns": {
        **USES,
        "watchedResources": {
            "secrets": [f"/{SLOW}{n}/" for n in range(200)],
            "configMaps": ["/", "//", "/(/", "/[é]+/", "ü", " ", "/" * 1024],
            "keyScopes": [
                {"kind": "Secret", "name": f"/{SLOW}{n}x/"} for n in range(200)
            ],
        },
    },
    "names": {
        **USES,
        "ignoreResources": [{"kind": "Secret", "name": "é/☃"}],
        "ignoreKeys": ["é☃", " "],
        "targets": [
            TARGET,
            {"kind": "*", "name": "n" * 253},
            {"kind": "Job", "name": "a/b", "namespace": "é"},
            {"kind": "CronJob", "name": "..", "containers": ["é"]},
            {"kind": "*", "selector": {}},
        ],
        "matchLabels": {"é": "not a label", "": ""},
    },
    "selectors": {
        **USES,
        "watchedResources": {
            "resourceSelector": {
                "matchExpressions": [{"key": "", "operator": "Odd", "values": ["é"]}]
            },
            "namespaceSelector": {"matchLabels": {"a b": "c d"}},
        },
    },
    "itself": {**USES, "dependsOn": [TARGET], "maxConcurrent": 1},
    "nothing": {},
}


class Place:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    async def create(self, kind: type[KubeObject], name: str, **fields: object) -> None:
        gvk = kind.gvk
        metadata = {"name": name, "namespace": self.namespace}
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def workload(self, name: str, uses: str) -> None:
        labels = {"app": name}
        container = {
            "name": "app",
            "image": "registry.example/app",
            "envFrom": [{"configMapRef": {"name": uses, "optional": True}}],
        }
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        selector = {"matchLabels": labels}
        spec = {"replicas": 0, "selector": selector, "template": template}
        await self.create(Deployment, name, spec=spec)

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


@pytest.fixture
def place(client: Client, config: RestConfig, namespace: str) -> Place:
    return Place(client, config, namespace)


async def test_odd_configs_hurt_no_other(place: Place) -> None:
    """The witness: a well-formed config reloads, and each odd one has a status."""
    taken: list[str] = []
    await place.create(ConfigMap, "c", data={"k": "old"})
    await place.workload("web", "unused")
    await place.workload("witness", "c")
    target = {"kind": "Deployment", "name": "witness"}

    async with place.manager():
        for name, spec in ODD.items():
            try:
                await place.create(ReloaderConfig, name, spec=spec)
            except ApiError:
                continue  # better still
            taken.append(name)
        await place.create(
            ReloaderConfig, "witness", spec={"autoReloadAll": True, "targets": [target]}
        )
        for name in (*taken, "witness"):
            await eventually(
                *(place.client, ReloaderConfig.gvk, name, place.namespace),
                lambda it: it.get("status", {}).get("observedGeneration") == 1,
                timeout=SECONDS,
            )
        await eventually(
            *(place.client, Deployment.gvk, "witness", place.namespace),
            lambda it: "annotations" in it["metadata"],
            timeout=SECONDS,
        )
        await place.client.patch(
            ConfigMap.gvk,
            "c",
            place.namespace,
            patch=merge_patch({"data": {"k": "new"}}),
        )
        await eventually(
            *(place.client, ReloaderConfig.gvk, "witness", place.namespace),
            lambda it: it["status"].get("reloadCount") == 1,
            timeout=SECONDS,
        )

    assert {"patterns", "names", "itself", "nothing"} <= {*taken}


async def test_a_status_of_more_sources_than_fit_is_taken(place: Place) -> None:
    """Of 16 workloads with 800 sources each, all hashes would be two megabytes."""
    for number in range(800):
        await place.create(ConfigMap, f"{'c' * 110}-{number:0>4}", data={"k": "v"})
    targets = [{"kind": "Deployment", "name": f"w{number}"} for number in range(16)]
    for target in targets:
        await place.workload(target["name"], "unused")
    watched = {"configMaps": ["/c+-[0-9]+/"]}

    async with place.manager():
        spec = {"watchedResources": watched, "targets": targets}
        await place.create(ReloaderConfig, "x", spec=spec)
        for target in targets:
            await eventually(
                *(place.client, Deployment.gvk, target["name"], place.namespace),
                lambda it: RECORD in it["metadata"].get("annotations", {}),
                timeout=SECONDS,
            )
        changed = merge_patch({"data": {"k": "new"}})
        await place.client.patch(
            ConfigMap.gvk, f"{'c' * 110}-0000", place.namespace, patch=changed
        )
        found = await eventually(
            *(place.client, ReloaderConfig.gvk, "x", place.namespace),
            lambda it: (
                [row.get("reloadCount") for row in it["status"]["targetStatus"]]
                == [1] * len(targets)
            ),
            timeout=SECONDS,
        )

    assert found["status"]["reloadCount"] == 1
    (available,) = (
        c for c in found["status"]["conditions"] if c["type"] == "Available"
    )
    assert available["message"] == "16 targets, 800 sources"
