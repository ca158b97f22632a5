"""A controller's promises to its reconciler, its sources and its manager.

Every test here runs on a virtual clock: moments and delays are compared exactly.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TypeAlias

import pytest
from aiohttp import ServerDisconnectedError
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from controller_runtime.backoff import Backoff, ExponentialLimiter
from controller_runtime.controller import (
    Controller,
    ControllerOptions,
    is_panic,
    is_terminal,
)
from controller_runtime.errors import (
    AlreadyStartedError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotCachedError,
    SyncTimeoutError,
    TerminalError,
)
from controller_runtime.meta import GroupVersionKind
from controller_runtime.metrics import Metrics
from controller_runtime.reconcile import DONE, Reconciler, Request, Result
from controller_runtime.workqueue import LOW_PRIORITY, Place, WorkQueue

WEB = Request("shop", "web")
API = Request("shop", "api")
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
CONFLICT = ConflictError("the object has been modified", status=409)

Answer: TypeAlias = Result | timedelta | BaseException | None
Web: TypeAlias = Controller[Request]


def now() -> float:
    return asyncio.get_running_loop().time()


class Script:
    """A reconciler that answers from a list, then `None`; it notes when asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = iter(answers)
        self.asked: list[tuple[float, Request]] = []

    @property
    def asked_at(self) -> list[float]:
        return [moment for moment, _ in self.asked]

    async def reconcile(self, request: Request, /) -> Result | timedelta | None:
        self.asked.append((now(), request))
        answer = next(self._answers, None)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class Reconcile:
    """A reconciler made of a function."""

    function: Callable[[Request], Awaitable[Result | None]]

    async def reconcile(self, request: Request, /) -> Result | None:
        return await self.function(request)


@dataclass
class FakeSource:
    """A source that takes its time, and then adds its keys or fails."""

    name: str = "source"
    keys: Sequence[Request] = ()
    start_takes: float = 0
    sync_takes: float = 0
    start_failure: Exception | None = None
    sync_failure: Exception | None = None
    starts: int = 0
    stops: int = 0
    queue: WorkQueue[Request] | None = None

    def describe(self) -> str:
        return self.name

    async def start(self, queue: WorkQueue[Request], /) -> None:
        self.starts += 1
        await asyncio.sleep(self.start_takes)
        if self.start_failure is not None:
            raise self.start_failure
        self.queue = queue

    async def synced(self) -> None:
        await asyncio.sleep(self.sync_takes)
        if self.sync_failure is not None:
            raise self.sync_failure
        assert self.queue is not None
        for key in self.keys:
            self.queue.add(key, priority=LOW_PRIORITY)

    def stop(self) -> None:
        self.stops += 1


def controller(
    reconciler: Reconciler[Request],
    *sources: FakeSource,
    options: ControllerOptions | None = None,
    metrics: Metrics | None = None,
) -> Web:
    """A controller whose failures wait for 1, 2, 4 … seconds."""
    return Controller(
        "web",
        reconciler,
        sources=sources,
        options=options,
        limiter=ExponentialLimiter(Backoff(base=1)),
        metrics=metrics,
    )


