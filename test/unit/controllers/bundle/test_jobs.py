"""Jobs on an API server that runs none: how they are counted, and how they ended."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest

from api.batch.v1 import Job
from api.bundle.status import BundleStatus, Observed
from api.bundle.v1alpha1 import WerfBundle
from controller_runtime import (
    Client,
    ConflictError,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    index_by_body,
)
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.clock import FakeClock
from controllers.bundle.applying import Applying
from controllers.bundle.intention import read_intention
from controllers.bundle.jobs import BY_LIFE, BY_UID, Jobs, life_of, uid_of
from controllers.bundle.options import BundleOptions
from controllers.bundle.outcomes import Outcomes
from controllers.bundle.registry import Login
from controllers.bundle.status import Draft
from controllers.bundle.values import Values
from controllers.manager import scheme
from controllers.oci import Access

NOW = FakeClock().now()
OPTIONS = BundleOptions()


class World:
    """An API server, and Jobs as a controller sees them."""

    def __init__(self, server: ApiServer, client: Client, manager: Manager) -> None:
        self.server = server
        self.client = client
        informer = manager.cache.declare(Job)
        informer.add_index(BY_UID, uid_of)
        informer.add_index(BY_LIFE, index_by_body(life_of))
        self.jobs = Jobs(client, informer, client.scheme)
        self.outcomes = Outcomes(client)

    def job(self, name: str = "job", *, over: bool = False, **spec: object) -> None:
        volumes = [{"name": "v", "secret": {"secretName": f"{name}-values"}}]
        pod = {
            "restartPolicy": "Never",
            "containers": [{"name": "werf", "image": "werf"}],
            "volumes": volumes,
        }
        end = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
        self.server.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"template": {"spec": pod}, **spec},
                "status": {"conditions": end} if over else {},
            }
        )

    def pod(self, *containers: tuple[str, int, str]) -> None:
        """Make the pod of `job`; of each container name, exit code, message."""
        statuses = [
            {
                "name": name,
                "state": {"terminated": {"exitCode": code, "message": message}},
            }
            for name, code, message in containers
        ]
        self.server.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "job-x",
                    "namespace": "shop",
                    "labels": {"batch.kubernetes.io/job-name": "job"},
                },
                "spec": {"containers": [{"name": "werf", "image": "werf"}]},
                "status": {"containerStatuses": statuses},
            }
        )

    def hidden(self, *texts: str) -> None:
        data = {"masked.json": b64encode(json.dumps(texts).encode()).decode()}
        metadata = {"name": "job-values", "namespace": "shop"}
        self.server.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        )

    async def read(self, name: str = "job") -> Job:
        return await self.client.get(Job, name, "shop")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        metadata: Json = {"name": "shop"}
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        quiet = ManagerOptions(
            metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
        )
        manager = Manager(transport, scheme=scheme(), options=quiet)
        world = World(server, Client(transport, scheme=scheme()), manager)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            await asyncio.sleep(1)
            yield world
            manager.stop()


async def test_what_a_pod_said_is_not_shown_while_what_to_hide_is_not_known(
    world: World,
) -> None:
    """Scenario 34: the Secret that says it was deleted, or cannot be read."""
    world.job(over=True)
    world.pod(("werf", 1, "Error: password hunter22 refused"))
    end = await world.outcomes.end(await world.read())
    assert end.log == ""
    assert "hunter22" not in str(end)

    world.hidden("hunter22")
    end = await world.outcomes.end(await world.read())
    assert end.log == "Error: password *** refused"


async def test_the_exit_code_is_that_of_werf_whatever_was_put_beside_it(
    world: World,
) -> None:
    """Scenario 8, with a mesh that injects a container."""
    world.job(over=True)
    world.hidden()
    world.pod(("istio-proxy", 0, "drained"), ("werf", 1, "Error: no"))
    end = await world.outcomes.end(await world.read())

    assert end.exit_code == 1
    assert end.log == "Error: no"


async def test_a_job_counts_while_it_runs_and_from_when_it_is_announced(
    world: World,
) -> None:
    world.job("over", over=True)
    world.job("runs")
    world.jobs.begin("soon", "shop")
    await asyncio.sleep(1)

    assert world.jobs.running == 2
    world.jobs.drop("soon", "shop")
    assert world.jobs.running == 1


async def test_a_job_that_could_not_be_announced_is_not_counted_for_ever(
    world: World,
) -> None:
    """Its bundle has changed meanwhile, and nobody wants it any more."""

    async def refuse(_: Draft) -> None:
        raise ConflictError("the object has been modified", status=409)

    bundle = WerfBundle.model_validate(
        {
            "metadata": {"name": "app", "namespace": "shop", "uid": "u"},
            "spec": {"registry": {"url": "registry.example/app"}},
        }
    )
    draft = Draft(bundle, NOW)
    seen = Observed(tag="v1", digest="sha256:1", validated_at=NOW)
    draft.status = BundleStatus(observed=seen)
    applying = Applying(world.jobs, refuse, OPTIONS)
    login = Login(access=Access(), version="1")

    with pytest.raises(ConflictError):
        await applying.bring_about(
            draft, read_intention(bundle, OPTIONS), login, Values({})
        )

    assert world.jobs.running == 0


async def test_a_job_that_the_cache_has_suspended_is_looked_up_live(
    world: World,
) -> None:
    """It may have been let go since, and would be removed as one that never ran."""
    world.job("held", suspend=True)
    world.job("runs")
    await asyncio.sleep(1)
    world.server.requests.clear()

    assert await world.jobs.find("held", "shop") is not None
    assert await world.jobs.find("runs", "shop") is not None
    assert [it.name for it in world.server.requests.of("get", "jobs")] == ["held"]
