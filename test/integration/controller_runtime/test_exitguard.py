"""The end of a process that cannot renew its Lease, whatever its loop is doing."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from controller_runtime.clock import monotonic
from controller_runtime.exitguard import ExitGuard

LEADS_AND_BLOCKS = """
import asyncio, random, time
from datetime import timedelta
from controller_runtime import (
    HttpTransport, LeaderElectionOptions, LeaderElector, Metrics, SystemClock,
)
from controller_runtime.testing.apiserver import ApiServer

try:
    import uvloop
except ImportError:
    uvloop = None

def block():
    print("leads", flush=True)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        {blocks}

async def main():
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        elector = LeaderElector(
            transport,
            LeaderElectionOptions(
                name="it",
                namespace="n",
                lease_duration=timedelta(seconds=2),
                renew_deadline=timedelta(seconds=1),
                retry_period=timedelta(seconds=0.2),
            ),
            clock=SystemClock(),
            randomness=random.Random(),
            metrics=Metrics(),
            on_started=lambda: asyncio.get_running_loop().call_later(1, block),
        )
        await elector.run()

asyncio.Runner(loop_factory={loop}).run(main())
"""


@pytest.mark.behaviour("L8")
@pytest.mark.parametrize("blocks", ["time.sleep(0.1)", "sum(range(1000))"])
@pytest.mark.parametrize("loop", ["None", "uvloop and uvloop.new_event_loop"])
async def test_a_leader_whose_loop_is_blocked_ends_when_its_lease_has_run_out(
    blocks: str, loop: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LEADS_AND_BLOCKS.format(blocks=blocks, loop=loop)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        while await process.stdout.readline() != b"leads\n":
            pass
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        took = asyncio.get_running_loop().time() - began
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()

    assert process.returncode == 1
    assert b"the Lease n/it has run out" in errors
    assert 1.5 < took < 5


class Exit:
    """Notes whether the process would have ended, and when."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.at: float | None = None
        self.happened = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.at = monotonic()
        self.happened.set()


def guards() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "leader election guard"]


@pytest.mark.behaviour("L8")
def test_it_strikes_once_at_the_time_it_was_armed_for() -> None:
    end = Exit()
    guard = ExitGuard("why", end)
    until = monotonic() + 0.3

    guard.arm(until)
    assert end.happened.wait(10)

    assert end.at is not None
    assert end.at >= until
    assert end.codes == [1]


@pytest.mark.behaviour("L8")
def test_armed_anew_it_waits_for_the_later_time() -> None:
    end = Exit()
    guard = ExitGuard("why", end)
    until = monotonic() + 0.8

    guard.arm(monotonic() + 0.2)
    guard.arm(until)
    assert end.happened.wait(10)

    assert end.at is not None
    assert end.at >= until


@pytest.mark.behaviour("L8")
def test_disarmed_it_never_strikes_and_its_thread_ends() -> None:
    end = Exit()
    guard = ExitGuard("why", end)

    guard.arm(monotonic() + 0.5)
    (thread,) = guards()
    guard.disarm()
    thread.join(10)

    assert not thread.is_alive()
    assert not end.happened.wait(0.7)
    assert not guard.is_armed


@pytest.mark.behaviour("L8")
def test_who_is_about_to_act_after_the_time_need_not_wait_for_the_thread() -> None:
    end = Exit()
    guard = ExitGuard("why", end)
    until = monotonic() + 0.3

    guard.check()
    guard.arm(until)
    guard.check()
    assert end.codes == []
    assert not guard.is_overdue
    assert end.happened.wait(10)
    guard.check()

    assert guard.is_overdue
    assert end.codes == [1, 1]

    guard.disarm()
    guard.check()

    assert not guard.is_overdue
    assert end.codes == [1, 1]


@pytest.mark.behaviour("L8")
def test_armed_again_after_that_it_strikes_all_the_same() -> None:
    end = Exit()
    guard = ExitGuard("why", end)

    guard.arm(monotonic() + 100)
    guard.disarm()
    guard.arm(monotonic() + 0.2)

    assert end.happened.wait(10)
