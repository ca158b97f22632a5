"""Cached reads on any API server: what they show, and that they show own writes.

A test gets a `place`: a transport and a namespace of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple

import pytest
from pydantic import Field

from controller_runtime.cache import Cache, CacheOptions
from controller_runtime.cachedclient import CachedClient
from controller_runtime.cacheoptions import KindOptions, NamespaceOptions
from controller_runtime.client import Client
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    BadRequestError,
    ConflictError,
    NotCachedError,
    NotFoundError,
    NotIndexedError,
)
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    KubeObject,
    NamespacedName,
    RawObject,
)
from controller_runtime.metrics import Metrics
from controller_runtime.patch import merge_patch
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.scheme import Scheme
from controller_runtime.store import index_by_body
from controller_runtime.transport import Transport
from controller_runtime.wire import strip_managed_fields

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")


class ConfigMap(KubeObject):
    """The kind that all of these tests are about."""

    gvk: ClassVar = CONFIG_MAP

    data: Mapping[str, str] = Field(default_factory=dict)


class Place(NamedTuple):
    """Where a test may do what it likes."""

    transport: Transport
    namespace: str


class World:
    """A cache that runs, and the clients on both sides of it."""

    def __init__(self, place: Place, options: CacheOptions | None = None) -> None:
        self.namespace = place.namespace
        discovery = Discovery(place.transport)
        self.metrics = Metrics()
        self.live = Client(place.transport, scheme=Scheme(), discovery=discovery)
        self.cache = Cache(
            place.transport,
            discovery,
            options=options or keeping(place),
            randomness=random.Random(1),  # noqa: S311
        )
        self.client = CachedClient(
            self.cache,
            place.transport,
            scheme=Scheme(),
            discovery=discovery,
            metrics=self.metrics,
        )

    @property
    def stale_reads(self) -> float:
        """How many reads of ConfigMaps went past the cache."""
        name = "controller_runtime_cache_stale_reads_total"
        found = self.metrics.registry.restricted_registry([name]).collect()
        return sum(
            sample.value
            for metric in found
            for sample in metric.samples
            if sample.labels == {"kind": "ConfigMap"}
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.cache.run())
            try:
                await asyncio.sleep(0)  # it begins
                await self.cache.synced()
                yield
            finally:
                task.cancel()

    def config_map(self, name: str, value: str = "1", **metadata: object) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "data": {"value": value},
        }

    async def create(self, name: str, value: str = "1", **metadata: object) -> Json:
        return await self.client.create(self.config_map(name, value, **metadata))

    async def get(self, name: str) -> Json:
        return await self.client.get(CONFIG_MAP, name, self.namespace)

    async def change(self, name: str, **changes: object) -> Json:
        return await self.client.patch(
            CONFIG_MAP, name, self.namespace, patch=merge_patch(changes)
        )

    async def names(self, **options: str) -> set[str]:
        found = await self.client.list(
            CONFIG_MAP,
            self.namespace,
            label_selector=options.get("label_selector", ""),
            field_selector=options.get("field_selector", ""),
        )
        return {item["metadata"]["name"] for item in found.items}


def keeping(place: Place, **options: object) -> CacheOptions:
    """Keep no more than the test's namespace."""
    kept = ReflectorOptions(namespace=place.namespace, **options)  # type: ignore[arg-type] # tests know what they pass
    return CacheOptions(default=kept)


@asynccontextmanager
async def reading(place: Place, **options: object) -> AsyncIterator[World]:
    world = World(place, keeping(place, **options))
    world.cache.declare(CONFIG_MAP)
    async with world.running():
        yield world


def by_value(entry: Json) -> Iterable[str]:
    return filter(None, [entry["data"].get("value")])


def by_team(entry: RawObject) -> Iterable[str]:
    return filter(None, [entry.meta.labels.get("team")])


