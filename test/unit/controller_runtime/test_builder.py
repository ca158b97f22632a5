"""What the front door makes of a few words, and what it turns away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from controller_runtime.builder import Owns, Watch, controller
from controller_runtime.client import Client
from controller_runtime.controller import ControllerOptions
from controller_runtime.errors import ConfigError
from controller_runtime.event import Event, Generic
from controller_runtime.handler import for_object, mapped
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    KubeObject,
    Meta,
    RawObject,
)
from controller_runtime.predicate import Predicate, by_object
from controller_runtime.reconcile import Request
from controller_runtime.source import ChannelSource
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")

NEVER = Predicate(lambda _: False)


class ConfigMap(KubeObject):
    """The kind as a model."""

    gvk: ClassVar[GroupVersionKind] = CONFIG_MAP


class Notes:
    """A reconciler that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def reconcile(self, request: object, /) -> None:
        self.asked.append(request)


class World:
    """An API server, and a manager that has not started."""

    def __init__(self, server: ApiServer, transport: HttpTransport) -> None:
        self.server = server
        self.manager = Manager(
            transport,
            options=ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            ),
        )

    @property
    def client(self) -> Client:
        return self.manager.client

    async def create(self, gvk: GroupVersionKind, name: str, *owners: Json) -> None:
        metadata: Json = {"name": name, "ownerReferences": list(owners)}
        if gvk != NAMESPACE:
            metadata["namespace"] = "shop"
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the manager for a while, then the block, then for a while again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.manager.start())
            await asyncio.sleep(5)
            yield
            await asyncio.sleep(5)
            self.manager.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, transport)


def owner(
    name: str, *, gvk: GroupVersionKind = CONFIG_MAP, is_controller: bool = True
) -> Json:
    return {
        "apiVersion": gvk.api_version,
        "kind": gvk.kind,
        "name": name,
        "uid": f"uid-of-{name}",
        "controller": is_controller,
    }


def named(name: str) -> Predicate:
    return by_object(lambda obj: obj.meta.name == name)


async def test_an_event_of_the_kind_queues_the_object(world: World) -> None:
    notes = Notes()
    controller(world.manager, ConfigMap, notes)

    async with world.running():
        await world.create(CONFIG_MAP, "web")

    assert notes.asked == [Request("shop", "web")]


async def test_a_coroutine_function_is_a_reconciler(world: World) -> None:
    asked: list[Request] = []

    async def reconcile(request: Request) -> None:
        asked.append(request)

    controller(world.manager, ConfigMap, reconcile)

    async with world.running():
        await world.create(CONFIG_MAP, "web")

    assert asked == [Request("shop", "web")]


async def test_an_owned_object_queues_the_owner_that_controls_it(world: World) -> None:
    notes = Notes()
    controller(world.manager, CONFIG_MAP, notes, owns=[SECRET])

    async with world.running():
        await world.create(SECRET, "s", owner("a"), owner("b", is_controller=False))

    assert notes.asked == [Request("shop", "a")]


async def test_every_owner_of_the_kind_is_queued_on_demand(world: World) -> None:
    notes = Notes()
    owned = Owns(SECRET, match_every_owner=True)
    controller(world.manager, CONFIG_MAP, notes, owns=[owned])

    async with world.running():
        await world.create(SECRET, "s", owner("a"), owner("b", is_controller=False))

    assert notes.asked == [Request("shop", "a"), Request("shop", "b")]


async def test_an_owner_without_a_namespace_is_queued_without_one(world: World) -> None:
    notes = Notes()
    controller(
        world.manager, NAMESPACE, notes, owns=[SECRET], predicates=[NEVER], name="ns"
    )

    async with world.running():
        await world.create(SECRET, "s", owner("prod", gvk=NAMESPACE))

    assert notes.asked == [Request("", "prod")]


async def test_a_watched_kind_queues_what_its_handler_says(world: World) -> None:
    notes = Notes()
    watch = Watch(SECRET, mapped(lambda obj: [Request("other", obj.meta.name)]))
    controller(world.manager, CONFIG_MAP, notes, watches=[watch])

    async with world.running():
        await world.create(SECRET, "s")

    assert notes.asked == [Request("other", "s")]


async def test_requests_may_be_anything_without_a_kind_of_their_own(
    world: World,
) -> None:
    notes = Notes()
    watch = Watch(SECRET, mapped(lambda obj: [obj.meta.name]))
    controller(world.manager, None, notes, name="names", watches=[watch])

    async with world.running():
        await world.create(SECRET, "s")

    assert notes.asked == ["s"]


async def test_predicates_are_for_their_kind_alone(world: World) -> None:
    notes = Notes()
    controller(
        world.manager,
        CONFIG_MAP,
        notes,
        predicates=[named("a")],
        owns=[Owns(SECRET, [named("b")])],
    )

    async with world.running():
        await world.create(CONFIG_MAP, "a")
        await world.create(CONFIG_MAP, "b")
        await world.create(SECRET, "a", owner("of-a"))
        await world.create(SECRET, "b", owner("of-b"))

    assert set(notes.asked) == {Request("shop", "a"), Request("shop", "of-b")}


