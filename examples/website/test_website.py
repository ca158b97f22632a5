"""The operators on a real control plane; the node, and so the pods, are kwok's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hosting import CONFIG_MAP, FINALIZER, NAME, SYSTEM, TABLE, table
from hosting import setup as setup_hosting
from manifests import roles, text, webhooks

from controller_runtime import (
    Client,
    GroupVersionKind,
    InvalidError,
    Json,
    Manager,
    ManagerOptions,
    ObjectMeta,
    add_finalizer,
    find_controller,
    has_finalizer,
    merge_patch,
)
from controller_runtime.testing.envtest import Environment
from controller_runtime.testing.eventually import (
    eventually,
    eventually_gone,
    eventually_list,
)
from controller_runtime.testing.permissions import RecordingTransport
from website import DEPLOYMENT, Website, WebsiteSpec, deployment_for, setup

pytest_plugins = ["controller_runtime.testing.pytest_plugin"]

HERE = Path(__file__).parent
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
HOLD = "example.com/hold"
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace"}
QUIET = ManagerOptions(metrics_bind_address="0", health_probe_bind_address="0")


@pytest.fixture(scope="session")
def envtest_flags() -> list[str]:
    return ["--kwok"]


@pytest.fixture(scope="session")
def envtest_crds() -> list[Path]:
    return [HERE / "crds"]


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.start())
        yield
        manager.stop()


def website(namespace: str, name: str = "shop", **spec: object) -> Website:
    return Website(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=WebsiteSpec.model_validate({"image": "nginx", **spec}),
    )


def test_a_deployment_runs_the_image_of_its_website() -> None:
    spec = str(deployment_for(website("blog", replicas=2))["spec"])

    assert "'image': 'nginx'" in spec
    assert "'replicas': 2" in spec


async def test_a_website_is_served_scaled_and_repaired(
    environment: Environment, client: Client, namespace: str
) -> None:
    async with environment.transport() as transport:
        manager = Manager(transport, options=QUIET)
        setup(manager)
        async with running(manager):
            await client.create(website(namespace, replicas=2))
            await eventually(client, Website, "shop", namespace, is_ready(2))

            more = merge_patch({"spec": {"replicas": 3}})
            await client.patch(Website, "shop", namespace, patch=more)
            await eventually(client, Website, "shop", namespace, is_ready(3))

            await client.delete(DEPLOYMENT, "shop", namespace)
            deployment = await eventually(
                client, DEPLOYMENT, "shop", namespace, lambda it: it["spec"]["replicas"]
            )

    # With this the garbage collector takes it down together with its Website.
    owner = find_controller(deployment)
    assert owner is not None
    assert (owner.kind, owner.name) == ("Website", "shop")


# ---- The grown operator -----------------------------------------------------------


@pytest.fixture
async def hosting(
    environment: Environment, client: Client
) -> AsyncIterator[RecordingTransport]:
    """Run it as an account that has its roles and no other; lend what it asked for."""
    await client.apply({**NAMESPACE, "metadata": {"name": SYSTEM}})
    rules = {"": roles().cluster, **roles().namespaced}
    kubeconfig, *_ = [
        await environment.add_user(
            NAME, rules=[rule.to_json() for rule in rules[place]], namespace=place
        )
        for place in rules
    ]
    async with (
        environment.webhooks(*webhooks()) as host,
        environment.transport(kubeconfig) as transport,
    ):
        recording = RecordingTransport(transport)
        options = replace(
            QUIET,
            webhook_bind_address=f"{host.host}:{host.port}",
            webhook_tls=await asyncio.to_thread(host.ssl_context),
        )
        manager = Manager(recording, options=options)
        setup_hosting(manager)
        async with running(manager):
            yield recording


async def test_a_host_has_one_website_from_beginning_to_end(
    hosting: RecordingTransport, client: Client, namespace: str
) -> None:
    host = f"{namespace}.example.com"
    await client.create(add_finalizer(website(namespace, host=host), HOLD))
    await eventually(client, Website, "shop", namespace, is_ready(1))

    published = await client.get(CONFIG_MAP, TABLE.name, TABLE.namespace)
    assert published["data"][host] == f"{namespace}/shop"
    await eventually_list(client, EVENT, namespace, tells("Published", host))

    copy = website(namespace, "copy", host=host)
    assert f"spec.host: {host} is that of {namespace}/shop" in await no(client, copy)

    await client.create(website(namespace, "copy"))
    take = merge_patch({"spec": {"host": host}})
    with pytest.raises(InvalidError, match=f"is that of {namespace}/shop"):
        await client.patch(Website, "copy", namespace, patch=take)
    await client.delete(Website, "copy", namespace)
    await eventually_gone(client, Website, "copy", namespace)

    # Somebody else holds it, so we see how it is left.
    await client.delete(Website, "shop", namespace)
    await eventually(client, Website, "shop", namespace, lacks(FINALIZER))
    cleared = await client.get(CONFIG_MAP, TABLE.name, TABLE.namespace)
    assert host not in cleared.get("data", {})
    await eventually_list(client, EVENT, namespace, tells("Withdrawn", host))

    release = merge_patch({"metadata": {"finalizers": None}})
    await client.patch(Website, "shop", namespace, patch=release)
    await eventually_gone(client, Website, "shop", namespace)
    assert hosting.forbidden == []


async def test_a_host_that_is_taken_in_the_table_stays_taken(
    hosting: RecordingTransport, client: Client, namespace: str
) -> None:
    host = f"{namespace}.example.com"
    await client.apply(table({host: "some/body"}), field_owner="somebody")

    await client.create(website(namespace, host=host))

    await eventually_list(client, EVENT, namespace, tells("HostTaken", host))
    kept = await client.get(CONFIG_MAP, TABLE.name, TABLE.namespace)
    assert kept["data"][host] == "some/body"
    await client.delete(Website, "shop", namespace)
    await eventually_gone(client, Website, "shop", namespace)
    assert hosting.forbidden == []


def test_the_manifests_are_those_of_the_code() -> None:
    """If not: python manifests.py > config/operator.yaml."""
    assert (HERE / "config" / "operator.yaml").read_text() == text()


def is_ready(replicas: int) -> Callable[[Website], bool]:
    return lambda site: site.status.ready_replicas == replicas


def lacks(finalizer: str) -> Callable[[Website], bool]:
    return lambda site: not has_finalizer(site, finalizer)


def tells(reason: str, host: str) -> Callable[[list[Json]], bool]:
    return lambda events: any(
        event["reason"] == reason and host in event["note"] for event in events
    )


async def no(client: Client, site: Website) -> str:
    """Return why it is refused; the API server takes a moment to ask our webhook."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.create(site, dry_run=True)
            except InvalidError as error:
                return str(error)
            await asyncio.sleep(0.1)