async def run_for(it: Web, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await it.run()


@asynccontextmanager
async def running(it: Web) -> AsyncIterator[None]:
    """Run a controller until the block ends, then cancel it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(it.run())
        await asyncio.sleep(0)
        yield
        task.cancel()


def counts(metrics: Metrics) -> dict[str, float]:
    """The counters that are not 0, by the last word of their names or their label."""
    found: dict[str, float] = {}
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            if sample.labels.get("controller") != "web" or not sample.value:
                continue
            if metric.type == "counter" and sample.name.endswith("_total"):
                name = metric.name.removeprefix("controller_runtime_")
                found[sample.labels.get("result", name)] = sample.value
    return {k: v for k, v in found.items() if not k.startswith("workqueue")}


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """What is logged: read by some tests, and not rendered for the others."""
    with capture_logs() as entries:
        yield entries


def above_debug(logs: list[EventDict]) -> list[EventDict]:
    return [line for line in logs if line["log_level"] != "debug"]


def test_a_controller_runs_as_in_go_unless_told_otherwise() -> None:
    assert ControllerOptions() == ControllerOptions(
        max_concurrent_reconciles=1,
        cache_sync_timeout=120,
        reconciliation_timeout=None,
        recover_panic=True,
        needs_leader_election=True,
        enable_warmup=False,
        ageing=30,
    )


# What a reconcile leads to.


async def test_a_key_is_reconciled_when_it_is_added() -> None:
    script = Script()
    it = controller(script)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked == [(0, WEB)]


@pytest.mark.behaviour("C1")
async def test_a_failed_reconcile_is_retried_with_backoff() -> None:
    script = Script(CONFLICT, CONFLICT)
    it = controller(script)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == pytest.approx([0, 1, 3])


@pytest.mark.behaviour("C1")
async def test_a_retry_has_the_priority_of_the_failure_and_its_number() -> None:
    it = controller(Script(CONFLICT, CONFLICT))
    it.queue.add(WEB, priority=7)

    async with running(it):
        await asyncio.sleep(2)
        (state,) = it.queue.snapshot()

    assert (state.place, state.priority, state.failures) == (Place.WAITING, 7, 2)
    assert state.causes == ("retry 2",)


@pytest.mark.behaviour("C2")
async def test_a_backoff_is_reset_by_the_first_success_only() -> None:
    script = Script(CONFLICT, CONFLICT, DONE, CONFLICT)
    it = controller(script)
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(10)
        assert it.queue.num_requeues(WEB) == 0
        it.queue.add(WEB)
        await asyncio.sleep(10)

    assert script.asked_at == pytest.approx([0, 1, 3, 10, 11])


@pytest.mark.behaviour("C2")
@pytest.mark.parametrize(
    "answer",
    [timedelta(minutes=5), Result(requeue_after=timedelta(minutes=5))],
    ids=["a timedelta", "a Result"],
)
async def test_a_reconcile_may_ask_to_look_again_later(answer: Answer) -> None:
    script = Script(answer)
    it = controller(script)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == pytest.approx([0, 300])


@pytest.mark.behaviour("C2")
async def test_looking_again_later_forgets_failures_and_is_not_rate_limited() -> None:
    script = Script(CONFLICT, CONFLICT, timedelta(seconds=5), CONFLICT)
    it = controller(script)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == pytest.approx([0, 1, 3, 8, 9])


@pytest.mark.behaviour("C2")
@pytest.mark.parametrize(("wanted", "priority"), [(None, 7), (2, 2), (0, 0)])
async def test_looking_again_keeps_the_priority_unless_the_result_has_one(
    wanted: int | None, priority: int
) -> None:
    it = controller(Script(Result(requeue_after=timedelta(seconds=5), priority=wanted)))
    it.queue.add(WEB, priority=7)

    async with running(it):
        await asyncio.sleep(1)
        (state,) = it.queue.snapshot()

    assert (state.priority, state.causes) == (priority, ("timer",))


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(seconds=-1)])
async def test_looking_again_after_a_time_that_is_over_is_looking_again_now(
    delay: timedelta,
) -> None:
    script = Script(delay)
    it = controller(script)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == [0, 0]


@pytest.mark.behaviour("C3")
async def test_a_terminal_error_is_not_retried_and_forgets_no_failures() -> None:
    script = Script(CONFLICT, CONFLICT, TerminalError("the chart does not parse"))
    it = controller(script)
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(3600)
        assert script.asked_at == pytest.approx([0, 1, 3])
        assert it.queue.num_requeues(WEB) == 2


def chain(*errors: Exception) -> Exception:
    """Return the first error, caused by the second, caused by the third."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


@pytest.mark.behaviour("C3")
@pytest.mark.parametrize(
    ("error", "terminal"),
    [
        pytest.param(TerminalError("x"), True, id="itself"),
        pytest.param(
            chain(ValueError("a"), KeyError("b"), TerminalError("x")), True, id="cause"
        ),
        pytest.param(ValueError("a"), False, id="another"),
        pytest.param(chain(ValueError("a"), KeyError("b")), False, id="other cause"),
        pytest.param(
            ExceptionGroup(
                "", [TerminalError("x"), chain(KeyError(), TerminalError())]
            ),
            True,
            id="a group that agrees",
        ),
        pytest.param(
            ExceptionGroup("", [TerminalError("x"), CONFLICT]),
            False,
            id="a group that does not",
        ),
        pytest.param(circle(), False, id="errors that cause each other"),
    ],
)
def test_an_error_is_terminal_if_it_or_what_it_wraps_says_so(
    error: Exception, terminal: bool
) -> None:
    assert is_terminal(error) is terminal


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize(
    ("error", "panic"),
    [
        pytest.param(ValueError("bug"), True, id="a bug"),
        pytest.param(AssertionError(), True, id="an assertion"),
        pytest.param(CONFLICT, False, id="the API server's answer"),
        pytest.param(TerminalError("x"), False, id="a terminal error"),
        pytest.param(ConnectionRefusedError(), False, id="a refused connection"),
        pytest.param(ServerDisconnectedError(), False, id="a lost connection"),
        pytest.param(TimeoutError(), False, id="a timeout"),
        pytest.param(ExceptionGroup("", [CONFLICT, KeyError()]), True, id="a group"),
        pytest.param(ExceptionGroup("", [CONFLICT]), False, id="a group of none"),
    ],
)
def test_a_panic_is_what_neither_the_framework_nor_the_network_raises(
    error: Exception, panic: bool
) -> None:
    assert is_panic(error) is panic


@pytest.mark.behaviour("C4")
async def test_a_panic_is_survived_like_any_failure() -> None:
    metrics = Metrics()
    script = Script(ValueError("bug"))
    it = controller(script, metrics=metrics)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == pytest.approx([0, 1])
    assert counts(metrics) == {
        "success": 1,
        "error": 1,
        "reconcile_errors": 1,
        "reconcile_panics": 1,
    }


@pytest.mark.behaviour("C4")
async def test_a_panic_that_may_not_be_survived_ends_the_controller_as_itself() -> None:
    metrics = Metrics()
    bug = ValueError("bug")
    it = controller(
        Script(bug), metrics=metrics, options=ControllerOptions(recover_panic=False)
    )
    it.queue.add(WEB)

    with pytest.raises(ValueError, match="bug") as raised:
        await it.run()

    assert raised.value is bug, "not in a group"
    assert counts(metrics) == {"reconcile_panics": 1}


@pytest.mark.behaviour("C4")
async def test_panics_of_two_workers_at_once_come_as_one_group() -> None:
    barrier = asyncio.Barrier(2)

    async def fail(request: Request) -> None:
        await barrier.wait()
        raise ValueError(request.name)

    it = controller(
        Reconcile(fail),
        options=ControllerOptions(max_concurrent_reconciles=2, recover_panic=False),
    )
    it.queue.add(WEB)
    it.queue.add(API)

    with pytest.raises(ExceptionGroup) as raised:
        await it.run()

    assert {str(error) for error in raised.value.exceptions} == {"web", "api"}


@pytest.mark.behaviour("C4")
async def test_an_error_of_the_api_server_is_survived_even_so() -> None:
    script = Script(CONFLICT)
    it = controller(script, options=ControllerOptions(recover_panic=False))
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == pytest.approx([0, 1])


async def test_an_answer_that_is_none_of_the_three_is_a_failure() -> None:
    script = Script("again, please")  # type: ignore[arg-type] # what mypy is not asked
    metrics = Metrics()
    it = controller(script, metrics=metrics)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert script.asked_at == pytest.approx([0, 1])
    assert counts(metrics)["reconcile_panics"] == 1


async def test_a_reconcile_that_waited_for_something_cancelled_fails_like_any() -> None:
    asked: list[float] = []

    async def await_cancelled(request: Request) -> None:
        asked.append(now())
        if len(asked) == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    metrics = Metrics()
    it = controller(Reconcile(await_cancelled), metrics=metrics)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert asked == pytest.approx([0, 1]), "the worker lives on"
    assert counts(metrics) == {"error": 1, "reconcile_errors": 1, "success": 1}


# How it is counted, logged and seen.


@pytest.mark.behaviour("C3", "C7")
@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        pytest.param(None, {"success": 1}, id="done"),
        pytest.param(timedelta(hours=2), {"requeue_after": 1}, id="later"),
        pytest.param(
            TerminalError("x"),
            {"error": 1, "reconcile_errors": 1, "terminal_reconcile_errors": 1},
            id="terminal",
        ),
    ],
)
async def test_each_outcome_has_its_counters(
    answer: Answer, counted: dict[str, float]
) -> None:
    metrics = Metrics()
    it = controller(Script(answer), metrics=metrics)
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert counts(metrics) == counted


