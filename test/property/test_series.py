"""The outbox against a naive model of it, over every order of calls.

The model is a list of series that is searched anew for every question, and beside it a
server that has what was written. Time is in minutes, and moves when the machine says.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from controller_runtime.meta import Json
from controller_runtime.series import TRIES, Outbox, Write

LIMIT, REMEMBERED = 3, 4
IDLE, REFRESH = 6, 30
ACTIONS = st.sampled_from("abcdef")


@dataclass(eq=False)
class Told:
    """One series, in the words of the specification."""

    name: str
    action: str
    seen: int
    count: int = 1
    written_at: int | None = None
    """When the last write was settled, if it was as a series."""
    attempted: int = 0
    """The count in the last write that was settled."""
    tries: int = 0
    place: str = "waiting"
    """waiting, in flight, or nowhere."""
    until: int = 0
    """Of those that wait: not before this."""
    goes_on: bool = True
    must_tell: bool = True


class Model:
    """What an outbox promises, without a thought for speed."""

    def __init__(self) -> None:
        self.now = 0
        self.all: list[Told] = []
        self.made = 0

    def waiting(self) -> list[Told]:
        return [s for s in self.all if s.place == "waiting"]

    def going_on(self) -> list[Told]:
        """Those that may go on, the one silent for longest first."""
        return [s for s in self.all if s.goes_on]

    def record(self, action: str) -> bool:
        for series in self.going_on():
            if series.action == action:
                series.count += 1
                series.seen = self.now
                if series.attempted < 2:
                    series.must_tell = True
                self.all.remove(series)
                self.all.append(series)
                self.line_up(series)
                return True
        if len(self.waiting()) >= LIMIT:
            return False
        self.made += 1
        self.all.append(Told(f"{action}{self.made}", action, self.now))
        if len(self.going_on()) > REMEMBERED:
            self.end(self.going_on()[0])
        return True

    def line_up(self, series: Told) -> None:
        if series.place == "nowhere" and series.must_tell:
            series.place, series.until = "waiting", self.now

    def end(self, series: Told) -> None:
        series.goes_on = False
        if series.count > 1 and series.attempted < series.count:
            series.must_tell = True
        self.line_up(series)

    def tick(self) -> None:
        self.now += 1
        for series in self.going_on():
            written_at = series.written_at
            if written_at is not None and written_at + REFRESH <= self.now:
                series.written_at = self.now
                series.must_tell |= series.attempted < series.count
                self.line_up(series)
            if series.seen + IDLE <= self.now:
                self.end(series)

    def settle(self, series: Told, times: int) -> None:
        series.place, series.attempted, series.tries = "nowhere", times, 0
        behind = series.count > times
        has_last_word = not series.goes_on and series.count > 1
        series.must_tell = behind and (times < 2 or has_last_word)
        if times > 1:
            series.written_at = self.now
        self.line_up(series)

    def named(self, name: str) -> Told:
        return next(s for s in self.all if s.name == name)


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(limit=LIMIT, remembered=REMEMBERED)
        self.model = Model()
        self.in_flight: list[Write] = []
        self.server: dict[str, int] = {}
        self.created: dict[str, int] = {}
        self.is_healthy = True
        """Nothing was refused or given up."""

    @property
    def now(self) -> float:
        return self.model.now * 60.0

    def next_name(self, action: str) -> str:
        return f"{action}{self.model.made + 1}"

    @rule(action=ACTIONS)
    def record(self, action: str) -> None:
        event: Json = {
            "metadata": {"name": self.next_name(action)},
            "type": "Normal",
            "action": action,
            "reason": "r",
            "reportingController": "c",
            "reportingInstance": "i",
            "regarding": {},
            "eventTime": str(self.model.now),
        }
        taken = self.outbox.record(event, self.now)
        assert taken == self.model.record(action)

    @rule(minutes=st.integers(min_value=1, max_value=8))
    def tick(self, minutes: int) -> None:
        for _ in range(minutes):
            self.model.tick()
            self.outbox.advance(self.now)

    @rule()
    def take(self) -> None:
        ready = [s for s in self.model.waiting() if s.until <= self.model.now]
        write = self.outbox.take()
        if write is None:
            assert ready == []
            return
        series = self.model.named(write.event["metadata"]["name"])
        assert series in ready
        assert write.times == series.count
        assert ("series" in write.event) == (write.times > 1)
        series.place = "in flight"
        self.in_flight.append(write)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), outcome=st.sampled_from(["written", "refused", "failed"]))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        write = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(write)
        if outcome == "written":
            self.write(write)
        elif outcome == "refused":
            self.settle(write, is_written=False)
        else:
            self.fail(write)

    @precondition(lambda self: self.server)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """The server forgets an Event; the next word about it creates it anew."""
        del self.server[data.draw(st.sampled_from(sorted(self.server)))]

    def write(self, write: Write) -> None:
        name = write.event["metadata"]["name"]
        if write.patch and write.is_known and name not in self.server:
            self.outbox.learn(write, exists=False)
        if not (write.patch and write.is_known):
            assert name not in self.server, "what exists is patched"
        else:
            assert self.server[name] < write.times, "no count is told twice"
        self.server[name] = self.created[name] = write.times
        self.settle(write, is_written=True)

    def settle(self, write: Write, *, is_written: bool) -> None:
        self.is_healthy &= is_written
        self.outbox.settle(write, self.now, is_written=is_written)
        series = self.model.named(write.event["metadata"]["name"])
        self.model.settle(series, write.times)

    def fail(self, write: Write) -> None:
        series = self.model.named(write.event["metadata"]["name"])
        series.tries += 1
        until = self.model.now + 2
        again = self.outbox.postpone(write, self.now, until=until * 60.0)
        assert again == (series.tries < TRIES)
        if again:
            series.place, series.until = "waiting", until
        else:
            self.is_healthy = False
            self.model.settle(series, write.times)

    @invariant()
    def as_many_wait_and_are_remembered_as_in_the_model(self) -> None:
        assert self.outbox.waiting == len(self.model.waiting())
        assert self.outbox.remembered == len(self.model.going_on())
        assert len(self.outbox) == self.outbox.waiting + len(self.in_flight)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.outbox.remembered <= REMEMBERED
        assert self.outbox.waiting <= LIMIT + REMEMBERED + len(self.in_flight)

    @invariant()
    def a_series_is_in_flight_once(self) -> None:
        series = [write.series for write in self.in_flight]
        assert len(set(series)) == len(series)

    @invariant()
    def time_alone_changes_nothing_before_it_is_due(self) -> None:
        due = self.outbox.next_due()
        assert due is None or due > self.now
        pauses = [s.until for s in self.model.waiting() if s.until > self.model.now]
        silences = [s.seen + IDLE for s in self.model.going_on()]
        if moments := pauses + silences:
            assert due is not None
            assert due <= min(moments) * 60.0
        else:
            assert due is None

    def teardown(self) -> None:
        """In the end the server has been told everything, if it refused nothing."""
        self.outbox.close()
        for series in self.model.going_on():
            self.model.end(series)
        for write in self.in_flight:
            self.write(write)
        while (last := self.outbox.take()) is not None:
            self.write(last)
        assert len(self.outbox) == 0
        if self.is_healthy:
            told = {s.name: s.count for s in self.model.all}
            assert self.created == told


TestOutbox = pytest.mark.behaviour("E3")(OutboxMachine.TestCase)
