"""Helm in its workers, on a real API server with a kwok node.

The scenarios are those of the release specification, section 5. Helm is never loaded
into the process that runs the tests: a fork afterwards would hang.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from conformance.charts import CONFIG_MAP, NOWHERE, chart
from conformance.engines import (
    APP,
    CONFIG_MAP_GVK,
    DEPLOYMENTS,
    STUCK,
    Bench,
    is_running,
    refused,
    running,
)
from controller_runtime import GroupVersionKind, Json, RestConfig, merge_patch
from controller_runtime.credentials import TokenFile
from controllers.release.helm.engine import (
    Apply,
    Failure,
    OperationOptions,
    Wait,
    WorkerDiedError,
)
from controllers.release.helm.pool import PoolOptions

SERVICE_ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")


async def test_a_release_lives_from_install_to_uninstall(
    config: RestConfig, bench: Bench
) -> None:
    """33: the fields' manager is `helm`."""
    async with running(config) as pool:
        await pool.install(bench.order())
        installed = await bench.config_map()
        await pool.upgrade(bench.order(values={"greeting": "bye"}))
        upgraded = await bench.config_map()
        await pool.rollback(bench.order(), revision=1)
        rolled_back = await bench.config_map()
        records = await bench.records()
        await pool.uninstall(bench.order())
        await pool.uninstall(bench.order())
        after = await bench.records()

    assert installed["data"] == rolled_back["data"] == {"greeting": "hello"}
    assert upgraded["data"] == {"greeting": "bye"}
    assert records == {1: "superseded", 2: "superseded", 3: "deployed"}
    assert after == {}
    assert {f["manager"] for f in installed["metadata"]["managedFields"]} == {"helm"}


async def test_an_install_waits_until_the_pods_are_ready(
    config: RestConfig, bench: Bench
) -> None:
    async with running(config) as pool:
        await pool.install(bench.order(content=APP))
        deployment = await bench.client.get(DEPLOYMENTS, "web", bench.namespace)

    assert deployment["status"]["readyReplicas"] == 1


async def test_pods_that_stay_unready_are_a_timeout_and_the_next_upgrade_is_clean(
    config: RestConfig, bench: Bench
) -> None:
    """17, the engine's part."""
    hasty = OperationOptions(timeout=timedelta(seconds=2))
    async with running(config) as pool:
        error = await refused(
            pool.install(bench.order(content=APP, values=STUCK, options=hasty))
        )
        failed = await bench.records()
        await pool.upgrade(bench.order(content=APP))

    assert error.failure is Failure.TIMEOUT
    assert failed == {1: "failed"}
    assert await bench.records() == {1: "superseded", 2: "deployed"}


async def test_a_cancelled_upgrade_is_over_at_once_and_leaves_no_lock(
    config: RestConfig, bench: Bench
) -> None:
    """25, the engine's part."""
    loop = asyncio.get_running_loop()
    async with running(config) as pool:
        await pool.install(bench.order(content=APP))
        (pid,) = pool.pids
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(
                pool.upgrade(bench.order(content=APP, values=STUCK))
            )
            await bench.rollout_of(NOWHERE)
            asked = loop.time()
            waiting.cancel()
        took = loop.time() - asked
        is_gone = not is_running(pid)
        cancelled = await bench.records()
        await pool.upgrade(bench.order(content=APP))

    assert took < 2
    assert is_gone
    assert cancelled == {1: "deployed", 2: "failed"}
    assert (await bench.records())[3] == "deployed"


