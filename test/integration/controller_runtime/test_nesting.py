"""Objects that are nested too deeply for a parser, among others, on a real server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controller_runtime.cache import Cache, CacheOptions
from controller_runtime.cachedclient import CachedClient
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import AlreadyExistsError, DecodeError, NotFoundError
from controller_runtime.event import Created, Deleted, Event, Updated
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.nesting import depth
from controller_runtime.patch import merge_patch
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.restconfig import RestConfig, load
from controller_runtime.scheme import Scheme
from controller_runtime.testing.envtest import Cluster
from controller_runtime.transport import HttpTransport, Response
from controller_runtime.watch import WatchOptions
from controller_runtime.wire import strip_managed_fields

WELL = GroupVersionKind("nesting.test", "v1", "Well")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WELLS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"wells.{WELL.group}"},
    "spec": {
        "group": WELL.group,
        "names": {"kind": WELL.kind, "plural": "wells"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": WELL.version,
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": SCHEMA},
            }
        ],
    },
}

PAGED = WatchOptions()
STREAMED = WatchOptions(paged_fill=False)
LISTED = WatchOptions(paged_fill=False, watch_list=False)
SECONDS = 30


def keep_size(raw: bytes) -> bytes:
    """Reduce a well to its metadata and size, as a controller's transform does."""
    well = json.loads(raw)
    kept = {key: well.get(key) for key in ("apiVersion", "kind", "metadata", "size")}
    return json.dumps(kept).encode()


WHOLE = ReflectorOptions()
VIEWS = {
    "in pages": ReflectorOptions(watch=PAGED),
    "streamed": ReflectorOptions(watch=STREAMED),
    "listed": ReflectorOptions(watch=LISTED),
    "stripped": ReflectorOptions(transform=strip_managed_fields),
    "reduced": ReflectorOptions(transform=keep_size),
    "metadata only": ReflectorOptions(metadata_only=True),
}


class Field:
    """A namespace with wells, and a cache of them that counts its questions."""

    def __init__(
        self, transport: HttpTransport, namespace: str, options: ReflectorOptions
    ) -> None:
        self.transport = transport
        self.namespace = namespace
        self.asked: Counter[str] = Counter()
        counted = InterceptedTransport(
            transport, {"list": self._count, "watch": self._count}
        )
        default = replace(options, namespace=namespace)
        self.cache = Cache(
            counted, Discovery(counted), options=CacheOptions(default=default)
        )
        self.cached = CachedClient(self.cache, transport, scheme=Scheme())
        self.live = Client(transport, scheme=Scheme())
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.informer = self.cache.declare(WELL)
        self.informer.subscribe(self._take)

    async def _count(self, call: Call, proceed: Proceed) -> Response:
        self.asked[call.info.verb] += 1
        return await proceed()

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.put_nowait(event)

    @property
    def path(self) -> str:
        return f"/apis/{WELL.group}/{WELL.version}/namespaces/{self.namespace}/wells"

    async def dig(self, name: str, levels: int = 1) -> None:
        """Create a well of some depth: no client of ours writes such a thing."""
        metadata = {"name": name, "labels": {"digger": "ann"}}
        head = {"apiVersion": WELL.api_version, "kind": WELL.kind, "metadata": metadata}
        rest = b',"size":3,"water":%s}' % nested(levels)
        body = json.dumps(head).encode()[:-1] + rest
        await self.transport.request("POST", self.path, body=body, timeout=SECONDS)

    async def deepen(self, name: str, levels: int) -> None:
        await self.transport.request(
            "PATCH",
            f"{self.path}/{name}",
            body=b'{"water":%s}' % nested(levels),
            content_type="application/merge-patch+json",
            timeout=SECONDS,
        )

    async def told(self, count: int) -> list[tuple[type[Event], str]]:
        async with asyncio.timeout(SECONDS):
            events = [await self.events.get() for _ in range(count)]
        return [(type(event), event.object.meta.name) for event in events]

    @asynccontextmanager
    async def filled(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.cache.run())
            async with asyncio.timeout(SECONDS):
                await self.informer.synced()
            yield
            running.cancel()


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def field(
    config: RestConfig,
    control_plane: Cluster,
    namespace: str,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Field]:
    with suppress(AlreadyExistsError):  # another test was first
        await control_plane.api.post(CRDS, WELLS)
    async with HttpTransport(config) as transport:
        field = Field(transport, namespace, getattr(request, "param", WHOLE))
        async with asyncio.timeout(SECONDS):
            while not await is_served(field):  # noqa: ASYNC110 - it takes a moment
                await asyncio.sleep(0.1)
        yield field