async def test_event_filters_come_first_and_all_must_agree(world: World) -> None:
    notes = Notes()
    asked: list[str] = []

    def notes_and(name: str, answer: Callable[[Event], bool]) -> Callable[..., bool]:
        def admits(event: Event) -> bool:
            asked.append(f"{name} {event.object.meta.name}")
            return answer(event)

        return admits

    controller(
        world.manager,
        CONFIG_MAP,
        notes,
        event_filters=[notes_and("filter", named("a"))],
        predicates=[notes_and("own", named("b"))],
        watches=[Watch(SECRET, for_object(), [notes_and("watch", named("a"))])],
    )

    async with world.running():
        for gvk in (CONFIG_MAP, SECRET):
            for name in ("a", "b"):
                await world.create(gvk, name)

    assert notes.asked == [Request("shop", "a")]
    assert sorted(asked) == sorted(
        ["filter a", "own a", "filter b", "filter a", "watch a", "filter b"]
    )


async def test_event_filters_leave_other_sources_alone(world: World) -> None:
    notes = Notes()
    channel: ChannelSource[Request] = ChannelSource(for_object())
    controller(
        world.manager, CONFIG_MAP, notes, event_filters=[NEVER], sources=[channel]
    )

    async with world.running():
        meta = Meta(namespace="shop", name="outside")
        await channel.send(Generic(RawObject(meta, b"{}")))

    assert notes.asked == [Request("shop", "outside")]


async def test_a_kind_is_watched_once_by_whatever_name_it_goes(world: World) -> None:
    notes = Notes()
    model_too = Watch(ConfigMap, for_object())
    controller(world.manager, CONFIG_MAP, notes, watches=[model_too])

    async with world.running():
        await world.create(CONFIG_MAP, "web")
        watches = [r for r in world.server.requests if r.verb == "watch"]

    assert [each.resource for each in watches] == ["configmaps"]


async def test_its_kinds_are_declared_before_the_manager_starts(world: World) -> None:
    controller(world.manager, ConfigMap, Notes(), owns=[SECRET])

    assert [r.gvk for r in world.manager.cache] == [CONFIG_MAP, SECRET]


async def test_it_is_named_after_its_kind(world: World) -> None:
    assert controller(world.manager, ConfigMap, Notes()).name == "configmap"


async def test_options_that_nobody_brings_are_those_of_the_manager() -> None:
    usual = ControllerOptions(max_concurrent_reconciles=2, cache_sync_timeout=5)
    own = ControllerOptions(max_concurrent_reconciles=9)
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        manager = Manager(
            transport,
            options=ManagerOptions(
                controller=usual,
                group_kind_concurrency={"Deployment.apps": 3, "Secret": 4},
            ),
        )

        def made(kind: GroupVersionKind, **more: Any) -> ControllerOptions:
            return controller(manager, kind, Notes(), **more).options

        deployment = GroupVersionKind("apps", "v1", "Deployment")
        assert made(CONFIG_MAP) == usual
        assert made(deployment) == replace(usual, max_concurrent_reconciles=3)
        assert made(SECRET, concurrency=7).max_concurrent_reconciles == 7
        assert made(SECRET, options=own, name="another") == own
        assert made(NAMESPACE).cache_sync_timeout == 5


async def test_concurrency_beats_the_options(world: World) -> None:
    options = ControllerOptions(max_concurrent_reconciles=2, ageing=None)

    it = controller(world.manager, ConfigMap, Notes(), options=options, concurrency=4)

    assert it.options == ControllerOptions(max_concurrent_reconciles=4, ageing=None)


Build: Any = controller
"""Without the types that forbid most of what follows."""

MISTAKES: list[tuple[str, Callable[[Manager], object]]] = [
    ("to own Secret", lambda m: Build(m, None, Notes(), name="x", owns=[SECRET])),
    ("watches nothing", lambda m: Build(m, None, Notes(), name="x")),
    ("needs a name", lambda m: Build(m, None, Notes())),
    ("no name of a controller", lambda m: Build(m, ConfigMap, Notes(), name="a-b")),
    ("no name of a controller", lambda m: Build(m, ConfigMap, Notes(), name='a"')),
]


@pytest.mark.parametrize(("sentence", "build"), MISTAKES)
async def test_a_mistake_is_a_sentence(
    world: World, sentence: str, build: Callable[[Manager], object]
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build(world.manager)

    assert world.manager.controllers == []


async def test_a_name_is_taken_once_in_a_manager(world: World) -> None:
    controller(world.manager, ConfigMap, Notes())

    with pytest.raises(ConfigError, match="there is a controller configmap"):
        controller(world.manager, ConfigMap, Notes())
    controller(world.manager, ConfigMap, Notes(), skip_name_validation=True)

    assert [c.name for c in world.manager.controllers] == ["configmap", "configmap"]


async def test_another_manager_may_use_the_name_again(world: World) -> None:
    controller(world.manager, ConfigMap, Notes())
    other = World(world.server, HttpTransport(world.server.config()))

    controller(other.manager, ConfigMap, Notes())