@pytest.mark.behaviour("C7")
def test_every_metric_is_there_before_anything_happens() -> None:
    metrics = Metrics()

    controller(Script(), metrics=metrics)

    text = metrics.exposition().decode()
    for result in ("success", "error", "requeue", "requeue_after"):
        line = f'reconcile_total{{controller="web",result="{result}"}} 0.0'
        assert f"controller_runtime_{line}" in text
    assert 'controller_runtime_active_workers{controller="web"} 0.0' in text


async def test_the_time_of_a_reconcile_is_observed_even_if_it_fails() -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(2)
        raise CONFLICT

    metrics = Metrics()
    it = controller(Reconcile(slow), metrics=metrics)

    async with running(it):
        await asyncio.sleep(100)
        it.queue.add(WEB)
        await asyncio.sleep(2.5)

    text = metrics.exposition().decode()
    name = 'controller_runtime_reconcile_time_seconds_sum{controller="web"}'
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    assert float(line.split()[-1]) == pytest.approx(2)


async def test_a_failure_is_logged_once_with_what_is_needed_to_find_it(
    logs: list[EventDict],
) -> None:
    it = controller(Script(CONFLICT))
    it.queue.add(WEB, cause="Pod shop/web created")

    await run_for(it, 3600)

    assert above_debug(logs) == [
        {
            "event": "reconcile failed",
            "log_level": "error",
            "retry_in": 1,
            "causes": ("Pod shop/web created",),
            "exc_info": CONFLICT,
        }
    ]


async def test_a_terminal_failure_is_logged_as_one_that_is_not_retried(
    logs: list[EventDict],
) -> None:
    it = controller(Script(TerminalError("x")))
    it.queue.add(WEB)

    await run_for(it, 3600)

    assert [line["retry_in"] for line in above_debug(logs)] == [None]


async def test_why_a_key_is_reconciled_can_be_read_in_the_debug_log(
    logs: list[EventDict],
) -> None:
    it = controller(Script(CONFLICT))
    it.queue.add(WEB, cause="Pod shop/web created")

    await run_for(it, 3600)

    told = [line["causes"] for line in logs if line["event"] == "reconcile"]
    assert told == [("Pod shop/web created",), ("retry 1",)]


