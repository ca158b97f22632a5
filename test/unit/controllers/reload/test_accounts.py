"""Each change of a source counts once for a config, whatever fails in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from api.reload.status import (
    ReloaderConfigStatus,
    ReloadOutcome,
    RolloutState,
    TargetStatus,
)
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.status.accounts import ROWS_MAX, Counted, Ledger, Sighted, count
from controllers.reload.status.journal import Change, Reload
from controllers.reload.workloads import WorkloadKey

START = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = SourceKey(SourceKind.SECRET, "shop", "s")
SETTINGS = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")
S, C = "shop/Secret/s", "shop/ConfigMap/c"
WEB = WorkloadKey("Deployment", "shop", "web")
API = WorkloadKey("Deployment", "shop", "api")


def full(content: str) -> str:
    return sha256(content.encode()).hexdigest()


def short(content: str) -> str:
    return full(content)[:20]


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def reload(
    number: int,
    workload: WorkloadKey = WEB,
    *,
    had: str = "a",
    has: str = "b",
    **changes: Any,
) -> Reload:
    change = Change(SECRET, short(has))
    given = Reload(number, workload, (change,), ReloadOutcome.RELOADED, after(number))
    return given._replace(had={S: short(had)})._replace(**changes)


@dataclass
class Book:
    """A config with a status, and what is seen."""

    status: ReloaderConfigStatus = field(default_factory=ReloaderConfigStatus)
    targets: Sequence[Sighted] = ()
    sources: dict[str, str | None] = field(default_factory=dict)

    def look(self, *reloads: Reload, at: float = 100, **changes: Any) -> Counted:
        counted = count(
            self.status,
            Ledger(
                targets=self.targets,
                sources=self.sources,
                reloads=reloads,
                now=after(at),
                since=START,
            )._replace(**changes),
        )
        self.status = counted.status
        return counted

    def row(self, key: WorkloadKey = WEB) -> TargetStatus:
        (row,) = (r for r in self.status.target_status if r.name == key.name)
        return row


def book(*targets: WorkloadKey, content: str = "a") -> Book:
    """Return one that has been looked at, with all targets up to date."""
    seen = [Sighted(key, hashes={S: short(content)}) for key in targets or (WEB,)]
    one = Book(targets=seen, sources={S: full(content)})
    one.look(at=0)
    return one


def test_hashes_are_there_before_anything_has_reloaded() -> None:
    """Scenario 11."""
    one = book()

    assert one.status.watched_resource_hashes == {S: full("a")}
    assert one.row().observed_hashes == {S: short("a")}
    assert (one.status.reload_count, one.row().reload_count) == (0, 0)


def test_what_is_absent_or_not_watched_any_more_has_no_hash() -> None:
    """Scenario 12."""
    one = book()

    one.sources = {S: None, C: full("x")}
    one.look()

    assert one.status.watched_resource_hashes == {C: full("x")}
    one.sources = {}
    one.look()
    assert one.status.watched_resource_hashes == {}
    assert one.row().observed_hashes == {}


def test_two_workloads_that_reload_for_one_change_count_one() -> None:
    one = book(WEB, API)

    again = Change(SECRET, short("b"), is_first=False)
    one.look(reload(1), reload(2, API, changes=(again,)))

    assert one.status.reload_count == 1
    assert one.status.last_reload_time == after(2)
    assert [row.reload_count for row in one.status.target_status] == [1, 1]


def test_two_sources_that_change_in_one_reload_count_two() -> None:
    one = book()
    one.sources[C] = full("x")
    both = (Change(SECRET, short("b")), Change(SETTINGS, short("y")))

    one.look(reload(1, changes=both))

    assert one.status.reload_count == 2
    assert one.row().reload_count == 1
    (entry,) = one.status.history
    assert entry.source == f"{S},{C}"
    assert (entry.hash, entry.workload) == (short("b"), "shop/Deployment/web")


def test_one_that_was_held_and_reloads_after_a_restart_counts_no_more() -> None:
    one = book(WEB, API)
    one.look(reload(1))

    one.look(reload(500, API))  # for the same change, by another process

    assert one.status.reload_count == 1
    assert one.row(API).reload_count == 1


def test_a_change_that_is_taken_back_is_a_change() -> None:
    one = book()

    one.look(reload(1))
    one.look(reload(2, had="b", has="a"))
    one.look(reload(3))

    assert one.status.reload_count == 3


def test_a_cache_that_is_behind_takes_nothing_back() -> None:
    one = book()

    one.look(reload(1))  # what was seen of the target is older

    assert one.row().observed_hashes == {S: short("b")}
    one.look()
    one.targets = [Sighted(WEB, hashes={S: short("b")}, reloaded_at=after(1))]
    one.look()
    assert one.status.reload_count == 1


def test_a_reload_that_nobody_was_told_of_is_read_off_the_workload() -> None:
    one = book()

    one.targets = [Sighted(WEB, hashes={S: short("b")}, reloaded_at=after(7))]
    one.look()
    one.look()

    assert one.status.reload_count == one.row().reload_count == 1
    assert one.row().last_reload_time == one.status.last_reload_time == after(7)
    assert [entry.time for entry in one.status.history] == [after(7)]


def test_an_adoption_is_no_reload() -> None:
    one = book()
    one.look(reload(1))

    one.targets = [Sighted(WEB, hashes={S: short("z")}, reloaded_at=after(1))]
    one.look()

    assert one.status.reload_count == 1
    assert one.row().observed_hashes == {S: short("z")}


def test_what_was_reloaded_before_the_config_was_made_is_not_its_reload() -> None:
    one = book()

    one.targets = [Sighted(WEB, hashes={S: short("z")}, reloaded_at=after(-60))]
    one.look()

    assert one.status.reload_count == 0


def test_what_is_being_written_is_left_to_those_who_write_it() -> None:
    one = book()
    ahead = Sighted(WEB, hashes={S: short("b")}, reloaded_at=after(1))

    one.targets = [ahead._replace(is_in_flight=True)]
    one.look()
    assert one.status.reload_count == 0

    one.targets = [ahead]
    one.look(reload(1))
    assert one.status.reload_count == 1


def test_a_reload_whose_answer_was_lost_is_counted_before_the_next_one() -> None:
    one = book()
    one.targets = [Sighted(WEB, hashes={S: short("c")}, reloaded_at=after(9))]

    one.look(reload(9, had="b", has="c", before=after(5)))

    assert one.status.reload_count == 2
    assert one.row().reload_count == 2


def test_an_error_stays_until_a_reload_succeeds() -> None:
    one = book()
    one.sources = {S: full("b")}
    failed = reload(1, outcome=ReloadOutcome.FAILED, error="forbidden")

    one.look(failed)
    one.look(failed._replace(number=2, at=after(2)))
    assert one.row().last_error == "forbidden"
    assert [entry.time for entry in one.status.history] == [after(2)]
    assert one.status.reload_count == 0

    one.look(reload(3))
    assert one.row().last_error == ""


def test_an_error_goes_when_there_is_nothing_to_reload_for_any_more() -> None:
    one = book()
    one.sources = {S: full("b")}
    one.look(reload(1, outcome=ReloadOutcome.FAILED, error="forbidden"))

    one.sources = {S: full("a")}
    one.look()

    assert one.row().last_error == ""


def test_a_dry_run_plans_and_counts_nothing() -> None:
    """Scenario 54."""
    one = book()
    planned = reload(1, outcome=ReloadOutcome.PLANNED)

    one.look(planned, is_dry=True)

    (plan,) = one.status.would_reload
    assert (plan.workload, plan.sources) == ("shop/Deployment/web", (S,))
    assert one.status.reload_count == 0
    assert one.status.history == ()
    one.look(is_dry=False)
    assert one.status.would_reload == ()


def test_the_history_says_how_a_rollout_has_ended() -> None:
    one = book()
    one.look(reload(1))

    one.look(reload(60, outcome=ReloadOutcome.COMPLETE, seconds=58.6))

    (entry,) = one.status.history
    assert (entry.outcome, entry.time) == (ReloadOutcome.COMPLETE, after(1))
    assert entry.duration_seconds == 59
    assert one.status.reload_count == one.row().reload_count == 1


def test_the_history_has_its_limit_the_newest_first() -> None:
    one = book()

    one.look(*(reload(n, has=str(n)) for n in range(5)), limit=3)

    assert [entry.time for entry in one.status.history] == [
        after(4),
        after(3),
        after(2),
    ]
    one.look(limit=0)
    assert one.status.history == ()


def test_a_target_is_paused_for_as_long_as_its_period_after_a_reload() -> None:
    one = book()
    one.targets = [Sighted(WEB, pause=timedelta(seconds=60))]

    one.look(reload(1), at=2)
    assert one.row().paused_until == after(61)

    one.look(at=61)
    assert one.row().paused_until is None


def test_a_target_that_goes_keeps_its_row_as_long_as_it_is_listed() -> None:
    one = book()
    one.look(reload(1))

    one.targets = [Sighted(WEB, is_there=False)]
    one.look()
    assert (one.row().reload_count, one.row().rollout_state) == (1, None)
    assert one.row().observed_hashes == {S: short("b")}

    one.targets = []
    one.look()
    assert one.status.target_status == ()


def test_a_target_without_a_row_counts_all_the_same() -> None:
    keys = [WorkloadKey("Deployment", "shop", f"w{n:04}") for n in range(ROWS_MAX + 1)]
    one = book(*keys)

    one.look(reload(1, keys[-1]))

    assert len(one.status.target_status) == ROWS_MAX
    assert one.status.reload_count == 1
    assert one.status.history[0].workload == f"shop/Deployment/{keys[-1].name}"


def test_a_row_says_how_far_the_pods_are() -> None:
    one = book()

    one.targets = [Sighted(WEB, state=RolloutState.PROGRESSING)]
    one.look()

    assert one.row().rollout_state is RolloutState.PROGRESSING


def test_a_pause_without_end_is_none() -> None:
    one = book()
    one.targets = [Sighted(WEB, hashes={S: short("b")}, pause=timedelta.max)]

    one.look(reload(1))

    assert one.row().reload_count == 1
    assert one.row().paused_until is not None


def test_a_status_stays_small_enough_for_the_server() -> None:
    """Of what a spec can select there is more than fits into an object."""
    names = [f"some-namespace-of-mine/Secret/{number:0>100}" for number in range(4000)]
    keys = [WorkloadKey("Deployment", "shop", f"w{number}") for number in range(512)]
    ran = {name: short("a") for name in names}
    one = Book(
        targets=[Sighted(key, hashes=ran) for key in keys],
        sources={name: full("a") for name in names},
    )

    one.look()

    assert len(one.status.model_dump_json(by_alias=True)) < 900_000
    assert len(one.status.target_status) == ROWS_MAX
    shown = one.status.watched_resource_hashes
    assert list(shown) == names[: len(shown)]
