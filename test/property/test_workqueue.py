"""The queue against a naive model of it, over every order of calls.

The model is a list of keys that is searched and sorted anew for every question. Time
is the loop's and virtual: it moves in whole seconds, when the machine says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import looptime
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from controller_runtime.backoff import Backoff, ExponentialLimiter
from controller_runtime.workqueue import Item, Place, WorkQueue

T = TypeVar("T")

AGEING = 10
KEYS = st.sampled_from("abcd")
PRIORITIES = st.sampled_from([-100, -50, 0, 1])
DELAYS = st.integers(min_value=0, max_value=15)
CAUSES = st.none() | st.sampled_from([f"cause {n}" for n in range(10)])


@dataclass
class Queued:
    """A key that is waiting (until `ready_at`) or ready (since then)."""

    key: str
    priority: int
    ready_at: float
    arrival: int = 0
    age: int = 0
    """The arrival at which it became ready; a rise in priority leaves it alone."""
    causes: list[str] = field(default_factory=list)


class Model:
    """What a queue promises, without a thought for speed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queued: list[Queued] = []
        self.active: dict[str, Item[str]] = {}
        self.failures: dict[str, int] = {}
        self.arrivals = 0

    def find(self, key: str) -> Queued | None:
        return next((q for q in self.queued if q.key == key), None)

    def ready(self) -> list[Queued]:
        """Ready keys, also those that are worked on, in the order of their turns."""
        ready = [q for q in self.queued if q.ready_at <= self.now]
        return sorted(ready, key=lambda q: (-q.priority, q.arrival))

    def free(self) -> list[Queued]:
        return [q for q in self.ready() if q.key not in self.active]

    def put(
        self, key: str, delay: float, priority: int | None, cause: str | None
    ) -> None:
        queued = self.find(key)
        if priority is None:
            held = self.active.get(key) or queued
            priority = held.priority if held else 0
        if queued is None:
            queued = Queued(key, priority, self.now + delay)
            self.queued.append(queued)
            self.enter(queued)
        elif queued.ready_at > self.now:
            queued.priority = max(queued.priority, priority)
            if self.now + delay < queued.ready_at:
                queued.ready_at = self.now + delay
                self.enter(queued)
        elif priority > queued.priority:
            queued.priority = priority
            self.arrive(queued)
        if cause and cause not in queued.causes and len(queued.causes) < 8:
            queued.causes.append(cause)

    def arrive(self, queued: Queued) -> None:
        self.arrivals += 1
        queued.arrival = self.arrivals

    def enter(self, queued: Queued) -> None:
        """Arrive among the ready, or among those that wait."""
        self.arrive(queued)
        queued.age = queued.arrival

    def retry(self, key: str, after: float | None) -> float:
        delay = min(2.0 ** self.failures.get(key, 0), 8.0)
        self.failures[key] = self.failures.get(key, 0) + 1
        return delay if after is None else min(delay, after)

    def take(self) -> Item[str]:
        queued = self.free()[0]
        self.queued.remove(queued)
        item = Item(queued.key, queued.priority, tuple(queued.causes))
        self.active[queued.key] = item
        return item

    def tick(self) -> None:
        """Let a second pass: first keys become ready, then old ones rise."""
        self.now += 1
        for queued in sorted(self.queued, key=lambda q: q.arrival):
            if queued.ready_at == self.now:
                self.enter(queued)
        for queued in sorted(self.queued, key=lambda q: q.age):
            if queued.ready_at + AGEING <= self.now and queued.priority < 0:
                queued.priority = 0
                self.arrive(queued)


class WorkQueueMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.loop = looptime.new_event_loop(start=0, resolution=1e-6)
        self.model = Model()
        self.queue: WorkQueue[str] = WorkQueue(
            limiter=ExponentialLimiter(Backoff(base=1, ceiling=8)), ageing=AGEING
        )

    def teardown(self) -> None:
        self.call(self.queue.close)
        self.loop.close()

    def wait(self, awaitable: Awaitable[T]) -> T:
        async def it() -> T:
            return await awaitable

        return self.loop.run_until_complete(it())

    def call(self, function: Callable[[], T]) -> T:
        async def it() -> T:
            return function()

        return self.loop.run_until_complete(it())

    @rule(key=KEYS, priority=PRIORITIES, cause=CAUSES)
    def add(self, key: str, priority: int, cause: str | None) -> None:
        self.call(lambda: self.queue.add(key, priority=priority, cause=cause))
        self.model.put(key, 0, priority, cause)

    @rule(key=KEYS, delay=DELAYS, priority=st.none() | PRIORITIES, cause=CAUSES)
    def add_after(
        self, key: str, delay: int, priority: int | None, cause: str | None
    ) -> None:
        self.call(
            lambda: self.queue.add_after(key, delay, priority=priority, cause=cause)
        )
        self.model.put(key, delay, priority, cause)

    @rule(key=KEYS, after=st.none() | DELAYS, priority=st.none() | PRIORITIES)
    def retry(self, key: str, after: int | None, priority: int | None) -> None:
        delay = self.call(lambda: self.queue.retry(key, after=after, priority=priority))
        assert delay == self.model.retry(key, after)
        self.model.put(key, delay, priority, None)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.model.failures.pop(key, None)

    @precondition(lambda self: self.model.free())
    @rule()
    def get(self) -> None:
        expected = self.model.take()
        assert self.wait(self.queue.get()) == expected

    @precondition(lambda self: self.model.active)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.active)))
        self.call(lambda: self.queue.done(key))
        del self.model.active[key]

    @rule(seconds=st.integers(min_value=1, max_value=20))
    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.wait(asyncio.sleep(1))
            self.model.tick()

    @invariant()
    def the_queue_holds_what_the_model_holds(self) -> None:
        state = self.call(self.queue.snapshot)
        keys = {
            place: [(s.key, s.priority) for s in state if s.place is place]
            for place in Place
        }
        waiting = [q for q in self.model.queued if q.ready_at > self.model.now]
        active = self.model.active.values()
        assert keys[Place.READY] == [(q.key, q.priority) for q in self.model.ready()]
        assert sorted(keys[Place.WAITING]) == sorted(
            (q.key, q.priority) for q in waiting
        )
        assert sorted(keys[Place.ACTIVE]) == sorted((i.key, i.priority) for i in active)
        assert len(self.queue) == len(self.model.ready())

    @invariant()
    def no_worker_is_left_waiting_while_a_key_is_free(self) -> None:
        first = self.queue._by_rank.first()
        assert (first.key if first else None) == next(
            (queued.key for queued in self.model.free()), None
        )


TestWorkQueue = pytest.mark.behaviour("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q12")(
    WorkQueueMachine.TestCase
)
