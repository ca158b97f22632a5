"""An operator on one page: every Website has a Deployment of its own."""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from controller_runtime import (
    ApiModel,
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    KubeObject,
    Manager,
    Permission,
    builder,
    configure_logging,
    load_restconfig,
    merge_patch,
    on_stop_signal,
    reconciles_objects,
    schema,
    set_controller_reference,
)

DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")

HOST = r"^([a-z0-9][-a-z0-9]*(\.[a-z0-9][-a-z0-9]*)*)?$"


class WebsiteSpec(ApiModel):
    """What the user asks for."""

    image: Annotated[str, Field(min_length=1)]
    """Image of the one container, such as `nginx:1.29`."""

    replicas: Annotated[int, Field(ge=0)] = 1
    """How many pods serve it."""

    host: Annotated[str, Field(pattern=HOST, max_length=253)] = ""
    """Name that the world calls it by, such as `shop.example.com`; empty for none."""


class WebsiteStatus(ApiModel):
    """What the operator found."""

    ready_replicas: int = 0
    """How many of them do by now."""


class Website(KubeObject):
    """One web site."""

    gvk: ClassVar[GroupVersionKind] = GroupVersionKind("example.com", "v1", "Website")
    crd: ClassVar[schema.CrdOptions] = schema.CrdOptions(
        printer_columns=(
            schema.PrinterColumn("Image", ".spec.image"),
            schema.PrinterColumn("Ready", ".status.readyReplicas"),
            schema.AGE,
        ),
        scale=schema.Scale(status_replicas_path=".status.readyReplicas"),
    )

    spec: WebsiteSpec
    status: WebsiteStatus = WebsiteStatus()


def deployment_for(site: Website) -> Json:
    """Return the Deployment that a Website should have: a pure function."""
    namespace, name = site.key
    labels = {"app": name}
    container = {"name": "web", "image": site.spec.image}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": site.spec.replicas,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }


async def reconcile(client: Client, site: Website) -> None:
    """Make it so, and tell how far it is."""
    wanted = set_controller_reference(site, deployment_for(site))
    deployment = await client.apply(wanted, force=True)
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    if ready != site.status.ready_replicas:
        patch = merge_patch({"status": {"readyReplicas": ready}})
        namespace, name = site.key
        await client.patch(Website, name, namespace, patch=patch, subresource="status")


PERMISSIONS = [
    Permission(DEPLOYMENT, ("create", "patch")),
    Permission(Website, ("patch",), subresource="status"),
]


def setup(manager: Manager) -> None:
    """Add the controller to a manager."""
    client = manager.client
    builder.controller(
        manager,
        Website,
        reconciles_objects(client, Website, partial(reconcile, client)),
        owns=[DEPLOYMENT],
        permissions=PERMISSIONS,
        concurrency=4,
    )


async def main() -> None:
    """Run against the cluster of the current context, until Ctrl-C."""
    configure_logging("console")
    config = load_restconfig(environ=os.environ, home=Path.home())
    async with HttpTransport(config) as transport:
        manager = Manager(transport)
        setup(manager)
        with on_stop_signal(manager.stop):
            await manager.start()


if __name__ == "__main__":
    asyncio.run(main())
