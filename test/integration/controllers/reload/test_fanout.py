"""One source, many workloads: who fails holds up nobody, who dies doubles nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from api.apps.v1 import Deployment
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import AUTO, SECONDS, Shop, record, variables
from controller_runtime import GroupVersionKind, Json, load_restconfig
from controller_runtime.testing.envtest.environment import Environment
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.options import ReloadOptions
from controllers.reload.sources.digest import secret_digest

ROOT = Path(__file__).parents[4]
REPLICA_SET = GroupVersionKind("apps", "v1", "ReplicaSet")
NEW = secret_digest({"k": b"new"}).recorded

FAN = 50
"""Workloads that one Secret reloads."""

MIDWAY = 10
"""How many have reloaded when the leader dies."""


def rules(writable: Sequence[str]) -> list[Json]:
    """Allow to read everything, and to write these Deployments alone."""
    deployments: Json = {"apiGroups": ["apps"], "resources": ["deployments"]}
    return [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {**deployments, "verbs": ["patch"], "resourceNames": list(writable)},
        {
            "apiGroups": ["events.k8s.io"],
            "resources": ["events"],
            "verbs": ["create", "patch"],
        },
        {
            "apiGroups": ["reloader.stakater.com"],
            "resources": ["reloaderconfigs/status"],
            "verbs": ["patch"],
        },
    ]


async def test_one_workload_that_may_not_be_written_holds_up_no_other(
    crd: None, environment: Environment, shop: Shop, tmp_path: Path
) -> None:
    """Scenario 47."""
    names = [f"web-{i}" for i in range(10)]
    refused = names[4]
    await shop.sources("secret/s")
    workloads = [await shop.workload(name, uses=["secret/s"]) for name in names]
    targets = [{"kind": "Deployment", "name": name} for name in names]
    spec = {"watchedResources": {"secrets": ["s"]}, "targets": targets}
    await shop.create(ReloaderConfig.gvk, "x", spec=spec)
    async with shop.manager():
        before = {it: await it.adopted("secret/s") for it in workloads}
    user = f"clerk-{shop.namespace}"
    allowed = rules([name for name in names if name != refused])
    text = await environment.add_user(user, rules=allowed, namespace=shop.namespace)
    path = tmp_path / "kubeconfig"
    await asyncio.to_thread(path.write_text, text)
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=path, environ={}, home=tmp_path
    )

    await shop.change("secret/s")
    async with shop.running(ReloadOptions(namespaces=(shop.namespace,)), config):
        for workload in workloads:
            if workload.name != refused:
                await workload.reloaded(before[workload])
        (told, *_) = await shop.events("ReloadFail", refused)
        failed = await _row(shop, refused, lambda row: "lastError" in row)

        await environment.add_user(user, rules=rules(names), namespace=shop.namespace)
        await workloads[4].reloaded(before[workloads[4]])
        mended = await _row(shop, refused, lambda row: "lastError" not in row)

    assert told["type"] == "Warning"
    assert f"'{refused}'" in told["note"]
    assert "cannot patch" in failed["lastError"]
    assert failed.get("reloadCount", 0) == 0
    assert mended["reloadCount"] == 1


async def _row(shop: Shop, name: str, condition: Callable[[Json], bool]) -> Json:
    """Wait for the row of a target in the status of the config."""

    def rows(obj: Json) -> list[Json]:
        found = obj.get("status", {}).get("targetStatus", [])
        return [row for row in found if row["name"] == name and condition(row)]

    config = await eventually(
        *(shop.client, ReloaderConfig.gvk, "x", shop.namespace, rows), timeout=SECONDS
    )
    return rows(config)[0]


class Manager:
    """A manager in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, event: str) -> None:
        """Wait for a line of its log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(SECONDS):
            async for line in self.process.stderr:
                if line.startswith(b"{") and json.loads(line).get("msg") == event:
                    return
        raise AssertionError(f"the log has no {event!r}")

    async def keep_reading(self) -> None:
        """Read the rest of its log, so that it does not block."""
        assert self.process.stderr is not None
        while await self.process.stderr.read(65536):
            pass


@asynccontextmanager
async def process(kubeconfig: Path, namespace: str) -> AsyncIterator[Manager]:
    """Run a manager that competes for a Lease, and reloads ten workloads a second."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controllers", "run"),
        f"--kubeconfig={kubeconfig}",
        "--metrics-bind-address=0",
        "--health-probe-bind-address=0",
        "--debug-bind-address=0",
        "--controllers=reload",
        "--leader-elect",
        f"--leader-election-namespace={namespace}",
        f"--reload-namespaces={namespace}",
        f"--reload-qps={MIDWAY}",
        cwd=ROOT,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Manager(started)
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@pytest.mark.timeout(180)
async def test_a_leader_that_dies_midway_leaves_nothing_undone_and_nothing_doubled(
    shop: Shop, kubeconfig: Path
) -> None:
    """Scenario 49: fifty workloads, two managers, one Lease."""
    await shop.sources("secret/s")
    workloads = [
        await shop.workload(f"web-{i}", AUTO, uses=["secret/s"]) for i in range(FAN)
    ]
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(process(kubeconfig, shop.namespace))
        await leader.says("became leader")
        heir = await stack.enter_async_context(process(kubeconfig, shop.namespace))
        await heir.says("new leader")
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for one in (leader, heir):
            tasks.create_task(one.keep_reading())
        for workload in workloads:
            await workload.adopted("secret/s")

        await shop.change("secret/s")
        found = await _when_done(shop, MIDWAY)
        leader.process.kill()
        done_by_then = sum(map(_is_done, found))
        await _when_done(shop, FAN)
        await _shows_that_all_was_handled(shop)
        heir.process.terminate()

    assert MIDWAY <= done_by_then < FAN
    for workload in workloads:
        assert variables(await workload.template()) == {"app": {"STAKATER_S_SECRET"}}
    sets = await shop.client.list(REPLICA_SET, shop.namespace)
    templates = [it["metadata"]["labels"]["app"] for it in sets.items]
    assert {app: templates.count(app) for app in templates} == {
        **{workload.name: 2 for workload in workloads},
        "last": 2,
    }


async def _when_done(shop: Shop, count: int) -> list[Json]:
    """Wait until so many run with the new data."""
    return await eventually_list(
        *(shop.client, Deployment.gvk, shop.namespace),
        lambda found: sum(map(_is_done, found)) >= count,
        timeout=SECONDS,
    )


def _is_done(obj: Json) -> bool:
    return record(obj).get("secret/s") == NEW


async def _shows_that_all_was_handled(shop: Shop) -> None:
    """Let a last workload reload, and all templates become ReplicaSets."""
    await shop.sources("secret/last")
    last = await shop.workload("last", AUTO, uses=["secret/last"])
    before = await last.adopted("secret/last")
    await shop.change("secret/last")
    await last.reloaded(before)
    await eventually_list(
        *(shop.client, Deployment.gvk, shop.namespace),
        lambda found: all(
            it["status"].get("observedGeneration") == it["metadata"]["generation"]
            for it in found
        ),
        timeout=SECONDS,
    )
