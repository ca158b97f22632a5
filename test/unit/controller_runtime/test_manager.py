"""What a manager promises to those that it runs, and to those that wait for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from controller_runtime.errors import (
    AlreadyStartedError,
    ConfigError,
    ControllerRuntimeError,
)
from controller_runtime.eventwriter import EVENT
from controller_runtime.garbage import THRESHOLDS
from controller_runtime.httpserver import HttpServer
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import GroupVersionKind
from controller_runtime.recorder import ObjectReference
from controller_runtime.runnable import Group
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


class Worker:
    """Works until it is cancelled, and notes what happens to it."""

    def __init__(self, name: str, log: list[str], *, cleanup: float = 0) -> None:
        self.name = name
        self.log = log
        self.cleanup = cleanup

    async def run(self) -> None:
        self.log.append(f"{self.name} starts")
        try:
            await asyncio.sleep(10**6)
        finally:
            await asyncio.sleep(self.cleanup)
            self.log.append(f"{self.name} ends")


class Drainer(Worker):
    """Has work that takes a while to end once it is asked to stop."""

    def __init__(self, name: str, log: list[str], *, takes: float) -> None:
        super().__init__(name, log)
        self._takes = takes
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        self.log.append(f"{self.name} starts")
        try:
            await self._stop.wait()
            await asyncio.sleep(self._takes)
            self.log.append(f"{self.name} is drained")
        except asyncio.CancelledError:
            self.log.append(f"{self.name} is cancelled")
            raise


class Failing:
    name = "failing"

    def __init__(self, *, after: float, error: Exception) -> None:
        self._after = after
        self._error = error

    async def run(self) -> None:
        await asyncio.sleep(self._after)
        raise self._error


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield transport


def make(transport: HttpTransport, grace: float | None = 30) -> Manager:
    timeout = None if grace is None else timedelta(seconds=grace)
    return Manager(
        transport,
        options=ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            watchdog=None,
            graceful_shutdown_timeout=timeout,
        ),
    )


async def run_for(manager: Manager, seconds: float) -> float:
    """Start, stop after some seconds, and tell how long stopping took."""
    loop = asyncio.get_running_loop()
    loop.call_later(seconds, manager.stop)
    began = loop.time()
    await manager.start()
    return loop.time() - began - seconds


def tasks_of_ours() -> set[asyncio.Task[object]]:
    """Return the tasks that run, without those of the API server's connections."""
    return {t for t in asyncio.all_tasks() if "RequestHandler" not in repr(t)}


@pytest.mark.behaviour("M1")
async def test_groups_start_in_order_whatever_the_order_of_adding(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport)
    for group in reversed(Group):
        manager.add(Worker(group.name, log), group=group)

    await run_for(manager, 1)

    assert log[: len(Group)] == [
        "RECORDERS starts",
        "HTTP starts",
        "WEBHOOKS starts",
        "CACHES starts",
        "OTHERS starts",
        "LEADER_ELECTION starts",
    ]


@pytest.mark.behaviour("M3")
async def test_groups_stop_one_after_the_other_caches_after_controllers(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport)
    for group in Group:
        manager.add(Worker(group.name, log, cleanup=1), group=group)

    await run_for(manager, 1)

    assert log[len(Group) :] == [
        "OTHERS ends",
        "LEADER_ELECTION ends",
        "CACHES ends",
        "WEBHOOKS ends",
        "HTTP ends",
        "RECORDERS ends",
    ]


@pytest.mark.behaviour("M2")
async def test_without_an_election_the_last_group_starts_and_elected_is_told(
    transport: HttpTransport,
) -> None:
    manager = make(transport)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_for(manager, 5))
        async with asyncio.timeout(1):
            await manager.elected()


@pytest.mark.behaviour("M8")
async def test_work_in_progress_ends_by_itself_within_four_fifths_of_the_grace(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport, grace=30)
    manager.add(Drainer("slow", log, takes=23))

    stopping = await run_for(manager, 1)

    assert log == ["slow starts", "slow is drained"]
    assert stopping == pytest.approx(23, abs=0.1)


