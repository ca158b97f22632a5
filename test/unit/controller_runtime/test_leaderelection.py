"""Who leads, from when to when, and what the Lease says about it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from controller_runtime.client import Client
from controller_runtime.errors import (
    ConfigError,
    ForbiddenError,
    LeaderLostError,
    NotFoundError,
)
from controller_runtime.eventwriter import EVENT
from controller_runtime.leaderelection import (
    LeaderElectionOptions,
    LeaderElector,
    own_namespace,
)
from controller_runtime.lease import LEASE, Record, claim
from controller_runtime.meta import Json
from controller_runtime.metrics import Metrics
from controller_runtime.recorder import EventBroadcaster
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.apiserver.faults import Recorded
from controller_runtime.transport import HttpTransport

START = datetime(2030, 1, 1, tzinfo=UTC)


class LoopClock:
    """Moves with the virtual loop; may be wrong by any amount."""

    def __init__(self, skew: timedelta = timedelta()) -> None:
        self._skew = skew

    def now(self) -> datetime:
        passed = timedelta(seconds=asyncio.get_running_loop().time())
        return START + self._skew + passed


class Stage:
    """Where candidates lead; at most one at a time."""

    def __init__(self) -> None:
        self.leads: dict[str, float] = {}
        """Who leads now → since when."""
        self.history: list[tuple[float, str]] = []
        """Loop time, and who began or ended then: `a leads`, `a stops`."""
        self._changed = asyncio.Event()

    def begin(self, name: str) -> None:
        assert not self.leads, f"{name} and {list(self.leads)} lead at once"
        self.leads[name] = now()
        self._note(f"{name} leads")

    def end(self, name: str) -> None:
        self.leads.pop(name, None)
        self._note(f"{name} stops")

    def _note(self, event: str) -> None:
        self.history.append((now(), event))
        self._changed.set()

    def events(self) -> list[str]:
        return [event for _, event in self.history]

    def moment(self, what: str) -> float:
        """When something happened first."""
        return next(time for time, event in self.history if event == what)

    async def until(self, what: str, *, within: float = 60) -> float:
        """Let time pass until something has happened; return when."""
        async with asyncio.timeout(within):
            while what not in self.events():
                self._changed.clear()
                await self._changed.wait()
        return self.moment(what)


class Candidate:
    """An elector with a transport of its own, as a process has it."""

    def __init__(
        self,
        name: str,
        server: ApiServer,
        stage: Stage,
        *,
        skew: timedelta = timedelta(),
        seed: int = 0,
        record_events: bool = False,
        **options: object,
    ) -> None:
        self.name = name
        self.leaders: list[str] = []
        self.exits: list[int] = []
        """Codes with which the process would have ended."""
        self.metrics = Metrics()
        self.transport = HttpTransport(server.config())
        client = Client(self.transport, scheme=Scheme())
        self.events = EventBroadcaster(client, clock=LoopClock(skew))
        recorder = self.events.recorder("leader-election", instance="test")
        settings: dict[str, object] = {
            "name": "it",
            "namespace": "n",
            "identity": name,
        }
        self.elector = LeaderElector(
            self.transport,
            LeaderElectionOptions(**(settings | options)),  # type: ignore[arg-type] # any of them
            clock=LoopClock(skew),
            randomness=random.Random(seed),  # noqa: S311 - jitter
            metrics=self.metrics,
            recorder=recorder if record_events else None,
            on_started=lambda: stage.begin(name),
            on_stopped=lambda: stage.end(name),
            on_new_leader=self.leaders.append,
            exit_process=self.exits.append,
        )
        self.error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.elector.run()
        except Exception as error:  # noqa: BLE001 - asserted on
            self.error = error
            self.elector.disarm()

    async def stop(self) -> None:
        """End in good order: the elector may release."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def status(self) -> float | None:
        labels = {"name": "it"}
        return self.metrics.registry.get_sample_value(
            "leader_election_master_status", labels
        )


def now() -> float:
    return asyncio.get_running_loop().time()


def spec(server: ApiServer) -> Json:
    found: Json = server.read(LEASE, "it", "n")["spec"]
    return found