@pytest.mark.behaviour("C7")
async def test_all_that_a_reconciler_logs_names_controller_object_and_call() -> None:
    seen: list[Mapping[str, object]] = []

    async def look(request: Request) -> None:
        seen.append(get_contextvars())

    it = Controller(
        "web",
        Reconcile(look),
        kind=DEPLOYMENT,
        randomness=random.Random(1),  # noqa: S311 - ids, no secrets
    )
    it.queue.add(WEB)

    await run_for(it, 1)

    (names,) = seen
    reconcile_id = names["reconcileID"]
    assert isinstance(reconcile_id, str)
    assert uuid.UUID(reconcile_id).version == 4
    assert names == {
        "controller": "web",
        "controllerGroup": "apps",
        "controllerKind": "Deployment",
        "Deployment": "shop/web",
        "namespace": "shop",
        "name": "web",
        "reconcileID": reconcile_id,
    }


@pytest.mark.behaviour("C7")
async def test_each_call_has_an_id_of_its_own_and_leaves_none_behind() -> None:
    seen: list[object] = []

    async def look(request: Request) -> None:
        seen.append(get_contextvars()["reconcileID"])

    it = controller(Reconcile(look))
    for name in "abcd":
        it.queue.add(Request("shop", name))

    await run_for(it, 1)

    assert len(set(seen)) == 4
    assert get_contextvars() == {}


async def test_what_a_reconciler_binds_for_its_logs_is_gone_at_the_next_call() -> None:
    seen: list[Mapping[str, object]] = []

    async def bind(request: Request) -> None:
        seen.append(get_contextvars())
        bind_contextvars(release=request.name, controller="mine")

    it = controller(Reconcile(bind))
    it.queue.add(WEB)
    it.queue.add(API)

    with bound_contextvars(around="kept"):
        await run_for(it, 1)

    assert [(n["object"], n["controller"], n["around"]) for n in seen] == [
        ("shop/web", "web", "kept"),
        ("shop/api", "web", "kept"),
    ]
    assert "release" not in seen[1]


async def test_a_request_of_another_type_is_named_by_its_text() -> None:
    seen: list[Mapping[str, object]] = []

    class Count:
        async def reconcile(self, request: int, /) -> None:
            seen.append(get_contextvars())

    it: Controller[int] = Controller("count", Count())
    it.queue.add(7)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await it.run()

    assert seen[0].keys() == {"controller", "object", "reconcileID"}
    assert seen[0]["object"] == "7"


async def test_the_last_error_of_a_key_is_kept_until_it_succeeds() -> None:
    it = controller(Script(CONFLICT))
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(0.5)
        assert it.last_errors == {WEB: "ConflictError: the object has been modified"}
        await asyncio.sleep(1)
        assert it.last_errors == {}


async def test_what_is_in_flight_can_be_seen_with_its_task() -> None:
    it = controller(Reconcile(forever))
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(1)
        assert {key: task.get_name() for key, task in it.in_flight.items()} == {
            WEB: "web/0"
        }

    assert it.in_flight == {}


@pytest.mark.behaviour("Q11")
async def test_work_in_progress_is_reported_every_half_second() -> None:
    metrics = Metrics()
    it = controller(Reconcile(forever), metrics=metrics)
    it.queue.add(WEB)
    name = 'workqueue_longest_running_processor_seconds{controller="web",name="web"}'

    async with running(it):
        await asyncio.sleep(10.2)
        assert f"{name} 10.0" in metrics.exposition().decode()

    assert f"{name} 0.0" in metrics.exposition().decode(), "an end leaves no alert"


@pytest.mark.behaviour("Q11")
async def test_work_that_is_done_is_no_longer_reported_and_an_idle_loop_sleeps() -> (
    None
):
    async def work(request: Request) -> None:
        await asyncio.sleep(10.2)

    metrics = Metrics()
    it = controller(Reconcile(work), metrics=metrics)
    it.queue.add(WEB)
    name = 'workqueue_unfinished_work_seconds{controller="web",name="web"}'

    async with running(it):
        await asyncio.sleep(11)
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # no public view of timers
        assert f"{name} 0.0" in metrics.exposition().decode()
        assert all(timer.cancelled() for timer in timers)


class Spans:
    """A tracer whose spans can be looked at."""

    def __init__(self) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    @property
    def first(self) -> ReadableSpan:
        return self._exporter.get_finished_spans()[0]