@pytest.mark.behaviour("K1")
async def test_an_unknown_object_is_not_found_and_the_text_says_what_and_where(
    place: Place,
) -> None:
    async with reading(place) as world:
        with pytest.raises(NotFoundError, match=r'configmaps "nobody" not found'):
            await world.get("nobody")


@pytest.mark.behaviour("K2")
async def test_who_changes_what_was_read_changes_nothing_for_others(
    place: Place,
) -> None:
    async with reading(place) as world:
        await world.create("a")
        mine = await world.get("a")
        mine["data"]["value"] = "spoilt"
        mine["metadata"].clear()

        other = await world.get("a")

    assert other["data"]["value"] == "1"
    assert other["metadata"]["name"] == "a"


@pytest.mark.behaviour("K3")
async def test_what_is_read_says_which_kind_it_is(place: Place) -> None:
    async with reading(place) as world:
        await world.create("a")

        plain = await world.get("a")
        typed = await world.client.get(ConfigMap, "a", place.namespace)
        listed = await world.client.list(CONFIG_MAP, place.namespace)

    assert (plain["apiVersion"], plain["kind"]) == ("v1", "ConfigMap")
    assert all(item["kind"] == "ConfigMap" for item in listed.items)
    assert typed.gvk == CONFIG_MAP
    assert typed.data == {"value": "1"}


@pytest.mark.behaviour("K4")
async def test_a_read_shows_what_was_written_before_it(place: Place) -> None:
    async with reading(place) as world:
        for number in range(20):
            made = await world.create(f"a{number}")
            assert (await world.get(f"a{number}"))["metadata"] == made["metadata"]
            changed = await world.change(f"a{number}", data={"value": "2"})
            assert (await world.get(f"a{number}"))["data"] == {"value": "2"}
            assert f"a{number}" in await world.names()
            changed["data"]["value"] = "3"
            await world.client.update(changed)
            read = await world.client.get(ConfigMap, f"a{number}", place.namespace)
            assert read.data == {"value": "3"}


@pytest.mark.behaviour("K4")
async def test_what_was_deleted_is_gone_from_the_next_read(place: Place) -> None:
    async with reading(place) as world:
        for number in range(10):
            await world.create(f"a{number}")
            await world.client.delete(CONFIG_MAP, f"a{number}", place.namespace)
            with pytest.raises(NotFoundError):
                await world.get(f"a{number}")
        await world.create("b")
        await world.client.delete(CONFIG_MAP, "b", place.namespace)
        assert "b" not in await world.names()


