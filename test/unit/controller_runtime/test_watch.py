"""Which question follows which answer: the rules of list and watch."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from controller_runtime.errors import (
    ApiError,
    BadRequestError,
    DecodeError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    ServerError,
    StalledError,
    TooManyRequestsError,
)
from controller_runtime.meta import Meta, RawObject
from controller_runtime.question import (
    Bookmark,
    Change,
    Changes,
    Closed,
    Failed,
    List,
    Page,
    Watch,
    WatchList,
)
from controller_runtime.servertraits import ServerTraits
from controller_runtime.watch import (
    PAGE_SIZE,
    Apply,
    Listing,
    Replace,
    Step,
    Stepper,
    Streaming,
    Watching,
    WatchOptions,
)


class Lowest(random.Random):
    """No jitter: pauses and timeouts are the smallest that may come."""

    def random(self) -> float:
        return 0.0


STEPPER = Stepper(WatchOptions(watch_list=False), Lowest())
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
    return STEPPER.step(STEPPER.start(), Page([POD], version), now=0)


def after(step: Step, *answers: object, now: float = 1000) -> Step:
    for answer in answers:
        step = STEPPER.step(step, answer, now=now)  # type: ignore[arg-type]  # any answer
    return step


@pytest.mark.behaviour("R1")
def test_the_first_list_takes_any_version_in_pages() -> None:
    assert STEPPER.start().state.ask == List("0", PAGE_SIZE)
    assert STEPPER.start().pause == 0


def test_a_list_replaces_the_store_and_the_watch_goes_on_from_its_version() -> None:
    step = watching("10")

    assert step.deltas == (Replace([POD], "10"),)
    assert step.state.ask == Watch("10", 300)


def test_pages_are_put_together_before_the_store_is_replaced() -> None:
    step = after(STEPPER.start(), Page([POD], "10", "more"))
    assert step.deltas == ()
    assert step.state.ask == List("", PAGE_SIZE, "more")

    step = after(step, Page([POD], "10"))

    assert step.deltas == (Replace([POD, POD], "10"),)


@pytest.mark.behaviour("R2")
def test_a_list_that_expires_between_pages_starts_over_in_one_piece() -> None:
    step = after(STEPPER.start(), Page([POD], "10", "more"), Failed(EXPIRED))

    assert step.state.ask == List("", 0)
    assert isinstance(step.state, Listing)
    assert step.state.objects == []
    assert step.pause == 0
    assert after(step, Page([POD], "20")).deltas == (Replace([POD], "20"),)


@pytest.mark.behaviour("R2")
def test_a_later_list_sends_no_limit_so_that_the_watch_cache_can_serve_it() -> None:
    step = after(watching("10"), Failed(BROKEN))

    assert step.state.ask == List("10", 0)


@pytest.mark.behaviour("R2")
def test_a_server_that_paged_its_first_list_is_asked_for_pages_ever_after() -> None:
    step = after(
        STEPPER.start(), Page([POD], "10", "more"), Page([POD], "10"), Failed(BROKEN)
    )

    assert step.state.ask == List("10", PAGE_SIZE)


PAGER = Stepper(WatchOptions(), Lowest(), ServerTraits(serves_pages=True))


def paging(*answers: object, stepper: Stepper = PAGER) -> Step:
    step = stepper.start()
    for answer in answers:
        step = stepper.step(step, answer, now=1000)  # type: ignore[arg-type]  # any answer
    return step


@pytest.mark.behaviour("R2")
def test_a_server_with_pages_in_memory_is_first_asked_for_pages_of_the_newest() -> None:
    assert paging().state == Listing(List("", PAGE_SIZE, grows=True))


def test_the_page_that_follows_a_page_is_as_large_as_its_bytes_allow() -> None:
    step = paging(Page([POD] * 500, "10", "next", 2_500_000))

    assert step.state.ask == List("", 1600, "next", grows=True)
    assert step.stays
    assert step.deltas == ()


@pytest.mark.parametrize(
    ("count", "size", "limit"),
    [
        pytest.param(500, 5_000, 4 * PAGE_SIZE, id="tiny-but-the-next-may-be-fat"),
        pytest.param(500, 40_000_000, 100, id="fat"),
        pytest.param(2, 80_000_000, 1, id="fattest"),
        pytest.param(0, 5_000, PAGE_SIZE, id="filtered-away"),
        pytest.param(500, 0, PAGE_SIZE, id="of-no-known-size"),
    ],
)
def test_pages_are_bounded_in_bytes_and_objects(
    count: int, size: int, limit: int
) -> None:
    step = paging(Page([POD] * count, "10", "next", size))

    assert step.state.ask == List("", limit, "next", grows=True)


def test_pages_of_tiny_objects_grow_up_to_ten_thousand_of_them() -> None:
    step, limits = paging(), list[int]()
    for _ in range(4):
        step = PAGER.step(step, Page([POD] * 500, "10", "next", 5_000), now=0)
        assert isinstance(step.state.ask, List)
        limits.append(step.state.ask.limit)

    assert limits == [2_000, 8_000, 10_000, 10_000]


@pytest.mark.behaviour("R2")
def test_pages_of_any_version_stay_as_they_are() -> None:
    step = after(STEPPER.start(), Page([POD] * 500, "10", "next", 5_000))

    assert step.state.ask == List("", PAGE_SIZE, "next")


def test_the_last_page_fills_the_store_with_all_of_them() -> None:
    second = RawObject(Meta(name="b", resource_version="9"), b"{}")

    step = paging(Page([POD], "10", "next", 100), Page([second], "10", "", 100))

    assert step.deltas == (Replace([POD, second], "10"),)
    assert step.state == Watching(Watch("10", 300, patience=30))
    assert not step.stays


def test_a_watch_waits_for_no_store_once_it_was_open_or_failed() -> None:
    fill = Page([POD], "10", "", 100)
    broken = Failed(ConnectionRefusedError())

    assert paging(fill, Closed(900)).state == Watching(Watch("10", 300))
    assert paging(fill, broken).state == Watching(Watch("10", 300))
    assert paging(fill, Failed(StalledError("silence"))).state == Watching(
        Watch("10", 300)
    )


@pytest.mark.behaviour("R2")
def test_a_first_fill_that_expires_between_pages_starts_over_in_one_piece() -> None:
    step = paging(Page([POD], "10", "next", 100), Failed(EXPIRED))

    assert step.state == Listing(List("", 0))
    assert step.pause == 0


@pytest.mark.behaviour("R1")
def test_a_first_fill_that_fails_begins_again_with_nothing_after_a_pause() -> None:
    step = paging(Page([POD], "10", "next", 100), Failed(BROKEN))

    assert step.state == Listing(List("", PAGE_SIZE, grows=True))
    assert step.pause == 0.8


@pytest.mark.behaviour("R1")
def test_once_the_store_is_full_a_break_leads_to_no_pages() -> None:
    step = paging(Page([POD], "10", "", 100), Failed(BROKEN))

    assert step.state == Streaming(WatchList("10", 300, 30))


@pytest.mark.behaviour("R1")
@pytest.mark.behaviour("R7")
def test_a_lost_version_leads_to_pages_of_the_newest_at_once() -> None:
    step = paging(Page([POD], "10", "", 100), Failed(EXPIRED))

    assert step.state == Listing(List("", PAGE_SIZE, grows=True))
    assert step.pause == 0


@pytest.mark.behaviour("R14")
def test_what_happens_between_pages_of_different_versions_is_watched_for() -> None:
    # So answers a server, of an aggregated API, that reads each page when it is asked.
    step = paging(Page([POD], "10", "next", 100), Page([], "20", "", 100))

    assert step.deltas == (Replace([POD], "10"),)
    assert step.state.ask.resource_version == "10"


@pytest.mark.behaviour("R3")
def test_a_version_that_is_lost_again_and_again_is_listed_less_and_less_often() -> None:
    page, pauses = Page([POD], "10", "", 100), list[float]()
    step = paging(page)
    for _ in range(8):
        step = PAGER.step(step, Failed(EXPIRED), now=1000)
        pauses.append(step.pause)
        step = PAGER.step(step, page, now=1000)

    assert pauses == [0, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]


@pytest.mark.behaviour("R7")
def test_a_version_that_is_lost_after_news_is_listed_at_once() -> None:
    page = Page([POD], "10", "", 100)
    step = paging(page, Failed(EXPIRED), page, Bookmark("20"), Failed(EXPIRED))

    assert step.pause == 0


@pytest.mark.behaviour("R12")
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([Page([POD], "10", "", 100)], id="pages"),
        pytest.param(
            [Page([], "1", "next", 100), Failed(EXPIRED), Page([POD], "10")],
            id="one-piece-after-pages",
        ),
    ],
)
def test_what_is_first_in_a_store_waits_for_the_watch(answers: list[object]) -> None:
    assert paging(*answers).state == Watching(Watch("10", 300, patience=30))


def test_what_replaces_a_store_waits_for_no_watch() -> None:
    page = Page([POD], "10", "", 100)

    step = paging(page, Failed(EXPIRED), page)

    assert step.state == Watching(Watch("10", 300))


@pytest.mark.behaviour("R9")
def test_the_first_fill_by_pages_can_be_turned_off() -> None:
    options = WatchOptions(paged_fill=False)

    step = paging(stepper=Stepper(options, Lowest(), ServerTraits(serves_pages=True)))

    assert step.state == Streaming(WatchList("", 300, 30))


@pytest.mark.behaviour("R3")
def test_pauses_double_up_to_half_a_minute() -> None:
    step, pauses = STEPPER.start(), []
    for _ in range(8):
        step = after(step, Failed(BROKEN), now=0)
        pauses.append(step.pause)

    assert pauses == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])


@pytest.mark.behaviour("R3")
def test_jitter_adds_at_most_the_pause_itself() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    stepper = Stepper(WatchOptions(), Highest())

    step = stepper.step(stepper.start(), Failed(BROKEN), now=0)

    assert step.pause == pytest.approx(1.6)


@pytest.mark.behaviour("R3")
@pytest.mark.parametrize(("rest", "pause"), [(119, 3.2), (120, 0.8)])
def test_two_minutes_without_failure_make_the_pause_short_again(
    rest: float, pause: float
) -> None:
    step = after(STEPPER.start(), Failed(BROKEN), Failed(BROKEN), now=1000)

    step = after(step, Failed(BROKEN), now=1000 + rest)

    assert step.pause == pytest.approx(pause)


@pytest.mark.behaviour("R4")
def test_a_watch_is_asked_to_end_after_five_to_ten_minutes() -> None:
    options = WatchOptions(watch_list=False)
    stepper = Stepper(options, random.Random(1))  # noqa: S311 - jitter
    first = stepper.start()
    asks = [stepper.step(first, Page([], "1"), now=0).state.ask for _ in range(200)]

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
    assert after(step, Bookmark("19")).memory.last_version == "19"


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
    assert after(step, Page([POD], "20")).deltas == (Replace([POD], "20"),)


@pytest.mark.behaviour("R6")
def test_a_timeout_for_another_cause_loses_no_version() -> None:
    causes = [{"reason": "FieldValueInvalid"}, "ResourceVersionTooLarge", None]
    timeout = ServerError("slow", status=504, details={"causes": causes})

    step = after(watching("10"), Failed(timeout))

    assert step.state.ask == List("10", 0)
    assert step.pause > 0


def test_a_server_that_refuses_even_the_newest_version_is_not_asked_in_a_loop() -> None:
    step = after(watching("10"), Failed(EXPIRED), Failed(EXPIRED))

    assert step.pause > 0


@pytest.mark.behaviour("R8")
def test_changes_and_bookmarks_move_the_version() -> None:
    step = after(watching("10"), Changes([Change(POD)], "11"))
    assert step.deltas == (Apply([Change(POD)], "11"),)
    assert isinstance(step.state, Watching)

    step = after(step, Bookmark("19"), Closed(lived=5))

    assert step.state.ask == Watch("19", 300)


@pytest.mark.behaviour("R11")
def test_a_watch_that_went_silent_is_taken_up_again_at_once() -> None:
    step = after(watching("10"), Failed(StalledError("silence")))

    assert step.state.ask == Watch("10", 300)
    assert step.pause == 0
    assert after(step, Bookmark("19")).memory.last_version == "19"


def test_an_answer_to_another_question_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="Page"):
        after(watching(), Page([], "1"))


class World:
    """A server that can stream, as far as is known, and a step on the way with it."""

    def __init__(
        self,
        *,
        server: ServerTraits | None = None,
        kind: str = "pods",
        **options: float,
    ) -> None:
        self.server = server or ServerTraits()
        chosen = WatchOptions(**options)  # type: ignore[arg-type]  # all float
        self.stepper = Stepper(chosen, Lowest(), self.server, kind)
        self.step = self.stepper.start()

    def after(self, *answers: object, now: float = 1000) -> Step:
        for answer in answers:
            self.step = self.stepper.step(self.step, answer, now=now)  # type: ignore[arg-type]  # any answer
        return self.step


END = Bookmark("20", ends_initial_events=True)
INVALID = InvalidError("sendInitialEvents is forbidden", status=422, reason="Invalid")
BAD = BadRequestError("unknown parameter", status=400)
SILENCE = StalledError("nothing came")


def version(name: str, number: int) -> Change:
    meta = Meta(name=name, resource_version=str(number))
    return Change(RawObject(meta, b"{}"))


def gone(name: str, number: int) -> Change:
    return version(name, number)._replace(gone=True)


@pytest.mark.behaviour("R9")
def test_all_objects_are_asked_for_as_a_stream_of_the_newest() -> None:
    assert World().step.state.ask == WatchList("", 300, patience=30)
    assert World().step.pause == 0


@pytest.mark.behaviour("R9")
def test_the_store_is_replaced_once_and_only_when_the_bookmark_says_that_is_all() -> (
    None
):
    world = World()
    before = world.after(
        Changes([version("a", 15), version("b", 3)], "3"),
        Changes([version("c", 4)], "4"),
    )
    assert before.deltas == ()
    assert before.stays

    step = world.after(END)

    objects = [version(n, v).object for n, v in (("a", 15), ("b", 3), ("c", 4))]
    assert step.deltas == (Replace(tuple(objects), "20"),)


@pytest.mark.behaviour("R9")
def test_the_stream_goes_on_after_the_bookmark_as_a_watch() -> None:
    world = World()
    step = world.after(Changes([version("a", 15)], "15"), END)
    assert step.stays
    assert step.state == Watching(Watch("20", 300), spoke=True)

    step = world.after(Changes([version("a", 21)], "21"))

    assert step.deltas == (Apply([version("a", 21)], "21"),)
    assert step.stays
    assert world.after(Closed(lived=300)).state.ask == Watch("21", 300)


@pytest.mark.behaviour("R5")
@pytest.mark.behaviour("R9")
def test_a_stream_that_ends_just_after_its_bookmark_was_no_silent_watch() -> None:
    step = World().after(END, Closed(lived=0.1))

    assert step.state.ask == Watch("20", 300)
    assert step.pause == 0


@pytest.mark.behaviour("R9")
def test_what_changes_while_it_is_streamed_is_kept_as_it_became() -> None:
    step = World().after(
        Changes([version("a", 1), version("b", 2)], "2"),
        Changes([version("a", 16), gone("b", 17), gone("c", 18)], "18"),
        END,
    )

    assert step.deltas == (Replace((version("a", 16).object,), "20"),)


@pytest.mark.behaviour("R9")
def test_a_kind_without_objects_is_known_with_the_bookmark() -> None:
    assert World().after(END).deltas == (Replace((), "20"),)


@pytest.mark.behaviour("R8")
def test_what_is_streamed_first_does_not_move_the_version() -> None:
    step = World().after(Changes([version("a", 15)], "15"), Failed(BUSY))

    assert step.memory.last_version == ""
    assert step.state == Streaming(WatchList("", 300, patience=30))


@pytest.mark.behaviour("R8")
@pytest.mark.behaviour("R14")
def test_a_stream_taken_up_anew_may_be_no_older_than_the_store() -> None:
    world = World()
    step = world.after(END, Failed(BROKEN))
    assert step.state == Streaming(WatchList("20", 300, patience=30))

    step = world.after(Changes([version("a", 7)], "7"), Failed(BUSY))

    assert step.state == Streaming(WatchList("20", 300, patience=30))


@pytest.mark.behaviour("R9")
@pytest.mark.parametrize("error", [INVALID, BAD])
def test_a_server_that_refuses_to_stream_is_asked_for_lists_for_good(
    error: Exception,
) -> None:
    world = World()
    step = world.after(Failed(error))
    assert step.state.ask == List("0", PAGE_SIZE)
    assert step.pause == 0

    step = world.after(Page([POD], "10"), Failed(BROKEN))

    assert step.state.ask == List("10", 0)
    assert not world.server.streams_of("pods")


@pytest.mark.behaviour("R9")
def test_a_refusal_is_about_the_kind_that_was_asked_for() -> None:
    server = ServerTraits()
    world = World(server=server, kind="pods")

    world.after(Failed(INVALID), Page([POD], "10"))

    assert not server.streams_of("pods")
    assert server.streams_of("nodes")


@pytest.mark.behaviour("R10")
def test_silence_about_one_kind_says_nothing_where_another_was_streamed() -> None:
    server = ServerTraits()
    World(server=server, kind="nodes").after(END)

    world = World(server=server, kind="pods")
    world.after(Failed(SILENCE), Page([POD], "10"))

    assert not server.streams_of("pods")
    assert server.streams_of("nodes")
    assert server.streams_of("secrets")


@pytest.mark.behaviour("R10")
def test_a_kind_that_is_streamed_clears_a_server_that_was_silent_about_another() -> (
    None
):
    server = ServerTraits()
    silent, other = (World(server=server, kind=kind) for kind in ("pods", "nodes"))
    silent.after(Failed(SILENCE), Page([POD], "10"))
    assert not server.streams_of("nodes")

    other.after(END)

    assert not server.streams_of("pods")
    assert server.streams_of("nodes")


@pytest.mark.behaviour("R9")
@pytest.mark.behaviour("R10")
def test_who_cannot_even_list_is_not_known_to_be_unable_to_stream() -> None:
    world = World()

    step = world.after(Failed(INVALID), Failed(BROKEN))

    assert isinstance(step.state, Streaming)
    assert world.server.streams_of("pods")
    assert step.pause > 0
    world.after(Failed(BROKEN), Page([POD], "10"))
    assert world.server.streams_of("pods")


@pytest.mark.behaviour("R10")
def test_a_stream_that_falls_silent_before_its_bookmark_is_given_up_for_a_list() -> (
    None
):
    world = World()
    step = world.after(Changes([version("a", 15)], "15"), Failed(SILENCE))
    assert step.state == Listing(List("0", PAGE_SIZE))
    assert step.pause == 0

    world.after(Page([POD], "10"))

    assert not world.server.streams


@pytest.mark.behaviour("R10")
def test_a_bookmark_that_ends_nothing_gives_a_plain_watch_away() -> None:
    world = World()

    step = world.after(Changes([version("a", 15)], "15"), Bookmark("16"))

    assert step.state == Listing(List("0", PAGE_SIZE))
    assert not step.stays


@pytest.mark.behaviour("R10")
def test_a_watch_that_never_says_that_is_all_gives_itself_away_at_its_end() -> None:
    world = World()

    world.after(Changes([version("a", 15)], "15"), Closed(lived=300), Page([], "20"))

    assert not world.server.streams


@pytest.mark.behaviour("R10")
def test_a_stream_that_breaks_off_is_replaced_by_a_list_this_time() -> None:
    world = World()
    step = world.after(Changes([version("a", 15)], "15"), Closed(lived=9))
    assert step.state == Listing(List("0", PAGE_SIZE))
    assert step.pause > 0

    step = world.after(Page([POD], "20"), Failed(BROKEN))

    assert step.state == Streaming(WatchList("20", 300, patience=30))


@pytest.mark.behaviour("R10")
def test_streams_may_break_off_time_and_again_and_are_not_given_up() -> None:
    world = World()
    break_off = (Closed(lived=9), Page([POD], "20"), Failed(BROKEN))

    step = world.after(*break_off, *break_off, END, Failed(BROKEN), *break_off)

    assert step.state == Streaming(WatchList("20", 300, patience=30))


@pytest.mark.behaviour("R10")
def test_what_one_found_out_about_a_server_all_know() -> None:
    world = World()
    world.after(Failed(SILENCE), Page([POD], "10"))

    other = Stepper(WatchOptions(), Lowest(), world.server, "nodes")

    assert other.start().state.ask == List("0", PAGE_SIZE)


@pytest.mark.behaviour("R9")
def test_streams_can_be_turned_off() -> None:
    stepper = Stepper(WatchOptions(watch_list=False), Lowest())

    assert stepper.start().state.ask == List("0", PAGE_SIZE)


@pytest.mark.behaviour("R6")
@pytest.mark.parametrize("error", [BUSY, ConnectionRefusedError(), OSError("reset")])
def test_a_server_that_is_down_is_asked_for_the_same_stream_after_a_pause(
    error: Exception,
) -> None:
    step = World().after(Failed(error))

    assert step.state.ask == WatchList("", 300, patience=30)
    assert step.pause > 0


@pytest.mark.behaviour("R6")
def test_the_pause_is_no_shorter_than_the_server_asked_for() -> None:
    busy = TooManyRequestsError("busy", status=429, retry_after=timedelta(seconds=17))
    world = World()
    assert world.after(Failed(busy)).pause == 17

    assert world.after(END, Failed(busy)).pause == 17


@pytest.mark.behaviour("R6")
@pytest.mark.parametrize("retry", [0, 60])
def test_a_server_in_trouble_that_asks_for_a_pause_is_left_alone_for_so_long(
    retry: float,
) -> None:
    in_trouble = ServerError("oops", status=500, retry_after=timedelta(seconds=17))

    step = World(internal_error_retry=retry).after(END, Failed(in_trouble))

    assert step.pause == 17


@pytest.mark.behaviour("R6")
def test_internal_errors_are_retried_for_the_span_that_was_set() -> None:
    world = World(internal_error_retry=10)
    world.after(END)

    asks = [world.after(Failed(BROKEN), now=now).state.ask for now in (100, 109, 110)]

    watch = Watch("20", 300)
    assert asks == [watch, watch, WatchList("20", 300, patience=30)]


@pytest.mark.behaviour("R6")
def test_after_a_minute_of_calm_internal_errors_are_retried_as_long_again() -> None:
    world = World(internal_error_retry=10)
    world.after(END)
    world.after(Failed(BROKEN), now=100)

    step = world.after(Failed(BROKEN), now=160)

    assert step.state.ask == Watch("20", 300)
    assert step.pause > 0


@pytest.mark.behaviour("R1")
@pytest.mark.behaviour("R7")
@pytest.mark.parametrize("error", [EXPIRED, TOO_LARGE])
def test_a_lost_version_leads_to_a_stream_of_the_newest_at_once(
    error: Exception,
) -> None:
    world = World()
    step = world.after(END, Failed(error))
    assert step.state == Streaming(WatchList("", 300, patience=30))
    assert step.pause == 0

    step = world.after(Failed(error))

    assert step.pause > 0


@pytest.mark.behaviour("R1")
@pytest.mark.parametrize("error", [EXPIRED, TOO_LARGE])
def test_a_stream_no_older_than_a_lost_version_is_asked_for_the_newest(
    error: Exception,
) -> None:
    world = World()

    step = world.after(END, Failed(BROKEN), Failed(error))

    assert step.state == Streaming(WatchList("", 300, patience=30))
    assert step.pause == 0
    assert world.after(END).state.ask == Watch("20", 300)
