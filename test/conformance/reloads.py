"""Workloads, their sources, and managers that reload them.

Most ask *whether* something reloads: that is a change of its pod template. No pod has
to start for that, so hundreds of cases take seconds.

    async with shop.manager():
        web = await shop.workload("web", AUTO, uses=["cm/c"])
        before = await web.adopted("cm/c")
        await shop.change("cm/c")
        await web.reloaded(before)

Whether pods follow is asked of what `shop.deployed` returns, in the same words: it has
replicas, and waits until the newest template is all that runs.

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
from typing import Any, NamedTuple, TypeAlias

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    Client,
    Clock,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    Metrics,
    RestConfig,
    merge_patch,
)
from controller_runtime.testing.eventually import (
    eventually,
    eventually_gone,
    eventually_list,
)
from controllers.reload import setup
from controllers.reload.options import ReloadOptions
from controllers.reload.record import RECORD

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POD = GroupVersionKind("", "v1", "Pod")
REPLICA_SET = GroupVersionKind("apps", "v1", "ReplicaSet")

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


class Snapshot(NamedTuple):
    """What must not move where nothing reloads."""

    generation: int
    template: Template
    pods: frozenset[str]
    """Their uids."""

    @property
    def markers(self) -> set[str]:
        """The variables with a value of the only container, by name."""
        (names,) = variables(self.template).values()
        return names

    @property
    def notes(self) -> Mapping[str, str]:
        """The annotations of the template."""
        notes: dict[str, str] = self.template["metadata"].get("annotations", {})
        return notes


class Running:
    """One workload of a test, with pods."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    async def rolled_out(self) -> Snapshot:
        """Wait until the newest template is all that runs."""
        return await self.when(is_rolled_out)

    async def adopted(self, *sources: str) -> Snapshot:
        """Wait until sources are in the record, and all runs."""
        return await self.when(
            lambda it: set(sources) <= record(it).keys() and is_rolled_out(it)
        )

    async def reloaded(self, since: Snapshot) -> Snapshot:
        """Wait until another template is all that runs, in pods that are all new."""
        now = await self.when(
            lambda it: _template(it) != since.template and is_rolled_out(it)
        )
        assert len(now.pods) == len(since.pods) > 0
        assert now.pods.isdisjoint(since.pods)
        return now

    async def when(self, condition: Callable[[Json], object]) -> Snapshot:
        return await self._snapshot(await self._workload.when(condition))

    async def snapshot(self) -> Snapshot:
        own = self._workload
        return await self._snapshot(
            await own.client.get(own.gvk, own.name, own.namespace)
        )

    async def revisions(self) -> int:
        """Count the templates that a Deployment has had."""
        return len(await self._labelled(REPLICA_SET))

    async def _snapshot(self, obj: Json) -> Snapshot:
        return Snapshot(
            obj["metadata"]["generation"],
            _template(obj),
            frozenset(
                pod["metadata"]["uid"]
                for pod in await self._labelled(POD)
                if "deletionTimestamp" not in pod["metadata"]
            ),
        )

    async def _labelled(self, gvk: GroupVersionKind) -> Sequence[Json]:
        own = self._workload
        found = await own.client.list(
            gvk, own.namespace, label_selector=f"app={own.name}"
        )
        return found.items


UNSEEN = ManagerOptions(
    metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
)
"""A manager that listens nowhere, and may be on a loop with virtual time."""