async def is_served(field: Field) -> bool:
    with suppress(NotFoundError):
        await field.transport.request("GET", field.path)
        return True
    return False


def warnings(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [
        it["object"]
        for it in logs
        if it["event"] == "object is nested too deeply to be parsed"
    ]


@pytest.mark.parametrize("field", VIEWS.values(), ids=list(VIEWS), indirect=True)
async def test_a_deep_object_stops_neither_the_list_nor_the_watch_of_the_others(
    field: Field,
) -> None:
    for name, levels in {"a": 1, "m": 9900, "z": 1}.items():
        await field.dig(name, levels)
    deep = f"{field.namespace}/m"

    with capture_logs() as logs:
        async with field.filled():
            listed = await field.told(3)
            await field.dig("c")
            await field.dig("n", 5000)
            await field.live.patch(
                WELL, "a", field.namespace, patch=merge_patch({"size": 4})
            )
            await field.deepen("z", 1000)
            await field.live.delete(WELL, "m", field.namespace)
            watched = await field.told(5)

    assert sorted(name for _, name in listed) == ["a", "m", "z"]
    assert watched == [
        (Created, "c"),
        (Created, "n"),
        (Updated, "a"),
        (Updated, "z"),
        (Deleted, "m"),
    ]
    assert field.asked["list"] <= 1
    assert field.asked["watch"] == 1
    # The last version of "m" is told as well: the server gives it a new one.
    told = Counter(warnings(logs))
    assert told[deep] <= 2
    assert set(told) == {deep, f"{field.namespace}/n", f"{field.namespace}/z"}


@pytest.mark.parametrize("levels", [1000, 5000, 9900])
async def test_to_read_a_deep_object_is_an_error_that_names_it(
    field: Field, levels: int
) -> None:
    await field.dig("a")
    await field.dig("m", levels)
    problem = f"{field.namespace}/m: it is nested too deeply .* make it flatter"

    async with field.filled():
        assert (await field.cached.get(WELL, "a", field.namespace))["size"] == 3
        meta = await field.cached.get_meta(WELL, "m", field.namespace)
        for client in (field.cached, field.live):
            with pytest.raises(DecodeError, match=problem):
                await client.get(WELL, "m", field.namespace)
            with pytest.raises(DecodeError, match=problem):
                await client.list(WELL, field.namespace)
        metas = await field.cached.list_meta(WELL, field.namespace)

    assert meta.labels == {"digger": "ann"}
    assert {it.name for it in metas.items} == {"a", "m"}


async def test_a_write_to_a_deep_object_is_done_and_waited_for(field: Field) -> None:
    await field.dig("m", 9900)

    async with field.filled():
        with pytest.raises(DecodeError, match=f"{field.namespace}/m: it is nested"):
            await field.cached.patch(
                WELL,
                "m",
                field.namespace,
                patch=merge_patch({"metadata": {"labels": {"digger": "bob"}}}),
            )
        meta = await field.cached.get_meta(WELL, "m", field.namespace)

        assert meta.labels == {"digger": "bob"}


async def test_a_transform_sees_the_surface_of_a_deep_object(field: Field) -> None:
    view = field.cache.view(ReflectorOptions(transform=keep_size))
    await field.dig("m", 9900)

    async with field.filled():
        async with asyncio.timeout(SECONDS):
            informer = await view.informer(WELL)
            await informer.synced()
        (entry,) = informer.list(field.namespace)
        (whole,) = field.informer.list(field.namespace)

    reduced: Json = entry.parse()
    assert (reduced["size"], reduced["metadata"]["name"]) == (3, "m")
    assert depth(whole.raw) > 9900
