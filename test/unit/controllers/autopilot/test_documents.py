"""YAML of strangers, within limits."""

from __future__ import annotations

import pytest

from controllers.autopilot.documents import (
    MAX_BYTES,
    MAX_DEPTH,
    check_limits,
    read_documents,
    read_object,
    traps,
    write_yaml,
)
from controllers.autopilot.errors import CatalogError

LAUGHS = "\n".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10) if below else 'x, x'}]"
    for below, name in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("x" * (MAX_BYTES + 1), "longer than", id="long"),
        pytest.param("é" * (MAX_BYTES // 2 + 1), "longer than", id="long as UTF-8"),
        pytest.param("[" * 101 + "]" * 101, "nested deeper", id="deep"),
        pytest.param("[" * 1_000_000, "nested deeper", id="deep, and never closed"),
        pytest.param("- " * 5000 + "x", "nested deeper", id="deep by indentation"),
        pytest.param(LAUGHS, "aliases stand for", id="alias bomb"),
        pytest.param("a: &a [*a]", "contains itself", id="a circle"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_before_it_is_built(
    text: str, reason: str
) -> None:
    """Scenario 59: rejected fast; the limits are looked at event by event."""
    with pytest.raises(CatalogError, match=f"^it.yaml: .*{reason}"):
        read_documents(text, origin="it.yaml")


def test_what_is_at_a_limit_is_read() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    shared = "a: &a {b: 1}\nc: [" + "*a, " * 3000 + "]"

    check_limits(deep)
    check_limits(shared)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", "'a' of line 2 is given twice"),
        ("1: x", "the key 1 under / must be a string"),
        ("a: {b: .inf}", "/a/b is inf"),
        ("a: !!binary aGk=", "/a is a bytes"),
        ("a: !!python/object:os.system x", "not YAML"),
        ("a: !!int x", "not YAML"),
        ("? [a]\n: b", "not YAML"),
        ("a: *nobody", "not YAML"),
        ("a: \0", "not YAML"),
    ],
)
def test_what_json_does_not_have_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CatalogError, match=reason):
        read_documents(text, origin="it.yaml")


def test_numbers_are_those_of_kubectl_and_dates_are_text() -> None:
    text = "mode: 0644\non: 2024-01-01\nat: 12e03\n"

    with pytest.raises(CatalogError, match="the key True under / must be a string"):
        read_object(text, origin="it.yaml")
    read = read_object(text.replace("on:", "day:"), origin="it.yaml")

    assert read == {"mode": 420, "day": "2024-01-01", "at": "12e03"}


def test_one_object_is_wanted_and_none_is_fine() -> None:
    assert read_object("# nothing\n---\n", origin="it.yaml") is None
    with pytest.raises(CatalogError, match="has 2 documents"):
        read_object("a: 1\n---\nb: 2", origin="it.yaml")
    with pytest.raises(CatalogError, match="must be a map, and is a list"):
        read_object("[a]", origin="it.yaml")


@pytest.mark.parametrize("text", ["1e3", "y", "No", "0644", "1:30", "null", "2024-1-1"])
def test_what_others_do_not_read_as_a_string_is_quoted(text: str) -> None:
    assert write_yaml({"a": text}) == f'a: "{text}"\n'


def test_values_that_readers_disagree_about_are_pointed_out() -> None:
    text = 'a: yes\nb: "yes"\nc: 0644\nd: [1:30, 2024-01-01]\ne: true\nf: 10\n'

    found = [(trap.line, trap.text) for trap in traps(text)]

    assert found == [(1, "yes"), (3, "0644"), (4, "1:30"), (4, "2024-01-01")]
