"""The operator, grown: no two Websites have one host, and a table says whose it is.

    create, update ──webhook────▶ is the host free? ─no─▶ refused, with a sentence
    reconcile      ──finalizer──▶ entry in the table ─▶ Event ─▶ Deployment
    delete         ──finalizer──▶ entry taken out ─▶ Event ─▶ gone

The table is one ConfigMap in the operator's namespace, where owner references do not
reach. Every Website applies its own entry to it under a name of its own.
"""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from controller_runtime import (
    BundleTargets,
    Client,
    ConflictError,
    Finalizers,
    Group,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    NamespacedName,
    NotFoundError,
    OperationResult,
    Permission,
    Scheme,
    ServingCertificate,
    ServingCertOptions,
    Transport,
    builder,
    configure_logging,
    create_or_apply,
    load_restconfig,
    on_stop_signal,
    reconciles_objects,
    service_names,
)
from controller_runtime.webhook import (
    AdmissionRequest,
    Cause,
    Operation,
    WebhookOptions,
    invalid,
)
from website import DEPLOYMENT, PERMISSIONS, Website, reconcile

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")

NAME, SYSTEM = "website", "website-system"
"""Of the operator, its Service and its webhook; and the namespace it runs in."""

TABLE = NamespacedName(SYSTEM, "hosts")
"""The ConfigMap: host → namespace/name of its Website."""

FINALIZER = "example.com/host"


async def check_host(
    reader: Client, new: Website | None, old: Website | None, _: AdmissionRequest
) -> None:
    """Refuse a host that another Website has."""
    if new is None or not new.spec.host or (old and old.spec.host == new.spec.host):
        return
    for other in (await reader.list(Website)).items:
        if other.spec.host == new.spec.host:
            cause = Cause("spec.host", f"{new.spec.host} is that of {other.key}")
            raise invalid(Website, new.metadata.name, cause)


def table(data: dict[str, str] | None = None) -> Json:
    """Return the table, as far as one Website has a say in it: a pure function."""
    namespace, name = TABLE
    head: Json = {"apiVersion": "v1", "kind": "ConfigMap"}
    head["metadata"] = {"namespace": namespace, "name": name}
    return {**head, "data": data} if data else head


class Hosting:
    """Publishes Websites, and withdraws those that go."""

    def __init__(self, manager: Manager) -> None:
        self._client = manager.client
        self._live = manager.api_reader
        self._recorder = manager.recorder(NAME)
        self._finalizers = Finalizers({FINALIZER: self.withdraw})

    async def reconcile(self, site: Website) -> timedelta | None:
        """Hold the Website, publish it, serve it."""
        held = await self._finalizers.apply(self._client, site)
        if held.is_deleting:
            return held.after
        await self.publish(held.obj)
        await reconcile(self._client, held.obj)
        return timedelta(minutes=10)  # nobody watches the table

    async def publish(self, site: Website) -> None:
        """Put the host into the table, and tell if that is news."""
        host = site.spec.host
        wanted = table({host: str(site.key)} if host else None)
        try:
            done = await create_or_apply(
                self._live, wanted, force=False, field_owner=owner(site)
            )
        except ConflictError:
            self._recorder.event(
                site,
                type="Warning",
                reason="HostTaken",
                action="Publish",
                note=f"{host} is another's in ConfigMap {TABLE}",
            )
            raise
        if host and done.result is not OperationResult.UNCHANGED:
            note = f"{host} leads here"
            self._recorder.event(site, reason="Published", action="Publish", note=note)

    async def withdraw(self, site: Website) -> None:
        """Take its entry out of the table; it may be out already."""
        with suppress(NotFoundError):  # there is not even a namespace for it
            await self._live.apply(table(), field_owner=owner(site))
        if host := site.spec.host:
            note = f"{host} leads here no more"
            self._recorder.event(site, reason="Withdrawn", action="Withdraw", note=note)


def owner(site: Website) -> str:
    """Return the name under which a Website has its entry: its own, for ever."""
    return f"website-{site.metadata.uid}"


def setup(manager: Manager) -> None:
    """Add controller and webhook to a manager."""
    there, it = (TABLE.namespace,), (TABLE.name,)
    builder.controller(
        manager,
        Website,
        reconciles_objects(manager.client, Website, Hosting(manager).reconcile),
        owns=[DEPLOYMENT],
        permissions=[
            *PERMISSIONS,
            Permission(Website, ("patch",)),
            Permission(CONFIG_MAP, ("get", "patch"), namespaces=there, names=it),
            Permission(CONFIG_MAP, ("create",), namespaces=there),
        ],
        concurrency=4,
    )
    builder.webhook(
        manager,
        Website,
        validator=partial(check_host, manager.client),
        validating=WebhookOptions(operations=[Operation.CREATE, Operation.UPDATE]),
    )


def production(transport: Transport) -> Manager:
    """Return the manager as it runs in a cluster, where its webhook has a Service."""
    certificate = ServingCertificate(
        Client(transport, scheme=Scheme()),
        ServingCertOptions(
            secret=NamespacedName(SYSTEM, "webhook-cert"),
            names=service_names(NAME, SYSTEM),
            inject=BundleTargets(validating=[NAME]),
        ),
    )
    options = ManagerOptions(webhook_tls=certificate.ssl_context)
    manager = Manager(transport, options=options)
    setup(manager)
    manager.add(certificate, group=Group.HTTP)
    manager.probes.add_ready_check("certificate", certificate.check_ready)
    return manager


async def main() -> None:
    """Run in a cluster, until SIGTERM."""
    configure_logging("json")
    config = load_restconfig(environ=os.environ, home=Path.home())
    async with HttpTransport(config) as transport:
        manager = production(transport)
        with on_stop_signal(manager.stop):
            await manager.start()


if __name__ == "__main__":
    asyncio.run(main())
