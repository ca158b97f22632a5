"""A cluster that an autopilot looks after: a catalogue, a source object, a manager.

    async with Platform.on(config, "shop", {"a": CONFIG}) as platform:
        async with platform.manager():
            await platform.has("a", data={"k": "v"})

The source object is a ConfigMap, `platform`, and so is what most assets make: no CRD is
needed, and a namespace a test is enough. Each namespace has an identity of its own, so
that managers of other tests leave its objects alone.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from controller_runtime import (
    Call,
    Client,
    GroupVersionKind,
    HttpTransport,
    InterceptedTransport,
    Json,
    Manager,
    ManagerOptions,
    Metrics,
    Proceed,
    Response,
    RestConfig,
    Scheme,
    apply_patch,
    json_patch,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.autopilot import setup
from controllers.autopilot.assets import Catalog
from controllers.autopilot.loader import load_catalog
from controllers.autopilot.options import AutopilotOptions

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")

DOMAIN = "platform.example.com"
MANAGER = "autopilot-test"
MANAGED_BY = f"{DOMAIN}/managed-by"

PATCH = f"{DOMAIN}/patch"
LAST_GOOD = f"{DOMAIN}/patch-last-good"
IGNORE = f"{DOMAIN}/ignore-fields"
MODE = f"{DOMAIN}/mode"
PAUSED = f"{DOMAIN}/reconcile-paused"
DISABLED = f"{DOMAIN}/disabled-resources"
AUTOPILOT = f"{DOMAIN}/autopilot"


def config_map(name: str, **data: str) -> str:
    """Write the template of an asset that makes a ConfigMap beside the source."""
    return (
        "apiVersion: v1\nkind: ConfigMap\n"
        f"metadata:\n  name: {name}\n  namespace: {{{{ source_ns | q }}}}\n"
        f"data: {json.dumps(data)}\n"
    )


def write_catalog(
    folder: Path,
    namespace: str,
    templates: Mapping[str, str],
    *,
    source: Mapping[str, Any] | None = None,
    tombstones: Mapping[str, str] | None = None,
    facts: Sequence[Mapping[str, Any]] = (),
    **entries: Mapping[str, Any],
) -> Catalog:
    """Write a catalogue and load it.

    Args:
        folder: An empty one.
        namespace: Of the source; names the identity.
        templates: Asset → template.
        source: What differs from a ConfigMap `platform`.
        tombstones: File → content.
        facts: Rules about Nodes.
        entries: Asset, with `_` for `-` → more of its entry.
    """
    (folder / "active").mkdir(parents=True)
    for name, text in templates.items():
        (folder / "active" / f"{name}.yaml.j2").write_text(text)
    for name, text in (tombstones or {}).items():
        path = folder / "tombstones" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assets = [
        {
            "name": name,
            "path": f"active/{name}.yaml.j2",
            **entries.get(name.replace("-", "_"), {}),
        }
        for name in templates
    ]
    metadata = {
        "apiVersion": "autopilot/v1",
        "kind": "Catalog",
        "identity": {
            "domain": DOMAIN,
            "managedByValue": namespace,
            "fieldManager": MANAGER,
        },
        "source": {
            "group": "",
            "kind": "ConfigMap",
            "plural": "configmaps",
            "versions": ["v1"],
            "name": "platform",
            "namespace": namespace,
            **(source or {}),
        },
        "facts": list(facts),
        "assets": assets,
        "excluded_assets": list(templates),
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return load_catalog(folder)


class Platform:
    """A namespace with a source object, and what tests do there."""

    def __init__(
        self, client: Client, config: RestConfig, namespace: str, catalog: Catalog
    ) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace
        self.options = AutopilotOptions(catalog=catalog)
        self.calls: list[Call] = []
        """What managers asked, in order."""
        self.refuse: Callable[[Call], Response | Exception | None] = lambda _: None
        """Stands in for the server, for calls that it answers."""
        self.before: Callable[[Call], Awaitable[object]] = _nothing
        """What happens before the server gets a call."""

    @classmethod
    @asynccontextmanager
    async def on(
        cls,
        config: RestConfig,
        namespace: str,
        catalog: Catalog,
        **annotations: str,
    ) -> AsyncIterator[Platform]:
        """Lend one whose source object has these annotations and `autopilot: true`.

        A source that is no ConfigMap is for the test to create.
        """
        async with HttpTransport(config) as transport:
            client = Client(transport, scheme=Scheme(), field_owner="tester")
            platform = cls(client, config, namespace, catalog)
            if catalog.source.kind == CONFIG_MAP.kind:
                await platform.create_source({AUTOPILOT: "true", **annotations})
            yield platform

    async def create_source(
        self, annotations: Mapping[str, str], version: str = "v1"
    ) -> None:
        source = self.options.catalog.source
        gvk = GroupVersionKind(source.group, version, source.kind)
        metadata = {
            "name": source.name,
            "namespace": self.namespace,
            "annotations": dict(annotations),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata})

    @asynccontextmanager
    async def manager(self, **changes: Any) -> AsyncIterator[Manager]:
        """Run a manager with the autopilot, with these changes to its options."""
        async with HttpTransport(self.config) as transport:
            manager = Manager(
                InterceptedTransport(transport, {"*": self._hook}),
                metrics=Metrics(),
                options=ManagerOptions(
                    metrics_bind_address="0", health_probe_bind_address="0"
                ),
            )
            setup(manager, replace(self.options, **changes))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                await manager.elected()
                yield manager
                manager.stop()

    async def _hook(self, call: Call, proceed: Proceed) -> Response:
        self.calls.append(call)
        await self.before(call)
        match self.refuse(call):
            case Exception() as error:
                raise error
            case Response() as response:
                return response
            case _:
                return await proceed()

    def writes(self, name: str) -> list[Call]:
        """Return the writes to an object that were no dry runs."""
        return [
            call
            for call in self.calls
            if call.method in {"PATCH", "PUT", "POST", "DELETE"}
            and call.path.endswith(f"/{name}")
            and "dryRun" not in call.params
        ]

    def applies(self, name: str) -> list[Call]:
        """Return the applies of an object under the catalogue's own manager."""
        return [
            call
            for call in self.writes(name)
            if call.params.get("fieldManager") == MANAGER
            and call.params.get("force") == "true"
        ]

    async def read(self, name: str, gvk: GroupVersionKind = CONFIG_MAP) -> Json:
        return await self.client.get(gvk, name, self.namespace)

    async def has(
        self,
        name: str,
        gvk: GroupVersionKind = CONFIG_MAP,
        *,
        timeout: float = 30,
        **fields: object,
    ) -> Json:
        """Wait until an object has these top-level fields."""

        def fits(obj: Json) -> bool:
            return all(obj.get(field) == value for field, value in fields.items())

        return await self.when(name, fits, gvk, timeout=timeout)

    async def when(
        self,
        name: str,
        condition: Callable[[Json], object],
        gvk: GroupVersionKind = CONFIG_MAP,
        *,
        timeout: float = 30,
    ) -> Json:
        """Wait until an object is so."""
        return await eventually(
            self.client, gvk, name, self.namespace, condition, timeout=timeout
        )

    async def event(self, reason: str, *words: str, timeout: float = 30) -> Json:
        """Wait for an Event with a reason, and words in its note."""

        def fits(event: Json) -> bool:
            return event["reason"] == reason and all(w in event["note"] for w in words)

        found = await eventually_list(
            self.client,
            EVENT,
            self.namespace,
            lambda events: any(map(fits, events)),
            timeout=timeout,
        )
        return next(filter(fits, found))

    async def events(self, reason: str) -> list[Json]:
        """Return the Events about the source object with a reason."""
        found = await self.client.list(EVENT, self.namespace)
        return [
            event
            for event in found.items
            if event["reason"] == reason
            and event["regarding"]["name"] == self.options.catalog.source.name
        ]

    async def annotate(
        self,
        name: str,
        annotations: Mapping[str, str | None],
        gvk: GroupVersionKind = CONFIG_MAP,
    ) -> Json:
        """Set annotations, or remove those that are `None`."""
        changes = {"metadata": {"annotations": dict(annotations)}}
        return await self.change(name, changes, gvk)

    async def annotate_source(self, annotations: Mapping[str, str | None]) -> None:
        source = self.options.catalog.source
        gvk = GroupVersionKind(source.group, source.versions[0], source.kind)
        await self.annotate(source.name, annotations, gvk)

    async def change(
        self, name: str, changes: Json, gvk: GroupVersionKind = CONFIG_MAP
    ) -> Json:
        """Change an object as a user would with `kubectl edit`."""
        return await self.client.patch(
            gvk, name, self.namespace, patch=merge_patch(changes), field_owner="tester"
        )

    async def edit(self, name: str, *operations: Json) -> Json:
        """Change an object with a JSON patch."""
        return await self.client.patch(
            CONFIG_MAP, name, self.namespace, patch=json_patch(operations)
        )

    async def apply_as(self, manager: str, name: str, **fields: object) -> Json:
        """Apply fields of a ConfigMap without force."""
        obj = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
            **fields,
        }
        return await self.client.patch(
            CONFIG_MAP,
            name,
            self.namespace,
            patch=apply_patch(obj),
            field_owner=manager,
            force=False,
        )

    async def touch(self) -> None:
        """Have a sweep, by a change of the source object that means nothing."""
        source = self.options.catalog.source
        gvk = GroupVersionKind(source.group, source.versions[0], source.kind)
        before = await self.client.get(gvk, source.name, self.namespace)
        count = int(before["metadata"]["annotations"].get("touched", "0"))
        await self.annotate_source({"touched": str(count + 1)})


async def _nothing(call: Call) -> None:
    del call


Lend: TypeAlias = Callable[..., AbstractAsyncContextManager[Platform]]
"""Lends a platform: templates, annotations of the source, more of the catalogue."""


async def until(condition: Callable[[], Awaitable[object] | object]) -> None:
    """Wait until something of this process is so, which nothing tells."""
    async with asyncio.timeout(20):
        while True:
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.02)


async def rests(manager: Manager, *words: str) -> bool:
    """Whether the autopilot says that it rests, with these words."""
    reply = await manager.probes.readyz("", {"verbose": [""]})
    lines = reply.body.decode().splitlines()
    (line,) = (line for line in lines if "autopilot-source" in line)
    return all(word in line for word in words)


def metric(manager: Manager, name: str, /, **labels: str) -> float | None:
    """Return the value of a metric of the autopilot; `None` without the series."""
    return manager.metrics.registry.get_sample_value(f"virt_platform_{name}", labels)


def of(kind: str, namespace: str, name: str) -> dict[str, str]:
    """Return the labels of an object's series."""
    return {"kind": kind, "namespace": namespace, "name": name}
