"""How claims are found in the sources of tests, and held against the list."""

from __future__ import annotations

import pytest

from hack.behaviours import Claim, behaviours, claims, problems, table

SOURCE = """
pytestmark = pytest.mark.behaviour("G1")

@pytest.mark.behaviour("R1", "R2")
async def test_one(): ...

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.behaviour("R3"))])
def test_two(x): ...

@pytest.mark.behaviour("Q1")
class TestMachine:
    @pytest.mark.behaviour("Q2")
    def test_inside(self): ...

TestOther = pytest.mark.behaviour("Q3")(Machine.TestCase)
"""


def test_claims_are_found_wherever_pytest_takes_them() -> None:
    assert set(claims(SOURCE, "t.py")) == {
        Claim("G1", "t.py"),
        Claim("R1", "t.py::test_one"),
        Claim("R2", "t.py::test_one"),
        Claim("R3", "t.py::test_two"),
        Claim("Q1", "t.py::TestMachine"),
        Claim("Q2", "t.py::TestMachine::test_inside"),
        Claim("Q3", "t.py"),
    }


@pytest.mark.parametrize("gap", ["R1", "R15"])
def test_a_required_behaviour_without_a_test_is_a_problem(gap: str) -> None:
    found = [Claim(b, "t.py::test") for b in behaviours("R") if b != gap]

    assert problems(found, "R") == [f"no test: {gap}"]


def test_a_claim_of_what_is_not_listed_is_a_problem() -> None:
    found = [Claim(b, "t.py::test") for b in (*behaviours("G"), "G3")]

    assert problems(found, "G") == ["no such behaviour: t.py::test: G3"]


def test_a_group_that_is_not_required_may_have_gaps() -> None:
    assert problems([], "") == []


def test_the_table_shows_ids_with_and_without_tests() -> None:
    lines = table([Claim("G1", "a.py::test_x"), Claim("G1", "b.py::test_y")])

    assert "  G1   a.py::test_x\n       b.py::test_y\n  G2   -" in lines