async def test_a_reconcile_is_a_span_that_knows_why_and_sees_the_error() -> None:
    spans = Spans()
    it = Controller("web", Script(CONFLICT), kind=DEPLOYMENT, tracer=spans.tracer)
    it.queue.add(WEB, cause="Pod shop/web created")

    async with running(it):
        await asyncio.sleep(0.001)

    span = spans.first
    assert span.name == "reconcile"
    assert span.attributes is not None
    assert span.attributes.keys() == {
        *("controller", "object", "namespace", "name", "reconcileID", "causes"),
        *("error.type", "http.response.status_code"),
    }
    assert span.attributes["causes"] == ("Pod shop/web created",)
    assert span.attributes["error.type"] == "ConflictError"
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidError("data[a]: Invalid value: hunter2", status=422), None),
        (TerminalError("cannot log in with hunter2"), None),
        (ValueError("hunter2"), None),
        (OSError("proxy anna:hunter2"), None),
        (NotCachedError("Secret (v1) is not cached"), "Secret (v1) is not cached"),
    ],
)
async def test_a_span_has_the_text_of_an_error_only_where_it_quotes_nothing(
    error: Exception, text: str | None
) -> None:
    spans = Spans()
    it = Controller("web", Script(error), tracer=spans.tracer)
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(0.001)

    assert spans.first.status.description == text
    assert spans.first.events == ()
    assert "hunter2" not in spans.first.to_json()


# The time limit of a reconcile.


async def forever(request: Request) -> None:
    await asyncio.sleep(36_000)


TEN_SECONDS = ControllerOptions(reconciliation_timeout=10)


@pytest.mark.behaviour("C8")
async def test_a_slow_reconcile_is_cut_off_and_retried_and_counted_each_time() -> None:
    metrics = Metrics()
    it = controller(Reconcile(forever), metrics=metrics, options=TEN_SECONDS)
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(25)
        assert it.last_errors == {WEB: "TimeoutError: reconcile took longer than 10 s"}

    assert counts(metrics) == {  # from 0 to 10 and from 11 to 21, then again from 23
        "error": 2,
        "reconcile_errors": 2,
        "reconcile_timeouts": 2,
    }


@pytest.mark.behaviour("C8")
async def test_a_reconcile_that_ends_in_time_is_no_timeout() -> None:
    async def brief(request: Request) -> None:
        await asyncio.sleep(9)

    metrics = Metrics()
    it = controller(Reconcile(brief), metrics=metrics, options=TEN_SECONDS)
    it.queue.add(WEB)

    await run_for(it, 60)

    assert counts(metrics) == {"success": 1}


@pytest.mark.behaviour("C8")
async def test_a_timeout_of_the_reconcilers_own_is_not_counted() -> None:
    async def impatient(request: Request) -> None:
        async with asyncio.timeout(1):
            await forever(request)

    metrics = Metrics()
    it = controller(Reconcile(impatient), metrics=metrics, options=TEN_SECONDS)
    it.queue.add(WEB)

    async with running(it):
        await asyncio.sleep(1.5)
        assert it.last_errors == {WEB: "TimeoutError: "}

    assert counts(metrics) == {"error": 1, "reconcile_errors": 1}


@pytest.mark.behaviour("C8")
async def test_a_cancelled_controller_is_no_timeout() -> None:
    metrics = Metrics()
    it = controller(Reconcile(forever), metrics=metrics, options=TEN_SECONDS)
    it.queue.add(WEB)

    await run_for(it, 5)

    assert counts(metrics) == {}


@pytest.mark.behaviour("C8")
async def test_without_a_limit_a_reconcile_may_take_for_ever() -> None:
    metrics = Metrics()
    it = controller(Reconcile(forever), metrics=metrics)
    it.queue.add(WEB)

    await run_for(it, 300)

    assert counts(metrics) == {}


@pytest.mark.behaviour("C8")
async def test_a_reconciler_that_shrugs_off_its_cut_off_is_counted_as_well() -> None:
    async def stubborn(request: Request) -> None:
        try:
            await forever(request)
        except asyncio.CancelledError:
            await asyncio.sleep(1)

    metrics = Metrics()
    it = controller(Reconcile(stubborn), metrics=metrics, options=TEN_SECONDS)
    it.queue.add(WEB)

    await run_for(it, 60)

    assert counts(metrics) == {"success": 1, "reconcile_timeouts": 1}


# The start: sources first.


@pytest.mark.behaviour("C6")
async def test_nothing_is_reconciled_before_every_source_has_synced() -> None:
    script = Script()
    quick = FakeSource(keys=[WEB])
    slow = FakeSource(keys=[API], start_takes=20, sync_takes=40)

    await run_for(controller(script, quick, slow), 3600)

    assert script.asked == [(60, WEB), (60, API)]


@pytest.mark.behaviour("C5")
async def test_sources_start_side_by_side() -> None:
    script = Script()
    sources = [FakeSource(keys=[WEB], sync_takes=50) for _ in range(10)]

    await run_for(controller(script, *sources), 3600)

    assert script.asked_at == [50]


