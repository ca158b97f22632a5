"""A leader that was stopped, and wakes when its Lease has run out, does nothing more.

The program stops itself, so that it wakes exactly where it would act next; nothing
but the fence is between that and the write, since threads that are ready to end the
process wait for the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from controller_runtime.lease import LEASE
from controller_runtime.testing.apiserver import ApiServer

LEADS_AND_SLEEPS = """
import asyncio, os, signal, sys
from datetime import timedelta
from controller_runtime import (
    GroupVersionKind, HttpTransport, LeaderElectionOptions, Manager, ManagerOptions,
    RestConfig, builder, configure_logging, merge_patch,
)

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
where = sys.argv[2]
slept = False

def say(text):
    os.write(1, text.encode() + b"\\n")

def sleep():
    global slept
    if not slept:
        slept = True
        say("sleeps")
        os.kill(os.getpid(), signal.SIGSTOP)

async def main():
    async with HttpTransport(RestConfig(server=sys.argv[1])) as transport:
        manager = Manager(transport, options=ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            leader_election=LeaderElectionOptions(
                name="it",
                namespace="n",
                lease_duration=timedelta(seconds=2),
                renew_deadline=timedelta(seconds=1),
                retry_period=timedelta(seconds=0.2),
            ),
        ))

        async def reconcile(request):
            say("reconciles")
            if where == "before a write":
                sleep()
                patch = merge_patch({"data": {"by": "me"}})
                await manager.client.patch(CONFIG_MAP, request.name, "n", patch=patch)
                say("wrote")
            elif where == "between reconciles":
                sleep()

        builder.controller(manager, CONFIG_MAP, reconcile)
        await manager.start()

configure_logging("json", "error")
asyncio.run(main())
"""


@pytest.mark.behaviour("L8")
@pytest.mark.parametrize("where", ["before a write", "between reconciles"])
async def test_a_leader_that_wakes_after_its_lease_acts_no_more(where: str) -> None:
    async with ApiServer() as server:
        for name in ("one", "two"):
            server.create(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": name, "namespace": "n"},
                }
            )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LEADS_AND_SLEEPS, server.config().server, where),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            async with asyncio.timeout(30):
                while await process.stdout.readline() != b"sleeps\n":
                    assert not process.stdout.at_eof(), await process.stderr.read()
            await asyncio.sleep(2.5)  # the Lease has 2 s; no event tells of its end
            server.requests.clear()
            process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(20):
                said, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

        assert said == b""
        assert process.returncode == 1
        assert b"the Lease n/it has run out" in errors
        assert server.requests.of("patch") == []
        assert server.read(LEASE, "it", "n")["spec"]["leaseTransitions"] == 0
