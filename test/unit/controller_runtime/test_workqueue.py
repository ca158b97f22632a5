"""The queue's contract, one sentence a test.

Every test here runs on a virtual clock: a delay of an hour takes no time at all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import pytest

from controller_runtime.backoff import (
    Backoff,
    BucketLimiter,
    ExponentialLimiter,
    TokenBucket,
)
from controller_runtime.errors import ShutDownError
from controller_runtime.metrics import Metrics
from controller_runtime.workqueue import (
    LOW_PRIORITY,
    Item,
    KeyState,
    Place,
    WorkQueue,
)

Queue = WorkQueue[str]


async def take(queue: Queue, count: int = 1) -> list[str]:
    """Take keys and finish each before the next."""
    keys = []
    for _ in range(count):
        item = await queue.get()
        queue.done(item.key)
        keys.append(item.key)
    return keys


async def is_idle(queue: Queue) -> bool:
    """Whether a worker that asks now has to wait."""
    try:
        async with asyncio.timeout(0):
            await queue.get()
    except TimeoutError:
        return True
    return False


@pytest.fixture(autouse=True)
async def no_timer_fails() -> AsyncIterator[None]:
    """A loop logs what goes wrong in a timer, and nobody else hears of it."""
    failures: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    yield
    assert failures == []


# What is in the queue: once, and never in two hands.


@pytest.mark.behaviour("Q1")
async def test_a_key_added_twice_is_handed_out_once() -> None:
    queue = Queue()

    queue.add("a")
    queue.add("a")

    assert len(queue) == 1
    assert await take(queue) == ["a"]
    assert len(queue) == 0
    assert await is_idle(queue)


@pytest.mark.behaviour("Q1")
async def test_a_key_added_while_it_is_worked_on_comes_back_once_when_done() -> None:
    queue = Queue()
    queue.add("a")
    item = await queue.get()

    queue.add("a")
    queue.add("a")
    assert await is_idle(queue), "two workers would hold one key"

    queue.done(item.key)
    assert await take(queue) == ["a"]
    assert await is_idle(queue)


@pytest.mark.behaviour("Q1")
async def test_done_wakes_the_worker_that_waits_for_the_very_key() -> None:
    queue = Queue()
    queue.add("a")
    item = await queue.get()

    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        await asyncio.sleep(1)
        assert not second.done()
        queue.done(item.key)

    assert second.result().key == "a"


async def test_giving_back_a_key_that_nobody_holds_changes_nothing() -> None:
    queue = Queue()
    queue.add("a")

    queue.done("a")
    queue.done("b")

    assert await take(queue) == ["a"]
    assert await is_idle(queue)


@pytest.mark.behaviour("Q5")
async def test_others_pass_a_key_that_is_worked_on_and_it_keeps_its_turn() -> None:
    queue = Queue()
    queue.add("a")
    await queue.get()

    queue.add("a")
    queue.add("b")
    queue.add("c")
    assert (await queue.get()).key == "b"

    queue.done("a")
    assert await take(queue, 2) == ["a", "c"], "a came back before c"


@pytest.mark.behaviour("Q5")
async def test_a_delay_that_ends_while_the_key_is_worked_on_waits_for_done() -> None:
    queue = Queue()
    queue.add("a")
    await queue.get()

    queue.add_after("a", 1)
    await asyncio.sleep(2)
    assert len(queue) == 1
    assert await is_idle(queue)

    queue.done("a")
    assert await take(queue) == ["a"]


# In which order.


@pytest.mark.behaviour("Q2")
async def test_keys_leave_by_priority_and_then_in_the_order_of_arrival() -> None:
    queue = Queue()

    queue.add("low", priority=LOW_PRIORITY)
    queue.add("first")
    queue.add("second")
    queue.add("high", priority=1)

    assert await take(queue, 4) == ["high", "first", "second", "low"]


@pytest.mark.behaviour("Q2")
async def test_a_key_whose_priority_rises_goes_behind_those_that_were_there() -> None:
    queue = Queue()
    queue.add("a")
    queue.add("b", priority=1)

    queue.add("a", priority=1)

    assert await queue.get() == Item("b", 1)
    assert await queue.get() == Item("a", 1)


@pytest.mark.behaviour("Q2")
async def test_a_key_whose_priority_rises_overtakes_its_former_equals() -> None:
    queue = Queue()
    for key in "abc":
        queue.add(key)

    queue.add("c", priority=1)

    assert await take(queue, 3) == ["c", "a", "b"]
    assert await is_idle(queue), "the place that c left must not be handed out"


@pytest.mark.behaviour("Q2")
async def test_a_priority_never_falls_and_the_same_again_costs_no_place() -> None:
    queue = Queue()
    queue.add("a", priority=2)
    queue.add("b", priority=2)

    queue.add("a", priority=1)
    queue.add("a", priority=2)

    assert await queue.get() == Item("a", 2)
    assert await queue.get() == Item("b", 2)


@pytest.mark.behaviour("Q2")
async def test_a_waiting_key_takes_the_highest_priority_of_its_adds() -> None:
    queue = Queue()
    queue.add_after("a", 10, priority=1)
    queue.add_after("a", 20, priority=3)
    queue.add_after("a", 20, priority=2)

    assert await queue.get() == Item("a", 3)


@pytest.mark.behaviour("Q2", "Q5")
async def test_a_priority_may_rise_while_the_key_is_worked_on() -> None:
    queue = Queue()
    queue.add("a")
    await queue.get()

    queue.add("a")
    queue.add("b")
    queue.add("a", priority=1)
    queue.done("a")

    assert await take(queue, 2) == ["a", "b"]
    assert await is_idle(queue)


@pytest.mark.behaviour("Q2")
async def test_waiting_keys_arrive_when_their_time_comes_not_when_added() -> None:
    queue = Queue()
    queue.add_after("late", 2)
    queue.add_after("soon", 1)
    await asyncio.sleep(1.5)
    queue.add("now")
    await asyncio.sleep(1)

    assert await take(queue, 3) == ["soon", "now", "late"]


async def test_without_a_priority_a_key_keeps_the_one_it_has() -> None:
    queue = Queue()
    queue.add_after("new", 0)
    queue.add_after("waiting", 1, priority=5)
    queue.add_after("waiting", 0)
    queue.add("ready", priority=4)
    queue.add_after("ready", 0)
    queue.add("held", priority=3)

    assert [await queue.get() for _ in range(4)] == [
        Item("waiting", 5),
        Item("ready", 4),
        Item("held", 3),
        Item("new", 0),
    ]


async def test_without_a_priority_a_key_comes_back_with_the_one_it_is_held_with() -> (
    None
):
    queue = Queue()
    queue.add("a", priority=3)
    await queue.get()

    queue.add("a", priority=LOW_PRIORITY)
    queue.retry("a")
    queue.done("a")

    assert await queue.get() == Item("a", 3)


# When: delays.


@pytest.mark.behaviour("Q3")
@pytest.mark.parametrize("delays", [(60, 3600), (3600, 60)])
async def test_of_two_delays_for_one_key_the_sooner_wins(
    delays: tuple[float, float], looptime: float
) -> None:
    queue = Queue()

    for delay in delays:
        queue.add_after("a", delay)

    assert await take(queue) == ["a"]
    assert looptime == 60
    await asyncio.sleep(7200)
    assert await is_idle(queue), "the later time was given up"


@pytest.mark.behaviour("Q3")
async def test_a_ready_key_ignores_a_later_delay(looptime: float) -> None:
    queue = Queue()

    queue.add("a")
    queue.add_after("a", 60)

    assert await take(queue) == ["a"]
    assert looptime == 0
    await asyncio.sleep(120)
    assert await is_idle(queue)


@pytest.mark.behaviour("Q3")
async def test_an_add_breaks_through_the_delay_of_a_waiting_key(
    looptime: float,
) -> None:
    queue = Queue()
    queue.retry("a", after=60)
    queue.add_after("a", 60)

    queue.add("a")

    assert await take(queue) == ["a"]
    assert looptime == 0
    await asyncio.sleep(120)
    assert await is_idle(queue)


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_key_without_delay_is_ready_at_once(seconds: float) -> None:
    queue = Queue()

    queue.add_after("a", seconds)

    assert len(queue) == 1


async def test_a_sooner_key_is_not_held_up_by_a_later_one(looptime: float) -> None:
    queue = Queue()

    queue.add_after("late", 3600)
    queue.add_after("soon", 60)

    assert await take(queue) == ["soon"]
    assert looptime == 60
    assert await take(queue) == ["late"]
    assert looptime == 3600


async def test_keys_whose_time_comes_together_come_in_the_order_of_their_adds() -> None:
    queue = Queue()

    for key in "abc":
        queue.add_after(key, 60)

    assert await take(queue, 3) == ["a", "b", "c"]


async def test_the_same_delay_again_costs_no_turn() -> None:
    queue = Queue()

    queue.add_after("a", 60)
    queue.add_after("b", 60)
    queue.add_after("a", 60)

    assert await take(queue, 2) == ["a", "b"]


async def test_ten_thousand_waiting_keys_use_one_timer_and_ready_ones_none() -> None:
    queue: WorkQueue[int] = WorkQueue()

    queue.add(-1)
    assert queue._timer is None
    for key in range(10_000):
        queue.add_after(key, 10_000 - key)

    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # no public view of timers
    assert sum(not timer.cancelled() for timer in scheduled) == 1
    queue.close()


@pytest.mark.behaviour("Q4")
@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(None, 5, id="the limiter alone"),
        pytest.param(60, 5, id="the limiter asks for less"),
        pytest.param(2, 2, id="after is less"),
    ],
)
async def test_of_limiter_and_after_the_smaller_counts(
    after: float | None, expected: float, looptime: float
) -> None:
    queue = Queue(limiter=ExponentialLimiter(Backoff(base=5)))

    assert queue.retry("a", after=after) == expected

    assert await take(queue) == ["a"]
    assert looptime == expected


@pytest.mark.behaviour("Q7")
async def test_each_failure_in_a_row_waits_longer_until_it_is_forgotten() -> None:
    queue = Queue(limiter=ExponentialLimiter(Backoff(base=1, ceiling=3)))
    loop = asyncio.get_running_loop()

    async def wait() -> float:
        asked = loop.time()
        queue.retry("a")
        await take(queue)
        return loop.time() - asked

    assert [await wait() for _ in range(4)] == pytest.approx([1, 2, 3, 3])
    assert queue.num_requeues("a") == 4

    queue.forget("a")

    assert queue.num_requeues("a") == 0
    assert await wait() == pytest.approx(1)


@pytest.mark.behaviour("Q7")
async def test_a_queue_retries_after_5_ms_unless_told_otherwise() -> None:
    assert Queue().retry("a") == 0.005


@pytest.mark.behaviour("Q8")
async def test_a_bucket_shared_by_all_keys_fills_while_time_passes() -> None:
    queue = Queue(limiter=BucketLimiter(TokenBucket(rate=10, burst=2)))
    delays = [queue.retry(key) for key in "abcd"]

    await asyncio.sleep(60)

    assert delays == pytest.approx([0, 0, 0.1, 0.2])
    assert [queue.retry(key) for key in "efg"] == pytest.approx([0, 0, 0.1])


async def test_a_heap_is_not_swept_while_most_of_its_slots_are_valid() -> None:
    queue: WorkQueue[int] = WorkQueue()
    slots = queue._by_time._slots

    for key in range(1000):
        queue.add_after(key, 3600)

    assert queue._by_time._slots is slots


async def test_what_is_delayed_and_hastened_for_ever_leaves_nothing_behind() -> None:
    queue = Queue(ageing=None)

    for _ in range(5000):
        queue.add_after("a", 36_000)
        queue.add("a", priority=LOW_PRIORITY)
        queue.add("a")
        queue.add("b", priority=1)
        await take(queue, 2)

    assert len(queue._by_time._slots) < 200
    assert len(queue._by_rank._slots) < 200


async def test_keys_keep_their_turns_when_stale_slots_are_swept() -> None:
    queue: WorkQueue[int] = WorkQueue()
    for key in range(200):
        queue.add_after(key, 1000 - key)
    for key in range(0, 200, 2):
        queue.add(key)
        queue.done((await queue.get()).key)
    for again in range(20):
        for key in range(0, 20, 2):
            queue.add_after(key, 2000 - again)

    taken = []
    for _ in range(110):
        item = await queue.get()
        queue.done(item.key)
        taken.append(item.key)

    assert taken == [*range(199, 0, -2), *range(0, 20, 2)]


# Ageing.


@pytest.mark.behaviour("Q12")
async def test_a_low_key_rises_to_0_after_30_seconds_behind_those_of_0() -> None:
    queue = Queue()
    queue.add("old", priority=LOW_PRIORITY)
    await asyncio.sleep(10)
    queue.add("low", priority=LOW_PRIORITY)
    queue.add("normal")

    await asyncio.sleep(19.9)
    assert [s.priority for s in queue.snapshot()] == [0, -100, -100]

    await asyncio.sleep(0.2)
    queue.add("new")
    assert [await queue.get() for _ in range(4)] == [
        Item("normal", 0),
        Item("old", 0),
        Item("new", 0),
        Item("low", LOW_PRIORITY),
    ]


@pytest.mark.behaviour("Q12")
async def test_low_keys_rise_each_in_its_time() -> None:
    queue = Queue(ageing=5)
    for key in "abc":
        queue.add(key, priority=-1)
        await asyncio.sleep(2)
    # It is 6 s now: a came at 0 s, b at 2 s, c at 4 s.

    assert [s.priority for s in queue.snapshot()] == [0, -1, -1]
    await asyncio.sleep(2)
    assert [s.priority for s in queue.snapshot()] == [0, 0, -1]
    await asyncio.sleep(2)
    assert [s.priority for s in queue.snapshot()] == [0, 0, 0]


@pytest.mark.behaviour("Q12")
async def test_a_busy_queue_does_not_starve_a_low_key(looptime: float) -> None:
    queue = Queue()
    queue.add("low", priority=LOW_PRIORITY)
    taken: list[str] = []

    for n in range(100):
        queue.add(f"busy {n}")
        queue.add(f"busier {n}")
        taken += await take(queue)
        await asyncio.sleep(1)

    assert "low" in taken
    # The 60 keys of the first half minute go first, all later ones after it.
    assert taken.index("low") == 60


@pytest.mark.behaviour("Q12")
async def test_a_low_key_rises_in_its_time_while_another_waits_for_hours() -> None:
    queue = Queue(ageing=5)
    queue.add_after("later", 36_000)
    queue.add("low", priority=LOW_PRIORITY)

    await asyncio.sleep(6)

    assert await queue.get() == Item("low", 0)


@pytest.mark.behaviour("Q12")
async def test_a_low_key_stays_low_where_ageing_is_off() -> None:
    queue = Queue(ageing=None)
    queue.add("low", priority=-1)

    await asyncio.sleep(36_000)

    assert await queue.get() == Item("low", -1)


@pytest.mark.behaviour("Q12")
async def test_ageing_counts_from_when_the_key_became_ready() -> None:
    queue = Queue(ageing=5)
    queue.add_after("a", 60, priority=-1)

    await asyncio.sleep(64)
    assert [s.priority for s in queue.snapshot()] == [-1]
    await asyncio.sleep(1.5)
    assert [s.priority for s in queue.snapshot()] == [0]


@pytest.mark.behaviour("Q12")
async def test_a_raise_that_stays_below_0_does_not_put_ageing_off() -> None:
    queue = Queue(ageing=5)
    queue.add("a", priority=-100)
    await asyncio.sleep(4)
    queue.add("a", priority=-50)

    await asyncio.sleep(1.5)

    assert await queue.get() == Item("a", 0)


@pytest.mark.behaviour("Q12")
async def test_ageing_forgets_a_key_that_was_taken_meanwhile() -> None:
    queue = Queue(ageing=5)
    queue.add("a", priority=-1)
    await take(queue)
    await asyncio.sleep(4)
    queue.add("a", priority=-1)

    await asyncio.sleep(2)

    assert await queue.get() == Item("a", -1), "its own five seconds are not over"


@pytest.mark.behaviour("Q12")
async def test_a_low_key_ages_while_it_is_worked_on_as_well() -> None:
    queue = Queue(ageing=5)
    queue.add("a")
    await queue.get()
    queue.add("a", priority=-1)

    await asyncio.sleep(6)
    assert await is_idle(queue)
    queue.done("a")

    assert await queue.get() == Item("a", 0)


async def test_ageing_lets_a_positive_priority_be() -> None:
    queue = Queue(ageing=5)
    queue.add("a", priority=7)

    await asyncio.sleep(60)

    assert await queue.get() == Item("a", 7)


# Why: causes.


async def test_a_key_carries_why_it_was_added_each_cause_once() -> None:
    queue = Queue()
    queue.add_after("a", 60, cause="timer")
    queue.add("a", cause="Pod updated")
    queue.add("a", cause="timer")
    queue.add("a")

    assert (await queue.get()).causes == ("timer", "Pod updated")


async def test_a_key_carries_eight_causes_at_most_the_first_ones() -> None:
    queue = Queue()

    for n in range(20):
        queue.add("a", cause=str(n))

    assert (await queue.get()).causes == tuple("01234567")


async def test_the_causes_of_the_next_turn_are_not_those_of_this_one() -> None:
    queue = Queue()
    queue.add("a", cause="first")
    first = await queue.get()
    queue.add("a", cause="second")
    queue.retry("a", cause="retry 1")
    queue.done("a")

    second = await queue.get()

    assert first.causes == ("first",)
    assert second.causes == ("second", "retry 1")


# Admission.


async def test_a_key_that_the_process_does_not_own_is_ignored() -> None:
    queue = Queue(owns=lambda key: key != "theirs")

    queue.add("theirs")
    queue.add_after("theirs", 1)
    queue.retry("theirs")
    queue.add("ours")
    await asyncio.sleep(60)

    assert [state.key for state in queue.snapshot()] == ["ours"]


# Workers that wait.


async def test_a_waiting_worker_gets_the_key_that_is_added() -> None:
    queue = Queue()
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(queue.get())
        await asyncio.sleep(60)
        queue.add("a")

    assert worker.result().key == "a"


async def test_each_key_of_a_batch_wakes_a_worker() -> None:
    queue = Queue()
    async with asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        for key in "abc":
            queue.add(key)

    assert [worker.result().key for worker in workers] == ["a", "b", "c"]


async def test_a_cancelled_worker_does_not_take_a_key_with_it() -> None:
    queue = Queue()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(queue.get())
        second = tasks.create_task(queue.get())
        await asyncio.sleep(0)  # both wait

        queue.add("a")
        first.cancel()

    assert second.result().key == "a"


async def test_a_worker_cancelled_while_it_waits_is_not_woken() -> None:
    queue = Queue()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(queue.get())
        second = tasks.create_task(queue.get())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)

        queue.add("a")

    assert second.result().key == "a"


async def test_a_woken_worker_whose_key_was_taken_waits_again() -> None:
    queue = Queue()
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await take(queue) == ["a"]
        await asyncio.sleep(1)
        assert not worker.done()

        queue.add("b")

    assert worker.result().key == "b"


# The end.


@pytest.mark.behaviour("Q10")
@pytest.mark.parametrize("end", [Queue.close, Queue.seal], ids=["close", "seal"])
async def test_the_end_wakes_every_waiting_worker(end: Callable[[Queue], None]) -> None:
    queue = Queue()

    async def worker() -> None:
        with pytest.raises(ShutDownError, match=r"^the queue hands out no more keys$"):
            await queue.get()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(worker())
        await asyncio.sleep(0)
        end(queue)


@pytest.mark.behaviour("Q10")
async def test_a_closed_queue_drops_what_it_has_and_takes_no_more() -> None:
    queue = Queue()
    queue.add("ready")
    queue.add_after("waiting", 60)

    queue.close()
    queue.add("late")
    queue.add_after("later", 60)
    queue.retry("again")
    await asyncio.sleep(120)

    assert len(queue) == 0
    assert queue.snapshot() == []
    with pytest.raises(ShutDownError):
        await queue.get()


@pytest.mark.behaviour("Q10")
async def test_a_closed_queue_leaves_no_timer() -> None:
    queue = Queue()
    queue.add_after("a", 60)
    queue.add("b", priority=LOW_PRIORITY)

    queue.close()

    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # no public view of timers
    assert all(timer.cancelled() for timer in scheduled)


async def test_a_sealed_queue_hands_out_nothing_and_lets_active_keys_end() -> None:
    queue = Queue()
    queue.add("active")
    queue.add("ready")
    queue.add_after("waiting", 60)
    item = await queue.get()

    queue.seal()
    with pytest.raises(ShutDownError):
        await queue.get()
    queue.add("late")
    queue.done(item.key)

    assert [state.key for state in queue.snapshot()] == ["ready", "late", "waiting"]


async def test_closing_while_a_key_is_worked_on_forgets_its_next_turn() -> None:
    queue = Queue()
    queue.add("a")
    item = await queue.get()
    queue.add("a")

    queue.close()
    queue.done(item.key)

    assert queue.snapshot() == []


# What can be seen from outside.


async def test_a_look_at_some_keys_shows_the_first_of_each_place() -> None:
    queue = Queue()
    for number in range(4):
        queue.add(f"active{number}")
        await queue.get()
    for number in range(10):
        queue.add(f"ready{number}", priority=number)
        queue.add_after(f"waiting{number}", 60 - number)

    few = queue.snapshot(limit=2)
    ones = queue.snapshot(where=lambda key: key.endswith("1"))

    names = ["active0", "active1", "ready9", "ready8", "waiting9", "waiting8"]
    assert [state.key for state in few] == names
    assert [state.key for state in ones] == ["active1", "ready1", "waiting1"]
    assert queue.snapshot(limit=100) == queue.snapshot()
    assert queue.counts() == {
        Place.ACTIVE: 4,
        Place.READY: 10,
        Place.WAITING: 10,
    }


@pytest.mark.behaviour("Q6")
async def test_the_length_counts_ready_keys_also_those_that_are_worked_on() -> None:
    queue = Queue()
    queue.add_after("waiting", 60)
    assert len(queue) == 0

    queue.add("ready")
    queue.add("active")
    assert len(queue) == 2

    await take(queue)
    item = await queue.get()
    assert len(queue) == 0

    queue.add(item.key)
    assert len(queue) == 1

    await asyncio.sleep(60)
    assert len(queue) == 2


@pytest.mark.behaviour("Q11")
async def test_a_snapshot_shows_every_key_with_its_place_time_and_causes() -> None:
    queue = Queue(limiter=ExponentialLimiter(Backoff(base=60)))
    queue.add("active", priority=5, cause="event")
    await queue.get()
    queue.add("ready", priority=1)
    queue.add("readier", priority=2)
    queue.retry("failed", cause="retry 1")
    queue.add_after("waiting", 30)
    await asyncio.sleep(10)

    assert queue.snapshot() == [
        KeyState("active", Place.ACTIVE, 10, 5, 0, ("event",)),
        KeyState("readier", Place.READY, 10, 2, 0, ()),
        KeyState("ready", Place.READY, 10, 1, 0, ()),
        KeyState("waiting", Place.WAITING, 20, 0, 0, ()),
        KeyState("failed", Place.WAITING, 50, 0, 1, ("retry 1",)),
    ]


@pytest.mark.behaviour("Q11")
async def test_a_snapshot_shows_a_key_in_both_its_places() -> None:
    queue = Queue()
    queue.add("a")
    await queue.get()
    queue.add_after("a", 60)

    places = [(state.key, state.place) for state in queue.snapshot()]

    assert places == [("a", Place.ACTIVE), ("a", Place.WAITING)]


class Dial:
    """A metric of any type; it remembers."""

    def __init__(self) -> None:
        self.value = 0.0
        self.observed: list[float] = []

    def inc(self) -> None:
        self.value += 1

    def dec(self) -> None:
        self.value -= 1

    def set(self, value: float, /) -> None:
        self.value = value

    def observe(self, amount: float, /) -> None:
        self.observed.append(amount)


class Dials:
    """Metrics of a queue that a test can read."""

    def __init__(self) -> None:
        self.adds = Dial()
        self.retries = Dial()
        self.queue_duration = Dial()
        self.work_duration = Dial()
        self.unfinished = Dial()
        self.longest = Dial()
        self.depths: defaultdict[int, Dial] = defaultdict(Dial)

    def depth(self, priority: int, /) -> Dial:
        return self.depths[priority]

    @property
    def depth_values(self) -> dict[int, float]:
        return {priority: dial.value for priority, dial in self.depths.items()}


@pytest.mark.behaviour("Q6")
async def test_depth_and_adds_count_a_key_when_it_turns_ready() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)

    queue.add("a")
    queue.add("a")
    queue.add_after("b", 60, priority=1)
    assert (dials.adds.value, dials.depth_values) == (1, {0: 1})

    await asyncio.sleep(61)
    assert (dials.adds.value, dials.depth_values) == (2, {0: 1, 1: 1})

    await take(queue, 2)
    assert (dials.adds.value, dials.depth_values) == (2, {0: 0, 1: 0})


@pytest.mark.behaviour("Q6")
async def test_depth_and_adds_count_a_key_that_is_hastened_once() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)

    queue.add_after("a", 3600)
    queue.add("a", priority=1)
    assert (dials.adds.value, dials.depth_values) == (1, {1: 1})

    await take(queue)
    await asyncio.sleep(7200)
    assert (dials.adds.value, dials.depth_values) == (1, {1: 0})


@pytest.mark.behaviour("Q6")
async def test_depth_counts_a_key_that_comes_back_while_it_is_worked_on() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)
    queue.add("a")
    item = await queue.get()

    queue.add("a")
    assert (dials.adds.value, dials.depth_values) == (2, {0: 1})

    queue.done(item.key)
    assert (dials.adds.value, dials.depth_values) == (2, {0: 1})


async def test_depth_moves_with_the_priority_of_a_key() -> None:
    dials = Dials()
    queue = Queue(metrics=dials, ageing=5)
    queue.add("a", priority=-2)
    queue.add("a", priority=-1)
    assert dials.depth_values == {-2: 0, -1: 1}

    await asyncio.sleep(6)
    assert dials.depth_values == {-2: 0, -1: 0, 0: 1}


async def test_closing_empties_the_depth() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)
    queue.add("a")
    queue.add("b", priority=1)

    queue.close()

    assert dials.depth_values == {0: 0, 1: 0}


@pytest.mark.behaviour("Q6")
async def test_every_add_with_a_delay_counts_as_a_retry() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)

    queue.add("a")
    queue.add_after("a", 60)
    queue.add_after("b", 60)
    queue.add_after("b", 30)
    queue.retry("c")
    queue.add_after("d", 0)

    assert dials.retries.value == 4


async def test_the_time_in_the_queue_and_in_hands_is_observed() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)

    queue.add_after("a", 60)
    await asyncio.sleep(62)
    item = await queue.get()
    await asyncio.sleep(5)
    queue.done(item.key)

    assert dials.queue_duration.observed == [pytest.approx(2)]
    assert dials.work_duration.observed == [pytest.approx(5)]


async def test_the_time_in_the_queue_counts_from_when_the_key_turned_ready() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)
    queue.add_after("hastened", 60)
    await asyncio.sleep(10)

    queue.add("hastened")
    queue.add("new")
    await asyncio.sleep(1)
    queue.add("new", priority=1)
    await asyncio.sleep(2)
    await take(queue, 2)

    assert dials.queue_duration.observed == pytest.approx([3, 3])


@pytest.mark.behaviour("Q11")
async def test_unfinished_work_is_the_sum_and_the_longest_of_what_is_in_hands() -> None:
    dials = Dials()
    queue = Queue(metrics=dials)
    queue.add("a")
    queue.add("b")
    await queue.get()
    await asyncio.sleep(10)
    await queue.get()
    await asyncio.sleep(5)

    queue.observe_unfinished()
    assert (dials.unfinished.value, dials.longest.value) == (20, 15)

    queue.done("a")
    queue.done("b")
    queue.observe_unfinished()
    assert (dials.unfinished.value, dials.longest.value) == (0, 0)


async def test_a_queue_without_metrics_observes_nothing() -> None:
    queue = Queue()
    queue.add("a")
    await queue.get()

    queue.observe_unfinished()


async def test_the_metrics_of_the_framework_fit_the_queue() -> None:
    metrics = Metrics()
    queue = Queue(metrics=metrics.queue("web"))
    queue.add("a", priority=3)
    await take(queue)

    text = metrics.exposition().decode()

    assert 'workqueue_adds_total{controller="web",name="web"} 1.0' in text
    assert 'workqueue_depth{controller="web",name="web",priority="3"} 0.0' in text
