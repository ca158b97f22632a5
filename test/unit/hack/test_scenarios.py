"""How scenarios are found in docstrings, and held against the list."""

from __future__ import annotations

import pytest

from hack.scenarios import REQUIRED, Claim, claims, numbers, problems, table

SOURCE = '''
"""Scenario 30: all of this page."""

async def test_one():
    """Scenarios 5, 7 and 9: some words."""

class TestSome:
    def test_two(self):
        """It does what it should: scenario 31."""

def test_three():
    """About something else: 6."""
'''

ALL = [Claim("reload", number, "t.py") for number in REQUIRED["reload"]]


def test_scenarios_are_found_in_docstrings_of_tests_and_pages() -> None:
    path = "test/unit/controllers/reload/test_x.py"

    assert list(claims(SOURCE, path)) == [
        Claim("reload", 30, path),
        Claim("reload", 5, f"{path}::test_one"),
        Claim("reload", 7, f"{path}::test_one"),
        Claim("reload", 9, f"{path}::test_one"),
        Claim("reload", 31, f"{path}::TestSome::test_two"),
    ]


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        ("Scenario 28, the part of --reload-on-create.", [28]),
        ("Scenarios 1 (over HTTP), 8 and 40.", [1, 8, 40]),
        ("Scenarios 25, 26, and 27 in one.", [25, 26, 27]),
        ("Scenarios 38 and 8.6: one for each verb.", [38]),
        ("Scenario 13: the minute is 15 seconds here.", [13]),
        ("The scenarios of the release specification, section 5.", []),
    ],
)
def test_only_the_numbers_after_the_word_count(
    docstring: str, found: list[int]
) -> None:
    assert numbers(docstring) == found


def test_a_page_of_no_area_claims_nothing() -> None:
    assert list(claims(SOURCE, "test/unit/controller_runtime/test_x.py")) == []


@pytest.mark.parametrize("gap", [1, 31, 40, 56])
def test_a_scenario_without_a_test_is_a_problem(gap: int) -> None:
    assert problems(claim for claim in ALL if claim.scenario != gap) == [
        f"reload: no test: {gap}"
    ]
    assert problems(ALL) == []


def test_a_number_that_does_not_exist_is_a_problem() -> None:
    assert problems([*ALL, Claim("reload", 35, "t.py::test")]) == [
        "t.py::test: reload has no scenario 35"
    ]
    assert problems([*ALL, Claim("bundle", 35, "t.py::test")]) == []


def test_the_table_has_a_line_for_each_test_and_a_dash_for_a_gap() -> None:
    found = [*ALL[1:], Claim("reload", 2, "u.py"), Claim("bundle", 7, "t.py")]

    lines = table(found).splitlines()

    assert lines[:6] == [
        "bundle:",
        "    7 t.py",
        "",
        "reload:",
        "    1 -",
        "    2 t.py",
    ]
    assert lines[6] == "      u.py"