@pytest.mark.behaviour("C5")
@pytest.mark.parametrize(
    "late",
    [
        pytest.param(FakeSource("Pod (v1)", start_takes=3600), id="starting"),
        pytest.param(FakeSource("Pod (v1)", sync_takes=3600), id="syncing"),
        pytest.param(FakeSource("Pod (v1)", start_takes=70, sync_takes=70), id="both"),
    ],
)
async def test_a_source_that_is_not_there_after_two_minutes_is_named(
    late: FakeSource, looptime: float
) -> None:
    script = Script()
    good = FakeSource("Secret (v1)", keys=[WEB], sync_takes=100)
    it = controller(script, good, late)

    with pytest.raises(SyncTimeoutError) as raised:
        await it.run()

    assert looptime == 120
    assert str(raised.value) == ("controller web: Pod (v1) did not sync within 120 s")
    assert script.asked == []
    assert good.stops
    assert late.stops


@pytest.mark.behaviour("C5")
async def test_the_time_for_the_sync_can_be_chosen(looptime: float) -> None:
    options = ControllerOptions(cache_sync_timeout=5)

    with pytest.raises(SyncTimeoutError):
        await controller(Script(), FakeSource(sync_takes=6), options=options).run()

    assert looptime == 5


@pytest.mark.behaviour("C5")
async def test_a_controller_may_wait_for_its_sources_for_ever() -> None:
    script = Script()
    source = FakeSource("Bundle (v1)", keys=[WEB], sync_takes=100_000)
    options = ControllerOptions(cache_sync_timeout=None)
    it = controller(script, source, options=options)

    async with running(it):
        await asyncio.sleep(99_999)
        assert list(it.unsynced) == ["Bundle (v1)"]
        await asyncio.sleep(2)
        assert list(it.unsynced) == []

    assert script.asked_at == [100_000]


@pytest.mark.behaviour("C5")
@pytest.mark.parametrize(
    "failing",
    [
        FakeSource(start_failure=ForbiddenError("list pods", status=403)),
        FakeSource(sync_failure=ForbiddenError("list pods", status=403)),
        FakeSource(start_failure=TimeoutError("connect")),
    ],
    ids=["start", "sync", "a timeout of its own"],
)
async def test_what_a_source_raises_is_raised_at_once_and_as_itself(
    failing: FakeSource, looptime: float
) -> None:
    other = FakeSource(sync_takes=60)

    with pytest.raises((ForbiddenError, TimeoutError)) as raised:
        await controller(Script(), other, failing).run()

    assert raised.value is (failing.start_failure or failing.sync_failure)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert looptime == 0
    assert other.stops


@pytest.mark.behaviour("C5")
async def test_what_two_sources_raise_comes_as_a_group() -> None:
    sources = [FakeSource(start_failure=OSError(n)) for n in "ab"]

    with pytest.raises(ExceptionGroup) as raised:
        await controller(Script(), *sources).run()

    assert {str(error) for error in raised.value.exceptions} == {"a", "b"}


@pytest.mark.behaviour("C5")
async def test_a_controller_that_is_cancelled_while_it_syncs_stops_its_sources() -> (
    None
):
    source = FakeSource(sync_takes=60)

    await run_for(controller(Script(), source), 30)

    assert source.stops


@pytest.mark.behaviour("C5")
async def test_a_controller_starts_once() -> None:
    it = controller(Script())
    await run_for(it, 1)

    with pytest.raises(AlreadyStartedError, match="controller web was started twice"):
        await it.run()


@pytest.mark.behaviour("C5")
async def test_a_controller_that_runs_is_not_disturbed_by_a_second_start() -> None:
    script = Script()
    it = controller(script)

    async with running(it):
        await asyncio.sleep(1)
        with pytest.raises(AlreadyStartedError):
            await it.run()
        it.queue.add(WEB)
        await asyncio.sleep(1)

    assert script.asked == [(1, WEB)]


# Warm-up, before the election.


@pytest.mark.behaviour("C9")
async def test_a_warm_controller_has_its_keys_and_waits_for_run_to_work() -> None:
    script = Script()
    source = FakeSource(keys=[WEB], sync_takes=10)
    it = controller(script, source)

    await it.warm_up()
    await asyncio.sleep(90)
    assert len(it.queue) == 1
    assert script.asked == []

    await run_for(it, 60)
    assert script.asked == [(100, WEB)]
    assert source.starts == 1


@pytest.mark.behaviour("C9")
async def test_warm_up_and_run_at_once_start_sources_once_and_both_wait() -> None:
    script = Script()
    source = FakeSource(keys=[WEB], sync_takes=10)
    it = controller(script, source)

    async with running(it), asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(it.warm_up())

    assert now() == 10
    assert source.starts == 1


@pytest.mark.behaviour("C9")
async def test_run_takes_over_from_a_warm_up_that_was_cancelled() -> None:
    script = Script()
    source = FakeSource(keys=[WEB], sync_takes=10)
    it = controller(script, source)

    async with asyncio.TaskGroup() as tasks:
        warming = tasks.create_task(it.warm_up())
        await asyncio.sleep(1)
        working = tasks.create_task(it.run())
        await asyncio.sleep(1)
        warming.cancel()
        await asyncio.sleep(30)
        working.cancel()

    assert script.asked == [(12, WEB)]
    assert source.starts == 2


