"""Two managers, one Lease, a real API server: who works when one of them goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controller_runtime.testing.envtest import Cluster

ROOT = Path(__file__).parents[3]

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/pilothouse"


class Process:
    """A manager in a process of its own, and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def logs(self, event: str) -> Mapping[str, Any]:
        """Wait for a line of the log, and return it."""
        assert self.process.stderr is not None
        seen = []
        async with asyncio.timeout(60):
            async for line in self.process.stderr:
                seen.append(line.decode())
                entry = json.loads(line) if line.startswith(b"{") else {}
                if entry.get("msg") == event:
                    return dict(entry)
        raise AssertionError(f"the log has no {event!r}: {''.join(seen)}")

    async def end(self) -> int:
        """Read the rest of the log, so that it does not block, and wait."""
        async with asyncio.timeout(60):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def manager(kubeconfig: Path, namespace: str) -> AsyncIterator[Process]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controllers", "run"),
        f"--kubeconfig={kubeconfig}",
        "--metrics-bind-address=0",
        "--health-probe-bind-address=0",
        "--debug-bind-address=0",
        "--controllers=reload",  # others share the server, and must be left alone
        "--leader-elect",
        f"--reload-namespaces={namespace}",
        f"--leader-election-namespace={namespace}",
        cwd=ROOT,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def leader_and_heir(
    kubeconfig: Path, namespace: str
) -> AsyncIterator[tuple[Process, Process]]:
    """Start one that leads, and then one that waits."""
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(manager(kubeconfig, namespace))
        await leader.logs("became leader")
        heir = await stack.enter_async_context(manager(kubeconfig, namespace))
        await heir.logs("new leader")
        yield leader, heir


async def spec(cluster: Cluster, namespace: str) -> dict[str, Any]:
    lease = await cluster.api.get(LEASE.format(namespace))
    found = lease["spec"]
    assert isinstance(found, dict)
    return found


@pytest.mark.behaviour("L4")
async def test_after_a_killed_leader_the_other_leads_within_lease_and_five_seconds(
    control_plane: Cluster, kubeconfig: Path, namespace: str
) -> None:
    """Scenario 31: TestRunLeaderElection."""
    loop = asyncio.get_running_loop()
    async with leader_and_heir(kubeconfig, namespace) as (leader, heir):
        before = await spec(control_plane, namespace)
        leader.process.kill()
        killed = loop.time()
        led = await heir.logs("became leader")
        took = loop.time() - killed
        after = await spec(control_plane, namespace)

    assert 10 < took <= 20
    assert before["holderIdentity"] != after["holderIdentity"] == led["identity"]
    assert (before["leaseTransitions"], after["leaseTransitions"]) == (0, 1)


@pytest.mark.behaviour("L7")
async def test_after_a_clean_stop_the_other_leads_at_once(
    control_plane: Cluster, kubeconfig: Path, namespace: str
) -> None:
    loop = asyncio.get_running_loop()
    async with leader_and_heir(kubeconfig, namespace) as (leader, heir):
        leader.process.terminate()
        assert await leader.end() == 0
        stopped = loop.time()
        led = await heir.logs("became leader")
        took = loop.time() - stopped
        after = await spec(control_plane, namespace)

    assert took < 5
    assert after["holderIdentity"] == led["identity"]


@pytest.mark.behaviour("L7")
async def test_who_stops_last_leaves_a_lease_that_is_nobodys(
    control_plane: Cluster, kubeconfig: Path, namespace: str
) -> None:
    async with manager(kubeconfig, namespace) as alone:
        await alone.logs("became leader")
        alone.process.terminate()
        assert await alone.end() == 0

    left = await spec(control_plane, namespace)
    assert left.get("holderIdentity", "") == ""
    assert left["leaseDurationSeconds"] == 1


@pytest.mark.behaviour("L8")
async def test_a_leader_whose_lease_is_given_to_another_ends_with_the_reason(
    control_plane: Cluster, kubeconfig: Path, namespace: str
) -> None:
    async with manager(kubeconfig, namespace) as loser:
        await loser.logs("became leader")
        path = LEASE.format(namespace)
        theirs = await spec(control_plane, namespace)
        theirs["holderIdentity"] = "somebody"
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "pilothouse", "namespace": namespace},
            "spec": theirs,
        }
        await control_plane.api.apply(path, lease)

        async with asyncio.timeout(60):
            _, log = await loser.process.communicate()

    last = log.decode().strip().splitlines()[-1]
    assert loser.process.returncode == 1
    assert last.startswith("pilothouse: leader election lost")
    assert "somebody" in last


@pytest.mark.behaviour("L8")
async def test_a_leader_that_slept_through_its_lease_ends_as_soon_as_it_wakes(
    control_plane: Cluster, kubeconfig: Path, namespace: str
) -> None:
    async with leader_and_heir(kubeconfig, namespace) as (leader, heir):
        leader.process.send_signal(signal.SIGSTOP)
        await heir.logs("became leader")
        leader.process.send_signal(signal.SIGCONT)
        assert await leader.end() == 1
        after = await spec(control_plane, namespace)
        assert after["leaseTransitions"] == 1
