"""Webhooks of a manager, called by a real API server.

The configurations are those that would be installed in a cluster, for a Service;
envtest points them at the port on which the test's manager listens. They select the
test's namespace alone, since all tests share one API server.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field
from structlog.testing import capture_logs

from controller_runtime import (
    ApiModel,
    Client,
    ForbiddenError,
    GroupVersionKind,
    HttpTransport,
    InvalidError,
    Json,
    KubeObject,
    Manager,
    ManagerOptions,
    NamespacedName,
    NotFoundError,
    Request,
    RestConfig,
    Scheme,
    ServerError,
    builder,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.envtest import (
    Cluster,
    WebhookHost,
    install_crds,
    install_webhooks,
    uninstall_webhooks,
)
from controller_runtime.testing.envtest.certificates import CertificateAuthority
from controller_runtime.testing.eventually import eventually
from controller_runtime.webhook import (
    AdmissionRequest,
    Cause,
    ClientConfig,
    ConversionError,
    DeniedError,
    Hub,
    Operation,
    Spoke,
    Warnings,
    WebhookOptions,
    WebhookRule,
    crd_conversion,
    invalid,
    webhook_configurations,
)

SERVICE = ClientConfig(service=NamespacedName("default", "webhook"))


class ConfigMap(KubeObject):
    gvk: ClassVar[GroupVersionKind] = GroupVersionKind("", "v1", "ConfigMap")
    data: dict[str, str] = Field(default_factory=dict)


class World:
    """A manager that has not started, with a certificate to serve webhooks with."""

    def __init__(
        self,
        transport: HttpTransport,
        cluster: Cluster,
        namespace: str,
        authority: CertificateAuthority,
        tls: ssl.SSLContext,
    ) -> None:
        self.namespace = namespace
        self.api = cluster.api
        self.authority = authority
        self.manager = Manager(
            transport,
            scheme=Scheme(ConfigMap),
            options=ManagerOptions(
                metrics_bind_address="0",
                health_probe_bind_address="0",
                webhook_bind_address="127.0.0.1:0",
                webhook_tls=tls,
            ),
        )
        self.client: Client = self.manager.api_reader
        self.here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}

    async def host(self, folder: Path) -> WebhookHost:
        """Take the port, so that it can be told before anything is served there."""
        await self.manager.webhooks.bind()
        return WebhookHost(
            folder=folder, port=self.manager.webhooks.port, ca_pem=self.authority.pem
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.manager.start())
            try:
                yield
            finally:
                self.manager.stop()
                await asyncio.wait({running})

    @asynccontextmanager
    async def installed(self, rules: Any, host: WebhookHost) -> AsyncIterator[None]:
        """Tell the API server of webhooks, until the end of the block."""
        configurations = webhook_configurations(self.namespace, rules, SERVICE)
        await install_webhooks(self.api, *configurations, host=host)
        try:
            yield
        finally:
            await uninstall_webhooks(self.api, *configurations)

    def config_map(self, name: str, **data: str) -> ConfigMap:
        metadata = {"name": name, "namespace": self.namespace}
        return ConfigMap.model_validate({"metadata": metadata, "data": data})


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.create()


@pytest.fixture
def tls(authority: CertificateAuthority, tmp_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    pair = authority.server(["localhost"], ["127.0.0.1"])
    context.load_cert_chain(*pair.write(tmp_path, "tls"))
    return context


@pytest.fixture(scope="module")
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=Path())


@pytest.fixture
async def world(
    config: RestConfig,
    control_plane: Cluster,
    namespace: str,
    authority: CertificateAuthority,
    tls: ssl.SSLContext,
) -> AsyncIterator[World]:
    async with HttpTransport(config) as transport:
        yield World(transport, control_plane, namespace, authority, tls)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the API server, which hears of configurations by watching, acts so."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - nothing to watch
            await asyncio.sleep(0.05)


async def set_size(obj: ConfigMap, _: AdmissionRequest) -> ConfigMap:
    return obj.model_copy(update={"data": {"size": "3", **obj.data}})


class Rules:
    """Sizes are small, do not shrink, and what is dear stays."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def validate_create(self, obj: ConfigMap, _: AdmissionRequest, /) -> Warnings:
        if int(obj.data["size"]) > 9:
            cause = Cause("data.size", "must be at most 9")
            raise invalid(ConfigMap, obj.metadata.name, cause)
        return ["sizes are going out of fashion"]

    async def validate_update(
        self, old: ConfigMap, new: ConfigMap, _: AdmissionRequest, /
    ) -> Warnings:
        if new.data["size"] < old.data["size"]:
            raise DeniedError(f"{old.data['size']} does not shrink")
        return None

    async def validate_delete(self, obj: ConfigMap, _: AdmissionRequest, /) -> Warnings:
        if "dear" in obj.data:
            raise DeniedError(f"{obj.metadata.name} is dear to us")
        self.deleted.append(obj.data["size"])
        return None


