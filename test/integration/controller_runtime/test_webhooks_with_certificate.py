"""Manager, webhook server and `ServingCertificate` together, on a real API server.

Nobody but the manager makes, serves or tells of a certificate, and its account has the
roles that its code asks for. The certificate is exchanged while webhooks are called.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from conformance.handshake import client_context
from controller_runtime import (
    BundleTargets,
    Client,
    Group,
    GroupVersionKind,
    InvalidError,
    Json,
    Manager,
    ManagerOptions,
    NamespacedName,
    Roles,
    Scheme,
    ServerError,
    ServingCertificate,
    ServingCertOptions,
    builder,
    merge_patch,
)
from controller_runtime.cabundle import VALIDATING
from controller_runtime.testing.envtest import Environment
from controller_runtime.testing.eventually import eventually
from controller_runtime.testing.permissions import RecordingTransport
from controller_runtime.webhook import (
    AdmissionRequest,
    Cause,
    ClientConfig,
    Operation,
    WebhookOptions,
    invalid,
    webhook_configurations,
)

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")

LOOK = timedelta(seconds=0.5)
"""How often the Secret is read; in production a minute."""


async def size_is_odd(new: Json | None, _old: Json | None, _: AdmissionRequest) -> None:
    if new and int(new.get("data", {}).get("size", 1)) % 2 == 0:
        name = new["metadata"]["name"]
        raise invalid(CONFIG_MAP, name, Cause("data.size", "must be odd"))


@dataclass(frozen=True)
class Served:
    """A manager at work, and what it serves."""

    manager: Manager
    certificate: ServingCertificate
    namespace: str
    client: Client
    """Of somebody else: the administrator."""

    async def is_told(self) -> None:
        """Wait until the API server can read whom to believe."""
        bundle = base64.b64encode(self.certificate.bundle).decode()
        await eventually(
            self.client,
            VALIDATING,
            self.namespace,
            "",
            lambda it: it["webhooks"][0]["clientConfig"].get("caBundle") == bundle,
        )

    def configuration(self) -> Json:
        where = ClientConfig(url=self.manager.webhooks.url)
        (made,) = webhook_configurations(
            self.namespace, self.manager.webhooks.rules, where
        )
        return made

    async def refusal(self, *, of_new_authority: bool = False) -> str:
        """Try to store what is wrong until a webhook says no, and return its words.

        The API server reads whom to believe by a watch: after we can, in a moment.
        """
        wrong = config_map(self.namespace, "wrong", size="4")
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.client.create(wrong, dry_run=True)
                except InvalidError as error:
                    return str(error)
                except ServerError as error:
                    if not (of_new_authority and "unknown authority" in str(error)):
                        raise
                await asyncio.sleep(0.05)

    async def shown(self) -> bytes:
        """Connect as the API server does, and return the certificate that is shown."""
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.manager.webhooks.port,
            ssl=client_context(self.certificate.bundle),
            server_hostname="localhost",
        )
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True) or b""
        writer.close()
        await writer.wait_closed()
        return found


def config_map(namespace: str, name: str, **data: str) -> Json:
    metadata = {"name": name, "namespace": namespace}
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    return {**kind, "metadata": metadata, "data": data}


def manager_of(
    transport: RecordingTransport, namespace: str
) -> tuple[Manager, ServingCertificate]:
    """Set up a manager as it would be in a cluster, but for the address."""
    certificate = ServingCertificate(
        Client(transport, scheme=Scheme()),
        ServingCertOptions(
            secret=NamespacedName(namespace, "webhook-cert"),
            names=["127.0.0.1", "localhost"],
            inject=BundleTargets(validating=[namespace]),
            interval=LOOK,
        ),
    )
    manager = Manager(
        transport,
        options=ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            webhook_bind_address="127.0.0.1:0",
            webhook_tls=certificate.ssl_context,
        ),
    )
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    builder.webhook(
        manager,
        CONFIG_MAP,
        validator=size_is_odd,
        validating=WebhookOptions(
            namespace_selector=here, operations=[Operation.CREATE]
        ),
    )
    manager.add(certificate, group=Group.HTTP)
    manager.probes.add_ready_check("certificate", certificate.check_ready)
    return manager, certificate


async def account(environment: Environment, roles: Roles) -> str:
    """Make a user who has these roles, and return a kubeconfig of theirs."""
    places = {"": roles.cluster, **roles.namespaced}
    kubeconfigs = [
        await environment.add_user(
            roles.name, rules=[rule.to_json() for rule in rules], namespace=place
        )
        for place, rules in places.items()
    ]
    return kubeconfigs[0]


@asynccontextmanager
async def serving(
    recording: RecordingTransport, client: Client, namespace: str
) -> AsyncIterator[Served]:
    manager, certificate = manager_of(recording, namespace)
    await manager.webhooks.bind()  # so that the API server can be told the port
    served = Served(manager, certificate, namespace, client)
    await client.create(served.configuration())
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            async with asyncio.timeout(30):
                await certificate.ready()
            yield served
            manager.stop()
    finally:
        await client.delete(VALIDATING, namespace)


async def test_the_api_server_calls_a_webhook_with_our_certificate_and_each_next_one(
    environment: Environment, client: Client, namespace: str
) -> None:
    async with environment.transport() as nowhere:
        described, _ = manager_of(RecordingTransport(nowhere), namespace)
    roles = Roles.of(f"certs-{namespace}", described.grants)
    kubeconfig = await account(environment, roles)

    async with environment.transport(kubeconfig) as transport:
        recording = RecordingTransport(transport)
        async with serving(recording, client, namespace) as served:
            certificate, changed = served.certificate, asyncio.Event()
            certificate.on_change(lambda pair: changed.set())

            await served.is_told()
            refusal = await served.refusal(of_new_authority=True)
            assert "data.size: must be odd" in refusal
            await client.create(config_map(namespace, "right", size="3"))
            first, authority = await served.shown(), certificate.bundle

            # The next one of the same authority.
            gone = merge_patch({"data": {"tls.crt": "", "tls.key": ""}})
            await client.patch(SECRET, "webhook-cert", namespace, patch=gone)
            await happens(changed)
            second = await served.shown()
            assert second != first
            assert certificate.bundle == authority
            assert "data.size: must be odd" in await served.refusal()

            # Another authority.
            await client.delete(SECRET, "webhook-cert", namespace)
            await happens(changed)
            await served.is_told()
            third = await served.shown()
            assert third not in {first, second}
            assert certificate.bundle != authority
            refusal = await served.refusal(of_new_authority=True)
            assert "data.size: must be odd" in refusal
            await client.create(config_map(namespace, "right-again", size="5"))

            assert (await served.manager.probes.readyz("", {})).status == 200

    assert recording.forbidden == []
    assert not roles.unused(recording.requests)


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await event.wait()
    event.clear()
