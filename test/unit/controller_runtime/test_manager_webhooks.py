"""Webhooks in a manager: when they are served, when no more, and at what price."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest

from controller_runtime import builder
from controller_runtime.errors import AlreadyStartedError, ConfigError
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import ApiModel, GroupVersionKind, Json, KubeObject
from controller_runtime.runnable import Group
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.envtest.certificates import CertificateAuthority
from controller_runtime.transport import HttpTransport
from controller_runtime.webhook import (
    AdmissionRequest,
    Hub,
    Spoke,
    Warnings,
    WebhookOptions,
)

WIDGET = GroupVersionKind("example.com", "v1", "Widget")
OLD = GroupVersionKind("example.com", "v0", "Widget")


class Spec(ApiModel):
    size: int | None = None


class Widget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = WIDGET
    spec: Spec = Spec()


class OldWidget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = OLD


class World:
    """A manager that has not started, and what its webhooks are called with."""

    def __init__(
        self, transport: HttpTransport, folder: Path, *, recovers: bool = True
    ) -> None:
        authority = CertificateAuthority.create()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        pair = authority.server(["localhost"], ["127.0.0.1"])
        tls.load_cert_chain(*pair.write(folder, "tls"))
        self.client = ssl.create_default_context(cadata=authority.pem.decode())
        self.manager = Manager(
            transport,
            scheme=Scheme(Widget),
            options=ManagerOptions(
                metrics_bind_address="0",
                health_probe_bind_address="127.0.0.1:0",
                webhook_bind_address="127.0.0.1:0",
                webhook_tls=tls,
                webhook_recover_panic=recovers,
                watchdog=None,
            ),
        )

    async def ask(self, path: str, **request: object) -> Json:
        body = json.dumps({"request": {"uid": "u", **request}})
        headers = {"Content-Type": "application/json"}
        url = f"{self.manager.webhooks.url}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers, ssl=self.client) as response,
        ):
            found: Json = (await response.json())["response"]
            return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(transport, tmp_path)


async def set_size(obj: Widget, _: AdmissionRequest) -> Widget:
    return obj.model_copy(update={"spec": Spec(size=3)})


async def refuse_none(
    new: Widget | None, _old: Widget | None, _request: AdmissionRequest
) -> Warnings:
    return [] if new and new.spec.size else ["no size"]


def widget() -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {}}


async def test_the_builder_serves_a_kinds_webhooks_where_go_does(world: World) -> None:
    hub = Hub(WIDGET, Spoke(OLD, dict, dict))
    builder.webhook(
        world.manager,
        Widget,
        defaulter=set_size,
        validator=refuse_none,
        converter=hub,
        validating=WebhookOptions(failure_policy="Ignore"),
    )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.manager.start())
        await asyncio.sleep(1)
        asked = {"operation": "CREATE", "object": widget()}
        mutated = await world.ask("/mutate-example-com-v1-widget", **asked)
        validated = await world.ask("/validate-example-com-v1-widget", **asked)
        converted = await world.ask(
            "/convert",
            desiredAPIVersion="example.com/v0",
            objects=[widget()],
        )
        world.manager.stop()

    assert (mutated["allowed"], mutated["patchType"]) == (True, "JSONPatch")
    assert (validated["allowed"], validated["warnings"]) == (True, ["no size"])
    assert converted["convertedObjects"][0]["apiVersion"] == "example.com/v0"
    policies = [rule.options.failure_policy for rule in world.manager.webhooks.rules]
    assert policies == ["Fail", "Ignore"]


async def test_paths_may_be_chosen(world: World) -> None:
    builder.webhook(
        world.manager,
        Widget,
        defaulter=set_size,
        validator=refuse_none,
        mutate_path="/m",
        validate_path="/v",
    )

    assert [rule.path for rule in world.manager.webhooks.rules] == ["/m", "/v"]


async def test_webhooks_that_make_no_sense_are_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="would do nothing"):
        builder.webhook(world.manager, Widget)
    with pytest.raises(ConfigError, match="no path of a webhook"):
        builder.webhook(
            world.manager, Widget, defaulter=set_size, mutate_path="nowhere"
        )
    with pytest.raises(ConfigError, match="converts no ConfigMap"):
        builder.webhook(
            world.manager, GroupVersionKind("", "v1", "ConfigMap"), converter=Hub(OLD)
        )


async def test_a_version_with_a_model_that_cannot_be_converted_is_found_at_once(
    world: World,
) -> None:
    world.manager.scheme.register(OldWidget)

    with pytest.raises(ConfigError, match="no conversion for v0"):
        builder.webhook(world.manager, Widget, converter=Hub(WIDGET))


@pytest.mark.behaviour("M1", "M3")
async def test_webhooks_are_served_from_before_the_caches_until_after_them(
    world: World,
) -> None:
    served = []

    class Caches:
        async def run(self) -> None:
            served.append(await world.ask("/mutate-example-com-v1-widget"))
            try:
                await asyncio.sleep(10**6)
            finally:
                served.append(await world.ask("/mutate-example-com-v1-widget"))

    builder.webhook(world.manager, Widget, defaulter=set_size)
    world.manager.add(Caches(), group=Group.CACHES)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.manager.start())
        await asyncio.sleep(1)
        world.manager.stop()

    assert [each["uid"] for each in served] == ["u", "u"]
    assert world.manager.webhooks.port == 0


@pytest.mark.behaviour("M3", "W7")
async def test_stopping_ends_the_requests_in_flight_in_good_order(world: World) -> None:
    async def slow(obj: Widget, _: AdmissionRequest) -> None:
        await asyncio.sleep(8)

    builder.webhook(world.manager, Widget, defaulter=slow)
    loop = asyncio.get_running_loop()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.manager.start())
        await asyncio.sleep(1)
        path = "/mutate-example-com-v1-widget"
        asking = world.ask(path, operation="CREATE", object=widget())
        answer = tasks.create_task(asking)
        await asyncio.sleep(1)
        world.manager.stop()

    assert answer.result()["allowed"] is True
    assert loop.time() == pytest.approx(9, abs=0.5)


@pytest.mark.behaviour("M9")
async def test_readiness_has_a_check_of_the_webhooks(world: World) -> None:
    builder.webhook(world.manager, Widget, defaulter=set_size)
    before = await world.manager.probes.readyz("webhook", {})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.manager.start())
        await asyncio.sleep(1)
        during = await world.manager.probes.readyz("webhook", {})
        world.manager.stop()

    assert (before.status, during) == (500, (b"ok", 200, "text/plain; charset=utf-8"))


@pytest.mark.behaviour("M1")
async def test_a_port_that_is_taken_ends_the_start(world: World) -> None:
    taken = world.manager.webhooks
    await taken.bind()
    second = Manager(
        world.manager.transport,
        options=ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            webhook_bind_address=f"127.0.0.1:{taken.port}",
            webhook_tls=world.manager.options.webhook_tls,
        ),
    )
    builder.webhook(second, Widget, defaulter=set_size)

    with pytest.raises(ConfigError, match="--webhook-bind-address"):
        await second.start()
    await taken.close()


async def test_webhooks_without_tls_end_the_start(world: World) -> None:
    options = ManagerOptions(metrics_bind_address="0", health_probe_bind_address="0")
    manager = Manager(world.manager.transport, options=options)
    builder.webhook(manager, Widget, defaulter=set_size)

    with pytest.raises(ConfigError, match="webhook_tls"):
        await manager.start()


async def test_a_manager_that_started_without_webhooks_takes_none(world: World) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.manager.start())
        await asyncio.sleep(1)
        with pytest.raises(AlreadyStartedError, match="without"):
            builder.webhook(world.manager, Widget, defaulter=set_size)
        world.manager.stop()


def test_a_manager_without_webhooks_does_not_even_import_them() -> None:
    program = (
        "import sys, controller_runtime as c\n"
        "c.Manager(None)\n"
        "print([m for m in sys.modules if 'jsonpatch' in m or '.webhook' in m])"
    )
    command = [sys.executable, "-c", program]

    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own program

    assert done.stdout.strip() == "[]"


async def fail(obj: Widget, _: AdmissionRequest) -> Widget:
    raise ZeroDivisionError("hunter2")


async def test_a_bug_in_a_webhook_is_answered_and_survived(world: World) -> None:
    builder.webhook(world.manager, Widget, defaulter=fail)
    path = "/mutate-example-com-v1-widget"

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.manager.start())
        await world.manager.elected()
        codes = [
            (await world.ask(path, operation="CREATE", object=widget()))["status"]
            for _ in range(2)
        ]
        world.manager.stop()

    assert [code["code"] for code in codes] == [500, 500]


async def test_a_bug_that_is_not_to_be_survived_is_answered_and_stops_the_manager(
    tmp_path: Path,
) -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(transport, tmp_path, recovers=False)
        builder.webhook(world.manager, Widget, defaulter=fail)
        path = "/mutate-example-com-v1-widget"

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(until_it_fails(world.manager))
            await world.manager.elected()
            asking = world.ask(path, operation="CREATE", object=widget())
            said = await asking

    assert said["status"]["code"] == 500
    assert isinstance(running.result(), ZeroDivisionError)


async def test_a_manager_that_survives_no_bug_stops_in_good_order_without_one(
    tmp_path: Path,
) -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(transport, tmp_path, recovers=False)
        builder.webhook(world.manager, Widget, defaulter=set_size)

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(until_it_fails(world.manager))
            await world.manager.elected()
            world.manager.stop()

    assert running.result() is None


async def until_it_fails(manager: Manager) -> Exception | None:
    try:
        await manager.start()
    except Exception as error:  # noqa: BLE001 - asserted on
        return error
    return None