async def test_a_worker_that_is_killed_takes_its_operation_along_and_nothing_else(
    config: RestConfig, bench: Bench
) -> None:
    """24: other operations go on; the record stays pending, which `LOCKED` says."""
    async with running(config) as pool:
        await pool.install(bench.order(content=APP))
        (victim,) = pool.pids
        async with asyncio.TaskGroup() as tasks:
            error = tasks.create_task(
                refused(pool.upgrade(bench.order(content=APP, values=STUCK)))
            )
            other = tasks.create_task(
                pool.install(bench.order(content=APP, release="other"))
            )
            await bench.rollout_of(NOWHERE)
            os.kill(victim, signal.SIGKILL)
        locked = await refused(pool.upgrade(bench.order(content=APP)))

    assert isinstance(error.result(), WorkerDiedError)
    assert "SIGKILL" in str(error.result())
    assert other.exception() is None
    assert await bench.records() == {1: "deployed", 2: "pending-upgrade"}
    assert locked.failure is Failure.LOCKED


async def test_what_takes_longer_than_its_deadline_is_cancelled(
    config: RestConfig, bench: Bench
) -> None:
    async with running(config) as pool:
        order = bench.order(content=APP, values=STUCK)
        error = await refused(
            pool.install(replace(order, deadline=timedelta(seconds=2)))
        )

    assert error.failure is Failure.ENGINE
    assert "longer than 2 s" in str(error)
    assert await bench.records() == {1: "failed"}


async def test_a_stop_cancels_what_is_under_way_and_leaves_nothing_pending(
    config: RestConfig, bench: Bench
) -> None:
    """56, the engine's part: four operations at once."""
    loop = asyncio.get_running_loop()
    releases = ["a", "b", "c", "d"]
    async with running(config) as pool:
        async with asyncio.TaskGroup() as tasks:
            errors = [
                tasks.create_task(
                    refused(
                        pool.install(
                            bench.order(content=APP, values=STUCK, release=release)
                        )
                    )
                )
                for release in releases
            ]
            for release in releases:
                await bench.created(release)
            asked = loop.time()
            pool.stop()
        took = loop.time() - asked
        late = await refused(pool.upgrade(bench.order()))

    assert took < 10
    assert {task.result().failure for task in errors} == {Failure.CANCELLED}
    assert late.failure is Failure.CANCELLED
    for release in releases:
        assert await bench.records(release) == {1: "failed"}