def put_lease(server: ApiServer, labels: Mapping[str, str] | None = None) -> None:
    """Let somebody hold the Lease who never renews it."""
    server.create(
        {
            "apiVersion": LEASE.api_version,
            "kind": "Lease",
            "metadata": {"name": "it", "namespace": "n", "labels": dict(labels or {})},
            "spec": {
                "holderIdentity": "gone",
                "leaseDurationSeconds": 40,
                "acquireTime": "2001-01-01T00:00:00.000000Z",
                "renewTime": "2001-01-01T00:00:00.000000Z",
                "leaseTransitions": 7,
            },
        }
    )


def calls(server: ApiServer, verb: str) -> list[Recorded]:
    return server.requests.of(verb, "leases")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(clock=LoopClock()) as server:
        yield server


@pytest.fixture
def stage() -> Stage:
    return Stage()


@asynccontextmanager
async def running(*candidates: Candidate) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        for candidate in candidates:
            await stack.enter_async_context(candidate.transport)
            candidate.start(tasks)
            stack.push_async_callback(candidate.stop)
        yield


@contextmanager
def unreachable(server: ApiServer) -> Iterator[None]:
    """Refuse every request about leases as long as it lasts."""
    fault = server.faults.on(resource="leases", times=None).answer(500)
    try:
        yield
    finally:
        fault.remove()


# --- options


