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

from conformance.charts import NOWHERE
from conformance.engines import (
    APP,
    DEPLOYMENTS,
    STUCK,
    Bench,
    is_running,
    refused,
    running,
)
from controller_runtime import RestConfig
from controllers.release.helm.engine import Failure, OperationOptions, WorkerDiedError
from controllers.release.helm.pool import PoolOptions


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