@pytest.mark.behaviour("C9")
async def test_a_warm_up_that_fails_says_why_and_stops_its_sources() -> None:
    source = FakeSource(start_failure=ForbiddenError("list pods", status=403))
    other = FakeSource()

    with pytest.raises(ForbiddenError):
        await controller(Script(), other, source).warm_up()

    assert (source.stops, other.stops) == (1, 1)


@pytest.mark.behaviour("C9")
async def test_a_warm_up_has_two_minutes_as_well(looptime: float) -> None:
    with pytest.raises(SyncTimeoutError):
        await controller(Script(), FakeSource(sync_takes=3600)).warm_up()

    assert looptime == 120


# Sources that come and go.


async def test_a_source_added_before_the_start_starts_with_the_others() -> None:
    script = Script()
    source = FakeSource(keys=[WEB])
    it = controller(script)

    await it.watch(source)
    assert source.starts == 0

    await run_for(it, 60)
    assert source.starts == 1
    assert script.asked == [(0, WEB)]


async def test_a_source_added_to_a_running_controller_starts_at_once() -> None:
    script = Script()
    source = FakeSource(keys=[WEB], sync_takes=5)
    it = controller(script)

    async with running(it):
        await asyncio.sleep(10)
        await it.watch(source)
        assert now() == 15
        await asyncio.sleep(1)

    assert script.asked == [(15, WEB)]
    assert source.stops, "it ends with the controller"


@pytest.mark.behaviour("C9")
async def test_a_source_added_during_the_warm_up_starts_after_it_and_once() -> None:
    early, late = FakeSource(sync_takes=10), FakeSource(keys=[WEB])
    it = controller(Script(), early)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.warm_up())
        await asyncio.sleep(1)
        tasks.create_task(it.watch(late))

    assert (early.starts, late.starts) == (1, 1)
    assert len(it.queue) == 1


async def test_an_added_source_that_fails_leaves_the_controller_as_it_was() -> None:
    script = Script()
    bad = FakeSource("Pod (v1)", sync_takes=3600)
    it = controller(script)

    async with running(it):
        await asyncio.sleep(1)
        with pytest.raises(SyncTimeoutError, match=r"Pod \(v1\)"):
            await it.watch(bad)
        it.queue.add(WEB)
        await asyncio.sleep(1)

    assert script.asked == [(121, WEB)]
    assert bad.stops == 1


@pytest.mark.parametrize(("takes", "given"), [(10, 5), (150, 140)])
async def test_an_added_source_may_be_given_a_time_of_its_own(
    takes: float, given: float
) -> None:
    source = FakeSource("Pod (v1)", sync_takes=takes)
    it = controller(Script())

    async with running(it):
        await asyncio.sleep(1)
        with pytest.raises(SyncTimeoutError, match=rf"Pod \(v1\) .* within {given} s"):
            await it.watch(source, timeout=given)
        assert now() == 1 + given
        await it.watch(source, timeout=takes + 1)

    assert (source.starts, source.stops) == (2, 2)


async def test_the_time_of_an_added_source_goes_on_while_others_warm_up() -> None:
    late = FakeSource("Pod (v1)")
    it = controller(Script(), FakeSource(sync_takes=60))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.warm_up())
        await asyncio.sleep(1)
        with pytest.raises(SyncTimeoutError, match=r"Pod \(v1\)"):
            await it.watch(late, timeout=5)
        assert now() == 6

    assert late.starts == 0


async def test_a_source_that_is_taken_away_is_stopped_once_and_let_go() -> None:
    source, twin = FakeSource(), FakeSource()
    it = controller(Script())

    async with running(it):
        await asyncio.sleep(1)
        await it.watch(twin)
        watching = await it.watch(source)
        watching.stop()
        assert (source.stops, twin.stops) == (1, 0)

    assert (source.stops, twin.stops) == (1, 1)


async def test_a_source_that_is_stopped_before_the_start_never_starts() -> None:
    source = FakeSource(keys=[WEB])
    it = controller(Script())

    watching = await it.watch(source)
    watching.stop()
    watching.stop()
    await run_for(it, 60)

    assert source.starts == 0


# Many at once.


@pytest.mark.behaviour("C10")
async def test_as_many_reconciles_run_at_once_as_there_are_workers() -> None:
    running_now: set[Request] = set()
    most = 0

    async def work(request: Request) -> None:
        nonlocal most
        assert request not in running_now, "two workers hold one key"
        running_now.add(request)
        most = max(most, len(running_now))
        await asyncio.sleep(10)
        running_now.remove(request)

    metrics = Metrics()
    it = controller(
        Reconcile(work),
        metrics=metrics,
        options=ControllerOptions(max_concurrent_reconciles=3),
    )
    for n in range(7):
        it.queue.add(Request("shop", str(n)))

    async with running(it):
        await asyncio.sleep(5)
        text = metrics.exposition().decode()
        await asyncio.sleep(30)
        after = metrics.exposition().decode()

    assert most == 3
    assert 'controller_runtime_active_workers{controller="web"} 3.0' in text
    assert 'controller_runtime_max_concurrent_reconciles{controller="web"} 3.0' in text
    assert 'controller_runtime_active_workers{controller="web"} 0.0' in after


