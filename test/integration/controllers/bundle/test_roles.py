"""The bundle controller under exactly the role that `pilothouse rbac` writes.

What it asks is recorded: a refusal means that the role lacks something, a permission
that nothing needed means that it has too much. And without one, the bundle says which.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import yaml

from api.core.v1 import ConfigMap
from conformance.bundles import QUICK, Bundle, Yard, condition
from controller_runtime import (
    Grant,
    GroupVersionKind,
    HttpTransport,
    Json,
    Roles,
    Transport,
)
from controller_runtime.credentials import StaticCredentials
from controller_runtime.testing.permissions import RecordingTransport
from controllers.rbac import RoleOptions, manifest
from controllers.settings import BundleSettings, Settings

RARE = {
    # Clusters ask for these that guard owner references, and this one does not.
    "update werfbundles.werf.io/finalizers",
    "update jobs.batch/finalizers",
    # Lists are for servers that stream no collections.
    "list werfbundles.werf.io",
    "list jobs.batch",
    "list secrets",
    "get jobs.batch",  # one that the cache does not have
    "get pods/log",  # of a pod that had a node
    "delete secrets",  # of a try that died half-way
    "create configmaps",  # a long log
    "list configmaps",
    "delete configmaps",
    "patch events.events.k8s.io",  # a series of Events
}
"""What is needed at times that this test does not live through."""


def settings(namespace: str) -> Settings:
    return Settings(
        controllers=("bundle",),
        metrics_secure=False,
        bundle=BundleSettings(namespaces=(namespace,)),
    )


@asynccontextmanager
async def account(
    yard: Yard, *, without: str = ""
) -> AsyncIterator[tuple[Transport, Roles]]:
    """Make an account with the generated roles, perhaps less one resource and verb."""
    name = f"pilothouse-{yard.namespace}"  # one of its roles is the cluster's
    options = RoleOptions(name=name, service_account=f"{yard.namespace}/{name}")
    documents = list(
        yaml.safe_load_all(manifest(settings(yard.namespace), options).text)
    )
    roles = Roles.read(name, documents)
    for document in documents:
        await yard.client.create(_less(document, without))
    path = f"/api/v1/namespaces/{yard.namespace}/serviceaccounts"
    api = yard.client.transport
    body = json.dumps({"metadata": {"name": name}}).encode()
    await api.request("POST", path, body=body)
    answer = await api.request("POST", f"{path}/{name}/token", body=b"{}")
    token = json.loads(answer.body)["status"]["token"]
    credentials = StaticCredentials.bearer(token)
    config = replace(yard.config, client_certificate=None, credentials=credentials)
    async with HttpTransport(config) as transport:
        yield transport, roles


def _less(document: Json, without: str) -> Json:
    verb, _, resource = without.partition(" ")
    rules = []
    for rule in document.get("rules", ()):
        others = [it for it in rule["resources"] if it != resource]
        if len(others) < len(rule["resources"]):
            # One verb at least there must be; `watch` alone does nothing here.
            verbs = [it for it in rule["verbs"] if it != verb] or ["deletecollection"]
            rules.append({**rule, "resources": [resource], "verbs": verbs})
        if others:
            rules.append({**rule, "resources": others})
    return {**document, **({"rules": rules} if "rules" in document else {})}


async def test_the_role_has_all_that_bundles_need_and_nothing_else(yard: Yard) -> None:
    """Scenario 11."""
    await yard.publish("v1.0.0")
    await yard.create(ConfigMap.gvk, "c", data={"a": "1"})
    accounts = GroupVersionKind("", "v1", "ServiceAccount")
    await yard.create(accounts, "deployer")
    async with account(yard) as (transport, roles):
        recording = RecordingTransport(transport)
        bundle = await yard.bundle(
            held=True,
            converge={
                "serviceAccountName": "deployer",
                "valuesFrom": [{"configMapRef": {"name": "c"}}],
            },
        )
        async with yard.manager(transport=recording):
            await _live_through(bundle)
    assert recording.forbidden == []
    unused = {str(it).partition(" in ")[0] for it in roles.unused(recording.requests)}
    assert unused <= RARE


async def _live_through(bundle: Bundle) -> None:
    first = await bundle.job()
    await bundle.pod(first)
    await bundle.end(first, 1, "Error: no\n")
    await bundle.run(await bundle.job(2))
    await bundle.applied("v1.0.0")
    await bundle.delete()


def test_the_role_gives_no_right_on_what_bundles_deploy() -> None:
    """Scenario 11."""
    text = manifest(Settings(controllers=("bundle",)), RoleOptions()).text
    roles = Roles.read("pilothouse", list(yaml.safe_load_all(text)))
    grants = roles.grants

    def may(verb: str, resource: str, group: str = "") -> bool:
        return Grant(verb, group, resource) in grants

    assert may("create", "jobs", "batch")
    assert may("patch", "werfbundles/status", "werf.io")
    assert may("delete", "secrets")
    assert not may("create", "deployments", "apps")
    assert not any(it.verb in {"impersonate", "escalate", "bind", "*"} for it in grants)
    assert not any(it.group == "rbac.authorization.k8s.io" for it in grants)
    assert not any(it.resource == "*" for it in grants)
    assert not may("create", "namespaces")
    assert not may("create", "pods")


@pytest.mark.parametrize(
    ("without", "reason", "named"),
    [
        ("create jobs", "ManagerForbidden", "jobs"),
        ("create secrets", "ManagerForbidden", "secrets"),
        ("get configmaps", "ReadForbidden", "ConfigMap"),
        ("get serviceaccounts", "ReadForbidden", "ServiceAccount"),
    ],
)
async def test_a_right_that_the_manager_lacks_is_named_in_the_status(
    yard: Yard, without: str, reason: str, named: str
) -> None:
    """Scenarios 38 and 8.6: one for each missing verb that an apply comes by."""
    await yard.publish("v1.0.0")
    await yard.create(ConfigMap.gvk, "c", data={"a": "1"})
    await yard.create(GroupVersionKind("", "v1", "ServiceAccount"), "deployer")
    bundle = await yard.bundle(
        converge={
            "serviceAccountName": "deployer",
            "valuesFrom": [{"configMapRef": {"name": "c"}, "optional": True}],
        }
    )
    async with (
        account(yard, without=without) as (transport, _),
        yard.manager(QUICK, transport=transport),
    ):
        told = await bundle.ready_says(reason)
        message = condition(told, "Ready").message
        assert named in message
        assert "pilothouse" in message  # the account
        assert told.status.last_applied_tag == ""
