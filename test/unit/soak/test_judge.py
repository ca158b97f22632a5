"""The judge acquits who did nothing, and finds each kind of offence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from soak.evidence import Arrival, Evidence, Frozen, Life, Stored
from soak.judge import judge
from soak.plan import PATIENT
from soak.records import (
    Answered,
    Began,
    Census,
    Ended,
    Led,
    Over,
    Record,
    Sample,
    Sent,
    Struck,
)
from soak.verdict import Bounds

BOUNDS = Bounds(tempo=PATIENT)
MIB = 1 << 20
STDERR = ["/dev/null", "/tmp/log", "/tmp/log"]  # noqa: S108 - names


def reconcile(
    begin: float, key: str, version: str, *, number: int, lasts: float = 0.1
) -> Sequence[Record]:
    return [
        Began(begin, key),
        Sent(begin + lasts / 4, number, f"/configmaps/{key}"),
        Answered(begin + lasts / 2, number),
        Ended(begin + lasts, key, version),
    ]


def samples(
    begin: float,
    end: float,
    *,
    tasks: int = 12,
    descriptors: int = 12,
    files: int = 4,
    threads: int = 2,
    per_second: float = 0,
) -> list[Record]:
    return [
        Sample(
            t=float(t),
            resident=int(60 * MIB + per_second * (t - begin)),
            blocks=1,
            descriptors=descriptors,
            sockets=descriptors - files,
            threads=threads,
            tasks=tasks,
        )
        for t in range(int(begin), int(end))
    ]


def life(
    identity: str, *records: Sequence[Record], until: float, **other: object
) -> Life:
    """Return a life that is well-behaved to its end, and was asked to stop."""
    inside = sorted(
        (it for each in records for it in each), key=lambda record: record.t
    )
    begin = Census(inside[0].t - 1, STDERR, ["MainThread"])
    over = Over(until, [], [])
    end = Census(until + 1, STDERR, ["MainThread"])
    return Life(
        identity=identity,
        records=[begin, *inside, over, end],
        code=0,
        ended=until + 1,
        was_asked=True,
    )


def first() -> Life:
    """Return who led first: frozen at 100 for 20 s, and struck by the guard."""
    acts = [*reconcile(20, "n/a", "1", number=1), *reconcile(99, "n/b", "2", number=2)]
    held = samples(5, 100, tasks=18, descriptors=20)
    made = life("a-1", [Led(10)], held, acts, until=120)
    records = [it for it in made.records if not isinstance(it, Over)][:-1]
    return replace(
        made,
        records=[*records, Struck(120.01)],
        code=1,
        ended=120.02,
        was_asked=False,
        freezes=[Frozen(100, 120)],
    )


def second(*more: Record) -> Life:
    """Return who led last, and saw everything."""
    acts = [
        *reconcile(117, "n/a", "11", number=1),
        *reconcile(118, "n/b", "12", number=2),
        *reconcile(119, "n/gone", "", number=3),
    ]
    heir, leader = samples(5, 115), samples(115, 600, tasks=18, descriptors=20)
    return life("b-1", heir, [Led(116)], leader, acts, list(more), until=600)


def third() -> Life:
    return life("a-2", samples(122, 600), until=600)


STORED = {"n/a": Stored("11", "x", "x"), "n/b": Stored("12", "y", "y")}


def evidence(
    lives: Sequence[Life] = (),
    stored: Mapping[str, Stored] = STORED,
    **other: object,
) -> Evidence:
    made = Evidence(
        began=0,
        lives=lives or [first(), second(), third()],
        arrivals=[Arrival("a-1", 99.03), Arrival("b-1", 117.03)],
        stored=stored,
        quiet=(10, 30),
        calm=(590, 600),
        settled=1.0,
        planned={"Freeze": 1},
        done={"Freeze": 1},
        takeovers=1,
        struck=5,
        writes=10,
    )
    return replace(made, **other)  # type: ignore[arg-type]


def problems(of: Evidence) -> Mapping[str, str]:
    """Return what is wrong by rule, for the rules that are broken."""
    verdicts = judge(of, BOUNDS)
    return {it.rule: "; ".join(it.problems) for it in verdicts if not it.is_good}


def with_record(old: Life, *records: Record) -> Life:
    merged = sorted([*old.records, *records], key=lambda record: record.t)
    return replace(old, records=merged)


def test_who_did_nothing_is_acquitted_by_every_rule() -> None:
    assert problems(evidence()) == {}
    assert len(judge(evidence(), BOUNDS)) == 7


def test_two_who_act_in_turns_are_two_leaders() -> None:
    guilty = with_record(second(), Began(98, "n/c"), Ended(98.1, "n/c", "1"))

    found = problems(evidence([first(), guilty, third()]))

    assert "a-1 acted" in found["one leader"]


def test_a_leader_that_wakes_and_reconciles_is_a_second_leader() -> None:
    awake = with_record(first(), Began(120.001, "n/c"))

    found = problems(evidence([awake, second(), third()]))

    assert "a-1 acted 1 times after b-1 had begun to" in found["one leader"]


def test_a_leader_that_wakes_and_sends_a_write_is_a_second_leader() -> None:
    awake = with_record(first(), Sent(120.001, 3, "/configmaps/c"))

    found = problems(evidence([awake, second(), third()]))

    assert set(found) == {"one leader"}


def test_a_reconcile_that_goes_on_beside_another_leaders_is_found() -> None:
    spans: list[Record] = [Began(99.5, "n/c"), Ended(118.5, "n/c", "1")]
    guilty = with_record(replace(first(), freezes=[]), *spans)

    found = problems(evidence([guilty, second(), third()]))

    assert "went on for 1.500 s" in found["one leader"]


def test_a_reconcile_that_slept_through_that_and_ends_on_waking_is_not() -> None:
    spans: list[Record] = [Began(99.5, "n/c"), Ended(120.005, "n/c", "1")]

    assert problems(evidence([with_record(first(), *spans), second(), third()])) == {}


def test_a_leader_that_is_overtaken_asleep_and_lives_on_is_found() -> None:
    immortal = replace(first(), ended=150.0)

    assert "lived on" in problems(evidence([immortal, second(), third()]))["one leader"]


def test_a_late_write_that_nobody_had_sent_before_is_found() -> None:
    arrivals = [Arrival("a-1", 120.01), Arrival("b-1", 117.03)]

    found = problems(evidence(arrivals=arrivals))

    assert "1 writes of a-1 came after b-1 had begun to act" in found["late writes"]


def test_a_late_write_that_was_on_its_way_is_the_limit_that_is_known() -> None:
    sender = with_record(first(), Sent(99.99, 3, "/configmaps/c"))
    arrivals = [Arrival("a-1", 120.01), Arrival("b-1", 117.03)]

    found = problems(evidence([sender, second(), third()], arrivals=arrivals))

    assert found == {}


@pytest.mark.parametrize(
    ("key", "stored", "what"),
    [
        ("n/b", Stored("13", "y", "y"), "at version 13, and was last reconciled at 12"),
        ("n/b", Stored("12", "z", "y"), "digest"),
        ("n/new", Stored("9", "y", "y"), "last reconciled at none"),
    ],
)
def test_an_object_whose_last_version_was_missed_is_found(
    key: str, stored: Stored, what: str
) -> None:
    found = problems(evidence(stored=STORED | {key: stored}))

    assert what in found["nothing missed"]


def test_an_object_that_is_gone_and_was_not_noticed_is_found() -> None:
    found = problems(evidence(stored={"n/a": STORED["n/a"]}))

    assert "n/b is gone" in found["nothing missed"]


def test_a_reconcile_that_failed_does_not_count_as_one() -> None:
    failed = Ended(500, "n/b", "13", "ConflictError")
    stored = STORED | {"n/b": Stored("13", "y", "y")}

    found = problems(evidence([first(), second(failed), third()], stored))

    assert "n/b" in found["nothing missed"]


def test_to_settle_never_is_to_miss_something() -> None:
    assert "within 120 s" in problems(evidence(settled=None))["nothing missed"]


@pytest.mark.parametrize(
    ("descriptors", "threads", "tasks", "what"),
    [
        ([*STDERR, "socket:[1]"], ["MainThread"], [], "left socket:[1] open"),
        ([*STDERR, "/tmp/log"], ["MainThread"], [], "left /tmp/log open"),  # noqa: S108
        (STDERR, ["MainThread", "guard"], [], "left the thread guard"),
        (STDERR, ["MainThread"], ["reflector"], "left the task reflector"),
    ],
)
def test_what_a_manager_leaves_behind_is_found(
    descriptors: list[str], threads: list[str], tasks: list[str], what: str
) -> None:
    untidy = third()
    untidy = replace(
        untidy,
        records=[
            *untidy.records[:-2],
            Over(600, tasks, []),
            Census(601, descriptors, threads),
        ],
    )

    found = problems(evidence([first(), second(), untidy]))

    assert what in found["nothing left"]


def test_a_manager_that_does_not_say_what_it_left_is_found() -> None:
    mute = third()
    mute = replace(mute, records=mute.records[:-1])

    found = problems(evidence([first(), second(), mute]))

    assert "did not say" in found["nothing left"]


@pytest.mark.parametrize(
    ("held", "what"),
    [
        ({"descriptors": 13 + 4}, "heir: 13 sockets at the end, 8 at the start"),
        (
            {"descriptors": 12, "files": 7},
            "a: 7 files and pipes at the end, 4 at the start",
        ),
        ({"tasks": 40}, "40 tasks at the end, 12 at the start"),
        ({"threads": 40}, "40 threads at the end, 2 at the start"),
    ],
)
def test_a_manager_that_holds_more_at_the_end_is_found(
    held: Mapping[str, int], what: str
) -> None:
    leaking = life("a-2", samples(122, 590), samples(590, 600, **held), until=600)

    found = problems(evidence([first(), second(), leaking]))

    assert what in found["nothing left"]


@pytest.mark.parametrize(("per_second", "grows"), [(1 << 13, False), (1 << 16, True)])
def test_a_process_that_grows_steadily_is_found(
    per_second: float, *, grows: bool
) -> None:
    grower = life("a-2", samples(122, 600, per_second=per_second), until=600)

    found = problems(evidence([first(), second(), grower]))

    assert ("memory flat" in found) is grows


def test_a_peak_is_no_growth() -> None:
    peak = life(
        "a-2",
        samples(122, 300),
        samples(300, 310, per_second=9 * MIB),
        samples(310, 600),
        until=600,
    )

    assert problems(evidence([first(), second(), peak])) == {}


def test_memory_that_nobody_could_look_at_is_no_proof() -> None:
    short = [
        replace(it, records=[r for r in it.records if not isinstance(r, Sample)])
        for it in (first(), second(), third())
    ]

    assert "nobody led" in problems(evidence(short))["memory flat"]


@pytest.mark.parametrize(
    ("end", "what"),
    [
        ({"code": 2}, "ended with code 2"),
        ({"code": -9}, "ended with code -9"),
        ({"was_asked": False}, "ended with code 0"),
        ({"complaints": ["Task was destroyed"]}, "said: Task was destroyed"),
    ],
)
def test_an_end_without_a_reason_is_found(end: Mapping[str, object], what: str) -> None:
    odd = replace(third(), **end)  # type: ignore[arg-type]

    assert what in problems(evidence([first(), second(), odd]))["ends"]


@pytest.mark.parametrize(
    ("why", "refusals", "is_fine"),
    [
        ("LeaderLostError", 0, True),
        ("ForbiddenError", 1, True),
        ("ForbiddenError", 0, False),
        ("KeyError", 1, False),
    ],
)
def test_an_error_that_ends_a_manager_must_be_one_that_it_was_given(
    why: str, refusals: int, *, is_fine: bool
) -> None:
    lost = third()
    lost = replace(
        lost,
        records=[*lost.records[:-2], Over(600, [], [why]), lost.records[-1]],
        code=1,
        refusals=refusals,
    )

    found = problems(evidence([first(), second(), lost]))

    assert ("ends" not in found) is is_fine


def test_a_reconcile_that_raised_what_only_a_bug_raises_is_found() -> None:
    bug = Ended(500, "n/b", "", "KeyError", is_panic=True)

    found = problems(evidence([first(), second(bug), third()]))

    assert "raised KeyError" in found["ends"]


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        ({"done": {}}, "1 times planned and 0 times done: Freeze"),
        ({"takeovers": 0}, "nobody took over"),
        ({"struck": 0}, "no fault met a request"),
        ({"writes": 0}, "no object was written"),
    ],
)
def test_a_soak_that_tried_nothing_has_shown_nothing(
    missing: Mapping[str, object], what: str
) -> None:
    idle = replace(evidence(), **missing)  # type: ignore[arg-type]

    assert what in problems(idle)["exercised"]