@pytest.mark.behaviour("W2", "W3", "W4")
async def test_the_api_server_obeys_what_webhooks_say(
    world: World, tmp_path: Path
) -> None:
    rules, client, options = (
        Rules(),
        world.client,
        WebhookOptions(namespace_selector=world.here),
    )
    builder.webhook(
        world.manager,
        ConfigMap,
        defaulter=set_size,
        validator=rules,
        mutating=options,
        validating=options,
    )
    host = await world.host(tmp_path)

    async def both_are_called() -> bool:
        probe = world.config_map("probe", size="99")
        defaulted = await client.create(world.config_map("other"), dry_run=True)
        try:
            await client.create(probe, dry_run=True)
        except InvalidError:
            return defaulted.data == {"size": "3"}
        return False

    async with world.running(), world.installed(world.manager.webhooks.rules, host):
        with capture_logs() as logs:
            await until(both_are_called)
            created = await client.create(world.config_map("a", colour="red"))
        stored = await client.get(ConfigMap, "a", world.namespace)
        with pytest.raises(InvalidError, match=r"data\.size: must be at most 9") as no:
            await client.create(world.config_map("b", size="10"))
        await client.patch(
            ConfigMap,
            "a",
            world.namespace,
            patch=merge_patch({"data": {"size": "5"}}),
        )
        with pytest.raises(ForbiddenError, match="5 does not shrink"):
            await client.patch(
                ConfigMap,
                "a",
                world.namespace,
                patch=merge_patch({"data": {"size": "4"}}),
            )
        await client.delete(ConfigMap, "a", world.namespace)
        await client.create(world.config_map("c", dear="yes"))
        with pytest.raises(ForbiddenError, match="c is dear to us"):
            await client.delete(ConfigMap, "c", world.namespace)

    assert created.data == stored.data == {"colour": "red", "size": "3"}
    assert {"sizes are going out of fashion"} == {
        log["text"] for log in logs if log["event"] == "server warns"
    }
    causes: Any = no.value.details["causes"]
    assert causes[0]["field"] == "data.size"
    assert rules.deleted == ["5"]


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_the_failure_policy_decides_while_nobody_answers(
    world: World, tmp_path: Path, policy: Any
) -> None:
    """A second webhook of the same configuration shows when that is in force."""

    def rule(policy: Any, condition: str) -> WebhookRule:
        options = WebhookOptions(
            name=f"{policy.lower()}-{len(condition)}.example.com",
            operations=[Operation.CREATE],
            failure_policy=policy,
            namespace_selector=world.here,
            match_conditions={"by-name": f"object.metadata.name {condition}"},
        )
        kind = ConfigMap.gvk
        return WebhookRule(kind=kind, path="/nobody", mutates=False, options=options)

    rules = [rule(policy, "== 'asked'"), rule("Fail", "== 'witness'")]
    nowhere = WebhookHost(folder=tmp_path, port=1, ca_pem=world.authority.pem)

    async def is_refused(name: str) -> bool:
        try:
            await world.client.create(world.config_map(name), dry_run=True)
        except ServerError as error:
            return "failed calling webhook" in str(error)
        return False

    async with world.installed(rules, nowhere):
        await until(lambda: is_refused("witness"))
        refused = {name: await is_refused(name) for name in ("asked", "unasked")}

    assert refused == {"asked": policy == "Fail", "unasked": False}


class SpecV1(ApiModel):
    size: str


class WidgetV1(KubeObject):
    spec: SpecV1


class SpecV2(ApiModel):
    width: int
    height: int


class WidgetV2(KubeObject):
    spec: SpecV2


