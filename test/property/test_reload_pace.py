"""Whatever changes when, and whoever restarts: the last content lands, in due time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.braking import BrakeOptions
from controllers.reload.gates import Gates, SuspendGate, Turn
from controllers.reload.gates.brake import StormBrake
from controllers.reload.gates.cooldown import Cooldown
from controllers.reload.gates.debounce import Debounce
from controllers.reload.gates.rate import RateLimit
from controllers.reload.gates.windows import Windows
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.terms import Terms, Window
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import notes

START = datetime(2026, 1, 1, tzinfo=UTC)
WEB = WorkloadKey("Deployment", "shop", "web")
SOURCE = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")
MARKER = Marker(SOURCE, "app", "STAKATER_C_CONFIGMAP", "hash", "hash")
RESYNC = 600.0
SOON = 0.002
"""Seconds that a time may be early: it is written in milliseconds."""

BRAKE = BrakeOptions(limit=2, window=timedelta(minutes=1))


class Rule(NamedTuple):
    """Terms, and when they allow a reload, said in another way."""

    quiet: float = 0.0
    longest: float = 5.0
    period: float = 0.0
    windows: tuple[Window, ...] = ()
    is_open: Callable[[datetime], bool] = lambda _: True

    def terms(self, *, suspended: bool) -> Terms:
        span = timedelta(seconds=self.period)
        return Terms(suspended=suspended, cooldown=span, windows=self.windows)


WINDOWS: Sequence[tuple[tuple[Window, ...], Callable[[datetime], bool]]] = (
    ((), lambda _: True),
    (
        (Window("*/10 * * * *", timedelta(minutes=3)),),
        lambda now: now.minute % 10 < 3,
    ),
    (
        (
            Window("*/10 * * * *", timedelta(minutes=3)),
            Window("0 */2 * * *", timedelta(hours=1)),
        ),
        lambda now: now.minute % 10 < 3 and now.hour % 2 == 0,
    ),
)

RULES = st.builds(
    lambda quiet, period, windows: Rule(quiet, 5.0, period, *windows),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([0.0, 1.0, 30.0, 3600.0]),
    st.sampled_from(WINDOWS),
)

PAUSES = st.sampled_from(
    [*(0.0, 0.1, 0.4, 0.5, 0.6, 1.1, 2.0, 3.1, 5.0), *(29.9, 61.0, 301.0, 3601.0)]
)

CHANGE, RESTART, SUSPEND, RESUME, REFUSE = range(5)

STEPS = st.lists(
    st.tuples(
        PAUSES,
        st.sampled_from([CHANGE] * 6 + [RESTART, SUSPEND, RESUME, REFUSE]),
        st.integers(0, 2),
    ),
    max_size=40,
)


class Simulation:
    """One workload and one source, and a process that may end at any time."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.at = 0.0
        self.content = self.applied = 0
        self.annotations: dict[str, str] = {}
        self.suspended = False
        self.refusals = 0
        self.changes = 0
        self.reloads: list[float] = []
        self.restart()

    def restart(self) -> None:
        self.gates = Gates(
            [
                SuspendGate(AnnotationKeys().pause),
                Windows(),
                Cooldown(),
                StormBrake(BRAKE),
                Debounce(
                    timedelta(seconds=self.rule.quiet),
                    timedelta(seconds=self.rule.longest),
                ),
                RateLimit(50),
            ]
        )
        self.own: list[float] = []
        """Reloads of this process."""
        self.differs = self.changed = self.at
        self.look()

    def step(self, step: int, value: int) -> None:
        if step == RESTART:
            self.restart()
            return
        if step == CHANGE and value != self.content:
            if self.content == self.applied:
                self.differs = self.at
            self.content, self.changed = value, self.at
            self.changes += 1
        self.refusals += step == REFUSE
        if step in {SUSPEND, RESUME}:
            self.suspended = step == SUSPEND
        self.look()

    def run_until(self, end: float) -> None:
        while self.again <= end:
            self.at = self.again
            self.look()
        self.at = end

    def look(self) -> None:
        self.again = self.at + RESYNC
        if self.content == self.applied:
            self.gates.settle(WEB)
            return
        turn = self.turn()
        if (hold := self.gates.enter(turn)) is not None:
            if hold.seconds is not None:
                assert hold.seconds > 0
                self.again = min(self.again, self.at + max(hold.seconds, 0.001))
            return
        is_reloaded = not self.refusals
        if is_reloaded:
            self.check()
            self.annotations = dict(notes(turn.plan, turn.now))
            self.applied = self.content
            self.reloads.append(self.at)
            self.own.append(self.at)
        else:
            self.refusals -= 1
            self.again = self.at + 1
        self.gates.leave(turn, is_reloaded=is_reloaded)

    def turn(self) -> Turn:
        meta = Meta(
            name=WEB.name, namespace=WEB.namespace, annotations=self.annotations
        )
        terms = self.rule.terms(suspended=self.suspended)
        return Turn(
            Workload(WEB, meta, PodTemplateSpec()),
            ReloadPolicy({}, AnnotationKeys(), terms=terms),
            Plan({"cm/c": str(self.content)}, (MARKER,)),
            self.now,
            self.at,
        )

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.at)

    def check(self) -> None:
        """Say what is forbidden, without the gates."""
        rule = self.rule
        assert not self.suspended
        assert rule.is_open(self.now)
        last = self.reloads[-1] if self.reloads else -math.inf
        assert self.at - last >= rule.period - SOON
        is_quiet = self.at - self.changed >= rule.quiet - SOON
        assert is_quiet or self.at - self.differs >= rule.longest - SOON
        lately = [at for at in self.own if at > self.at - 60]
        if len(lately) >= BRAKE.limit:
            assert self.at - lately[-1] >= BRAKE.first.total_seconds() - SOON


@settings(max_examples=300, deadline=None)
@given(RULES, STEPS)
def test_the_last_content_lands_and_nothing_reloads_at_a_forbidden_time(
    rule: Rule, steps: list[tuple[float, int, int]]
) -> None:
    world = Simulation(rule)

    for pause, step, value in steps:
        world.run_until(world.at + pause)
        world.step(step, value)
    world.step(RESUME, 0)
    world.run_until(world.at + 24 * 3600)

    assert world.applied == world.content
    assert len(world.reloads) <= world.changes
    assert len(world.gates) == 0
