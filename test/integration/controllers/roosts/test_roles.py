"""The manager under exactly the role that `pilothouse rbac` writes for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import yaml

from conformance.charts import chart
from conformance.roosts import SECRET, Yard, message
from controller_runtime import (
    GroupVersionKind,
    HttpTransport,
    Metrics,
    Roles,
    merge_patch,
)
from controller_runtime.credentials import StaticCredentials
from controller_runtime.testing.permissions import RecordingTransport
from controllers.manager import build
from controllers.rbac import RoleOptions, manifest
from controllers.settings import ReleaseSettings, Settings

SERVICE_ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")
ROLE_BINDING = GroupVersionKind("rbac.authorization.k8s.io", "v1", "RoleBinding")

NOT_SEEN = {
    "list configmaps",  # for servers that cannot stream a collection
    "list managedroosts.roost.birb.party",
    "patch events.events.k8s.io",  # when something happens again
    "impersonate serviceaccounts",  # Helm's own requests, in its workers
    "update secrets",  # to unlock a release, which `test_crashes` does
}


async def token(yard: Yard, name: str) -> str:
    """Make a service account and return a token of it."""
    await yard.apply(SERVICE_ACCOUNT, name)
    path = f"/api/v1/namespaces/{yard.namespace}/serviceaccounts/{name}/token"
    answer = await yard.client.transport.request("POST", path, body=b"{}")
    return str(yaml.safe_load(answer.body)["status"]["token"])


async def test_the_manager_needs_its_role_and_helm_the_account_of_the_object(
    yard: Yard,
) -> None:
    """Section 2.12: impersonation only."""
    name = f"pilothouse-{yard.namespace}"
    settings = Settings(
        controllers=("release",),
        metrics_bind_address="0",
        health_probe_bind_address="0",
        debug_bind_address="0",
        release=ReleaseSettings(
            namespaces=(yard.namespace,), cache=yard.folder / "charts"
        ),
    )
    options = RoleOptions(name=name, service_account=f"{yard.namespace}/{name}")
    documents = list(yaml.safe_load_all(manifest(settings, options).text))
    for document in documents:
        await yard.client.create(document)
    bearer = StaticCredentials.bearer(await token(yard, name))
    await yard.apply(SERVICE_ACCOUNT, "deployer")
    api = "rbac.authorization.k8s.io"
    await yard.apply(
        ROLE_BINDING,
        "deployer",
        roleRef={"apiGroup": api, "kind": "ClusterRole", "name": "admin"},
        subjects=[{"kind": "ServiceAccount", "name": "deployer"}],
    )
    config = replace(yard.config, client_certificate=None, credentials=bearer)
    async with HttpTransport(config) as transport:
        recording = RecordingTransport(transport)
        manager = build(settings, recording, Metrics(), config=config)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.start())
            # Rendered as the manager, it would show any Secret of the cluster.
            peep = '{{ fail (lookup "v1" "Secret" "%s" "theirs" | toJson) }}'
            templates = {"peep.yaml": peep % yard.namespace}
            yard.publish(chart(version="6.6.6", templates=templates), "6.6.6")
            await yard.apply(SECRET, "theirs", stringData={"password": "hunter2"})
            await yard.create("own", chart={"version": "6.6.6"})
            roost = await yard.not_ready("Forbidden", "own")
            await yard.delete("own")
            await yard.gone("own")

            nothing = [{"name": "nothing", "optional": True}]
            values = {"configMapRefs": nothing, "secretRefs": nothing}
            await yard.create(chart={"values": values}, serviceAccountName="deployer")
            await yard.ready(1)
            await yard.client.patch(
                SECRET,
                "sh.helm.release.v1.web.v1",
                yard.namespace,
                patch=merge_patch(
                    {"metadata": {"labels": {"roost.birb.party/uid": "gone"}}}
                ),
            )
            await yard.told("ReleaseClaimed")
            await yard.delete()
            await yard.gone()
            await yard.told("Uninstalled")
            manager.stop()

    assert "set spec.serviceAccountName" in message(roost)
    assert "aHVudGVyMg" not in message(roost)
    assert recording.forbidden == []
    unused = Roles.read(name, documents).unused(recording.requests)
    assert {str(it).partition(" in ")[0] for it in unused} <= NOT_SEEN
