"""Objects that are not to be applied."""

from __future__ import annotations

import fnmatch
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from controllers.autopilot.exclusion import (
    PatternError,
    parse_pattern,
    read_exclusions,
)


@pytest.mark.parametrize(
    ("pattern", "matches", "misses"),
    [
        ("a", ["a"], ["", "b", "aa"]),
        ("*", ["", "a", "a.b-c"], []),
        ("90-*", ["90-", "90-swap"], ["9", "x90-"]),
        ("*-swap-*", ["90-swap-online", "-swap-"], ["swap", "90-swap"]),
        ("a?c", ["abc"], ["ac", "abbc"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[^a-c]x", ["dx"], ["ax", "x"]),
        ("[ab]*[yz]", ["a-z", "by"], ["az-", "c-z"]),
        (r"a\*", ["a*"], ["ab", r"a\b"]),
        (r"[\]]", ["]"], ["["]),
    ],
)
def test_patterns_mean_what_they_mean_in_go(
    pattern: str, matches: list[str], misses: list[str]
) -> None:
    compiled = parse_pattern(pattern)

    assert [t for t in [*matches, *misses] if compiled.matches(t)] == matches


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-", "[a-]", "a\\", "[^]"])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    """Scenario 34."""
    with pytest.raises(PatternError):
        parse_pattern(pattern)


@hypothesis.given(st.text("ab*?", max_size=12), st.text("ab", max_size=30))
def test_globs_without_classes_match_as_those_of_the_shell(
    pattern: str, text: str
) -> None:
    expected = re.fullmatch(fnmatch.translate(pattern), text) is not None

    assert parse_pattern(pattern).matches(text) is expected


def test_many_stars_take_no_time() -> None:
    assert not parse_pattern("*a" * 50 + "b").matches("a" * 253)


RULES = """
- {kind: MachineConfig, name: "90-*"}
- {kind: ConfigMap, namespace: "open*", name: a}
- {kind: Namespace, namespace: "*", name: b}
"""


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "covered"),
    [
        ("MachineConfig", "", "90-swap", True),
        ("MachineConfig", "any", "90-swap", True),
        ("MachineConfig", "", "50-swap", False),
        ("machineconfig", "", "90-swap", False),
        ("ConfigMap", "openshift", "a", True),
        ("ConfigMap", "shop", "a", False),
        ("ConfigMap", "", "a", False),
        ("Namespace", "", "b", True),
    ],
)
def test_rules_cover_what_they_name(
    kind: str, namespace: str, name: str, *, covered: bool
) -> None:
    """Scenario 30."""
    assert read_exclusions(RULES).covers(kind, namespace, name) is covered


@pytest.mark.parametrize(
    "text", ["{", "a: b", "MachineConfig/x, ConfigMap/y", "7", "- [", "[{kind: x"]
)
def test_what_cannot_be_read_excludes_nothing_and_is_told(text: str) -> None:
    """Scenario 31; the old notation, too."""
    read = read_exclusions(text)

    assert read.rules == ()
    assert len(read.problems) == 1


@pytest.mark.parametrize(
    "rule",
    ["{name: a}", "{kind: x}", "{kind: 1, name: a}", "{kind: x, name: '['}", "x"],
)
def test_a_rule_that_cannot_be_read_leaves_the_others(rule: str) -> None:
    """Scenarios 31 and 34."""
    read = read_exclusions(f"[{rule}, {{kind: ConfigMap, name: a}}]")

    assert read.covers("ConfigMap", "shop", "a")
    assert "rule 0" in read.problems[0]


def test_aliases_that_stand_for_millions_are_not_followed() -> None:
    doubled = "".join(
        f"  b{i + 1}: &b{i + 1} {{<<: [*b{i}, *b{i}]}}\n" for i in range(40)
    )

    read = read_exclusions(f"- b0: &b0 {{x: 1}}\n{doubled}")

    assert read.rules == ()
    assert "aliases" in read.problems[0]


def test_no_annotation_is_no_rule() -> None:
    assert read_exclusions(" ") == ((), ())
