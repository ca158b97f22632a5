"""A manager among others: what runs on the leader alone, and when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from controller_runtime import builder
from controller_runtime.controller import Controller, ControllerOptions
from controller_runtime.errors import ConfigError, ForbiddenError, LeaderLostError
from controller_runtime.eventwriter import EVENT
from controller_runtime.leaderelection import LeaderElectionOptions
from controller_runtime.lease import LEASE
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import GroupVersionKind
from controller_runtime.reconcile import Request
from controller_runtime.runnable import Group
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

GRACE = 60


class LoopClock:
    """Moves with the virtual loop."""

    def now(self) -> datetime:
        passed = timedelta(seconds=asyncio.get_running_loop().time())
        return datetime(2030, 1, 1, tzinfo=UTC) + passed


class Work:
    """Notes when it starts and ends; takes a while to drain, or to be cancelled."""

    def __init__(self, *, drains: float = 0, cleanup: float = 0) -> None:
        self.began: float | None = None
        self.ended: float | None = None
        self.at_end: Callable[[], None] = lambda: None
        self._drains = drains
        self._cleanup = cleanup
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        self.began = now()
        try:
            await self._stop.wait()
            await asyncio.sleep(self._drains)
        except asyncio.CancelledError:
            await asyncio.sleep(self._cleanup)
            raise
        finally:
            self.ended = now()
            self.at_end()


class Replica:
    """A manager, its work on the leader alone, and the end of its process."""

    def __init__(self, name: str, main: HttpTransport, lease: HttpTransport) -> None:
        self.exits: list[int] = []
        self.manager = Manager(
            main,
            lease_transport=lease,
            options=ManagerOptions(
                metrics_bind_address="0",
                health_probe_bind_address="0",
                graceful_shutdown_timeout=timedelta(seconds=GRACE),
                leader_election=LeaderElectionOptions(
                    name="it", namespace="n", identity=name
                ),
            ),
            clock=LoopClock(),
            exit_process=self.exits.append,
        )
        self.error: BaseException | None = None
        self.stopped: float | None = None
        self._task: asyncio.Task[None] | None = None

    def add(self, work: Work, group: Group | None = None) -> Work:
        self.manager.add(work, group=group)
        return work

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.manager.start()
        except Exception as error:  # noqa: BLE001 - asserted on
            self.error = error
        self.stopped = now()

    async def end(self) -> None:
        """Wait until it has stopped, whatever the reason."""
        assert self._task is not None
        await asyncio.wait({self._task})

    async def stop(self) -> None:
        self.manager.stop()
        await self.end()


def now() -> float:
    return asyncio.get_running_loop().time()


def holder(server: ApiServer) -> str:
    return str(server.read(LEASE, "it", "n")["spec"]["holderIdentity"])


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(clock=LoopClock()) as server:
        yield server


@asynccontextmanager
async def replica(name: str, server: ApiServer) -> AsyncIterator[Replica]:
    config = server.config()
    async with HttpTransport(config) as main, HttpTransport(config) as lease:
        yield Replica(name, main, lease)


@asynccontextmanager
async def started(*replicas: Replica) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        for one in replicas:
            one.start(tasks)
        yield
        for one in replicas:
            one.manager.stop()


@pytest.mark.behaviour("M2")
async def test_the_leaders_work_starts_when_it_is_elected_and_not_before(
    server: ApiServer,
) -> None:
    server.faults.on(verb="create", resource="leases").delay(3)
    async with replica("a", server) as a:
        work, other = a.add(Work()), a.add(Work(), Group.OTHERS)
        async with started(a):
            await a.manager.elected()
            elected = now()
            await asyncio.sleep(1)

    assert work.began == pytest.approx(elected, abs=0.01)
    assert elected == pytest.approx(3, abs=0.1)
    assert other.began == pytest.approx(0, abs=0.01)


@pytest.mark.behaviour("M2")
async def test_who_waits_runs_only_what_needs_no_leader(server: ApiServer) -> None:
    async with replica("a", server) as a, replica("b", server) as b:
        work, other = b.add(Work()), b.add(Work(), Group.OTHERS)
        async with started(a):
            await a.manager.elected()
            async with started(b):
                await asyncio.sleep(600)

    assert other.began is not None
    assert work.began is None


async def test_a_controller_that_needs_no_election_runs_on_every_replica(
    server: ApiServer,
) -> None:
    class Idle:
        async def reconcile(self, request: Request, /) -> None:
            pass

    everywhere = ControllerOptions(needs_leader_election=False)
    async with replica("a", server) as a, replica("b", server) as b:
        free: Controller[Request] = Controller("free", Idle(), options=everywhere)
        bound: Controller[Request] = Controller("bound", Idle())
        b.manager.add(free)
        b.manager.add(bound)
        async with started(a):
            await a.manager.elected()
            async with started(b):
                await asyncio.sleep(60)
                running = [r for g in b.manager._running.values() for r in g.values()]

    assert free in running
    assert bound not in running


@pytest.mark.behaviour("M6")
async def test_what_is_added_while_waiting_starts_with_the_election(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a, replica("b", server) as b, started(a):
        await a.manager.elected()
        async with started(b):
            await asyncio.sleep(10)
            work = b.add(Work())
            await asyncio.sleep(10)
            assert work.began is None
            await a.stop()
            await b.manager.elected()
            await asyncio.sleep(0.1)

    assert work.began is not None


@pytest.mark.behaviour("L10")
@pytest.mark.behaviour("M3")
async def test_the_lease_is_renewed_while_work_drains_and_released_after_it(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a, replica("b", server) as b:
        work = a.add(Work(drains=40))
        cache = a.add(Work(drains=5), Group.CACHES)
        holders: list[str] = []
        work.at_end = cache.at_end = lambda: holders.append(holder(server))
        takes_over = b.add(Work())
        async with started(a):
            await a.manager.elected()
            async with started(b):
                await asyncio.sleep(5)
                await a.stop()
                await asyncio.sleep(5)

    assert holders == ["a", "a"]
    assert a.error is None
    assert a.exits == []
    assert cache.ended is not None
    assert takes_over.began is not None
    assert cache.ended < takes_over.began < cache.ended + 4.5


@pytest.mark.behaviour("L10")
async def test_who_waits_and_is_stopping_never_becomes_leader(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a, replica("b", server) as b:
        work, slow = b.add(Work()), b.add(Work(drains=40), Group.OTHERS)
        async with started(a):
            await a.manager.elected()
            async with started(b):
                await asyncio.sleep(5)
                b.manager.stop()
                await a.stop()  # the Lease is free now, and b drains for 40 s
                await asyncio.sleep(20)
                assert b.stopped is None
                assert holder(server) == ""
                await b.end()

    assert slow.ended is not None
    assert slow.ended > 40
    assert work.began is None
    assert not b.manager._elected.is_set()
    assert holder(server) == ""


@pytest.mark.behaviour("L10")
async def test_an_election_that_is_won_while_stopping_starts_nothing(
    server: ApiServer,
) -> None:
    server.faults.on(verb="create", resource="leases").delay(3)
    async with replica("a", server) as a:
        work = a.add(Work())
        asyncio.get_running_loop().call_later(3, a.manager.stop)
        async with started(a):
            await a.end()

    assert work.began is None


@pytest.mark.behaviour("L8")
async def test_a_lost_lease_stops_everything_without_grace_and_is_the_error(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a:
        work, other = a.add(Work(drains=40)), a.add(Work(drains=40), Group.OTHERS)
        async with started(a):
            await a.manager.elected()
            began = now()
            server.faults.on(resource="leases", times=None).answer(500)
            await a.end()

    assert isinstance(a.error, LeaderLostError)
    assert str(a.error).startswith("leader election lost")
    assert work.ended == pytest.approx(began + 10, abs=0.1)
    assert other.ended == pytest.approx(began + 10, abs=0.1)
    assert a.stopped == pytest.approx(began + 10, abs=0.2)


@pytest.mark.behaviour("L8")
async def test_a_lease_lost_while_draining_ends_the_drain(server: ApiServer) -> None:
    async with replica("a", server) as a:
        work, other = a.add(Work(drains=40)), a.add(Work(drains=40), Group.OTHERS)
        async with started(a):
            await a.manager.elected()
            began = now()
            server.faults.on(resource="leases", times=None).answer(500)
            await asyncio.sleep(5)
            await a.stop()

    assert isinstance(a.error, LeaderLostError)
    assert work.ended == pytest.approx(began + 10, abs=0.1)
    assert other.ended == pytest.approx(began + 10, abs=0.1)


@pytest.mark.behaviour("L8")
async def test_after_a_loss_the_process_may_live_once_the_leaders_work_has_ended(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a:
        work = a.add(Work(cleanup=3))
        armed: list[bool] = []
        elector = a.manager._elector
        assert elector is not None
        work.at_end = lambda: armed.append(elector._guard.is_armed)
        async with started(a):
            await a.manager.elected()
            server.faults.on(resource="leases", times=None).answer(500)
            await a.end()
            armed.append(elector._guard.is_armed)

    assert armed == [True, False]


async def test_an_account_that_may_not_hold_leases_stops_the_manager(
    server: ApiServer,
) -> None:
    server.faults.on(resource="leases").answer(403, reason="Forbidden")
    async with replica("a", server) as a:
        other = a.add(Work(drains=5), Group.OTHERS)
        async with started(a):
            await a.end()

    assert isinstance(a.error, ForbiddenError)
    assert other.ended == pytest.approx(5, abs=0.1)


@pytest.mark.behaviour("L9")
@pytest.mark.behaviour("M3")
async def test_the_last_event_of_the_election_is_written(server: ApiServer) -> None:
    async with replica("a", server) as a:
        async with started(a):
            await a.manager.elected()
        events = await a.manager.api_reader.list(EVENT, "n")

    notes = sorted(event["note"] for event in events.items)
    assert notes == ["a became leader", "a stopped leading"]


async def test_health_tells_of_a_leader_that_does_not_renew(server: ApiServer) -> None:
    async with replica("a", server) as a, started(a):
        await a.manager.elected()
        healthy = await a.manager.probes.healthz("leader-election", {})
        assert a.manager._elector is not None
        a.manager._elector._renewed -= 36  # as if the elector were stuck
        unhealthy = await a.manager.probes.healthz("leader-election", {})

    assert healthy.status == 200
    assert unhealthy.status == 500


@pytest.mark.behaviour("L1")
async def test_without_a_pod_or_a_namespace_there_is_no_manager(
    server: ApiServer,
) -> None:
    options = ManagerOptions(leader_election=LeaderElectionOptions(name="it"))
    async with HttpTransport(server.config()) as transport:
        with pytest.raises(ConfigError, match="--leader-election-namespace"):
            Manager(transport, options=options)


@pytest.mark.behaviour("M7")
async def test_nothing_is_left_when_a_leader_has_stopped(server: ApiServer) -> None:
    async with replica("a", server) as a, started(a):
        await a.manager.elected()
        assert len(elections()) == 1

    assert elections() == []


def elections() -> list[asyncio.Task[object]]:
    return [t for t in asyncio.all_tasks() if t.get_name() == "leader election"]


CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


class Standing:
    """A controller of ConfigMaps that notes what it reconciles, and when."""

    def __init__(self, replica: Replica, *, warm: bool) -> None:
        self.done: list[tuple[str, float]] = []
        self.controller = builder.controller(
            replica.manager,
            CONFIG_MAP,
            self.reconcile,
            options=ControllerOptions(enable_warmup=warm),
            name="warm" if warm else "cold",
        )

    async def reconcile(self, request: Request) -> None:
        self.done.append((request.name, now()))


@pytest.mark.behaviour("C9")
async def test_a_warm_controller_has_its_keys_before_it_leads_and_works_only_then(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a, replica("b", server) as b:
        leader, warm, cold = (
            Standing(a, warm=True),
            Standing(b, warm=True),
            Standing(b, warm=False),
        )
        metadata = {"name": "x", "namespace": "n"}
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        async with started(a):
            await a.manager.elected()
            async with started(b):
                await asyncio.sleep(5)
                assert [name for name, _ in leader.done] == ["x"]
                assert (len(warm.controller.queue), len(cold.controller.queue)) == (
                    1,
                    0,
                )
                assert warm.done == []

                await a.stop()
                await b.manager.elected()
                await asyncio.sleep(1)
                assert [name for name, _ in warm.done] == ["x"]
                assert [name for name, _ in cold.done] == ["x"]
    assert a.error is None
    assert b.error is None


@pytest.mark.behaviour("C9")
@pytest.mark.behaviour("M7")
async def test_a_warm_controller_that_never_led_leaves_nothing_behind(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a, replica("b", server) as b:
        warm = Standing(b, warm=True)
        metadata = {"name": "x", "namespace": "n"}
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        async with started(a):
            await a.manager.elected()
            async with started(b):
                await asyncio.sleep(5)
                assert len(warm.controller.queue) == 1
            await b.end()
            assert len(warm.controller.queue) == 0
            assert warm.done == []
    assert b.error is None


async def test_a_controller_that_cannot_be_warmed_stops_its_manager(
    server: ApiServer,
) -> None:
    async with replica("a", server) as a:
        Standing(a, warm=True)
        server.faults.on(resource="configmaps", times=None).answer(403)
        async with started(a):
            await a.end()

    assert isinstance(a.error, ForbiddenError)
