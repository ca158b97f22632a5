"""The benchmark of reload: its loads and its table, without a server."""

from __future__ import annotations

import pytest

from benchmarks.compare.figures import Limit, Row
from benchmarks.reload.__main__ import arguments, cases
from benchmarks.reload.cluster import calls_of, sources_of
from benchmarks.reload.recorded import KNOWN, OURS, START, table
from benchmarks.reload.shapes import Shape, shapes

SHAPES = list(shapes())


def test_the_shapes_are_those_of_the_original() -> None:
    assert [shape.name for shape in SHAPES] == [f"S{n}" for n in range(1, 14)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_keeps_to_its_namespace(shape: Shape) -> None:
    places = {user.namespace for user in shape.users}
    places |= {source.namespace for source in sources_of(shape.users)}

    assert places == {shape.name.lower()}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_workloads_and_sources_of_a_shape_have_names_of_their_own(shape: Shape) -> None:
    users = [(it.kind, it.name) for it in shape.users]

    assert len(users) == len(set(users))


def test_every_shape_is_a_case() -> None:
    assert {shape.name for shape in SHAPES} <= cases(arguments([])).keys()


def test_a_case_that_there_is_not_is_refused_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        arguments(["--only=many,nosuch"])

    said = capsys.readouterr().err
    assert "--only: nosuch is none of" in said
    assert "many" in said


def test_calls_are_summed_up_by_verb_and_resource() -> None:
    text = (
        "# HELP apiserver_request_total Requests\n"
        'apiserver_request_total{code="200",resource="pods",verb="LIST"} 2\n'
        'apiserver_request_total{code="404",resource="pods",verb="LIST"} 1\n'
        'other_total{resource="pods",verb="LIST"} 7\n'
    )

    assert calls_of(text) == {("LIST", "pods"): 3}


def test_the_table_says_what_was_promised_and_what_was_recorded_elsewhere() -> None:
    row = Row(title=START, unit="s", objects=0, limits=KNOWN[START].limits)
    row.add(OURS, 3.0)

    (_, line) = table([row]).splitlines()

    assert line.split() == [
        "start",
        "to",
        "ready",
        "s",
        "3",
        *["≤", "2:", "MISSED", "0.06"],
    ]
    assert KNOWN[START].limits == [Limit(2)]
