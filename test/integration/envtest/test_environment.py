"""All that a user's test asks of its cluster."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from conformance.reviews import reviewing, validating
from controller_runtime import schema
from controller_runtime.client import Client
from controller_runtime.errors import ApiError, ForbiddenError, NotFoundError
from controller_runtime.meta import ApiModel, GroupVersionKind, KubeObject
from controller_runtime.testing.envtest import Environment

ROOT = Path(__file__).parents[3]
CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")


CONVERSION = schema.WebhookConversion(
    service="webhook", namespace="default", path="/convert"
)


class ThingSpec(ApiModel):
    size: int = 0


def things(group: str) -> list[type[KubeObject]]:
    """Return the models of a kind with two versions, and a webhook that converts."""

    class ThingV1(KubeObject):
        gvk: ClassVar = GroupVersionKind(group, "v1", "Thing")
        crd: ClassVar = schema.CrdOptions(conversion=CONVERSION)
        spec: ThingSpec

    class ThingV2(KubeObject):
        gvk: ClassVar = GroupVersionKind(group, "v2", "Thing")
        crd: ClassVar = schema.CrdOptions(storage=False)
        spec: ThingSpec

    return [ThingV1, ThingV2]


async def answer_to(client: Client, namespace: str) -> str:
    metadata = {"generateName": "x-", "namespace": namespace}
    note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    try:
        await client.create(note, dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


async def test_a_configuration_for_a_service_leads_to_the_test_while_it_is_entered(
    environment: Environment, client: Client, namespace: str
) -> None:
    service = {"name": "webhook", "namespace": "default", "path": "/validate"}
    configuration = validating(namespace, {"service": service})

    async with environment.webhooks(configuration) as host:
        tls = await asyncio.to_thread(host.ssl_context)
        async with reviewing(tls, port=host.port):
            async with asyncio.timeout(60):
                while "refused" not in await answer_to(client, namespace):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.1)

    gvk = GroupVersionKind.parse(configuration["apiVersion"], configuration["kind"])
    with pytest.raises(NotFoundError):
        await client.get(gvk, namespace)


async def test_a_conversion_webhook_is_called_where_the_test_serves_it(
    environment: Environment, client: Client, namespace: str
) -> None:
    group = f"{namespace}.example.org"
    async with environment.webhooks() as host:
        tls = await asyncio.to_thread(host.ssl_context)
        async with reviewing(tls, port=host.port):
            await environment.install_crds(*things(group), webhooks=host)
            thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "spec": {"size": 3}}
            metadata = {"name": "a", "namespace": namespace}
            await client.create({**thing, "metadata": metadata})

            newer = GroupVersionKind(group, "v2", "Thing")
            async with asyncio.timeout(60):
                found = await client.get(newer, "a", namespace)

    assert found["apiVersion"] == f"{group}/v2"
    assert found["spec"] == {"size": 3}


async def test_a_user_may_do_what_their_rules_say_and_nothing_else(
    environment: Environment, client: Client, namespace: str
) -> None:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
    name = f"reader-{namespace}"

    kubeconfig = await environment.add_user(name, rules=[rule], namespace=namespace)

    async with environment.client(kubeconfig) as reader:
        await reader.list(CONFIG_MAP, namespace)
        with pytest.raises(ForbiddenError, match=name):
            await reader.list(CONFIG_MAP, "default")
        with pytest.raises(ForbiddenError):
            await reader.delete(CONFIG_MAP, "kube-root-ca.crt", namespace)


async def test_a_user_may_have_a_role_that_there_is_and_groups(
    environment: Environment, namespace: str
) -> None:
    name = f"viewer-{namespace}"

    kubeconfig = await environment.add_user(
        name, ["people"], role="view", namespace=namespace
    )

    async with environment.client(kubeconfig) as viewer:
        await viewer.list(CONFIG_MAP, namespace)
        with pytest.raises(ForbiddenError):
            await viewer.list(CONFIG_MAP, "default")


async def test_a_namespace_goes_when_it_is_left_also_by_a_failure(
    environment: Environment, client: Client
) -> None:
    names: list[str] = []

    async def fail() -> None:
        async with environment.namespace("mine") as name:
            names.append(name)
            await client.get(NAMESPACE, name)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    try:
        found = await client.get(NAMESPACE, names[0])
    except NotFoundError:
        return
    assert names[0].startswith("mine-")
    assert found["metadata"]["deletionTimestamp"]


async def test_the_page_about_it_shows_a_test_that_passes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "envtest.md").read_text(encoding="utf-8")
    conftest, test, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_page.py").write_text(test, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)),
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()
    assert b"1 passed" in output


def test_the_test_on_the_page_has_about_thirty_lines() -> None:
    page = (ROOT / "docs" / "envtest.md").read_text(encoding="utf-8")
    _, test, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)

    assert len([line for line in test.splitlines() if line.strip()]) <= 40
    assert max(map(len, test.splitlines())) <= 88
