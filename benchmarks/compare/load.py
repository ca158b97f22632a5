"""What is on the API server, and who changes it.

Objects are ConfigMaps of about 1.3 KB as the server has them, and Pods of about 5.6 KB;
their names count up, so that a namespace can be filled further.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from controller_runtime import AlreadyExistsError, Json, Transport

CONNECTIONS = 32
"""Requests at a time: what keeps two cores of API server busy."""

MERGE = "application/merge-patch+json"

now = time.monotonic  # noqa: TID251 - the clock that the peers read too


class _Object(msgspec.Struct):
    metadata: Mapping[str, Any]


def config_map(number: int) -> Json:
    """Describe a ConfigMap as a user would apply it."""
    return {
        "metadata": {
            "name": name_of(number),
            "labels": {"app.kubernetes.io/name": f"app-{number % 100}"},
            "annotations": {"example.com/checksum": "a" * 64},
        },
        "data": {"app.yaml": "key: value\n" * 50},
    }


def pod(number: int) -> Json:
    """Describe a pod with as much in it as those of Deployments have."""
    environment = [
        {"name": f"SETTING_{n}", "value": f"value of setting {n}"} for n in range(34)
    ]
    return {
        "metadata": {
            "name": name_of(number),
            "labels": {"app.kubernetes.io/name": f"app-{number % 100}"},
            "annotations": {"example.com/checksum": "a" * 64},
        },
        "spec": {
            "containers": [
                {"name": "web", "image": "example.com/web:1", "env": environment}
            ]
        },
    }


BODIES: Mapping[str, Callable[[int], Json]] = {"ConfigMap": config_map, "Pod": pod}


def name_of(number: int) -> str:
    """Return the name of an object."""
    return f"object-{number:06}"


class Load:
    """The objects of one kind in one namespace.

    Args:
        transport: The way to the API server.
        namespace: Made when it is first filled.
        kind: ConfigMap or Pod.
    """

    def __init__(
        self, transport: Transport, namespace: str, kind: str = "ConfigMap"
    ) -> None:
        self._transport = transport
        self.namespace = namespace
        self.kind = kind
        self.count = 0
        self._path = f"/api/v1/namespaces/{namespace}/{kind.lower()}s"
        self._changes = 0

    async def fill(self, count: int) -> None:
        """Create what is missing of `count` objects."""
        if not self.count:
            await self._make_namespace()
        body = BODIES[self.kind]

        async def create(number: int) -> None:
            data = msgspec.json.encode(body(number))
            await self._transport.request("POST", self._path, body=data)

        await _spread(create, range(self.count, count))
        self.count = max(self.count, count)

    async def size(self) -> int:
        """Return the bytes of one object as the server sends it."""
        path = f"{self._path}/{name_of(0)}"
        return len((await self._transport.request("GET", path)).body)

    async def change(self, number: int) -> str:
        """Change one object, and return its new version."""
        self._changes += 1
        label = {"example.com/change": str(self._changes)}
        answer = await self._transport.request(
            "PATCH",
            f"{self._path}/{name_of(number)}",
            body=msgspec.json.encode({"metadata": {"labels": label}}),
            content_type=MERGE,
        )
        changed = msgspec.json.decode(answer.body, type=_Object)
        return str(changed.metadata["resourceVersion"])

    async def change_each(self, count: int) -> float:
        """Change the first `count` objects as fast as may be; return the seconds."""
        began = now()
        await _spread(self.change, range(count))
        return now() - began

    async def change_singly(self, count: int, *, pause: float) -> Sequence[Change]:
        """Change one object after the other, with a pause after each, in seconds."""
        changes = []
        for number in range(count):
            sent = now()
            version = await self.change(number % self.count)
            changes.append((version, sent))
            await asyncio.sleep(pause)
        return changes

    async def _make_namespace(self) -> None:
        body = msgspec.json.encode({"metadata": {"name": self.namespace}})
        try:
            await self._transport.request("POST", "/api/v1/namespaces", body=body)
        except AlreadyExistsError:
            return


Change = tuple[str, float]
"""The version that a change made, and when it was asked for."""


async def _spread(
    act: Callable[[int], Any], numbers: Iterable[int], width: int = CONNECTIONS
) -> None:
    """Act on every number, on some at a time."""

    async def work(mine: Iterator[int]) -> None:
        for number in mine:
            await act(number)

    rest = iter(numbers)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(width):
            tasks.create_task(work(rest))