def widgets(group: str) -> tuple[type[WidgetV1], type[WidgetV2]]:
    """Return both versions in a group of the test's own."""

    class V1(WidgetV1):
        gvk: ClassVar[GroupVersionKind] = GroupVersionKind(group, "v1", "Widget")

    class V2(WidgetV2):
        gvk: ClassVar[GroupVersionKind] = GroupVersionKind(group, "v2", "Widget")

    return V1, V2


def crd(group: str, conversion: Json) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "conversion": conversion,
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == "v1",
                    "schema": {"openAPIV3Schema": schema},
                }
                for version in ("v1", "v2")
            ],
        },
    }


@asynccontextmanager
async def installed_crd(world: World, definition: Json) -> AsyncIterator[None]:
    """Serve a CRD for a while; it goes, with its objects, before its webhook does."""
    name = definition["metadata"]["name"]
    kind = GroupVersionKind("apiextensions.k8s.io", "v1", definition["kind"])
    await install_crds(world.api, definition)
    try:
        yield
    finally:
        await world.client.delete(kind, name)

        async def is_gone() -> bool:
            try:
                await world.client.get(kind, name)
            except NotFoundError:
                return True
            return False

        await until(is_gone)


@pytest.mark.behaviour("M1", "W8")
async def test_a_kind_that_the_manager_converts_fills_its_own_cache(
    world: World, tmp_path: Path
) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    v1, v2 = widgets(group)

    def to_v2(old: WidgetV1) -> WidgetV2:
        if "x" not in old.spec.size:
            raise ConversionError("its size is not such as 2x3")
        width, height = map(int, old.spec.size.split("x"))
        return v2(spec=SpecV2(width=width, height=height))

    def to_v1(new: WidgetV2) -> WidgetV1:
        return v1(spec=SpecV1(size=f"{new.spec.width}x{new.spec.height}"))

    seen: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def reconcile(request: Request) -> None:
        found = await world.manager.client.get(v2, request.name, request.namespace)
        seen.put_nowait((request.name, found.spec.width))

    builder.webhook(world.manager, v2, converter=Hub(v2, Spoke(v1, to_v2, to_v1)))
    builder.controller(world.manager, v2, reconcile)
    host = await world.host(tmp_path)
    client, here = world.client, world.namespace
    conversion = crd_conversion(ClientConfig(url=host.url, ca_bundle=host.ca_pem))

    def widget(name: str, kind: type[KubeObject], spec: ApiModel) -> Any:
        metadata = {"name": name, "namespace": here, "labels": {"a": "b"}}
        return kind.model_validate({"metadata": metadata, "spec": spec})

    async def next_seen() -> tuple[str, int]:
        async with asyncio.timeout(30):
            return await seen.get()

    async with installed_crd_while(world, crd(group, conversion)) as start:
        await client.create(widget("one", v1, SpecV1(size="1x2")))
        await start()

        assert await next_seen() == ("one", 1)
        read = await client.get(v2, "one", here)
        listed = await client.list(v2, here)
        watched = await eventually(client, v2, "one", here, lambda o: o.spec.height)

        await client.create(widget("two", v2, SpecV2(width=3, height=4)))
        assert await next_seen() == ("two", 3)
        stored = await client.get(v1, "two", here)

        resized = merge_patch({"spec": {"size": "5x6"}})
        await client.patch(v1, "one", here, patch=resized)
        assert await next_seen() == ("one", 5)

        await client.create(widget("bad", v1, SpecV1(size="huge")))
        with pytest.raises(
            ServerError, match=r"cannot convert Widget .*/bad"
        ) as failed:
            await client.get(v2, "bad", here)

    assert (
        read.spec == listed.items[0].spec == watched.spec == SpecV2(width=1, height=2)
    )
    assert read.metadata.labels == {"a": "b"}
    assert stored.spec == SpecV1(size="3x4")
    assert "its size is not such as 2x3" in str(failed.value)


@asynccontextmanager
async def installed_crd_while(
    world: World, definition: Json
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Serve a CRD, and let the block say when the manager starts."""
    async with asyncio.TaskGroup() as tasks:

        async def start() -> None:
            tasks.create_task(world.manager.start())

        async with installed_crd(world, definition):
            yield start
        world.manager.stop()