@asynccontextmanager
async def managing(
    config: RestConfig,
    options: ReloadOptions,
    addresses: ManagerOptions = UNSEEN,
    *,
    clock: Clock | None = None,
) -> AsyncIterator[Manager]:
    """Run a manager with the reload controller until the end of the block."""
    metrics = Metrics()
    async with HttpTransport(config, metrics=metrics) as transport:
        manager = Manager(transport, metrics=metrics, options=addresses, clock=clock)
        setup(manager, options)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            yield manager
            manager.stop()


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[Manager]:
        """Run a manager with the reload controller, for this namespace alone."""
        given = {"namespaces": (self.namespace,), "debounce": QUICK, **options}
        async with self.running(ReloadOptions(**given)) as manager:
            yield manager

    @asynccontextmanager
    async def running(
        self,
        options: ReloadOptions,
        config: RestConfig | None = None,
        *,
        metrics: str = "0",
    ) -> AsyncIterator[Manager]:
        """Run a manager where its options say: as the administrator, or another."""
        addresses = ManagerOptions(
            metrics_bind_address=metrics,
            metrics_secure=False,
            health_probe_bind_address="0",
        )
        async with managing(config or self.config, options, addresses) as manager:
            yield manager

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        namespace: str = "",
        **fields: object,
    ) -> Json:
        metadata = {
            "name": name,
            "namespace": namespace or self.namespace,
            "annotations": dict(annotations or {}),
            "labels": dict(labels or {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        return await self.client.create({**head, "metadata": metadata, **fields})

    async def sources(
        self,
        *sources: str,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Create ConfigMaps and Secrets of one key."""
        for source in sources:
            gvk, name = _address(source)
            data = _data(gvk, "old")
            await self.create(gvk, name, annotations, labels, data=data)

    async def change(self, source: str, value: str = "new") -> None:
        gvk, name = _address(source)
        await self.patch(gvk, name, {"data": _data(gvk, value)})

    async def remove(self, source: str) -> None:
        gvk, name = _address(source)
        await self.client.delete(gvk, name, self.namespace)
        await eventually_gone(self.client, gvk, name, self.namespace)

    async def reloader(self, name: str = "x", /, **spec: object) -> None:
        """Create a ReloaderConfig."""
        await self.create(ReloaderConfig.gvk, name, spec=spec)

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
        replicas: int = 0,
        **fields: object,
    ) -> Workload:
        """Create one; by default it has no pods.

        Args:
            name: Its name.
            annotations: Of the workload.
            gvk: Its kind.
            uses: Sources that its pods would have in their variables.
            pod: The specification of its pods, for others than these.
            noted: Annotations of its pod template.
            replicas: How many pods it has, for a DaemonSet 0 or one for each node.
            **fields: Further ones of its specification.
        """
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels, "annotations": dict(noted or {})},
            "spec": dict(pod or pod_that_uses(*uses)),
        }
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk != DaemonSet.gvk:
            spec["replicas"] = replicas
        elif not replicas:
            template["spec"]["nodeSelector"] = {"there": "is-none"}
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self.create(gvk, name, annotations, spec=spec | fields)
        return Workload(self.client, gvk, name, self.namespace)

    async def deployed(
        self,
        name: str,
        annotations: Mapping[str, str] | None = None,
        *,
        gvk: GroupVersionKind = Deployment.gvk,
        uses: Sequence[str] = (),
        replicas: int = 1,
    ) -> Running:
        """Create a workload of some pods, and wait until they run."""
        workload = Running(
            await self.workload(
                name, annotations, gvk=gvk, uses=uses, replicas=replicas
            )
        )
        await workload.rolled_out()
        return workload

    async def when(
        self,
        name: str,
        condition: Callable[[Json], object],
        gvk: GroupVersionKind = Deployment.gvk,
    ) -> Json:
        """Wait for a workload that does so."""
        return await Workload(self.client, gvk, name, self.namespace).when(condition)

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

    async def events_now(self, reason: str) -> list[Json]:
        """Return those with a reason that there are."""
        found = await self.client.list(EVENT, self.namespace)
        return [event for event in found.items if event["reason"] == reason]

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


_COUNTS: Mapping[str, Sequence[str]] = {
    "Deployment": ("replicas", "updatedReplicas", "availableReplicas"),
    "StatefulSet": ("replicas", "readyReplicas", "availableReplicas"),
    "DaemonSet": ("updatedNumberScheduled", "numberAvailable"),
}
"""Fields of a status that count all pods once they run with the newest template."""


def is_rolled_out(obj: Json) -> bool:
    """Tell what `kubectl rollout status` waits for."""
    status = obj.get("status", {})
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return False
    if status.get("currentRevision") != status.get("updateRevision"):
        return False
    # A pod of a DaemonSet for each node; on somebody's cluster there may be several.
    pods = obj["spec"].get("replicas", status.get("desiredNumberScheduled"))
    return bool(pods) and all(status.get(it) == pods for it in _COUNTS[obj["kind"]])


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