@pytest.mark.behaviour("C10", "Q1")
async def test_a_slow_key_holds_up_nobody_and_is_never_worked_on_twice() -> None:
    done: list[tuple[float, str]] = []

    async def work(request: Request) -> None:
        await asyncio.sleep(100 if request == WEB else 1)
        done.append((now(), request.name))

    it = controller(
        Reconcile(work), options=ControllerOptions(max_concurrent_reconciles=2)
    )
    it.queue.add(WEB)
    it.queue.add(API)

    async with running(it):
        await asyncio.sleep(10)
        it.queue.add(WEB)
        it.queue.add(API)
        await asyncio.sleep(250)

    assert done == [(1, "api"), (11, "api"), (100, "web"), (200, "web")]


async def test_reconciles_that_never_wait_leave_the_loop_to_others() -> None:
    script = Script()
    it = controller(script)
    for n in range(160):
        it.queue.add(Request("shop", str(n)))

    async with running(it):
        turns = 0
        while len(script.asked) < 160:
            await asyncio.sleep(0)
            turns += 1

    assert turns >= 10


# The end.


@pytest.mark.behaviour("M8")
async def test_stopping_lets_work_in_flight_end_and_starts_no_more(
    looptime: float,
) -> None:
    done: list[Request] = []

    async def work(request: Request) -> None:
        await asyncio.sleep(10)
        done.append(request)

    it = controller(
        Reconcile(work), options=ControllerOptions(max_concurrent_reconciles=2)
    )
    for key in (WEB, API, Request("shop", "late")):
        it.queue.add(key)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.run())
        await asyncio.sleep(5)
        it.stop()
        it.queue.add(Request("shop", "later"))

    assert looptime == 10
    assert set(done) == {WEB, API}


@pytest.mark.behaviour("M8")
async def test_stopping_an_idle_controller_ends_it_at_once(looptime: float) -> None:
    it = controller(Script())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.run())
        await asyncio.sleep(5)
        it.stop()

    assert looptime == 5


@pytest.mark.behaviour("M8")
async def test_stopping_a_controller_that_waits_for_its_sources_ends_it_at_once(
    looptime: float,
) -> None:
    script = Script()
    source = FakeSource(keys=[WEB], sync_takes=60)
    it = controller(script, source)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.run())
        tasks.create_task(it.warm_up())
        await asyncio.sleep(5)
        it.stop()

    assert looptime == 5
    assert script.asked == []
    assert source.stops
    assert it.unsynced == ()


async def test_a_controller_that_has_ended_starts_no_source() -> None:
    source = FakeSource()
    it = controller(Script())
    await run_for(it, 1)

    await it.watch(source)

    assert source.starts == 0


async def test_a_controller_stopped_before_it_runs_starts_no_source() -> None:
    source = FakeSource()
    it = controller(Script(), source)

    it.stop()
    await it.warm_up()
    await it.watch(FakeSource())
    await it.run()

    assert source.starts == 0


@pytest.mark.behaviour("M8")
async def test_cancelling_the_controller_cancels_every_reconcile_in_flight(
    logs: list[EventDict],
) -> None:
    cancelled: set[Request] = set()

    async def hang(request: Request) -> None:
        try:
            await forever(request)
        except asyncio.CancelledError:
            cancelled.add(request)
            raise

    metrics = Metrics()
    it = controller(
        Reconcile(hang),
        metrics=metrics,
        options=ControllerOptions(max_concurrent_reconciles=2),
    )
    it.queue.add(WEB)
    it.queue.add(API)

    await run_for(it, 1)

    assert cancelled == {WEB, API}
    assert counts(metrics) == {}, "being cancelled is no failure"
    assert above_debug(logs) == []


@pytest.mark.behaviour("M8")
async def test_work_that_is_cancelled_while_it_drains_may_clean_up() -> None:
    cleaned: list[float] = []

    async def work(request: Request) -> None:
        try:
            await forever(request)
        finally:
            async with asyncio.timeout(5):
                await asyncio.sleep(2)
                cleaned.append(now())

    it = controller(Reconcile(work))
    it.queue.add(WEB)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(it.run())
        await asyncio.sleep(1)
        it.stop()
        await asyncio.sleep(24)
        task.cancel()

    assert cleaned == [27]


async def test_when_a_controller_has_ended_nothing_of_it_is_left() -> None:
    source = FakeSource()
    it = controller(Script(timedelta(hours=1)), source)
    it.queue.add(WEB)

    await run_for(it, 60)

    loop = asyncio.get_running_loop()
    timers = loop._scheduled  # type: ignore[attr-defined] # no public view of timers
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert all(timer.cancelled() for timer in timers)
    assert it.queue.snapshot() == []
    assert source.stops