async def test_a_question_does_not_wait_behind_operations(
    config: RestConfig, bench: Bench
) -> None:
    async with (
        running(config, PoolOptions(workers=1)) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(
            pool.install(bench.order(content=APP, values=STUCK))
        )
        await bench.created("web")
        (values,) = await pool.parse(["a: 1e3"])
        waiting.cancel()

    assert values == {"a": 1000}


HOOKS = {
    "configmap.yaml": CONFIG_MAP,
    "hook.yaml": """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations:
    helm.sh/hook: pre-install,test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {{ .Values.nodes | default dict | toJson }}
      containers:
        - {name: hook, image: registry.example/hook}
""",
}


async def test_every_option_is_one_that_helm_knows(
    config: RestConfig, bench: Bench
) -> None:
    """The SDK refuses names that it does not know: this is our contract with it."""
    full = OperationOptions(
        timeout=timedelta(seconds=60),
        wait=Wait.WATCHER,
        wait_for_jobs=True,
        apply=Apply.SERVER_SIDE,
        description="as told",
        labels={"roost.example/uid": "1"},
        create_namespace=True,
        take_ownership=True,
        cleanup_on_fail=True,
        max_history=2,
        keep_history=True,
        tests=("web-hook",),
    )
    content = chart(templates=HOOKS)
    async with running(config) as pool:
        await pool.install(bench.order(content=content, options=full))
        labels = await bench.labels(1)
        for _ in range(2):
            await pool.upgrade(bench.order(content=content, options=full))
        await pool.test(bench.order(options=full))
        await pool.rollback(bench.order(options=full))
        kept = await bench.records()
        await pool.uninstall(bench.order(options=full))

    assert labels["roost.example/uid"] == "1"
    assert kept == {3: "superseded", 4: "deployed"}
    assert "uninstalled" in (await bench.records()).values()


async def test_a_hook_that_does_not_end_is_a_timeout_and_can_be_left_out(
    config: RestConfig, bench: Bench
) -> None:
    content = chart(templates=HOOKS)
    hasty = OperationOptions(timeout=timedelta(seconds=2))
    async with running(config) as pool:
        error = await refused(
            pool.install(bench.order(content=content, values=STUCK, options=hasty))
        )
        await pool.upgrade(
            bench.order(
                content=content,
                values=STUCK,
                options=replace(hasty, disable_hooks=True),
            )
        )

    assert error.failure is Failure.TIMEOUT, error
    assert (await bench.records())[2] == "deployed"


async def test_a_test_that_does_not_pass_is_a_failure(
    config: RestConfig, bench: Bench
) -> None:
    """39, the engine's part."""
    content = chart(templates=HOOKS)
    without = OperationOptions(timeout=timedelta(seconds=2), disable_hooks=True)
    async with running(config) as pool:
        await pool.install(bench.order(content=content, values=STUCK, options=without))
        error = await refused(
            pool.test(bench.order(options=replace(without, disable_hooks=False)))
        )

    assert error.failure is Failure.TIMEOUT, error


@pytest.mark.parametrize("force_replace", [False, True])
async def test_a_field_that_somebody_else_changed_is_taken_back(
    config: RestConfig, bench: Bench, force_replace: bool
) -> None:
    """32, the engine's part."""
    options = OperationOptions(force_replace=force_replace)
    async with running(config) as pool:
        await pool.install(bench.order())
        await bench.client.patch(
            CONFIG_MAP_GVK,
            "web",
            bench.namespace,
            patch=merge_patch({"data": {"greeting": "mine"}}),
        )
        await pool.upgrade(bench.order(values={"greeting": "helm's"}, options=options))

    assert (await bench.config_map())["data"] == {"greeting": "helm's"}


async def test_a_conflict_is_one_if_it_is_not_to_be_forced(
    config: RestConfig, bench: Bench
) -> None:
    polite = OperationOptions(force_conflicts=False)
    async with running(config) as pool:
        await pool.install(bench.order())
        await bench.client.patch(
            CONFIG_MAP_GVK,
            "web",
            bench.namespace,
            patch=merge_patch({"data": {"greeting": "mine"}}),
        )
        error = await refused(
            pool.upgrade(bench.order(values={"greeting": "helm's"}, options=polite))
        )

    assert error.failure is Failure.OWNERSHIP, error
    assert ".data.greeting" in str(error)


async def test_a_release_applied_by_the_client_can_stay_so(
    config: RestConfig, bench: Bench
) -> None:
    client = OperationOptions(apply=Apply.CLIENT_SIDE)
    async with running(config) as pool:
        await pool.install(bench.order(options=client))
        await pool.upgrade(bench.order(values={"greeting": "two"}, options=client))
        by_client = await bench.config_map()
        await pool.upgrade(bench.order(values={"greeting": "three"}))
        await pool.rollback(bench.order())
        await pool.upgrade(
            bench.order(
                values={"greeting": "four"},
                options=OperationOptions(apply=Apply.SERVER_SIDE),
            )
        )

    (entry,) = by_client["metadata"]["managedFields"]
    assert entry["operation"] == "Update"
    assert (await bench.config_map())["data"] == {"greeting": "four"}


async def test_a_token_in_a_file_is_read_when_the_operation_begins(
    config: RestConfig, bench: Bench, tmp_path: Path
) -> None:
    await bench.make_admin("User", f"system:serviceaccount:{bench.namespace}:default")
    request: Json = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {},
    }
    issued = await bench.client.subresource(SERVICE_ACCOUNT, "token").create(
        "default", bench.namespace, body=request
    )
    token = tmp_path / "token"
    token.write_text("expired")
    rotated = replace(config, client_certificate=None, credentials=TokenFile(token))
    async with running(rotated) as pool:
        error = await refused(pool.install(bench.order()))
        token.write_text(issued["status"]["token"])
        await pool.install(bench.order())

    assert error.failure is Failure.AUTH, error