@pytest.mark.behaviour("L1")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": ""}, "election: the Lease needs a name"),
        ({"identity": ""}, "election: identity must not be empty"),
        ({"renew_deadline": timedelta(seconds=15)}, "must be longer than renew_dead"),
        ({"retry_period": timedelta(seconds=9)}, "must be longer than 1.2 times"),
        (
            {
                "retry_period": timedelta(seconds=5),
                "renew_deadline": timedelta(seconds=6),
            },
            "must be longer than 1.2 times",
        ),
        ({"retry_period": timedelta()}, "must be positive"),
        ({"lease_duration": timedelta(seconds=15.5)}, "whole seconds"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_reason(
    options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        LeaderElectionOptions(**({"name": "it"} | options))  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.behaviour("L1")
def test_the_defaults_are_those_of_controller_runtime() -> None:
    options = LeaderElectionOptions(name="it")

    assert options.lease_duration == timedelta(seconds=15)
    assert options.renew_deadline == timedelta(seconds=10)
    assert options.retry_period == timedelta(seconds=2)
    assert options.release_on_cancel


@pytest.mark.behaviour("L1")
def test_the_namespace_is_that_of_the_service_account(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("platform\n")

    assert own_namespace(tmp_path) == "platform"


@pytest.mark.behaviour("L1")
def test_outside_a_pod_the_namespace_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--leader-election-namespace"):
        own_namespace(tmp_path)


@pytest.mark.behaviour("L1")
async def test_identities_that_are_made_differ(server: ApiServer, stage: Stage) -> None:
    a = Candidate("a", server, stage, identity=None, seed=1)
    b = Candidate("b", server, stage, identity=None, seed=2)

    assert a.elector.identity != b.elector.identity
    host, _, unique = a.elector.identity.rpartition("_")
    assert host
    assert uuid.UUID(unique).version == 4


# --- the record


@pytest.mark.behaviour("L3")
async def test_the_first_leader_creates_the_lease(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")

        assert spec(server) == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2030-01-01T00:00:00.000000Z",
            "renewTime": "2030-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }


@pytest.mark.behaviour("L3")
async def test_a_renewal_changes_the_time_of_renewal_alone(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        first = spec(server)

        await asyncio.sleep(2.5)

        assert spec(server) == first | {"renewTime": "2030-01-01T00:00:02.000000Z"}


@pytest.mark.behaviour("L3")
async def test_a_takeover_counts_one_transition_more(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server)

    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        found = spec(server)

    assert found["leaseTransitions"] == 8
    assert found["leaseDurationSeconds"] == 15
    assert found["acquireTime"] == found["renewTime"] > "2030"


@pytest.mark.behaviour("L3")
def test_who_holds_it_keeps_the_time_at_which_it_was_acquired() -> None:
    before = Record("a", 15, "then", "later", 3)
    moment = START + timedelta(microseconds=1500)

    after = claim(before, "a", 20, moment)

    assert after == Record("a", 20, "then", "2030-01-01T00:00:00.001500Z", 3)


@pytest.mark.behaviour("L3")
async def test_labels_are_set_and_those_of_others_stay(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server, labels={"app": "other", "team": "x"})

    async with running(Candidate("a", server, stage, labels={"app": "it"})):
        await stage.until("a leads")

        metadata = server.read(LEASE, "it", "n")["metadata"]
        assert metadata["labels"] == {"app": "it", "team": "x"}


# --- waiting


@pytest.mark.behaviour("L2")
async def test_who_waits_asks_at_intervals_with_jitter(
    server: ApiServer, stage: Stage
) -> None:
    a, b = Candidate("a", server, stage), Candidate("b", server, stage, seed=5)
    async with running(a):
        await stage.until("a leads")
        server.requests.clear()
        async with running(b):
            await asyncio.sleep(300)
            times = [request.time for request in calls(server, "get")]

    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(2 <= pause <= 4.41 for pause in pauses)
    assert min(pauses) < 2.3
    assert max(pauses) > 4


@pytest.mark.behaviour("L4", "L2")
async def test_a_dead_leaders_lease_is_taken_when_its_written_duration_has_passed(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server)

    async with running(Candidate("a", server, stage)):
        taken = await stage.until("a leads")

    assert taken == pytest.approx(40, abs=0.1)


@pytest.mark.behaviour("L4")
async def test_a_change_that_is_no_renewal_does_not_prolong_a_lease(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server)

    async with (
        HttpTransport(server.config()) as transport,
        running(Candidate("a", server, stage)),
    ):
        client = Client(transport, scheme=Scheme())
        await asyncio.sleep(30)
        lease = await client.get(LEASE, "it", "n")
        lease["metadata"]["labels"] = {"touched": "yes"}
        await client.update(lease)
        taken = await stage.until("a leads")

    assert taken == pytest.approx(40, abs=0.1)


@pytest.mark.behaviour("L6")
async def test_a_lease_without_a_holder_is_taken_at_once(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server)
    async with HttpTransport(server.config()) as transport:
        client = Client(transport, scheme=Scheme())
        lease = await client.get(LEASE, "it", "n")
        lease["spec"]["holderIdentity"] = ""
        await client.update(lease)

    async with running(Candidate("a", server, stage)):
        taken = await stage.until("a leads")

    assert taken < 0.1


@pytest.mark.behaviour("L6")
async def test_a_lease_that_another_renews_is_never_taken(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    rivals = [Candidate(f"rival {n}", server, stage, seed=n) for n in (1, 2)]

    async with running(a):
        await stage.until("a leads")
        async with running(*rivals):
            await asyncio.sleep(40 * 15)  # as long as 40 terms
            assert stage.events() == ["a leads"]
            assert not any(rival.elector.is_leader for rival in rivals)
            assert {rival.elector.leader for rival in rivals} == {"a"}


@pytest.mark.behaviour("L4")
@pytest.mark.parametrize("skew", [timedelta(days=-300), timedelta(days=300)])
async def test_a_clock_that_is_wrong_by_months_changes_nothing(
    server: ApiServer, stage: Stage, skew: timedelta
) -> None:
    a, b = Candidate("a", server, stage, skew=skew), Candidate("b", server, stage)

    async with running(a):
        await stage.until("a leads")
        async with running(b):
            await asyncio.sleep(600)
            assert list(stage.leads) == ["a"]


@pytest.mark.parametrize("verb", ["get", "create"])
async def test_an_account_that_may_not_hold_leases_fails_the_start(
    server: ApiServer, stage: Stage, verb: str
) -> None:
    server.faults.on(verb=verb, resource="leases").answer(
        403, reason="Forbidden", message="leases are forbidden"
    )
    a = Candidate("a", server, stage)

    async with running(a):
        await asyncio.sleep(1)

    assert isinstance(a.error, ForbiddenError)


async def test_a_namespace_that_is_not_there_fails_the_start(stage: Stage) -> None:
    async with ApiServer(require_namespaces=True) as server:
        a = Candidate("a", server, stage)
        async with running(a):
            await asyncio.sleep(1)

    assert isinstance(a.error, NotFoundError)


async def test_a_refusal_later_is_waited_out(server: ApiServer, stage: Stage) -> None:
    put_lease(server)
    fault = server.faults.on(resource="leases", times=None)

    async with running(Candidate("a", server, stage)):
        await asyncio.sleep(10)
        refusal = fault.answer(403, reason="Forbidden")
        await asyncio.sleep(60)
        refusal.remove()
        await stage.until("a leads", within=6)


async def test_an_answer_that_is_no_lease_is_tried_again(
    server: ApiServer, stage: Stage
) -> None:
    server.faults.on(verb="create", resource="leases").corrupt()

    async with running(Candidate("a", server, stage)):
        assert 2 <= await stage.until("a leads") <= 4.5


@pytest.mark.behaviour("L2")
async def test_a_lease_that_was_won_too_late_is_no_lease_and_is_claimed_again(
    server: ApiServer, stage: Stage
) -> None:
    server.faults.on(verb="create", resource="leases").delay(0.8)
    a = Candidate(
        "a",
        server,
        stage,
        lease_duration=timedelta(seconds=1),
        renew_deadline=timedelta(seconds=0.6),
        retry_period=timedelta(seconds=0.2),
    )

    async with running(a):
        assert await stage.until("a leads") > 0.9
        await asyncio.sleep(60)

        assert list(stage.leads) == ["a"]


@pytest.mark.behaviour("L9")
async def test_who_never_saw_a_leader_is_told_of_none(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    with unreachable(server):
        async with running(a):
            await asyncio.sleep(10)

    assert a.leaders == []


# --- leading


@pytest.mark.behaviour("L2")
@pytest.mark.behaviour("L5")
async def test_a_leader_renews_every_two_seconds_and_reads_nothing(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        server.requests.clear()
        await asyncio.sleep(100)

    times = [request.time for request in server.requests.of("update")]
    pauses = [later - earlier for earlier, later in pairwise(times[:49])]
    assert all(pause == pytest.approx(2, abs=0.05) for pause in pauses)
    # One read, of the release.
    assert len(calls(server, "get")) == 1


@pytest.mark.behaviour("L5")
async def test_a_leader_whose_lease_was_touched_reads_it_and_renews_at_once(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    async with running(a), HttpTransport(server.config()) as transport:
        await stage.until("a leads")
        client = Client(transport, scheme=Scheme())
        lease = await client.get(LEASE, "it", "n")
        lease["metadata"]["labels"] = {"touched": "yes"}
        await client.update(lease)
        server.requests.clear()

        await asyncio.sleep(2.5)

        verbs = [r.verb for r in server.requests if r.resource == "leases"]
        assert verbs == ["update", "get", "update"]
        assert a.elector.is_leader
        assert spec(server)["acquireTime"] == "2030-01-01T00:00:00.000000Z"


@pytest.mark.behaviour("L5")
async def test_a_renewal_without_an_answer_is_no_loss(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        server.faults.on(verb="update", resource="leases", times=3).cut(handled=True)
        await asyncio.sleep(60)

        assert list(stage.leads) == ["a"]


async def test_a_leader_whose_lease_was_deleted_makes_it_again(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        async with HttpTransport(server.config()) as transport:
            await Client(transport, scheme=Scheme()).delete(LEASE, "it", "n")
        await asyncio.sleep(5)

        assert list(stage.leads) == ["a"]
        assert spec(server)["holderIdentity"] == "a"


@pytest.mark.behaviour("L9")
async def test_each_new_leader_is_told_once(server: ApiServer, stage: Stage) -> None:
    a, b = Candidate("a", server, stage), Candidate("b", server, stage)

    async with running(b):
        await stage.until("b leads")
        async with running(a):
            await asyncio.sleep(60)
            await b.stop()
            await stage.until("a leads")
            await asyncio.sleep(60)

    assert a.leaders in (["b", "a"], ["b", "", "a"])
    assert b.leaders == ["b"]


@pytest.mark.behaviour("L9")
async def test_the_metric_is_0_from_the_start_and_1_while_leading(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    assert a.status == 0

    async with running(a):
        await stage.until("a leads")
        assert a.status == 1

    assert a.status == 0


@pytest.mark.behaviour("L9")
async def test_events_on_the_lease_tell_who_leads(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage, record_events=True)

    async with running(a), HttpTransport(server.config()) as transport:
        await stage.until("a leads")
        await a.stop()
        client = Client(transport, scheme=Scheme())
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(a.events.run())
            await asyncio.sleep(1)
            writing.cancel()
        events = (await client.list(EVENT, "n")).items

    assert {event["reason"] for event in events} == {"LeaderElection"}
    assert {(event["action"], event["note"]) for event in events} == {
        ("BecomeLeader", "a became leader"),
        ("StopLeading", "a stopped leading"),
    }
    uid = server.read(LEASE, "it", "n")["metadata"]["uid"]
    assert {event["regarding"]["uid"] for event in events} == {uid}


# --- losing


@pytest.mark.behaviour("L8")
async def test_a_lease_that_cannot_be_renewed_is_lost_at_the_renew_deadline(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    async with running(a):
        await stage.until("a leads")
        await asyncio.sleep(1)

        with unreachable(server):
            lost = await stage.until("a stops")

    assert lost == pytest.approx(stage.moment("a leads") + 10, abs=0.05)
    assert isinstance(a.error, LeaderLostError)
    assert str(a.error).startswith("leader election lost")
    assert a.status == 0


@pytest.mark.behaviour("L8")
async def test_the_deadline_counts_from_the_request_and_not_from_its_answer(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    async with running(a):
        await stage.until("a leads")
        # The renewal at 2 s is answered at 6 s, those after it never.
        server.faults.on(verb="update", resource="leases").delay(4)
        await asyncio.sleep(7)

        with unreachable(server):
            lost = await stage.until("a stops")

    assert lost == pytest.approx(stage.moment("a leads") + 12, abs=0.1)


@pytest.mark.behaviour("L8")
async def test_an_outage_that_ends_before_the_deadline_is_survived(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        with unreachable(server):
            await asyncio.sleep(7.9)
        await asyncio.sleep(60)

        assert list(stage.leads) == ["a"]


@pytest.mark.behaviour("L8")
@pytest.mark.parametrize(("holder", "name"), [("b", "b"), ("", "nobody")])
async def test_a_leader_that_finds_the_lease_taken_away_has_lost_at_once(
    server: ApiServer, stage: Stage, holder: str, name: str
) -> None:
    a = Candidate("a", server, stage)
    async with running(a), HttpTransport(server.config()) as transport:
        await stage.until("a leads")
        client = Client(transport, scheme=Scheme())
        lease = await client.get(LEASE, "it", "n")
        lease["spec"]["holderIdentity"] = holder
        await client.update(lease)

        lost = await stage.until("a stops")

    assert lost == pytest.approx(stage.moment("a leads") + 2, abs=0.1)
    assert isinstance(a.error, LeaderLostError)
    assert str(a.error).endswith(f"the Lease n/it is held by {name}")
    assert spec(server)["holderIdentity"] == holder


@pytest.mark.behaviour("L8")
async def test_who_never_led_is_told_of_the_end_all_the_same(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server)

    async with running(Candidate("a", server, stage)):
        await asyncio.sleep(5)

    assert stage.events() == ["a stops"]
    assert spec(server)["holderIdentity"] == "gone"


async def test_a_leader_that_cannot_even_notice_fails_its_health_check(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    a.elector.check()  # nobody leads: nothing can be wrong
    async with running(a):
        await stage.until("a leads")
        a.elector._renewed -= 34.9  # as if the elector itself were stuck
        a.elector.check()
        a.elector._renewed -= 0.2
        with pytest.raises(LeaderLostError, match="n/it"):
            a.elector.check()
        a.elector.check(timedelta(seconds=30))


@pytest.mark.behaviour("L8")
async def test_who_may_act_is_said_by_the_lease_and_not_by_who_believes_to_lead(
    server: ApiServer, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    a = Candidate("a", server, stage)
    a.elector.ensure()
    async with running(a):
        await stage.until("a leads")
        a.elector.ensure()
        assert a.exits == []

        a.elector._guard.arm(0)  # as if the process had been stopped until now
        with pytest.raises(LeaderLostError, match="Lease n/it has run out"):
            a.elector.ensure()

        assert a.exits == [1]
        assert "the Lease n/it has run out" in capfd.readouterr().err
        a.elector.disarm()
        a.elector.ensure()


# --- releasing


@pytest.mark.behaviour("L7")
async def test_at_the_end_the_lease_is_nobodys_and_expires_in_a_second(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    async with running(a):
        await stage.until("a leads")
        await asyncio.sleep(3)

    found = spec(server)
    assert found["holderIdentity"] == ""
    assert found["leaseDurationSeconds"] == 1
    assert found["leaseTransitions"] == 0
    assert found["acquireTime"] == found["renewTime"] >= "2030-01-01T00:00:03"


@pytest.mark.behaviour("L7")
async def test_after_a_release_who_waits_leads_within_one_interval(
    server: ApiServer, stage: Stage
) -> None:
    a, b = Candidate("a", server, stage), Candidate("b", server, stage)
    async with running(a):
        await stage.until("a leads")
        async with running(b):
            await asyncio.sleep(20)
            await a.stop()
            released = now()
            taken = await stage.until("b leads")

    assert taken - released < 4.5
    assert spec(server)["leaseTransitions"] == 1


@pytest.mark.behaviour("L7")
async def test_without_release_the_lease_stays_as_it_is(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage, release_on_cancel=False)):
        await stage.until("a leads")

    assert spec(server)["holderIdentity"] == "a"


@pytest.mark.behaviour("L7")
async def test_a_lease_that_has_become_anothers_is_not_released(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    async with running(a):
        await stage.until("a leads")
        async with HttpTransport(server.config()) as transport:
            client = Client(transport, scheme=Scheme())
            lease = await client.get(LEASE, "it", "n")
            lease["spec"]["holderIdentity"] = "b"
            await client.update(lease)
        began = now()
        await a.stop()
        assert now() - began < 0.1, "one look is enough"

    assert spec(server)["holderIdentity"] == "b"


@pytest.mark.behaviour("L7")
async def test_a_release_that_meets_a_late_renewal_is_repeated(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        server.faults.on(verb="update", resource="leases").answer(
            409, reason="Conflict"
        )

    assert spec(server)["holderIdentity"] == ""


@pytest.mark.behaviour("L7")
async def test_a_release_that_meets_only_conflicts_is_given_up_after_five_seconds(
    server: ApiServer, stage: Stage
) -> None:
    a = Candidate("a", server, stage)
    async with running(a):
        await stage.until("a leads")
        conflict = server.faults.on(verb="update", resource="leases", times=None)
        conflict.answer(409, reason="Conflict")
        began = now()
        async with asyncio.timeout(60):
            await a.stop()

    assert now() - began == pytest.approx(5, abs=0.2)


@pytest.mark.behaviour("L7")
@pytest.mark.behaviour("L11")
@pytest.mark.parametrize(("deadline", "seconds"), [(10, 5), (1.5, 1)])
async def test_a_server_that_hangs_holds_up_the_end_for_half_the_renew_deadline(
    server: ApiServer, stage: Stage, deadline: float, seconds: float
) -> None:
    a = Candidate(
        "a",
        server,
        stage,
        renew_deadline=timedelta(seconds=deadline),
        retry_period=timedelta(seconds=1),
    )
    async with running(a):
        await stage.until("a leads")
        server.faults.on(resource="leases", times=None).hang()
        began = now()
        await a.stop()

    assert now() - began == pytest.approx(seconds, abs=0.1)
    # And told before that, so that nothing goes on meanwhile.
    assert stage.moment("a stops") == pytest.approx(began, abs=0.01)


@pytest.mark.behaviour("L7")
async def test_who_never_claimed_the_lease_ends_without_a_question(
    server: ApiServer, stage: Stage
) -> None:
    put_lease(server)
    a = Candidate("a", server, stage)
    async with running(a):
        await asyncio.sleep(5)
        asked = len(calls(server, "get"))
        await a.stop()

    assert len(calls(server, "get")) == asked


@pytest.mark.behaviour("L7")
@pytest.mark.behaviour("L10")
async def test_a_lease_that_was_won_without_an_answer_is_given_back(
    server: ApiServer, stage: Stage
) -> None:
    server.faults.on(verb="create", resource="leases").cut(handled=True)
    a = Candidate("a", server, stage)

    async with running(a):
        await asyncio.sleep(1)
        assert spec(server)["holderIdentity"] == "a"

    assert "a leads" not in stage.events()
    assert spec(server)["holderIdentity"] == ""


# --- its own time


@pytest.mark.behaviour("L11")
async def test_a_call_that_hangs_is_given_up_after_five_seconds_and_repeated(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        server.requests.clear()
        server.faults.on(verb="update", resource="leases").hang()
        await asyncio.sleep(30)

        assert list(stage.leads) == ["a"]
        first, second = (r.time for r in server.requests.of("update")[:2])
        assert second - first == pytest.approx(5, abs=0.1)


@pytest.mark.behaviour("L11")
async def test_a_server_that_asks_to_wait_long_is_not_waited_for(
    server: ApiServer, stage: Stage
) -> None:
    async with running(Candidate("a", server, stage)):
        await stage.until("a leads")
        server.faults.on(verb="update", resource="leases").answer(429, retry_after=9)
        await asyncio.sleep(30)

        assert list(stage.leads) == ["a"]


# --- never two at once


@pytest.mark.behaviour("L4")
@pytest.mark.parametrize("seed", range(5))
async def test_a_killed_leader_is_replaced_within_the_lease_and_five_seconds(
    server: ApiServer, stage: Stage, seed: int
) -> None:
    a = Candidate("a", server, stage, release_on_cancel=False)
    b = Candidate("b", server, stage, seed=seed, skew=timedelta(hours=-7))
    async with running(a):
        await stage.until("a leads")
        async with running(b):
            await asyncio.sleep(31 + seed / 3)
            await a.stop()
            died = now()
            taken = await stage.until("b leads")

    assert 12.9 < taken - died <= 20


@pytest.mark.behaviour("L8")
@pytest.mark.parametrize("seed", range(5))
async def test_after_an_outage_of_30_s_one_of_them_leads_and_never_both(
    server: ApiServer, stage: Stage, seed: int
) -> None:
    a = Candidate("a", server, stage, seed=seed, skew=timedelta(minutes=5))
    b = Candidate("b", server, stage, seed=seed + 10, skew=timedelta(minutes=-5))
    async with running(a):
        await stage.until("a leads")
        async with running(b):
            await asyncio.sleep(20)
            await server.stop()
            await asyncio.sleep(30)
            await server.start()
            # The last renewal before the outage may be news to it.
            taken = await stage.until("b leads", within=20)

    assert taken > 50
    assert stage.moment("a stops") < 31


@pytest.mark.behaviour("L5")
@pytest.mark.parametrize("seed", range(5))
async def test_in_a_storm_of_conflicts_there_are_never_two_leaders(
    server: ApiServer, stage: Stage, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    candidates = [
        Candidate(name, server, stage, seed=seed + n, skew=timedelta(minutes=n))
        for n, name in enumerate("abc")
    ]

    async with running(*candidates):
        for _ in range(300):
            await asyncio.sleep(chance.random())
            leases = server.faults.on(resource="leases")
            match chance.choices("chdr-", weights=[30, 10, 10, 10, 40])[0]:
                case "c":
                    updates = server.faults.on(verb="update", resource="leases")
                    updates.answer(409, reason="Conflict")
                case "h":
                    leases.hang()
                case "d":
                    leases.delay(chance.random() * 12)
                case "r":
                    leases.cut(handled=True)
                case _:
                    pass
        server.faults.clear()
        await asyncio.sleep(60)

        alive = [c for c in candidates if c.error is None]
        assert sum(c.elector.is_leader for c in candidates) == min(len(alive), 1)


@pytest.mark.behaviour("L4")
async def test_the_duration_of_who_holds_it_counts_and_not_ones_own(
    server: ApiServer, stage: Stage
) -> None:
    minute = timedelta(minutes=1)
    a = Candidate("a", server, stage, release_on_cancel=False, lease_duration=minute)
    b = Candidate("b", server, stage)
    async with running(a):
        await stage.until("a leads")
        async with running(b):
            await asyncio.sleep(20)
            await a.stop()
            died = now()
            taken = await stage.until("b leads", within=100)

    assert 57.9 < taken - died <= 65
