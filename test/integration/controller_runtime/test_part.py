"""Parts of a manager on a real API server: CRDs that come and go, rights that lack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller_runtime import (
    ApiError,
    Client,
    ForbiddenError,
    Grant,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    NamespacedName,
    PartState,
    Request,
    Roles,
    Scheme,
    builder,
    load_restconfig,
)
from controller_runtime.testing.envtest import Cluster
from controller_runtime.testing.eventually import eventually_list

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


@dataclass
class Toys:
    """A kind that no other test has."""

    group: str

    @property
    def gvk(self) -> GroupVersionKind:
        return GroupVersionKind(self.group, "v1", "Toy")

    @property
    def crd(self) -> Json:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
        }
        return {
            "apiVersion": CRD.api_version,
            "kind": CRD.kind,
            "metadata": {"name": f"toys.{self.group}"},
            "spec": {
                "group": self.group,
                "names": {"kind": "Toy", "plural": "toys"},
                "scope": "Namespaced",
                "versions": [version],
            },
        }


class Two:
    """A manager of two parts, toys and maps, and what they have reconciled."""

    def __init__(self, transport: HttpTransport, toys: GroupVersionKind) -> None:
        self.manager = Manager(
            transport,
            options=ManagerOptions(
                metrics_bind_address="0", health_probe_bind_address="0"
            ),
        )
        self.seen: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        for name, kind in (("toys", toys), ("maps", CONFIG_MAP)):
            with self.manager.part(name):
                builder.controller(self.manager, kind, self._noting(kind.kind))
        self.toys, self.maps = self.manager.parts

    def _noting(self, kind: str) -> builder.Reconcile[Request]:
        async def reconcile(request: Request) -> None:
            await self.seen.put((kind, str(request)))

        return reconcile

    async def until(self, kind: str, key: str) -> None:
        async with asyncio.timeout(60):
            while await self.seen.get() != (kind, key):
                pass

    async def ready(self) -> str:
        reply = await self.manager.probes.readyz("", {"verbose": ("",)})
        return reply.body.decode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as tasks:
            yield tasks.create_task(self.manager.start())
            self.manager.stop()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[HttpTransport]:
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=path, environ={}, home=path.parent
    )
    async with HttpTransport(config) as transport:
        yield transport


def named(kind: GroupVersionKind, namespace: str, name: str) -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


async def test_a_part_begins_when_its_crd_comes_and_stops_nobody_when_it_goes(
    kubeconfig: Path, namespace: str
) -> None:
    toys = Toys(f"{namespace}.example")
    async with connected(kubeconfig) as transport:
        client = Client(transport, scheme=Scheme())
        two = Two(transport, toys.gvk)
        async with two.running() as manager:
            await client.create(named(CONFIG_MAP, namespace, "before"))
            await two.until("ConfigMap", f"{namespace}/before")
            assert f"[+]toys ok: waits for {toys.gvk}" in await two.ready()

            await client.create(toys.crd)
            await eventually_served(client, toys.gvk, namespace)
            await two.until("Toy", f"{namespace}/first")
            assert "[+]toys ok\n" in await two.ready()

            await client.delete(CRD, toys.crd["metadata"]["name"])
            await client.create(named(CONFIG_MAP, namespace, "after"))
            await two.until("ConfigMap", f"{namespace}/after")
            assert not manager.done()


async def eventually_served(
    client: Client, kind: GroupVersionKind, namespace: str
) -> None:
    """Create the first object of a kind, as soon as the server takes it."""
    path = f"/apis/{kind.group}/v1/namespaces/{namespace}/toys"
    body = f'{{"apiVersion": "{kind.api_version}", "kind": "Toy", '
    body += '"metadata": {"name": "first"}}'
    async with asyncio.timeout(30):
        while True:
            try:
                await client.transport.request("POST", path, body=body.encode())
            except ApiError:  # not served yet
                await asyncio.sleep(0.1)
            else:
                return


@pytest.fixture
async def limited(
    control_plane: Cluster, kubeconfig: Path, namespace: str, tmp_path: Path
) -> AsyncIterator[HttpTransport]:
    """A user who may follow ConfigMaps and write Events, and nothing else."""
    verbs = [Grant(verb, "", "configmaps") for verb in ("list", "watch")]
    events = [Grant(v, "events.k8s.io", "events") for v in ("create", "patch")]
    name = f"limited-{namespace}"
    async with connected(kubeconfig) as transport:
        client = Client(transport, scheme=Scheme())
        for role in roles(name, [*verbs, *events]):
            await client.create(role)
    path = await control_plane.write_kubeconfig(tmp_path / "limited", user=name)
    async with connected(path) as transport:
        yield transport


def roles(user: str, grants: Sequence[Grant]) -> Sequence[Json]:
    """Return a ClusterRole with the grants, bound to a user."""
    account = NamespacedName("default", user)
    objects = [dict(each) for each in Roles.of(user, grants).objects(account)]
    for each in objects:
        if "subjects" in each:
            group = "rbac.authorization.k8s.io"
            each["subjects"] = [{"apiGroup": group, "kind": "User", "name": user}]
    return objects


async def test_a_part_that_may_not_list_is_off_and_says_so_in_an_event(
    kubeconfig: Path, limited: HttpTransport, namespace: str
) -> None:
    secret = GroupVersionKind("", "v1", "Secret")
    two = Two(limited, secret)
    async with connected(kubeconfig) as transport:
        client = Client(transport, scheme=Scheme())
        async with two.running():
            await client.create(named(CONFIG_MAP, namespace, "m"))
            await two.until("ConfigMap", f"{namespace}/m")
            told = await eventually_list(
                client,
                EVENT,
                "default",
                lambda events: [e for e in events if namespace in e.get("note", "")],
            )

    [event] = [e for e in told if namespace in e.get("note", "")]
    assert event["reason"] == "SwitchedOff"
    assert f'User "limited-{namespace}" cannot' in event["note"]
    assert two.toys.state is PartState.OFF


async def test_a_manager_of_parts_that_are_all_forbidden_ends_with_the_reason(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    path = await control_plane.write_kubeconfig(tmp_path / "nobody", user="nobody")
    async with connected(path) as transport:
        two = Two(transport, GroupVersionKind("", "v1", "Secret"))

        with pytest.raises(ForbiddenError, match='"nobody" cannot'):
            await two.manager.start()
