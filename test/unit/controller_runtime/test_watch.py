"""Which question follows which answer: the rules of list and watch."""

from __future__ import annotations

import random

import pytest

from controller_runtime.errors import (
    ApiError,
    DecodeError,
    ExpiredError,
    ForbiddenError,
    ServerError,
    StalledError,
    TooManyRequestsError,
)
from controller_runtime.meta import Meta, RawObject
from controller_runtime.watch import (
    PAGE_SIZE,
    Apply,
    Change,
    Changes,
    Closed,
    Failed,
    List,
    Listing,
    Page,
    Replace,
    Step,
    Stepper,
    Watch,
    Watching,
    WatchOptions,
    start,
)


class Lowest(random.Random):
    """No jitter: pauses and timeouts are the smallest that may come."""

    def random(self) -> float:
        return 0.0


STEPPER = Stepper(WatchOptions(), Lowest())
POD = RawObject(Meta(name="a", resource_version="7"), b"{}")

EXPIRED = ExpiredError("too old", status=410, reason="Expired")
TOO_LARGE = ServerError(
    "Too large resource version",
    status=504,
    reason="Timeout",
    details={"causes": [{"reason": "ResourceVersionTooLarge"}]},
)
BUSY = TooManyRequestsError("busy", status=429, reason="TooManyRequests")
BROKEN = ServerError("oops", status=500, reason="InternalError")


def watching(version: str = "10") -> Step:
    return STEPPER.step(start(), Page([POD], version), now=0)


def after(step: Step, *answers: object, now: float = 1000) -> Step:
    for answer in answers:
        step = STEPPER.step(step, answer, now=now)  # type: ignore[arg-type]  # any answer
    return step


@pytest.mark.behaviour("R1")
def test_the_first_list_takes_any_version_in_pages() -> None:
    assert start().state.ask == List("0", PAGE_SIZE)
    assert start().pause == 0


def test_a_list_replaces_the_store_and_the_watch_goes_on_from_its_version() -> None:
    step = watching("10")

    assert step.deltas == (Replace([POD], "10"),)
    assert step.state.ask == Watch("10", 300)


def test_pages_are_put_together_before_the_store_is_replaced() -> None:
    step = after(start(), Page([POD], "10", "more"))
    assert step.deltas == ()
    assert step.state.ask == List("", PAGE_SIZE, "more")

    step = after(step, Page([POD], "10"))

    assert step.deltas == (Replace([POD, POD], "10"),)


@pytest.mark.behaviour("R2")
def test_a_list_that_expires_between_pages_starts_over_in_one_piece() -> None:
    step = after(start(), Page([POD], "10", "more"), Failed(EXPIRED))

    assert step.state.ask == List("", 0)
    assert isinstance(step.state, Listing)
    assert step.state.objects == []
    assert step.pause == 0


@pytest.mark.behaviour("R2")
def test_a_later_list_sends_no_limit_so_that_the_watch_cache_can_serve_it() -> None:
    step = after(watching("10"), Failed(BROKEN))

    assert step.state.ask == List("10", 0)


@pytest.mark.behaviour("R2")
def test_a_server_that_paged_its_first_list_is_asked_for_pages_ever_after() -> None:
    step = after(start(), Page([POD], "10", "more"), Page([POD], "10"), Failed(BROKEN))

    assert step.state.ask == List("10", PAGE_SIZE)


@pytest.mark.behaviour("R3")
def test_pauses_double_up_to_half_a_minute() -> None:
    step, pauses = start(), []
    for _ in range(8):
        step = after(step, Failed(BROKEN), now=0)
        pauses.append(step.pause)

    assert pauses == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])


@pytest.mark.behaviour("R3")
def test_jitter_adds_at_most_the_pause_itself() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    step = Stepper(WatchOptions(), Highest()).step(start(), Failed(BROKEN), now=0)

    assert step.pause == pytest.approx(1.6)


@pytest.mark.behaviour("R3")
@pytest.mark.parametrize(("rest", "pause"), [(119, 3.2), (120, 0.8)])
def test_two_minutes_without_failure_make_the_pause_short_again(
    rest: float, pause: float
) -> None:
    step = after(start(), Failed(BROKEN), Failed(BROKEN), now=0)

    step = after(step, Failed(BROKEN), now=rest)

    assert step.pause == pytest.approx(pause)