@pytest.mark.behaviour("K4")
async def test_a_successor_is_read_and_not_the_object_that_had_its_name(
    place: Place,
) -> None:
    async with reading(place) as world:
        first = await world.create("a", "first")
        await world.client.delete(CONFIG_MAP, "a", place.namespace)
        second = await world.create("a", "second")

        read = await world.get("a")

    assert read["metadata"]["uid"] == second["metadata"]["uid"]
    assert read["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.behaviour("K4")
async def test_an_object_that_a_finalizer_holds_is_read_as_one_that_ends(
    place: Place,
) -> None:
    async with reading(place) as world:
        await world.create("a", finalizers=["example.com/hold"])
        await world.get("a")
        await world.client.delete(CONFIG_MAP, "a", place.namespace)

        ending = await world.get("a")
        await world.change("a", metadata={"finalizers": None})

        assert ending["metadata"]["deletionTimestamp"]
        with pytest.raises(NotFoundError):
            await world.get("a")


@pytest.mark.behaviour("K4")
async def test_no_read_after_a_write_had_to_ask_the_server(place: Place) -> None:
    async with reading(place) as world:
        await world.create("a")
        await world.get("a")
        await world.create("b", finalizers=["example.com/hold"])
        await world.client.delete(CONFIG_MAP, "b", place.namespace)
        await world.get("b")
        await world.change("b", metadata={"finalizers": None})
        await world.names()
        await world.client.delete(CONFIG_MAP, "a", place.namespace)
        await world.names()

    assert world.stale_reads == 0


@pytest.mark.behaviour("K5")
async def test_a_list_is_what_namespace_labels_and_indexes_all_select(
    place: Place,
) -> None:
    async with reading(place) as world:
        world.cache.declare(CONFIG_MAP).add_index("value", index_by_body(by_value))
        world.cache.declare(CONFIG_MAP).add_index("team", by_team)
        await world.create("a", "1", labels={"team": "red", "tier": "front"})
        await world.create("b", "2", labels={"team": "red", "tier": "front"})
        await world.create("c", "1", labels={"team": "blue", "tier": "front"})
        await world.create("d", "1", labels={"team": "red"})

        assert await world.names(field_selector="value=1") == {"a", "c", "d"}
        assert await world.names(field_selector="value=1,team=red") == {"a", "d"}
        assert await world.names(
            field_selector="value=1,team=red", label_selector="tier in (front,back)"
        ) == {"a"}
        assert await world.names(field_selector="value=9") == set()


@pytest.mark.behaviour("K5")
async def test_a_field_without_an_index_is_named(place: Place) -> None:
    async with reading(place) as world:
        with pytest.raises(NotIndexedError, match=r"spec\.nodeName"):
            await world.names(field_selector="spec.nodeName=a")


@pytest.mark.behaviour("K6")
async def test_what_the_selector_leaves_out_is_found_live_and_not_in_the_cache(
    place: Place,
) -> None:
    async with reading(place, label_selector="team=red") as world:
        await world.create("in", labels={"team": "red"})
        await world.create("out", labels={"team": "blue"})

        await world.get("in")
        with pytest.raises(NotFoundError):
            await world.get("out")
        await world.live.get(CONFIG_MAP, "out", place.namespace)

        await world.change("in", metadata={"labels": {"team": "blue"}})
        with pytest.raises(NotFoundError):
            await world.get("in")


@pytest.mark.behaviour("K8")
async def test_an_object_of_which_a_part_is_kept_cannot_be_written_back_whole(
    place: Place,
) -> None:
    def without_data(raw: bytes) -> bytes:
        return raw.replace(b'"data":', b'"kept":')

    async with reading(place, transform=without_data) as world:
        await world.create("a")
        plain = await world.get("a")
        typed = await world.client.get(ConfigMap, "a", place.namespace)

        assert "data" not in plain
        for client in (world.client, world.live):
            with pytest.raises(BadRequestError, match="patch or apply"):
                await client.update(plain)
            with pytest.raises(BadRequestError, match="patch or apply"):
                await client.update(typed.model_copy(update={"data": {"x": "y"}}))
        await world.change("a", metadata={"labels": {"x": "y"}})
        left = await world.live.get(CONFIG_MAP, "a", place.namespace)
    assert left["data"] == {"value": "1"}


@pytest.mark.behaviour("K8")
async def test_an_object_without_managed_fields_may_be_written_back_whole(
    place: Place,
) -> None:
    async with reading(place, transform=strip_managed_fields) as world:
        await world.create("a")
        read = await world.get("a")
        assert "managedFields" not in read["metadata"]

        read["data"]["value"] = "2"
        await world.client.update(read)

        assert (await world.get("a"))["data"] == {"value": "2"}


@pytest.mark.behaviour("K9")
async def test_metadata_of_whole_objects_is_read_without_another_watch(
    place: Place,
) -> None:
    async with reading(place) as world:
        await world.create("a", labels={"team": "red"})

        one = await world.client.get_meta(ConfigMap, "a", place.namespace)
        some = await world.client.list_meta(
            CONFIG_MAP, place.namespace, label_selector="team"
        )

    assert one.labels == {"team": "red"}
    assert [meta.name for meta in some.items] == ["a"]
    assert len(world.cache.report()) == 1


@pytest.mark.behaviour("K9")
async def test_of_a_store_of_metadata_nothing_else_can_be_read(place: Place) -> None:
    async with reading(place, metadata_only=True) as world:
        made = await world.create("a", "long " * 1000)
        one = await world.client.get_meta(CONFIG_MAP, "a", place.namespace)
        await world.change("a", metadata={"labels": {"x": "y"}})
        changed = await world.client.get_meta(CONFIG_MAP, "a", place.namespace)

        with pytest.raises(NotCachedError, match="get_meta"):
            await world.get("a")
        with pytest.raises(NotCachedError, match="get_meta"):
            await world.names()
        (report,) = world.cache.report()

    assert one.uid == made["metadata"]["uid"]
    assert changed.labels == {"x": "y"}
    assert report.bytes < 2500


@pytest.mark.behaviour("K7")
async def test_several_namespaces_are_read_as_one_and_no_other_is(place: Place) -> None:
    world = World(place)
    several = ReflectorOptions(namespaces=(place.namespace, "kube-public"))
    view = world.cache.declare(CONFIG_MAP, several)

    async with world.running():
        await world.live.create(world.config_map("a"))
        async with asyncio.timeout(10):
            while view.get(NamespacedName(place.namespace, "a")) is None:  # noqa: ASYNC110 - a store
                await asyncio.sleep(0.01)
        assert "a" in {entry.meta.name for entry in view.list()}
        with pytest.raises(NotCachedError, match="kube-system"):
            view.list("kube-system")


@pytest.mark.behaviour("K7")
async def test_a_namespace_is_kept_in_its_own_way_and_all_others_in_another(
    place: Place,
) -> None:
    own = {
        place.namespace: NamespaceOptions(label_selector="team=red"),
        "": NamespaceOptions(label_selector=""),
    }
    kind = KindOptions(namespaces=own, label_selector="no=such")
    world = World(place, CacheOptions(by_object={ConfigMap: kind}))
    elsewhere = world.config_map(f"of-{place.namespace}")
    elsewhere["metadata"]["namespace"] = "default"
    world.cache.declare(CONFIG_MAP)

    async with world.running():
        await world.create("red", labels={"team": "red"})
        await world.live.create(world.config_map("blue", labels={"team": "blue"}))
        made = await world.client.create(elsewhere)
        name = made["metadata"]["name"]

        assert await world.names() == {"red"}
        with pytest.raises(NotFoundError):
            await world.get("blue")
        assert await world.client.get(CONFIG_MAP, name, "default") == made
        everywhere = [
            o["metadata"] for o in (await world.client.list(CONFIG_MAP)).items
        ]
        await world.client.delete(CONFIG_MAP, name, "default")

    here = [o["name"] for o in everywhere if o["namespace"] == place.namespace]
    assert here == ["red"]
    assert [o["name"] for o in everywhere].count(name) == 1
    assert world.stale_reads == 0


@pytest.mark.behaviour("K7")
async def test_a_cluster_scoped_kind_is_whole_whatever_namespaces_are_kept(
    place: Place,
) -> None:
    several = ReflectorOptions(namespaces=(place.namespace, "default"))
    for options in (CacheOptions(default=several), keeping(place)):
        world = World(place, options)
        world.cache.declare(NAMESPACE)
        await world.live.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": place.namespace},
            },
            force=True,
        )

        async with world.running():
            found = await world.client.get(NAMESPACE, place.namespace)
            everything = await world.client.list(NAMESPACE)

        assert found["metadata"]["name"] == place.namespace
        names = [item["metadata"]["name"] for item in everything.items]
        assert names.count(place.namespace) == 1


@pytest.mark.behaviour("K12")
async def test_a_deletion_of_another_uid_is_a_conflict(place: Place) -> None:
    async with reading(place) as world:
        await world.create("a")
        with pytest.raises(ConflictError):
            await world.client.delete(
                CONFIG_MAP, "a", place.namespace, uid="somebody else"
            )
        assert (await world.get("a"))["metadata"]["name"] == "a"
