"""What a bystander saw of the workloads: every version of each, as they came.

    API server ──watch, one a kind──▶ Recorder ──▶ Sight Sight Sight …

It has a way of its own, without faults. When its watch breaks it goes on where it was;
where the server does not know that any more, it lists, and notes that it was blind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from controller_runtime import (
    ApiError,
    Client,
    ExpiredError,
    Json,
)
from controllers.reload.record import LAST_RELOADED_FROM, RECORD
from soak.reload.ledger import FAILURES
from soak.reload.world import KINDS, NAMESPACE, PLURALS

_AGAIN = 0.1
"""Seconds until a server that is away is asked again."""


class Sight(NamedTuple):
    """One version of a workload."""

    kind: str
    name: str
    uid: str
    version: int
    """Of all that is stored, in the order of writing."""
    is_gone: bool
    """It is the last of this uid."""
    template: str
    """The pod template, as JSON."""
    record: Mapping[str, str]
    """Source → hash, as the controller has noted it."""
    markers: frozenset[str]
    """Hashes in the pod template."""
    owner: str = ""
    """Uid of the CronJob that a Job is a run of."""
    generation: int = 0
    """Times that its spec was written; tells what happened out of sight."""
    created: str = ""
    """When, in RFC 3339, to the second."""

    @property
    def place(self) -> tuple[str, str]:
        """Its kind and name."""
        return self.kind, self.name


def read(obj: Json, *, is_gone: bool = False) -> Sight:
    """Read what the server says of a workload."""
    kind, metadata, spec = obj["kind"], obj["metadata"], obj["spec"]
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec["template"]
    owners = metadata.get("ownerReferences", ())
    record = metadata.get("annotations", {}).get(RECORD, "{}")
    return Sight(
        kind=kind,
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        is_gone=is_gone,
        template=json.dumps(template, sort_keys=True),
        record=json.loads(record),
        markers=frozenset(_markers(template)),
        owner=next((it["uid"] for it in owners if it["kind"] == "CronJob"), ""),
        generation=metadata.get("generation", 0),
        created=metadata["creationTimestamp"],
    )


def _markers(template: Json) -> Iterator[str]:
    for container in template["spec"]["containers"]:
        for one in container.get("env", ()):
            if one["name"].startswith("STAKATER_"):
                yield one["value"]
    annotations = template.get("metadata", {}).get("annotations") or {}
    if text := annotations.get(LAST_RELOADED_FROM):
        yield json.loads(text)["hash"]


class Recorder:
    """Watches the workloads."""

    def __init__(self, client: Client) -> None:
        """Make one; the client's way to the server has no faults."""
        self.sights: list[Sight] = []
        """Of one kind, in the order of their versions."""
        self.blind = 0
        """Times that versions may have been missed."""
        self.changed = asyncio.Event()
        """Set with each sight; whoever waits clears it."""
        self._client = client
        self._here: dict[str, Sight] = {}

    @property
    def here(self) -> Iterable[Sight]:
        """What there is now."""
        return self._here.values()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in PLURALS:
                tasks.create_task(self._follow(kind))

    async def _follow(self, kind: str) -> None:
        version = ""
        while True:
            with suppress(*FAILURES):
                if not version:
                    version = await self._list(kind)
                try:
                    async for seen in self._watch(kind, version):
                        version = seen
                except ExpiredError:
                    version = ""
                    self.blind += 1
                except ApiError:
                    pass
            await asyncio.sleep(_AGAIN)

    async def _list(self, kind: str) -> str:
        listed = await self._client.list(KINDS[kind], NAMESPACE)
        found = [read({"kind": kind, **obj}) for obj in listed.items]
        uids = {sight.uid for sight in found}
        for old in [it for it in self._here.values() if it.kind == kind]:
            if old.uid not in uids:
                self._note(old._replace(is_gone=True))
        for sight in found:
            known = self._here.get(sight.uid)
            if known is None or known.version < sight.version:
                self._note(sight)
        return listed.resource_version

    async def _watch(self, kind: str, version: str) -> AsyncIterator[str]:
        watch = self._client.watch(KINDS[kind], NAMESPACE, resource_version=version)
        async with watch as events:
            async for event in events:
                if event.object is None:
                    continue
                self._note(read(event.object, is_gone=event.type == "DELETED"))
                yield event.object["metadata"]["resourceVersion"]

    def _note(self, sight: Sight) -> None:
        self.sights.append(sight)
        if sight.is_gone:
            self._here.pop(sight.uid, None)
        else:
            self._here[sight.uid] = sight
        self.changed.set()
