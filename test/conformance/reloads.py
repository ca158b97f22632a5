"""Workloads without pods, their sources, and managers that reload them.

What is asked here is *whether* something reloads: that is a change of its pod template.
No pod has to start for that, so hundreds of cases take seconds. That pods follow is
told by the tests of the first scenarios, which run theirs.

    async with shop.manager():
        web = await shop.workload("web", AUTO, uses=("cm/c",))
        before = await web.adopted("cm/c")
        await shop.change("cm/c")
        await web.reloaded(before)

A source is written as in the record: `cm/name` or `secret/name`.
"""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    RestConfig,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload import setup
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

IMAGE = os.environ.get("E2E_IMAGE", "registry.k8s.io/pause:3.10")
"""What containers run. A fake node does not look; a cluster of somebody's has to."""

AUTO = {"reloader.stakater.com/auto": "true"}

NAMED = {
    "cm": "configmap.reloader.stakater.com/reload",
    "secret": "secret.reloader.stakater.com/reload",
}
EXCLUDED = {
    "cm": "configmaps.exclude.reloader.stakater.com/reload",
    "secret": "secrets.exclude.reloader.stakater.com/reload",
}

SECONDS = 60.0
"""Longest that a busy machine may take for one reload."""

QUICK = timedelta(milliseconds=50)
"""A debounce that the tests need not wait for."""


Template: TypeAlias = Json
"""A pod template: what changes when something reloads, and only then."""


class Workload:
    """One workload of a test."""

    def __init__(
        self, client: Client, gvk: GroupVersionKind, name: str, namespace: str
    ) -> None:
        self.client = client
        self.gvk = gvk
        self.name = name
        self.namespace = namespace

    async def adopted(self, *sources: str) -> Template:
        """Wait until sources are in the record."""
        return _template(await self.when(lambda it: set(sources) <= record(it).keys()))

    async def reloaded(self, since: Template) -> Template:
        """Wait until the pod template is another."""
        return _template(await self.when(lambda it: _template(it) != since))

    async def template(self) -> Template:
        obj = await self.client.get(self.gvk, self.name, self.namespace)
        return _template(obj)

    async def when(self, condition: Callable[[Json], object]) -> Json:
        return await eventually(
            *(self.client, self.gvk, self.name, self.namespace, condition),
            timeout=SECONDS,
        )


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[None]:
        """Run a manager with the reload controller, for this namespace alone."""
        given = {"namespaces": (self.namespace,), "debounce": QUICK, **options}
        async with self.running(ReloadOptions(**given)):
            yield

    @asynccontextmanager
    async def running(
        self, options: ReloadOptions, config: RestConfig | None = None
    ) -> AsyncIterator[None]:
        """Run a manager where its options say: as the administrator, or another."""
        async with HttpTransport(config or self.config) as transport:
            addresses = ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            )
            manager = Manager(transport, options=addresses)
            setup(manager, options)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield
                manager.stop()

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        **fields: object,
    ) -> Json:
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "annotations": dict(annotations or {}),
            "labels": dict(labels or {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        return await self.client.create({**head, "metadata": metadata, **fields})

    async def sources(self, *sources: str, **metadata: Mapping[str, str]) -> None:
        """Create ConfigMaps and Secrets of one key."""
        for source in sources:
            gvk, name = _address(source)
            await self.create(gvk, name, data=_data(gvk, "old"), **metadata)

    async def change(self, source: str, value: str = "new") -> None:
        gvk, name = _address(source)
        await self.patch(gvk, name, {"data": _data(gvk, value)})

    async def remove(self, source: str) -> None:
        gvk, name = _address(source)
        await self.client.delete(gvk, name, self.namespace)

    async def patch(self, gvk: GroupVersionKind, name: str, changes: Json) -> None:
        await self.client.patch(gvk, name, self.namespace, patch=merge_patch(changes))

    async def workload(
        self,
        name: str,
        annotations: Mapping[str, str] | None = None,
        *,
        gvk: GroupVersionKind = Deployment.gvk,
        uses: Sequence[str] = (),
        pod: Json | None = None,
        noted: Mapping[str, str] | None = None,
    ) -> Workload:
        """Create one that has no pods.

        Args:
            name: Its name.
            annotations: Of the workload.
            gvk: Its kind.
            uses: Sources that its pods would have in their variables.
            pod: The specification of its pods, for others than these.
            noted: Annotations of its pod template.
        """
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels, "annotations": dict(noted or {})},
            "spec": dict(pod or pod_that_uses(*uses)),
        }
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk == DaemonSet.gvk:
            template["spec"]["nodeSelector"] = {"there": "is-none"}
        else:
            spec["replicas"] = 0
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self.create(gvk, name, annotations, spec=spec)
        return Workload(self.client, gvk, name, self.namespace)

    @asynccontextmanager
    async def nothing_reloads(
        self, *silent: Workload, kinds: Collection[str] = NAMED
    ) -> AsyncIterator[None]:
        """Show that what is done inside reloads none of these.

        A witness uses a source of each of `kinds`. They change when all is done, one
        kind after the other; news of a kind come in order, so once the witness has
        reloaded, what came before has been looked at.
        """
        sources = [f"{kind}/witness" for kind in kinds]
        await self.sources(*sources)
        witness = await self.workload("witness", AUTO, uses=sources)
        seen = await witness.adopted(*sources)
        before = [await workload.template() for workload in silent]
        yield
        for source in sources:
            await self.change(source)
            seen = await witness.reloaded(seen)
        assert [await workload.template() for workload in silent] == before

    async def events(self, reason: str, name: str) -> list[Json]:
        """Wait for an Event about an object, and return all with that reason."""

        def about(events: Sequence[Json]) -> list[Json]:
            return [
                event
                for event in events
                if event["reason"] == reason and event["regarding"]["name"] == name
            ]

        found = await eventually_list(
            *(self.client, EVENT, self.namespace, about), timeout=SECONDS
        )
        return about(found)


def pod_that_uses(*sources: str) -> Json:
    """Write the specification of a pod that has sources in its variables."""
    refs = {"cm": "configMapRef", "secret": "secretRef"}
    pairs = [source.split("/") for source in sources]
    used = [{refs[kind]: {"name": name, "optional": True}} for kind, name in pairs]
    return {"containers": [{"name": "app", "image": IMAGE, "envFrom": used}]}


def record(obj: Json) -> dict[str, str]:
    """Read what a workload says that it runs with."""
    annotations = obj["metadata"].get("annotations", {})
    found: dict[str, str] = json.loads(annotations.get(RECORD, "{}"))
    return found


def variables(template: Template) -> dict[str, set[str]]:
    """Name the variables with a value, of each container."""
    spec = template["spec"]
    return {
        container["name"]: {
            one["name"] for one in container.get("env", []) if "value" in one
        }
        for container in (*spec["containers"], *spec.get("initContainers", []))
    }


def variable(source: str) -> str:
    """Name the variable of a source whose name has letters, digits and hyphens."""
    kind, name = source.split("/")
    suffix = {"cm": "CONFIGMAP", "secret": "SECRET"}[kind]
    return f"STAKATER_{name.upper().replace('-', '_')}_{suffix}"


def _address(source: str) -> tuple[GroupVersionKind, str]:
    kind, name = source.split("/")
    return {"cm": ConfigMap.gvk, "secret": Secret.gvk}[kind], name


def _data(gvk: GroupVersionKind, value: str) -> dict[str, str]:
    if gvk == Secret.gvk:
        return {"k": b64encode(value.encode()).decode()}
    return {"k": value}


def _template(obj: Json) -> Template:
    template: Json = obj["spec"]["template"]
    return template
