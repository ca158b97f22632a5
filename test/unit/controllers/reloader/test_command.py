"""The stand-in at work: its port, what it tells of itself, its webhook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha1

import pytest

from api.apps.v1 import Deployment
from api.core.v1 import ConfigMap
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Metrics,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.plan import Plan
from controllers.reload.record import RECORD
from controllers.reload.workloads import WorkloadKey
from controllers.reload.writing.webhook import Notify, payload
from controllers.reloader.command import compose
from controllers.reloader.settings import ReloaderSettings, read

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
HERE = {"RELOADER_NAMESPACE": "ops", "RELOADER_DEPLOYMENT_NAME": "reloader"}
AUTO = {"reloader.stakater.com/auto": "true"}
MARK = "STAKATER_C_CONFIGMAP"


def settings(*arguments: str) -> ReloaderSettings:
    return read(["--metrics-bind-address=0", *arguments], HERE)


class World:
    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    @asynccontextmanager
    async def reloader(
        self, *arguments: str, notify: Notify | None = None
    ) -> AsyncIterator[Manager]:
        async with HttpTransport(self.server.config()) as transport:
            manager = compose(settings(*arguments), transport, Metrics(), notify=notify)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                await asyncio.sleep(5)
                yield manager
                await asyncio.sleep(5)
                manager.stop()

    async def open_shop(self, *variables: Json) -> None:
        container = {
            "name": "app",
            "image": "x",
            "env": list(variables),
            "envFrom": [{"configMapRef": {"name": "c"}}],
        }
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        await self.create(ConfigMap.gvk, "c", data={"k": "old"})
        await self.create(
            Deployment.gvk,
            "web",
            spec={"selector": {"matchLabels": labels}, "template": template},
        )

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        metadata = {"name": name, "namespace": "shop", "annotations": AUTO}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def change(self) -> None:
        patch = merge_patch({"data": {"k": "new"}})
        await self.client.patch(ConfigMap.gvk, "c", "shop", patch=patch)

    async def web(self) -> Json:
        return await self.client.get(Deployment.gvk, "web", "shop")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, Client(transport, scheme=Scheme()))


async def test_it_tells_of_itself_in_a_config_map_and_again_after_a_restart(
    world: World,
) -> None:
    for arguments in ([], ["--auto-reload-all"]):
        async with world.reloader(*arguments):
            pass

    found = await world.client.get(ConfigMap.gvk, "reloader-meta-info", "ops")
    assert found["metadata"]["labels"] == {
        "reloader.stakater.com/meta-info": "reloader"
    }
    assert json.loads(found["data"]["deploymentInfo"]) == {
        "name": "reloader",
        "namespace": "ops",
    }
    assert json.loads(found["data"]["reloaderOptions"])["autoReloadAll"] is True
    assert json.loads(found["data"]["buildInfo"])["edition"] == "pilothouse"


async def test_that_it_may_not_tell_of_itself_stops_nothing(world: World) -> None:
    world.server.faults.on(verb="create", resource="configmaps").answer(
        403, reason="Forbidden"
    )

    async with world.reloader() as manager:
        assert manager.cache.unsynced == []


async def test_a_look_inside_is_offered_where_it_is_asked_for(world: World) -> None:
    async with world.reloader("--enable-pprof", "--pprof-addr=127.0.0.1:0") as manager:
        url = manager.debug_url
    async with world.reloader() as manager:
        closed = manager.debug_url

    assert url.endswith("/debug")
    assert closed == ""


async def test_a_marker_that_the_original_left_stays_and_nothing_rolls_out(
    world: World,
) -> None:
    await world.open_shop({"name": MARK, "value": _sha1("k=old")})
    before = (await world.web())["spec"]

    async with world.reloader():
        pass

    after = await world.web()
    assert after["spec"] == before
    assert RECORD in after["metadata"]["annotations"]


def _sha1(text: str) -> str:
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


class Listener:
    """Hears of changes, after having been deaf for a while."""

    def __init__(self, deaf: int = 0) -> None:
        self.heard: list[tuple[WorkloadKey, Plan]] = []
        self._deaf = deaf

    async def __call__(self, key: WorkloadKey, plan: Plan, /) -> None:
        if self._deaf:
            self._deaf -= 1
            raise ConnectionError("nobody is there")
        self.heard.append((key, plan))


async def test_a_webhook_is_told_instead_of_a_reload_until_it_has_heard(
    world: World,
) -> None:
    await world.open_shop()
    before = (await world.web())["spec"]
    listener = Listener(deaf=1)

    async with world.reloader(notify=listener):
        await world.change()

    ((key, plan),) = listener.heard
    assert (await world.web())["spec"] == before
    told = json.loads(payload(key, plan))
    assert told["webhook"] == "update successful"
    assert told["workload"] == {
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
    }
    assert [source["name"] for source in told["sources"]] == ["c"]
    assert _sha1("k=new") == told["sources"][0]["hash"]
