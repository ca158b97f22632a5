"""What has become of the workloads: each version as a watch tells it, with its time.

Times are seconds of `CLOCK_MONOTONIC` when the event arrives here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from benchmarks.compare.load import now
from benchmarks.reload.cluster import PATHS, Cluster, Source, User

_RECORD = "reloader.stakater.com/applied-hashes"

_IDLE = 3600.0
"""Seconds without an event: a benchmark may have quiet hours."""

Key = tuple[str, str, str]
"""Kind, namespace and name of a workload."""


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: Mapping[str, str] = {}


class _Spec(msgspec.Struct):
    template: msgspec.Raw = msgspec.Raw(b"{}")


class _Workload(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Event(msgspec.Struct):
    type: str
    object: _Workload


class _List(msgspec.Struct):
    metadata: _Metadata
    items: Sequence[_Workload]


_event = msgspec.json.Decoder(_Event)
_list = msgspec.json.Decoder(_List)


class Board:
    """Follows the workloads of all namespaces."""

    def __init__(self, cluster: Cluster) -> None:
        """Make one; `following` begins."""
        self.rollouts: Counter[Key] = Counter()
        """Templates that a workload has had since it was first seen."""
        self.told: dict[Key, float] = {}
        """When its last template was seen to be another."""
        self.behind: set[Key] = set()
        """Workloads that have not come to the last text of what they use."""
        self._cluster = cluster
        cluster.changed = self._changed_source
        self._users: dict[Key, User] = {}
        self._keys: dict[Source, list[Key]] = {}
        self._templates: dict[Key, tuple[str, bytes]] = {}
        self._records: dict[Key, Mapping[str, str]] = {}
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def following(self, kinds: Iterable[str]) -> AsyncIterator[None]:
        """Follow kinds of workloads, from what there is now."""
        async with asyncio.TaskGroup() as tasks:
            following = []
            for kind in kinds:
                path = PATHS[kind].replace("/namespaces/{}", "")
                answer = await self._cluster.transport.request("GET", path)
                listed = _list.decode(answer.body)
                for item in listed.items:
                    self._note(kind, item)
                version = listed.metadata.resource_version
                following.append(tasks.create_task(self._follow(kind, path, version)))
            yield
            for task in following:
                task.cancel()

    def forget(self) -> None:
        """Count rollouts from here."""
        self.rollouts.clear()
        self.told.clear()

    def expect(self, users: Iterable[User]) -> None:
        """Look after workloads: they are behind until a record has what they use."""
        for user in users:
            key = key_of(user)
            self._users[key] = user
            for source in user.sources:
                self._keys.setdefault(source, []).append(key)
            self._look(key)

    def _changed_source(self, source: Source) -> None:
        for key in self._keys.get(source, ()):
            self._look(key)
        self._changed.set()

    def _look(self, key: Key) -> None:
        if (user := self._users.get(key)) is None:
            return
        record, wanted = self._records.get(key, {}), self._cluster.wanted
        if all(record.get(it.recorded) == wanted[it] for it in user.sources):
            self.behind.discard(key)
        else:
            self.behind.add(key)

    async def until_none_is_behind(self, *, seconds: float) -> bool:
        """Wait until every workload has what it uses; tell whether it came to that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.behind:
                    self._changed.clear()
                    await self._changed.wait()
        return not self.behind

    async def _follow(self, kind: str, path: str, version: str) -> None:
        stream = self._cluster.transport.stream(
            path,
            params={"watch": "1", "resourceVersion": version},
            idle_timeout=_IDLE,
        )
        async with stream as chunks:
            left = b""
            async for chunk in chunks:
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    event = _event.decode(line)
                    if event.type != "DELETED":
                        self._note(kind, event.object)
                self._changed.set()

    def _note(self, kind: str, obj: _Workload) -> None:
        metadata = obj.metadata
        key = kind, metadata.namespace, metadata.name
        known = self._templates.get(key)
        template = metadata.uid, bytes(obj.spec.template)
        if known is not None and known[0] == template[0] and known != template:
            self.rollouts[key] += 1
            self.told[key] = now()
        self._templates[key] = template
        record = metadata.annotations.get(_RECORD, "{}")
        self._records[key] = msgspec.json.decode(record)
        self._look(key)


def key_of(user: User) -> Key:
    """Name a workload."""
    return user.kind, user.namespace, user.name