@pytest.mark.behaviour("R4")
def test_a_watch_is_asked_to_end_after_five_to_ten_minutes() -> None:
    stepper = Stepper(WatchOptions(), random.Random(1))  # noqa: S311 - jitter
    asks = [stepper.step(start(), Page([], "1"), now=0).state.ask for _ in range(200)]

    timeouts = [ask.timeout for ask in asks if isinstance(ask, Watch)]

    assert len(timeouts) == 200
    assert 300 <= min(timeouts) < 320
    assert 580 < max(timeouts) < 600


@pytest.mark.behaviour("R5")
def test_a_watch_that_ends_is_taken_up_again_where_it_was() -> None:
    step = after(watching("10"), Changes([Change(POD)], "11"), Closed(lived=0.1))

    assert step.state.ask == Watch("11", 300)
    assert step.pause == 0


@pytest.mark.behaviour("R5")
def test_a_watch_that_ends_at_once_without_a_word_is_a_failure() -> None:
    step = after(watching("10"), Closed(lived=0.9))

    assert step.state.ask == List("10", 0)
    assert step.pause > 0


@pytest.mark.behaviour("R5")
def test_a_quiet_watch_that_lived_is_no_failure() -> None:
    step = after(watching("10"), Closed(lived=1))

    assert step.state.ask == Watch("10", 300)


@pytest.mark.behaviour("R6")
@pytest.mark.parametrize(
    "error", [BUSY, ConnectionRefusedError(), TimeoutError(), OSError("no route")]
)
def test_a_server_that_is_down_or_busy_is_not_asked_for_a_list(
    error: Exception,
) -> None:
    step = after(watching("10"), Failed(error))

    assert step.state.ask == Watch("10", 300)
    assert step.pause > 0


@pytest.mark.behaviour("R6")
@pytest.mark.parametrize(
    "error",
    [
        BROKEN,
        ForbiddenError("no", status=403),
        ApiError("teapot", status=418),
        DecodeError("garbage"),
    ],
)
def test_after_any_other_refusal_the_objects_are_listed_again(error: Exception) -> None:
    step = after(watching("10"), Failed(error))

    assert step.state.ask == List("10", 0)
    assert step.pause > 0


@pytest.mark.behaviour("R1")
@pytest.mark.behaviour("R7")
@pytest.mark.parametrize("error", [EXPIRED, TOO_LARGE])
def test_a_lost_version_leads_to_a_list_of_the_newest_at_once(error: Exception) -> None:
    step = after(watching("10"), Failed(error))

    assert step.state.ask == List("", PAGE_SIZE)
    assert step.pause == 0


@pytest.mark.parametrize("error", [EXPIRED, TOO_LARGE])
def test_a_list_from_a_lost_version_asks_for_the_newest_at_once(
    error: Exception,
) -> None:
    step = after(watching("10"), Failed(BROKEN), Failed(error))

    assert step.state.ask == List("", PAGE_SIZE)
    assert step.pause == 0


def test_a_server_that_refuses_even_the_newest_version_is_not_asked_in_a_loop() -> None:
    step = after(watching("10"), Failed(EXPIRED), Failed(EXPIRED))

    assert step.pause > 0


@pytest.mark.behaviour("R8")
def test_changes_and_bookmarks_move_the_version() -> None:
    step = after(watching("10"), Changes([Change(POD)], "11"))
    assert step.deltas == (Apply([Change(POD)], "11"),)
    assert isinstance(step.state, Watching)

    step = after(step, Changes([], "19"), Closed(lived=5))

    assert step.state.ask == Watch("19", 300)


@pytest.mark.behaviour("R11")
def test_a_watch_that_went_silent_is_taken_up_again_at_once() -> None:
    step = after(watching("10"), Failed(StalledError("silence")))

    assert step.state.ask == Watch("10", 300)
    assert step.pause == 0


def test_an_answer_to_another_question_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="Page"):
        after(watching(), Page([], "1"))