@pytest.mark.behaviour("M8")
async def test_work_that_takes_longer_is_cancelled_before_the_grace_is_over(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport, grace=30)
    manager.add(Drainer("stuck", log, takes=3600))

    stopping = await run_for(manager, 1)

    assert log == ["stuck starts", "stuck is cancelled"]
    assert stopping == pytest.approx(24, abs=0.1)


@pytest.mark.behaviour("M4")
async def test_what_outlives_the_grace_period_is_named(
    transport: HttpTransport,
) -> None:
    manager = make(transport, grace=10)
    manager.add(Worker("stubborn", [], cleanup=3600))

    with pytest.raises(ControllerRuntimeError, match=r"10 s.*stubborn"):
        await run_for(manager, 1)


@pytest.mark.behaviour("M4")
async def test_no_grace_cancels_at_once_and_is_no_error(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport, grace=0)
    manager.add(Drainer("slow", log, takes=20))

    stopping = await run_for(manager, 1)

    assert log == ["slow starts", "slow is cancelled"]
    assert stopping < 0.1


@pytest.mark.behaviour("M4")
async def test_an_endless_grace_waits_as_long_as_it_takes(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport, grace=None)
    manager.add(Drainer("slow", log, takes=7200))

    await run_for(manager, 1)

    assert log == ["slow starts", "slow is drained"]


@pytest.mark.behaviour("M5")
async def test_an_error_stops_everything_in_good_order_and_is_raised(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport)
    manager.add(Failing(after=1, error=OSError("disk")))
    manager.add(Drainer("other", log, takes=5))

    with pytest.raises(OSError, match="disk"):
        await manager.start()

    assert log == ["other starts", "other is drained"]


@pytest.mark.behaviour("M5")
async def test_several_errors_come_together(transport: HttpTransport) -> None:
    manager = make(transport)
    manager.add(Failing(after=1, error=OSError("disk")))
    manager.add(Failing(after=1, error=ValueError("bug")))

    with pytest.raises(ExceptionGroup) as caught:
        await manager.start()

    assert {type(e) for e in caught.value.exceptions} == {OSError, ValueError}


@pytest.mark.behaviour("M5")
async def test_cancelling_stops_in_good_order_and_is_no_error_of_its_own(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport)
    manager.add(Drainer("slow", log, takes=5))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(manager.start())
        await asyncio.sleep(1)
        task.cancel()

    assert task.cancelled()
    assert log == ["slow starts", "slow is drained"]


@pytest.mark.behaviour("M6")
async def test_what_is_added_later_starts_at_once(transport: HttpTransport) -> None:
    log: list[str] = []
    manager = make(transport)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_for(manager, 10))
        await asyncio.sleep(1)
        manager.add(Worker("late", log))
        await asyncio.sleep(0)
        assert log == ["late starts"]

    assert log == ["late starts", "late ends"]


@pytest.mark.behaviour("M6")
async def test_nothing_can_be_added_while_the_manager_stops(
    transport: HttpTransport,
) -> None:
    manager = make(transport)
    await run_for(manager, 1)

    with pytest.raises(AlreadyStartedError, match="stops"):
        manager.add(Worker("late", []))


@pytest.mark.behaviour("M6")
async def test_a_runnable_that_ends_early_is_fine(transport: HttpTransport) -> None:
    class Short:
        async def run(self) -> None:
            pass

    manager = make(transport)
    manager.add(Short())

    await run_for(manager, 1)


async def test_a_manager_starts_once(transport: HttpTransport) -> None:
    manager = make(transport)
    await run_for(manager, 1)

    with pytest.raises(AlreadyStartedError):
        await manager.start()


async def test_a_manager_that_was_stopped_before_the_start_runs_nothing(
    transport: HttpTransport,
) -> None:
    log: list[str] = []
    manager = make(transport)
    manager.add(Worker("w", log))

    manager.stop()
    async with asyncio.timeout(1):
        await manager.start()

    assert log == []
    with pytest.raises(AlreadyStartedError):
        await manager.start()


@pytest.mark.behaviour("M7")
async def test_nothing_is_left_when_it_has_stopped(transport: HttpTransport) -> None:
    before = tasks_of_ours()
    manager = make(transport)
    manager.cache.declare(CONFIG_MAP)
    manager.recorder("test")
    manager.add(Worker("w", []))

    await run_for(manager, 5)

    assert tasks_of_ours() == before


