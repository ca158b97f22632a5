"""What a benchmark of reload has on its server, and how it gets there.

    pair n    source n ◀── uses ── workload n, which asks for `auto`

Nothing runs: there is no controller manager, so that the server and the manager have
the machine for themselves. Every text of a source is another, and its digest is known,
so that one can tell what a workload has come to.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from controller_runtime import Json, Transport
from controllers.reload.sources.digest import Digest, config_map_digest, secret_digest

WRITERS = 50
"""Requests at a time while a server is filled."""

_SHOWN = 1000
"""Objects from one line of progress to the next."""

PATHS: Mapping[str, str] = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
}

_LABEL = re.compile(r'(\w+)="([^"]*)"')

_PREFIX = "reloader.stakater.com"

AUTO: Mapping[str, str] = {f"{_PREFIX}/auto": "true"}


class Source(NamedTuple):
    """A ConfigMap or Secret."""

    namespace: str
    name: str
    kind: str = "ConfigMap"
    size: int = 0
    """Bytes besides the text that changes."""

    @property
    def recorded(self) -> str:
        """It as a workload's record names it."""
        return f"{'cm' if self.kind == 'ConfigMap' else 'secret'}/{self.name}"

    def data(self, text: str) -> Mapping[str, str]:
        """Describe a version of it."""
        plain = {"text": text}
        if self.size:
            plain["padding"] = "x" * self.size
        if self.kind == "ConfigMap":
            return plain
        return {k: b64encode(v.encode()).decode() for k, v in plain.items()}

    def digest(self, text: str) -> Digest:
        """Hash a version of it."""
        plain = {"text": text}
        if self.size:
            plain["padding"] = "x" * self.size
        if self.kind == "ConfigMap":
            return config_map_digest(plain, {})
        return secret_digest({k: v.encode() for k, v in plain.items()})

    def body(self, text: str) -> Json:
        """Describe a version of it, with its name."""
        metadata = {"name": self.name, "namespace": self.namespace}
        return {"kind": self.kind, "metadata": metadata, "data": self.data(text)}


class User(NamedTuple):
    """A workload."""

    namespace: str
    name: str
    sources: tuple[Source, ...]
    kind: str = "Deployment"
    annotations: Mapping[str, str] = AUTO
    reference: str = "envFrom"
    """How it uses them: `envFrom`, `valueFrom`, `init` or `projected`."""

    def body(self) -> Json:
        """Describe it."""
        labels = {"app": self.name}
        spec: Json = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": self._pod()},
        }
        if self.kind != "DaemonSet":
            spec["replicas"] = 0
        metadata = {
            "name": self.name,
            "namespace": self.namespace,
            "annotations": dict(self.annotations),
        }
        return {"kind": self.kind, "metadata": metadata, "spec": spec}

    def _pod(self) -> Json:
        app: Json = {"name": "app", "image": "example.com/app:1"}
        pod: Json = {"containers": [app]}
        match self.reference:
            case "valueFrom":
                app["env"] = [
                    {"name": f"V{n}", "valueFrom": {_key(it): _at(it)}}
                    for n, it in enumerate(self.sources)
                ]
            case "init":
                use = [{_ref(it): {"name": it.name}} for it in self.sources]
                pod["initContainers"] = [{**app, "name": "init", "envFrom": use}]
            case "projected":
                parts = [{_volume(it): {"name": it.name}} for it in self.sources]
                pod["volumes"] = [{"name": "all", "projected": {"sources": parts}}]
                app["volumeMounts"] = [{"name": "all", "mountPath": "/all"}]
            case _:
                app["envFrom"] = [{_ref(it): {"name": it.name}} for it in self.sources]
        return pod


def pairs(namespace: str, count: int, kind: str = "ConfigMap") -> Sequence[User]:
    """Return workloads that each have a source of their own."""
    return [
        User(namespace, f"user-{n}", (Source(namespace, f"source-{n}", kind),))
        for n in range(count)
    ]


def sources_of(users: Iterable[User]) -> Sequence[Source]:
    """Return what is used, each once."""
    return list(dict.fromkeys(it for user in users for it in user.sources))


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str


class _Changed(msgspec.Struct):
    metadata: _Metadata


