"""What it costs to follow a kind: decode, store, tell; from bytes to a handler's keys.

Objects are ConfigMaps of about 1.3 KB, as `kubectl` leaves them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller_runtime.discovery import ApiResource
from controller_runtime.event import Event
from controller_runtime.handler import for_object
from controller_runtime.meta import GroupVersionKind
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.servertraits import ServerTraits
from controller_runtime.transport import Response
from controller_runtime.watch import WatchOptions
from controller_runtime.wire import Lines, read_event
from controller_runtime.workqueue import WorkQueue

Benchmark = Callable[..., Any]

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
COUNT = 10_000
CHUNK = 1 << 16
"""Bytes that come at a time, as aiohttp hands them over."""


def config_map(number: int, version: int) -> Mapping[str, object]:
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": f"config-{number}",
            "namespace": f"team-{number % 50}",
            "uid": f"4fbe5f2e-0000-4000-8000-{number:012d}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/name": f"app-{number % 100}"},
            "annotations": {"example.com/checksum": "a" * 64},
            "managedFields": [
                {
                    "manager": "kubectl",
                    "operation": "Update",
                    "apiVersion": "v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:data": {".": {}, "f:app.yaml": {}}},
                }
            ],
        },
        "data": {"app.yaml": "key: value\n" * 64},
    }


def line(type_: str, object_: object) -> bytes:
    event = {"type": type_, "object": object_}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def bookmark(version: int, annotations: Mapping[str, str]) -> bytes:
    metadata = {"resourceVersion": str(version), "annotations": annotations}
    head = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata}
    return line("BOOKMARK", head)


def chunks_of(lines: Sequence[bytes]) -> list[bytes]:
    whole = b"".join(lines)
    return [whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)]


INITIAL = [line("ADDED", config_map(n, n + 1)) for n in range(COUNT)]
END = bookmark(COUNT, {"k8s.io/initial-events-end": "true"})
FLOOD = [line("MODIFIED", config_map(n, COUNT + n + 1)) for n in range(COUNT)]
LIST = json.dumps(
    {
        "metadata": {"resourceVersion": str(COUNT)},
        "items": [config_map(n, n + 1) for n in range(COUNT)],
    },
    separators=(",", ":"),
).encode()


class Replay:
    """A transport that answers with what is there already, and a discovery."""

    def __init__(self, *parts: Sequence[bytes]) -> None:
        self._chunks = [chunk for part in parts for chunk in chunks_of(part)]
        self.ended = asyncio.Event()

    async def resource(self, gvk: GroupVersionKind) -> ApiResource:
        verbs = frozenset({"list", "watch"})
        return ApiResource(gvk, "configmaps", True, verbs, frozenset())

    async def request(self, *_: object, **__: object) -> Response:
        return Response(200, {}, LIST)

    @asynccontextmanager
    async def stream(
        self, path: str, **_: object
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._told()

    async def _told(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await asyncio.sleep(0)
            yield chunk
        self.ended.set()
        await asyncio.Event().wait()


async def follow(watch: WatchOptions, *parts: Sequence[bytes]) -> int:
    """Follow a kind to the end of the replay; return how many keys were queued."""
    replay, queue, handler = Replay(*parts), WorkQueue[Any](), for_object()
    reflector = Reflector(
        replay,
        replay,  # type: ignore[arg-type]  # as much of a Discovery as is used
        CONFIG_MAP,
        options=ReflectorOptions(watch=watch),
        randomness=random.Random(1),  # noqa: S311 - jitter
        server=ServerTraits(),
    )

    def tell(events: Sequence[Event]) -> None:
        for event in events:
            for request in handler.requests(event):
                queue.add(request)

    reflector.subscribe(tell)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reflector.run())
        await replay.ended.wait()
        task.cancel()
    queue.close()
    return len(reflector.store)


def test_ten_thousand_events_decoded(benchmark: Benchmark) -> None:
    def decode() -> None:
        lines = Lines()
        for chunk in CHUNKS:
            for each in lines.feed(chunk):
                read_event(each, CONFIG_MAP, None)

    CHUNKS = chunks_of(FLOOD)  # noqa: N806 - made once
    benchmark(decode)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "listed"])
def test_ten_thousand_objects_taken_at_first(
    benchmark: Benchmark, streamed: bool
) -> None:
    options = WatchOptions(watch_list=streamed)
    parts = [[*INITIAL, END]] if streamed else []
    with asyncio.Runner() as runner:
        count = benchmark(lambda: runner.run(follow(options, *parts)))
    assert count == COUNT


def test_ten_thousand_objects_taken_and_each_changed(benchmark: Benchmark) -> None:
    with asyncio.Runner() as runner:
        count = benchmark(
            lambda: runner.run(follow(WatchOptions(), [*INITIAL, END], FLOOD))
        )
    assert count == COUNT