@pytest.mark.behaviour("M9")
async def test_it_is_ready_when_every_cache_has_its_first_list() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.faults.on(verb="list", resource="configmaps").delay(20)
        manager = make(transport)
        manager.cache.declare(CONFIG_MAP)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_for(manager, 100))
            await asyncio.sleep(19)
            unready = await manager.probes.readyz("", {"verbose": ""})
            await asyncio.sleep(3)
            ready = await manager.probes.readyz("cache-sync", {})

    assert unready.status == 500
    assert b"[-]cache-sync failed" in unready.body
    assert ready.status == 200


async def test_the_collector_is_tuned_as_long_as_the_manager_runs() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.faults.on(verb="list", resource="configmaps").delay(20)
        options = ManagerOptions(
            metrics_bind_address="0",
            health_probe_bind_address="0",
            watchdog=None,
            tune_gc=True,
        )
        manager = Manager(transport, options=options)
        manager.cache.declare(CONFIG_MAP)
        before = gc.get_threshold()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_for(manager, 100))
            await asyncio.sleep(19)
            assert gc.get_threshold() == THRESHOLDS
            frozen = gc.get_freeze_count()
            await asyncio.sleep(3)  # the caches are full
            assert gc.get_freeze_count() > frozen

    assert gc.get_threshold() == before


async def test_a_port_that_is_taken_is_an_error_before_anything_starts(
    transport: HttpTransport,
) -> None:
    taken = HttpServer("127.0.0.1:0", name="other", flag="--other")
    await taken.bind()
    address = taken.url.removeprefix("http://")
    log: list[str] = []
    manager = Manager(
        transport,
        options=ManagerOptions(
            metrics_bind_address="127.0.0.1:0", health_probe_bind_address=address
        ),
    )
    manager.add(Worker("w", log))

    with pytest.raises(ConfigError, match="--health-probe-bind-address"):
        await manager.start()

    assert log == []
    await taken.close()


@pytest.mark.behaviour("E6")
@pytest.mark.behaviour("M3")
async def test_events_that_wait_at_the_end_are_written() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        manager = make(transport)
        recorder = manager.recorder("test")
        regarding = ObjectReference(CONFIG_MAP, "n", "a")

        class LastWords(Worker):
            async def run(self) -> None:
                try:
                    await super().run()
                finally:
                    recorder.event(
                        regarding, reason="Bye", action="Stop", note="the end"
                    )

        manager.add(LastWords("w", []))

        await run_for(manager, 1)

        events = await manager.api_reader.list(EVENT, "n")
    assert [event["note"] for event in events.items] == ["the end"]


@pytest.mark.behaviour("E6")
@pytest.mark.behaviour("M3")
async def test_events_have_two_seconds_however_late_the_rest_was() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        manager = make(transport, 10)
        recorder = manager.recorder("test")
        regarding = ObjectReference(CONFIG_MAP, "n", "a")
        await manager.api_reader.resource(EVENT)
        server.faults.on(verb="create", resource="events").delay(1)
        server.faults.on(verb="create", resource="events").hang()

        class Late(Worker):
            async def run(self) -> None:
                try:
                    await super().run()
                finally:
                    for action in ("First", "Second"):
                        recorder.event(
                            regarding, reason="Late", action=action, note="late"
                        )

        manager.add(Late("w", [], cleanup=12))

        with pytest.raises(ControllerRuntimeError, match=r"grace period .*: w\b"):
            await run_for(manager, 1)
        stopped = asyncio.get_running_loop().time()

        events = await manager.api_reader.list(EVENT, "n")
    assert len(events.items) == 1
    assert stopped == pytest.approx(1 + 10 + 2, abs=0.1)


@pytest.mark.behaviour("E2")
async def test_all_recorders_share_a_line_and_its_metrics(
    transport: HttpTransport,
) -> None:
    manager = make(transport)
    for number in range(1001):
        recorder = manager.recorder(f"c{number % 2}")
        about = ObjectReference(CONFIG_MAP, "n", f"a{number}")
        recorder.event(about, reason="Much", action="Tell", note="too much")

    labels = {"controller": "c0", "reason": "queue full"}
    name = "controller_runtime_events_dropped_total"
    assert manager.metrics.registry.get_sample_value(name, labels) == 1
