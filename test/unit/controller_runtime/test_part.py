"""What one part of a manager may do to the others: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controller_runtime import builder
from controller_runtime.errors import ForbiddenError
from controller_runtime.eventwriter import EVENT
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import GroupVersionKind
from controller_runtime.part import Part, PartState
from controller_runtime.reconcile import Request
from controller_runtime.runnable import Group
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
TOY = GroupVersionKind("toys.example", "v1", "Toy")
TOYS = Resource(gvk=TOY, plural="toys")


class World:
    """A server, a manager against it, and what the reconcilers of two parts saw."""

    def __init__(self, server: ApiServer, transport: HttpTransport) -> None:
        self.server = server
        self.manager = Manager(
            transport,
            options=ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
            ),
        )
        self.seen: list[str] = []

    def add(self, name: str, *kinds: GroupVersionKind, required: bool = False) -> Part:
        """Set up a part with a controller of each kind."""
        with self.manager.part(name, required=required) as part:
            for kind in kinds:
                builder.controller(self.manager, kind, self._reconcile(kind))
        return part

    def _reconcile(self, kind: GroupVersionKind) -> builder.Reconcile[Request]:
        async def reconcile(request: Request) -> None:
            self.seen.append(f"{kind.kind} {request.name}")

        return reconcile

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.manager.start())
            await asyncio.sleep(2)
            yield task
            self.manager.stop()

    async def ready(self) -> tuple[int, str]:
        reply = await self.manager.probes.readyz("", {"verbose": ("",)})
        return reply.status, reply.body.decode()

    def state(self, part: str) -> list[str]:
        """Return what the metric says a part is."""
        name, read = "controller_runtime_part_state", self.manager.metrics.registry
        return [
            state
            for state in PartState
            if read.get_sample_value(name, {"part": part, "state": state}) == 1
        ]

    async def told(self) -> list[tuple[str, str, str]]:
        events = await self.manager.api_reader.list(EVENT)
        return [
            (e["reason"], e["reportingController"], e["note"]) for e in events.items
        ]

    def forbid(self, resource: str) -> None:
        for verb in ("list", "watch"):
            self.server.faults.on(verb=verb, resource=resource, times=None).answer(
                403, reason="Forbidden", message=f"{resource} is forbidden"
            )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, transport)


def create(server: ApiServer, gvk: GroupVersionKind, name: str) -> None:
    metadata = {"name": name, "namespace": "default"}
    server.create(
        {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata}
    )


async def test_a_part_waits_for_its_kind_and_the_others_work(world: World) -> None:
    world.add("toys", TOY, SECRET)
    world.add("maps", CONFIG_MAP)

    async with world.running():
        create(world.server, CONFIG_MAP, "m")
        create(world.server, SECRET, "s")
        await asyncio.sleep(60)
        status, text = await world.ready()

    assert world.seen == ["ConfigMap m"]
    assert status == 200
    assert "[+]toys ok: waits for Toy (toys.example/v1): not served" in text
    assert "[+]maps ok\n" in text
    assert world.state("toys") == ["waiting"]
    assert world.server.requests.of(resource="secrets") == []


async def test_a_part_begins_when_its_kind_appears(world: World) -> None:
    toys = world.add("toys", TOY)
    world.add("maps", CONFIG_MAP)

    async with world.running():
        await asyncio.sleep(60)
        world.server.register(TOYS)
        create(world.server, TOY, "t")
        await asyncio.sleep(6)
        _, text = await world.ready()

    assert world.seen == ["Toy t"]
    assert "[+]toys ok\n" in text
    assert toys.state is PartState.ON


async def test_a_kind_that_goes_stops_nobody_and_is_followed_when_it_comes_back(
    world: World,
) -> None:
    world.server.register(TOYS)
    world.add("toys", TOY)
    world.add("maps", CONFIG_MAP)

    async with world.running() as task:
        world.server.unregister(TOYS)
        await asyncio.sleep(60)
        create(world.server, CONFIG_MAP, "m")
        await asyncio.sleep(1)
        assert not task.done()
        world.server.register(TOYS)
        create(world.server, TOY, "t")
        await asyncio.sleep(120)

    assert world.seen == ["ConfigMap m", "Toy t"]


async def test_what_is_forbidden_to_an_optional_part_switches_it_off(
    world: World,
) -> None:
    world.forbid("secrets")
    world.add("secret", SECRET)
    world.add("maps", CONFIG_MAP)

    async with world.running():
        create(world.server, CONFIG_MAP, "m")
        create(world.server, SECRET, "s")
        await asyncio.sleep(60)
        status, text = await world.ready()
        told = await world.told()

    assert world.seen == ["ConfigMap m"]
    assert status == 200
    assert "[+]secret ok: switched off, forbidden" in text
    assert world.state("secret") == ["off"]
    [(reason, controller, note)] = told
    assert (reason, controller) == ("SwitchedOff", "secret")
    assert "secrets is forbidden" in note


async def test_a_part_is_switched_on_when_its_rights_are_given(world: World) -> None:
    world.forbid("secrets")
    world.add("secret", SECRET)
    world.add("maps", CONFIG_MAP)

    async with world.running():
        await asyncio.sleep(60)
        world.server.faults.clear()
        create(world.server, SECRET, "s")
        await asyncio.sleep(61)
        told = await world.told()

    assert world.seen == ["Secret s"]
    assert [reason for reason, _, _ in told] == ["SwitchedOff", "SwitchedOn"]
    assert world.state("secret") == ["on"]


async def test_what_is_forbidden_to_a_required_part_stops_the_manager(
    world: World,
) -> None:
    world.forbid("secrets")
    world.add("secret", SECRET, required=True)
    world.add("maps", CONFIG_MAP)

    with pytest.raises(ForbiddenError, match="secrets is forbidden"):
        await world.manager.start()


async def test_a_manager_with_every_part_off_stops(world: World) -> None:
    world.forbid("secrets")
    world.forbid("configmaps")
    world.add("secret", SECRET)
    world.add("maps", CONFIG_MAP)

    with pytest.raises(ForbiddenError):
        await world.manager.start()


async def test_what_is_forbidden_to_a_runnable_ends_its_part_alone(
    world: World,
) -> None:
    class Forbidden:
        async def run(self) -> None:
            await asyncio.sleep(30)
            raise ForbiddenError("pods is forbidden", status=403)

    with world.manager.part("toys") as toys:
        world.manager.add(Forbidden(), group=Group.OTHERS)
        builder.controller(world.manager, SECRET, world._reconcile(SECRET))
    world.add("maps", CONFIG_MAP)

    async with world.running() as task:
        await asyncio.sleep(60)
        create(world.server, SECRET, "s")
        create(world.server, CONFIG_MAP, "m")
        await asyncio.sleep(10)
        assert not task.done()
        told = await world.told()

    assert world.seen == ["ConfigMap m"]
    assert toys.state is PartState.OFF
    assert "until the manager starts again" in told[0][2]


async def test_a_part_that_waits_holds_up_no_stop(world: World) -> None:
    world.add("toys", TOY)
    loop = asyncio.get_running_loop()

    async with world.running():
        began = loop.time()

    assert loop.time() - began < 1


async def test_a_server_in_trouble_is_asked_again(world: World) -> None:
    world.server.register(TOYS)
    world.server.faults.on(verb="", resource="", times=2).answer(500)
    world.add("toys", TOY)

    async with world.running():
        create(world.server, TOY, "t")
        await asyncio.sleep(10)

    assert world.seen == ["Toy t"]


async def test_a_kind_that_two_parts_declare_is_kept_for_the_one_that_can_begin(
    world: World,
) -> None:
    world.add("toys", TOY, SECRET)
    with world.manager.part("more"):
        builder.controller(
            world.manager, SECRET, world._reconcile(SECRET), name="more_secrets"
        )

    async with world.running():
        create(world.server, SECRET, "s")
        await asyncio.sleep(1)

    assert world.seen == ["Secret s"]


async def test_grants_name_what_parts_hold_back(world: World) -> None:
    world.add("secret", SECRET)

    resources = {grant.resource for grant in world.manager.grants}

    assert resources == {"secrets", "events"}
