"""Medians, ratios and verdicts, and the tables and pictures made of them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.compare.figures import (
    Limit,
    Row,
    Spread,
    document,
    markdown,
    number,
    percentile,
    ratio,
    text,
    verdicts,
)
from benchmarks.compare.plot import growth

PEERS = ["ours", "go", "kopf"]


def row(*limits: Limit, objects: int = 10_000) -> Row:
    samples = {"ours": [1.0, 3.0, 2.0], "go": [4.0, 4.0, 5.0]}
    return Row(title="start", unit="s", objects=objects, samples=samples, limits=limits)


def test_a_ratio_is_that_of_the_medians_and_its_range_that_of_the_rounds() -> None:
    assert ratio(row(), "ours", "go") == Spread(0.5, 0.25, 0.75)


def test_there_is_no_ratio_to_a_peer_that_did_not_run() -> None:
    assert ratio(row(), "ours", "kopf") is None
    assert verdicts(row(Limit(0.125, "kopf")), "ours") == []


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (Limit(0.5, "go"), True),
        (Limit(0.49, "go"), False),
        (Limit(0.5, "go", at_least=True), True),
        (Limit(2.0), True),
        (Limit(1.9), False),
    ],
)
def test_a_promise_is_kept_up_to_its_limit(limit: Limit, kept: bool) -> None:
    (verdict,) = verdicts(row(limit), "ours")

    assert verdict.is_kept is kept


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]

    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.1234, "0.123"), (12.34, "12.3"), (123.4, "123"), (20_000.0, "20,000")],
)
def test_a_number_has_three_digits_that_count(value: float, written: str) -> None:
    assert number(value) == written


def test_the_table_says_what_holds_and_what_is_missed() -> None:
    rows = [row(Limit(0.7, "go")), row(Limit(1.5), objects=50_000)]

    table = markdown(rows, PEERS).splitlines()

    assert table[2] == (
        "| start, s | 10,000 | 2 (1 to 3) | 4 (4 to 5) | - | 0.5 (0.25 to 0.75) "
        "| ≤ 0.7 of go: holds |"
    )
    assert table[3].endswith("| ≤ 1.5: **missed** |")
    assert "MISSED" in text(rows, PEERS)


def test_the_document_has_every_sample() -> None:
    found = document([row(Limit(0.7, "go"))], {"cores": 2}, "ours")

    assert found["machine"] == {"cores": 2}
    assert found["rows"] == [
        {
            "title": "start",
            "unit": "s",
            "objects": 10_000,
            "samples": {"ours": [1.0, 3.0, 2.0], "go": [4.0, 4.0, 5.0]},
            "promises": [{"promise": "≤ 0.7 of go", "found": 0.5, "holds": True}],
        }
    ]


def test_a_picture_has_a_line_for_each_peer_measured_at_two_sizes() -> None:
    title = "ConfigMaps: start to each reconciled once, wall"
    rows = [
        Row(title=title, unit="s", objects=1000, samples={"ours": [0.2], "go": [0.3]}),
        Row(title=title, unit="s", objects=50_000, samples={"ours": [2], "kopf": [9]}),
    ]

    (picture,) = growth(rows, PEERS).values()

    lines = ET.fromstring(picture).findall(".//{*}polyline")  # noqa: S314 - ours
    assert len(lines) == 1
