"""The gates of time, one by one, on a clock of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta, NamespacedName, RawObject
from controllers.reload.braking import BrakeOptions, parse_brake
from controllers.reload.gates import Gate, Gates, Hold, HoldReason, Turn
from controllers.reload.gates.brake import StormBrake
from controllers.reload.gates.cooldown import Cooldown, held_until
from controllers.reload.gates.debounce import Debounce
from controllers.reload.gates.fading import Fading
from controllers.reload.gates.rate import RateLimit
from controllers.reload.gates.suspend import NamespaceGate, Suspensions
from controllers.reload.gates.windows import Windows
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import PACE, RELOADED_AT
from controllers.reload.terms import Terms, Window
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import notes

START = datetime(2026, 1, 1, tzinfo=UTC)
WEB = WorkloadKey("Deployment", "shop", "web")


class Times:
    """A row of gates, and reloads that want to pass it."""

    def __init__(self, *gates: Gate, terms: Terms | None = None) -> None:
        self.gates = Gates(gates)
        self.at = 1000.0
        self.skew = timedelta()
        """By which the wall clock has jumped."""
        self.terms = terms or Terms()
        self.annotations: dict[str, str] = {}
        self.holds: list[Hold] = []

    def turn(self, content: object, key: WorkloadKey = WEB) -> Turn:
        meta = Meta(
            name=key.name, namespace=key.namespace, annotations=self.annotations
        )
        return Turn(
            Workload(key, meta, PodTemplateSpec()),
            ReloadPolicy({}, AnnotationKeys(), terms=self.terms),
            Plan({"cm/c": str(content)}),
            START + timedelta(seconds=self.at) + self.skew,
            self.at,
        )

    def hold(self, content: object = "new", key: WorkloadKey = WEB) -> Hold | None:
        """Ask once, and reload if it passes."""
        turn = self.turn(content, key)
        if (hold := self.gates.enter(turn)) is not None:
            self.holds.append(hold)
            return hold
        carried = self.gates.notes(turn)
        self.annotations = {k: v for k, v in carried.items() if v is not None}
        self.annotations |= notes(turn.plan, turn.now)
        self.gates.leave(turn, is_reloaded=True)
        return None

    def reload(self, content: object = "new", key: WorkloadKey = WEB) -> float:
        """Look when holds say so, until it passes; return the seconds that took."""
        began = self.at
        for _ in range(100):
            if (hold := self.hold(content, key)) is None:
                return self.at - began
            assert hold.seconds is not None
            assert hold.seconds > 0
            self.at += hold.seconds
        raise AssertionError(f"it is held for ever: {self.holds[-1]}")


def debounce() -> Debounce:
    return Debounce(timedelta(seconds=0.5), timedelta(seconds=5))


def test_a_change_waits_for_half_a_second_of_silence() -> None:
    times = Times(debounce())

    assert times.hold("a") is not None
    times.at += 0.4
    hold = times.hold("b")

    assert hold is not None
    assert hold.seconds == pytest.approx(0.5)
    assert hold.quiet
    assert times.reload("b") == pytest.approx(0.5)


def test_the_same_change_that_is_seen_again_prolongs_nothing() -> None:
    times = Times(debounce())

    for _ in range(4):
        assert times.hold("a") is not None
        times.at += 0.125

    assert times.hold("a") is None


def test_a_source_that_never_rests_is_reloaded_for_after_five_seconds() -> None:
    times = Times(debounce())
    began = times.at

    count = 0
    while times.hold(count) is not None:
        times.at += 0.25
        count += 1

    assert times.at - began == pytest.approx(5.0)


def test_a_change_after_one_that_was_taken_back_has_a_window_of_its_own() -> None:
    times = Times(debounce())
    times.hold("b")
    times.gates.settle(WEB)
    times.at += 60

    assert times.reload("c") == pytest.approx(0.5)


def test_one_workload_does_not_wait_for_the_window_of_another() -> None:
    times = Times(debounce())
    other = WEB._replace(name="other")
    times.hold("a", other)
    times.at += 0.3
    times.hold("a")

    times.at += 0.2

    assert times.hold("a", other) is None
    assert times.hold("a") is not None


def test_what_was_refused_is_tried_again_at_once_and_other_content_after_a_pause() -> (
    None
):
    gate = debounce()
    times = Times(gate)
    times.hold("a")
    times.at += 0.5
    turn = times.turn("a")
    assert times.gates.enter(turn) is None
    times.gates.leave(turn, is_reloaded=False)

    assert times.gates.enter(times.turn("a")) is None
    times.gates.leave(turn, is_reloaded=False)
    times.at += 60
    assert times.reload("b") == pytest.approx(0.5)
    assert len(gate) == 0


COOL = Terms(cooldown=timedelta(minutes=1))


def test_after_a_reload_changes_wait_for_the_end_of_the_period() -> None:
    times = Times(Cooldown(), terms=COOL)

    assert times.hold("a") is None
    times.at += 10
    hold = times.hold("b")

    assert hold is not None
    assert hold.reason is HoldReason.COOLDOWN
    assert hold.text == "until 2026-01-01T00:17:40Z: it reloads once in 1m at most"
    assert times.reload("b") == pytest.approx(50)


def test_a_period_is_not_cut_short_by_a_restart() -> None:
    before = Times(Cooldown(), terms=COOL)
    before.hold("a")
    after = Times(Cooldown(), terms=COOL)
    after.at, after.annotations = before.at + 10, before.annotations

    assert after.reload("b") == pytest.approx(50, abs=0.002)


def test_a_period_is_kept_when_somebody_takes_our_annotations_away() -> None:
    times = Times(Cooldown(), terms=COOL)
    times.hold("a")
    times.annotations = {}
    times.at += 10

    assert times.reload("b") == pytest.approx(50)


def test_the_longer_of_two_periods_counts() -> None:
    terms = COOL._replace(min_interval=timedelta(minutes=2))
    times = Times(Cooldown(), terms=terms)
    times.hold("a")

    assert times.reload("b") == pytest.approx(120)


@pytest.mark.parametrize(
    "written", ["yesterday", "2026-01-01T00:16:40", "2999-01-01T00:00:00Z", ""]
)
def test_a_time_that_we_cannot_have_written_holds_nothing(written: str) -> None:
    times = Times(Cooldown(), terms=COOL)
    times.annotations = {RELOADED_AT: written}

    assert times.hold("a") is None


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wall_clock_that_jumps_neither_prolongs_a_cooldown_nor_ends_it(
    hours: int,
) -> None:
    times = Times(Cooldown(), terms=Terms(cooldown=timedelta(minutes=1)))
    assert times.hold("a") is None
    times.skew = timedelta(hours=hours)

    assert times.reload("b") == pytest.approx(60)


def test_a_hold_says_its_end_in_utc_whatever_zone_the_last_reload_was_written_in() -> (
    None
):
    times = Times(Cooldown(), terms=Terms(cooldown=timedelta(hours=1)))
    last = START + timedelta(seconds=times.at)
    zone = timezone(timedelta(hours=2))
    times.annotations = {RELOADED_AT: last.astimezone(zone).isoformat()}

    hold = times.hold()

    assert hold is not None
    assert f"until {last + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}" in hold.text


def test_the_end_of_a_cooldown_can_be_asked_for() -> None:
    times = Times(Cooldown(), terms=COOL)
    times.hold("a")
    turn = times.turn("b")

    assert held_until(turn.workload, COOL, turn.now) == turn.now + timedelta(minutes=1)
    assert held_until(turn.workload, Terms(), turn.now) is None


@pytest.mark.parametrize("span", [timedelta.max, timedelta(days=5000)])
def test_no_period_is_too_long_to_be_reckoned_with(span: timedelta) -> None:
    times = Times(Cooldown(), terms=Terms(cooldown=span))
    times.hold("a")

    assert times.hold("b") is not None


def test_the_first_ten_reloads_are_free_and_then_they_come_ever_more_slowly() -> None:
    times = Times(StormBrake(BrakeOptions()))
    reloads = []
    for change in range(18):
        times.reload(change)
        reloads.append(times.at)

    gaps = [round(later - sooner) for sooner, later in pairwise(reloads)]
    assert gaps == [0] * 9 + [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_braked_workload_is_free_again_after_five_minutes_without_a_change() -> None:
    times = Times(StormBrake(BrakeOptions()))
    for change in range(12):
        times.reload(change)

    times.at += 300

    assert [times.reload(change) for change in range(20, 30)] == [0.0] * 10
    assert times.reload("another") == pytest.approx(5)


def test_a_change_that_is_held_keeps_the_brake_on_although_nothing_reloads() -> None:
    times = Times(StormBrake(BrakeOptions()))
    for change in range(17):  # the interval is five minutes by now
        times.reload(change)
    for held in ("x", "y", "z"):
        times.at += 99
        times.hold(held)

    assert times.reload("z") == pytest.approx(3)
    assert times.reload("after") == pytest.approx(300)


def test_reloads_that_lie_apart_are_no_storm() -> None:
    times = Times(StormBrake(BrakeOptions()))

    for change in range(50):
        assert times.reload(change) == 0
        times.at += 34


def test_all_holds_of_a_storm_are_of_one_episode_and_the_next_is_another() -> None:
    times = Times(StormBrake(BrakeOptions()))
    for change in range(13):
        times.reload(change)
    first = {hold.episode for hold in times.holds}
    assert {hold.warning for hold in times.holds} == {"ReloadThrottled"}
    times.at += 600
    for change in range(20, 33):
        times.reload(change)

    assert len(first) == 1
    assert len({hold.episode for hold in times.holds}) == 2


def test_a_storm_goes_on_where_it_was_whoever_looks_next() -> None:
    times, reloads = Times(StormBrake(BrakeOptions())), []
    for change in range(18):
        times.reload(change)
        reloads.append(times.at)
        times.gates = Gates([StormBrake(BrakeOptions())])  # another process

    gaps = [round(later - sooner) for sooner, later in pairwise(reloads)]
    assert gaps == [0] * 9 + [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_storm_that_is_over_holds_nobody_who_looks_later() -> None:
    times = Times(StormBrake(BrakeOptions()))
    for change in range(12):
        times.reload(change)
    times.gates = Gates([StormBrake(BrakeOptions())])

    times.at += 300

    assert [times.reload(change) for change in range(20, 30)] == [0.0] * 10


def test_a_workload_carries_its_pace_only_while_it_reloads_more_than_once() -> None:
    times = Times(StormBrake(BrakeOptions()))
    carried = []
    for wait in (0, 10, 400):
        times.at += wait
        times.reload(wait)
        carried.append(PACE in times.annotations)

    assert carried == [False, True, False]
    times.reload("again")
    times.at += 400
    assert times.gates.notes(times.turn("alone")) == {PACE: None}


def test_a_pace_that_a_workload_carries_is_short() -> None:
    rule = BrakeOptions(limit=1000)
    times = Times(StormBrake(rule))
    for change in range(990):
        times.reload(change)

    assert len(times.annotations[PACE]) < 4096


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "{}", '{"times":[]}', '{"times":["x"]}', '{"times":[1e99]}'),
        '{"times":[4102444800000],"interval":300}',
        '{"times":[-9007199254740993],"interval":300}',
        '{"times":[],"interval":300}',
    ],
)
def test_a_pace_that_we_cannot_have_written_holds_nothing(text: str) -> None:
    times = Times(StormBrake(BrakeOptions()))
    times.annotations = {PACE: text}

    assert times.hold("a") is None


def test_no_pace_that_somebody_writes_holds_for_longer_than_five_minutes() -> None:
    times = Times(StormBrake(BrakeOptions()))
    now = round(1000 * (START + timedelta(seconds=times.at)).timestamp())
    times.annotations = {PACE: f'{{"times":[{now + 30000}],"interval":1e9}}'}

    assert times.reload("a") == pytest.approx(300)


def test_the_memory_of_storms_is_no_larger_than_what_storms_there_are() -> None:
    brake = StormBrake(BrakeOptions())
    times = Times(brake)

    for number in range(5000):
        times.reload("a", WEB._replace(name=f"web-{number}"))
        times.at += 10

    assert len(brake) < 200


@pytest.mark.parametrize("text", ["0", " 0 ", ""])
def test_a_brake_may_be_off(text: str) -> None:
    assert parse_brake(text) is None


def test_a_brake_is_a_number_of_reloads_in_a_time() -> None:
    rule = parse_brake("3/1m30s")

    assert rule == BrakeOptions(limit=3, window=timedelta(seconds=90))


@pytest.mark.parametrize(
    "text", ["10", "10/", "x/5m", "-1/5m", "0/5m", "5/0s", "9999/5m", "1/5"]
)
def test_what_is_no_brake_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(ValueError, match="10/5m would be"):
        parse_brake(text)


def test_a_second_s_worth_passes_at_once_and_the_others_evenly_in_their_order() -> None:
    gate = RateLimit(10)
    times = Times(gate)
    keys = [WEB._replace(name=f"web-{number}") for number in range(40)]
    waits = {}
    for key in keys:
        hold = times.hold("a", key)
        waits[key] = 0.0 if hold is None or hold.seconds is None else hold.seconds

    assert list(waits.values()) == pytest.approx(
        [0.0] * 10 + [number / 10 for number in range(1, 31)]
    )
    for key in keys[10:]:
        times.at = 1000 + waits[key]
        assert times.hold("a", key) is None
    assert len(gate) == 0


def test_who_asks_again_keeps_the_place() -> None:
    times = Times(RateLimit(1))
    times.hold("a", WEB._replace(name="first"))
    for _ in range(2):
        times.hold("a")
    hold = times.hold("a")

    assert hold is not None
    assert hold.seconds == pytest.approx(1)


def test_rates_below_one_a_second_are_rates() -> None:
    times = Times(RateLimit(0.1))
    times.hold("a", WEB._replace(name="first"))

    assert times.reload("a") == pytest.approx(10)


class Door(Gate):
    """Holds everything while it is closed."""

    is_closed = False

    def __init__(self, reason: HoldReason = HoldReason.WINDOW) -> None:
        self._reason = reason

    def ask(self, turn: Turn) -> Hold | None:
        if not self.is_closed:
            return None
        return Hold(self._reason, "until it opens", 3600.0)


def test_places_that_go_by_behind_a_closed_window_are_no_rush_when_it_opens() -> None:
    door = Door()
    times = Times(door, RateLimit(1))
    keys = [WEB._replace(name=f"web-{number}") for number in range(5)]
    for key in keys[1:]:
        times.hold("a", key)
    door.is_closed = True
    times.at += 30
    for key in keys:
        times.hold("a", key)
    door.is_closed = False
    times.at += 3600

    passed = [key for key in keys if times.hold("a", key) is None]

    assert len(passed) == 1


def test_who_waits_for_a_rollout_to_end_keeps_the_turn_that_it_has_had() -> None:
    budget = Door(HoldReason.BUDGET)
    times = Times(RateLimit(0.1), budget)
    budget.is_closed = True
    times.hold("a")
    for number in range(5):
        times.hold("a", WEB._replace(name=f"web-{number}"))
    budget.is_closed = False
    times.at += 1

    assert times.hold("a") is None


def test_who_was_refused_does_not_go_to_the_end_of_the_row() -> None:
    times = Times(RateLimit(1))
    turn = times.turn("a")
    assert times.gates.enter(turn) is None
    for number in range(5):
        times.hold("a", WEB._replace(name=f"web-{number}"))
    times.gates.leave(turn, is_reloaded=False)
    times.at += 0.02

    assert times.hold("a") is None


class Places:
    """Namespaces, as the cache has them."""

    def __init__(self, **pauses: str) -> None:
        self.pauses = pauses

    def get(self, key: NamespacedName, /) -> RawObject | None:
        if key.name not in self.pauses:
            return None
        annotations = {"pause": self.pauses[key.name]}
        meta = Meta(name=key.name, annotations=annotations)
        return RawObject(meta=meta, raw=b"{}")


def test_a_suspended_namespace_holds_its_workloads_and_no_others() -> None:
    suspensions = Suspensions("pause", is_asked=True)
    suspensions.know(Places(shop="true", blog="false"))
    times = Times(NamespaceGate(suspensions))

    hold = times.hold("a")

    assert hold is not None
    assert hold.seconds is None
    assert hold.text == "until pause is taken away from namespace shop"
    for namespace in ("blog", "elsewhere"):
        assert times.hold("a", WEB._replace(namespace=namespace)) is None


def test_everything_waits_until_it_is_known_which_namespaces_are_suspended() -> None:
    suspensions = Suspensions("pause", is_asked=True)
    times = Times(NamespaceGate(suspensions))

    hold = times.hold("a")

    assert hold is not None
    assert hold.quiet
    suspensions.leave_out()
    assert times.hold("a") is None


def test_where_namespaces_are_not_asked_for_none_is_suspended() -> None:
    times = Times(NamespaceGate(Suspensions("pause", is_asked=False)))

    assert times.hold("a") is None


def test_a_workload_reloads_when_its_window_opens() -> None:
    window = Window("0 2 * * *", timedelta(hours=1))
    times = Times(Windows(), terms=Terms(windows=(window,)))
    times.at = 0

    hold = times.hold("a")

    assert hold is not None
    assert hold.text == "until 2026-01-01 02:00 UTC, when its window is open"
    assert times.reload("a") == pytest.approx(2 * 3600)


def test_several_windows_have_to_be_open_at_once() -> None:
    nightly = Window("0 2 * * *", timedelta(hours=4))
    mondays = Window("0 4 * * 1", timedelta(hours=4))
    times = Times(Windows(), terms=Terms(windows=(nightly, mondays)))

    hold = times.hold("a")

    assert hold is not None
    assert hold.text == "until 2026-01-05 04:00 UTC, when all of its 2 windows are open"


def test_windows_that_are_never_open_at_once_hold_and_say_so() -> None:
    day = Window("0 8 * * *", timedelta(hours=8))
    night = Window("0 20 * * *", timedelta(hours=8))
    times = Times(Windows(), terms=Terms(windows=(day, night)))

    hold = times.hold("a")

    assert hold is not None
    assert hold.seconds is None
    assert "are not soon open at once" in hold.text


def test_a_window_that_cannot_be_read_holds_and_says_why() -> None:
    window = Window("0 2 * * *", timedelta(hours=1), "Nowhere")
    times = Times(Windows(), terms=Terms(windows=(window,)))

    hold = times.hold("a")

    assert hold is not None
    assert hold.seconds is None
    assert "'Nowhere' is no time zone" in hold.text


def test_what_waits_is_counted_by_what_it_waits_for() -> None:
    times = Times(Cooldown(), debounce(), terms=COOL)
    times.reload("a")
    times.hold("b")
    times.annotations = {}
    times.hold("a", WEB._replace(name="other"))

    counts = [times.gates.count(reason) for reason in HoldReason]
    assert sum(counts) == 2
    assert times.gates.count(HoldReason.COOLDOWN) == 1
    assert times.gates.count(HoldReason.GATHERING) == 1

    times.gates.settle(WEB)
    times.gates.forget(WEB._replace(name="other"))
    assert not any(times.gates.count(reason) for reason in HoldReason)


def test_a_reload_knows_when_its_first_change_was_seen() -> None:
    times = Times(debounce())
    times.hold("a")
    times.at += 0.3
    times.hold("b")
    times.at += 0.5
    turn = times.turn("b")

    assert times.gates.enter(turn) is None
    assert times.gates.leave(turn, is_reloaded=False) == 1000.0
    assert times.gates.enter(turn) is None
    assert times.gates.leave(turn, is_reloaded=True) == 1000.0
    times.at += 60
    times.hold("c")
    times.at += 0.5
    turn = times.turn("c")
    times.gates.enter(turn)
    assert times.gates.leave(turn, is_reloaded=True) == pytest.approx(1060.8)


def test_what_is_remembered_fades() -> None:
    memory: Fading[str, int] = Fading()
    memory.put("a", 1, until=10, now=0)

    assert memory.get("a", now=9) == 1
    assert memory.get("a", now=10) is None
    for number in range(1000):
        memory.put(str(number), number, until=number + 20, now=number)
    assert len(memory) < 200
    assert memory.get("999", now=1000) == 999
    memory.pop("999")
    assert memory.get("999", now=1000) is None
