"""What constraints mean, and which tag is chosen.

`test/data/constraints.json` has what Masterminds/semver 3.5.0 itself answers: a list of
versions, and for each constraint, without or with pre-releases, those that it allows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from controllers.versions import (
    CONSTRAINT_MAX,
    GROUPS_MAX,
    InvalidConstraintError,
    Version,
    parse_constraint,
    parse_loose,
    parse_tag,
    select,
    tag_filter,
)

DATA = Path(__file__).parents[2] / "data" / "constraints.json"


class Answer(NamedTuple):
    constraint: str
    include_prereleases: bool
    allowed: str | None


TABLE = json.loads(DATA.read_text(encoding="utf-8"))
VERSIONS: list[str] = TABLE["versions"].split()
ANSWERS = [Answer(*row) for row in TABLE["answers"]]


def newest(tags: str, constraint: str = "", *, prereleases: bool = False) -> str | None:
    chosen = select(
        tags.split(), parse_constraint(constraint), include_prereleases=prereleases
    )
    return chosen.tag


def version(text: str) -> Version:
    parsed = parse_tag(text)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_a_constraint_allows_what_helm_allows(answer: Answer) -> None:
    """Bundle 65."""
    if answer.allowed is None:
        with pytest.raises(InvalidConstraintError):
            parse_constraint(answer.constraint)
        return

    constraint = parse_constraint(answer.constraint)

    assert answer.allowed.split() == [
        text
        for text in VERSIONS
        if constraint.allows(
            version(text), include_prereleases=answer.include_prereleases
        )
    ]


@pytest.mark.parametrize(
    ("constraint", "tags", "expected"),
    [
        (">=1.0.0", "0.9.0 1.0.0 2.1.0 2.0.9", "2.1.0"),
        ("~1.2.0", "1.1.9 1.2.0 1.2.7 1.3.0", "1.2.7"),
        ("^1.0.0", "1.0.0 1.9.3 2.0.0", "1.9.3"),
        ("<2.0.0", "1.9.9 2.0.0 2.0.0-rc.1", "1.9.9"),
        ("^0.2.3", "0.2.2 0.2.9 0.3.0", "0.2.9"),
        ("^0.0.3", "0.0.3 0.0.4", "0.0.3"),
        ("1.x || >=3", "1.4.0 2.9.0", "1.4.0"),
        ("1.x || >=3", "1.4.0 2.9.0 3.0.0", "3.0.0"),
        ("1.2 - 1.4", "1.1.0 1.4.9 1.5.0", "1.4.9"),
        (">=1.2.0-0", "1.2.0 1.3.0-rc.1", "1.3.0-rc.1"),
        (">=1.2.0", "1.2.0 1.3.0-rc.1", "1.2.0"),
        ("", "v1.0.0 v1.1.0", "v1.1.0"),
        ("", "v1.1.0 1.1.0", "1.1.0"),
        ("", "1.2.3 1.2.3_b1", "1.2.3_b1"),
        ("", "1.2.3_b2 1.2.3_b10", "1.2.3_b10"),
        ("", "1.2.3_2.a 1.2.3_2", "1.2.3_2.a"),
        ("", "1 1.2 20240101 main latest 0.1.0", "0.1.0"),
        ("", "01.0.0 1.0.0-01 1.0.0_a_b 0.0.1", "0.0.1"),
        ("", "1.0.0 9" + 19 * "9" + ".0.0", "1.0.0"),
        ("~1.2.0", "1.3.0 main", None),
        (" ", "1.0.0 2.0.0", "2.0.0"),
        ("1||2 - 3", "2.5.0 3.9.0 4.0.0", "3.9.0"),
    ],
)
def test_the_newest_allowed_version_is_chosen(
    constraint: str, tags: str, expected: str | None
) -> None:
    """Bundle 65, 66."""
    assert newest(tags, constraint) == expected


def test_prereleases_count_when_asked_for() -> None:
    assert newest("1.0.0 1.1.0-rc.1") == "1.0.0"
    assert newest("1.0.0 1.1.0-rc.1", prereleases=True) == "1.1.0-rc.1"


def test_without_a_release_no_prerelease_is_taken_instead() -> None:
    assert newest("1.0.0-rc.1 main") is None


def test_without_any_version_the_last_tag_but_latest_is_a_guess() -> None:
    chosen = select(["main", "latest", "2024-11", "alpha"], parse_constraint(""))

    assert (chosen.tag, chosen.version) == ("main", None)
    assert (chosen.versions, chosen.skipped) == (0, 4)
    assert newest("main", ">=1") is None
    assert newest("latest") is None


def test_tags_of_signatures_do_not_count() -> None:
    digest = "a" * 64
    tags = f"main sha256-{digest} sha256-{digest}.sig sha256-{digest}.sbom"

    chosen = select(tags.split(), parse_constraint(""))

    assert (chosen.tag, chosen.skipped) == ("main", 1)


def test_what_was_passed_over_is_counted() -> None:
    chosen = select(["1.0.0", "2.0.0", "main", "1.0"], parse_constraint("<2"))

    assert chosen == ("1.0.0", version("1.0.0"), 2, 2)


def test_a_filter_decides_which_tags_are_looked_at() -> None:
    keeps = tag_filter(include="^prod-|^v", exclude="broken")
    tags = ["1.5.0", "v1.0.0", "v1.1.0-broken", "v1.0.1"]

    chosen = select(tags, parse_constraint(""), keeps=keeps)

    assert (chosen.tag, chosen.versions) == ("v1.0.1", 2)
    assert tag_filter()("anything")


@pytest.mark.parametrize("pattern", ["(", "a" * 257, "(?=a)"])
def test_a_filter_that_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidConstraintError, match="tag filter"):
        tag_filter(include=pattern)


def test_versions_sort_as_semver_says() -> None:
    ascending = [
        "0.0.1",
        "1.0.0-1",
        "1.0.0-2",
        "1.0.0-10",
        "1.0.0-a",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-rc.2",
        "1.0.0-rc.10",
        "v1.0.0",
        "1.0.0",
        "1.0.0_1",
        "1.0.1",
    ]

    assert [each.text for each in sorted(map(version, ascending))] == ascending


def test_a_chart_in_an_index_may_have_a_short_version() -> None:
    short = parse_loose("v1.2")

    assert short is not None
    assert short.key == version("1.2.0").key
    assert parse_loose("1.2.3+b1") is not None
    assert parse_loose("1.2.3_b1") is None
    assert parse_loose("main") is None
    assert select(["1.2", "1.1"], parse_constraint("^1"), parse=parse_loose).tag == (
        "1.2"
    )


def test_the_error_says_where_a_constraint_cannot_be_read() -> None:
    with pytest.raises(InvalidConstraintError, match=r"'>=1 \|\| newest' .* 'newest'"):
        parse_constraint(">=1 || newest")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1" + " " * CONSTRAINT_MAX, id="characters"),
        pytest.param("||".join(["1"] * (GROUPS_MAX + 1)), id="alternatives"),
    ],
)
def test_a_constraint_has_bounds(text: str) -> None:
    with pytest.raises(InvalidConstraintError, match="at most"):
        parse_constraint(text)


@pytest.mark.parametrize(
    "text", ["1" + " " * 500 + "!", "1 " * 250 + "!", "1-" * 250 + "!"]
)
def test_a_hostile_constraint_costs_no_time(text: str) -> None:
    with pytest.raises(InvalidConstraintError):
        parse_constraint(text)


def test_a_constraint_shows_what_was_written() -> None:
    assert str(parse_constraint("~1.2")) == "~1.2"
    assert parse_constraint("~1.2") == parse_constraint("~1.2")
    assert str(version("v1.2.3_b1")) == "v1.2.3_b1"