class Cluster:
    """The server, and the texts that its sources have."""

    def __init__(self, transport: Transport, say: Callable[[str], None]) -> None:
        """Make one.

        Args:
            transport: The way there.
            say: Told of the progress.
        """
        self.transport = transport
        self.wanted: dict[Source, str] = {}
        """The hash of the last text of each, as records have it; empty while somebody
        changes it."""
        self.changed: Callable[[Source], None] = _nobody
        """Told before a source gets another text, and when it has it."""
        self.writes = 0
        self._say = say
        self._written = 0
        self._under_way: Counter[Source] = Counter()
        self._latest: dict[Source, tuple[int, str]] = {}
        """Version and hash: of two that are written at once, the server says which was
        the last."""

    async def make_namespace(self, name: str) -> None:
        """Create a namespace."""
        await self._post("/api/v1/namespaces", {"metadata": {"name": name}})

    async def create(self, users: Sequence[User]) -> None:
        """Create sources and workloads; namespaces must be there."""
        await self.create_sources(sources_of(users))
        await self._all(
            "workloads",
            [(PATHS[it.kind].format(it.namespace), it.body()) for it in users],
        )

    async def create_sources(self, sources: Sequence[Source]) -> None:
        """Create sources."""
        await self._all(
            "sources",
            [
                (PATHS[it.kind].format(it.namespace), it.body(self._another(it)))
                for it in sources
            ],
        )

    async def change(self, source: Source) -> None:
        """Give a source another text."""
        self._under_way[source] += 1
        text = self._another(source)
        digest = source.digest(text).recorded
        data = {"text": source.data(text)["text"]}
        version = await self._patch(
            source.kind, source.namespace, source.name, {"data": data}
        )
        self._under_way[source] -= 1
        self._latest[source] = max((version, digest), self._latest.get(source, (0, "")))
        if not self._under_way[source]:
            self.wanted[source] = self._latest[source][1]
            self.changed(source)

    async def label(self, source: Source) -> None:
        """Give a source another annotation, and leave its data alone."""
        self._written += 1
        annotations = {"example.com/change": f"{self._written}"}
        body = {"metadata": {"annotations": annotations}}
        await self._patch(source.kind, source.namespace, source.name, body)

    async def delete(self, user: User) -> None:
        """Delete a workload."""
        path = f"{PATHS[user.kind].format(user.namespace)}/{user.name}"
        await self.transport.request("DELETE", path)

    async def create_user(self, user: User) -> None:
        """Create one workload."""
        await self._post(PATHS[user.kind].format(user.namespace), user.body())

    async def calls(self) -> Mapping[tuple[str, str], int]:
        """Return how often the server was asked: (verb, resource) → times."""
        answer = await self.transport.request("GET", "/metrics")
        return calls_of(answer.body.decode())

    def _another(self, source: Source) -> str:
        """Return a text that no source has had."""
        self._written += 1
        text = f"text-{self._written}"
        is_changed = source in self.wanted
        self.wanted[source] = "" if is_changed else source.digest(text).recorded
        self.changed(source)
        return text

    async def _patch(
        self, kind: str, namespace: str, name: str, body: Mapping[str, object]
    ) -> int:
        answer = await self.transport.request(
            "PATCH",
            f"{PATHS[kind].format(namespace)}/{name}",
            body=msgspec.json.encode(body),
            content_type="application/merge-patch+json",
        )
        self.writes += 1
        changed = msgspec.json.decode(answer.body, type=_Changed)
        return int(changed.metadata.resource_version)

    async def _post(self, path: str, body: Mapping[str, object]) -> None:
        data = msgspec.json.encode(body)
        await self.transport.request("POST", path, body=data)

    async def _all(self, what: str, bodies: Sequence[tuple[str, Json]]) -> None:
        done = 0

        async def post(path: str, body: Json) -> None:
            nonlocal done
            await self._post(path, body)
            done += 1
            if done % _SHOWN == 0:
                self._say(f"{done:,} of {len(bodies):,} {what}")

        await spread([lambda it=it: post(*it) for it in bodies])  # type: ignore[misc]


def _nobody(_: Source) -> None:
    """Leave a change unnoticed."""


async def spread(
    acts: Iterable[Callable[[], Awaitable[None]]], width: int = WRITERS
) -> None:
    """Act, on some at a time."""
    rest = iter(acts)

    async def work(mine: Iterator[Callable[[], Awaitable[None]]]) -> None:
        for act in mine:
            await act()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(width):
            tasks.create_task(work(rest))


def calls_of(text: str) -> Mapping[tuple[str, str], int]:
    """Read from `/metrics` how often a server was asked: (verb, resource) → times."""
    found: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        if line.startswith("apiserver_request_total{"):
            labels, _, value = line.rpartition(" ")
            said = dict(_LABEL.findall(labels))
            found[said["verb"], said["resource"]] += int(float(value))
    return found


def _ref(source: Source) -> str:
    return "configMapRef" if source.kind == "ConfigMap" else "secretRef"


def _key(source: Source) -> str:
    return "configMapKeyRef" if source.kind == "ConfigMap" else "secretKeyRef"


def _at(source: Source) -> Mapping[str, str]:
    return {"name": source.name, "key": "text"}


def _volume(source: Source) -> str:
    return "configMap" if source.kind == "ConfigMap" else "secret"
