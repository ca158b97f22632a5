"""One API server, spoken to in plain JSON: what the conformance tests are written in.

The same tests run against the in-process server and against a real one. They get an
`api` fixture and nothing else, and must not notice which of the two it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from controller_runtime.errors import ApiError
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.transport import HttpTransport
from controller_runtime.wire import Lines

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

WIDGET = GroupVersionKind("conformance.example.com", "v1", "Widget")
"""A namespaced custom kind with a status subresource and a schema that allows all."""


class Answer(NamedTuple):
    """What the server said, refusals included."""

    status: int
    body: Json
    """The object, or what a Status says: reason, message, details."""


class Events:
    """What a watch tells, one event at a time."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._events = self._read(chunks)

    async def next(self, *, within: float = 5.0) -> tuple[str, Json]:
        """Return type and object of the next event, which has some seconds to come.

        Raises:
            StopAsyncIteration: The watch has ended.
            TimeoutError: Nothing came.
        """
        async with asyncio.timeout(within):
            event = await anext(self._events)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Return types and names of the next `count` events."""
        seen = [await self.next() for _ in range(count)]
        return [(kind, object_["metadata"].get("name", "")) for kind, object_ in seen]

    async def rest(self) -> list[tuple[str, Json]]:
        """Return what comes until the watch ends by itself."""
        return [(event["type"], event["object"]) async for event in self._events]

    @staticmethod
    async def _read(chunks: AsyncIterator[bytes]) -> AsyncIterator[Json]:
        lines = Lines()
        async for chunk in chunks:
            for line in lines.feed(chunk):
                yield json.loads(line)


class Api:
    """A namespace of a server."""

    def __init__(self, transport: HttpTransport, namespace: str) -> None:
        self.transport = transport
        self.namespace = namespace
        self.configmaps = self.path("configmaps")
        self.widgets = self.path("widgets", f"{WIDGET.group}/{WIDGET.version}")

    def path(self, plural: str, api_version: str = "v1", namespace: str = "") -> str:
        """Return the path of a collection."""
        root = "apis" if "/" in api_version else "api"
        where = namespace or self.namespace
        return f"/{root}/{api_version}/namespaces/{where}/{plural}"

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        **params: str,
    ) -> Answer:
        """Make a request and return the answer, whatever it is."""
        data = body if isinstance(body, bytes) else None
        if data is None and body is not None:
            data = json.dumps(body).encode()
        try:
            response = await self.transport.request(
                method, path, params=params, body=data, content_type=content_type
            )
        except ApiError as error:
            prefix = f"{method} {path}: "
            message = str(error).removeprefix(prefix)
            said = {"reason": error.reason, "message": message}
            return Answer(error.status, {**said, "details": error.details})
        return Answer(response.status, json.loads(response.body))

    async def get(self, path: str, **params: str) -> Json:
        """Read something that is there."""
        return _body(await self.call("GET", path, **params))

    async def create(self, path: str, body: Json, **params: str) -> Json:
        """Create something that can be created."""
        return _body(await self.call("POST", path, body, **params))

    async def update(self, path: str, body: Json, **params: str) -> Json:
        """Replace something that can be replaced."""
        return _body(await self.call("PUT", path, body, **params))

    async def patch(
        self, path: str, body: object, content_type: str = MERGE, **params: str
    ) -> Json:
        """Patch something that can be patched."""
        return _body(
            await self.call("PATCH", path, body, content_type=content_type, **params)
        )

    async def apply(self, path: str, body: Json, manager: str, **params: str) -> Json:
        """Apply something without a conflict."""
        return await self.patch(path, body, APPLY, fieldManager=manager, **params)

    async def delete(self, path: str, body: Json | None = None, **params: str) -> Json:
        """Delete something that is there."""
        return _body(await self.call("DELETE", path, body, **params))

    @asynccontextmanager
    async def watch(self, path: str, **params: str) -> AsyncIterator[Events]:
        """Open a watch, of thirty seconds if it does not say."""
        params = {"watch": "true", "timeoutSeconds": "30", **params}
        patience = float(params["timeoutSeconds"]) + 30
        async with self.transport.stream(
            path, params=params, idle_timeout=patience
        ) as chunks:
            yield Events(chunks)


def _body(answer: Answer) -> Json:
    if answer.status >= 400:
        pytest.fail(f"{answer.status}: {answer.body['message']}")
    return answer.body


def config_map(name: str, **changes: object) -> Json:
    """Return a ConfigMap with one key, `colour`."""
    return _object("v1", "ConfigMap", name, {"data": {"colour": "blue"}, **changes})


def widget(name: str, **changes: object) -> Json:
    """Return a Widget whose spec has one field, `size`."""
    version = f"{WIDGET.group}/{WIDGET.version}"
    return _object(version, WIDGET.kind, name, {"spec": {"size": 1}, **changes})


def deployment(name: str) -> Json:
    """Return a Deployment without replicas."""
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "registry.example/main:1",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return _object("apps/v1", "Deployment", name, {"spec": spec})


def _object(version: str, kind: str, name: str, changes: Json) -> Json:
    metadata = {"name": name, **changes.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **changes}


def version_of(object_: Json) -> int:
    """Return the resourceVersion as a number."""
    return int(object_["metadata"]["resourceVersion"])


Transform = Callable[[Json], Json]


async def changed(api: Api, path: str, transform: Transform) -> Answer:
    """Read, transform and write back an object, and return the answer."""
    return await api.call("PUT", path, transform(await api.get(path)))
