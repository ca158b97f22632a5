"""Whether the cluster has what is wanted."""

from __future__ import annotations

import pytest

from controller_runtime import Json
from controllers.autopilot.drift import (
    Verdict,
    comparable,
    describe,
    differences,
    digest,
)


def obj(**fields: object) -> Json:
    return {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, **fields}


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"ready": True}},
        {"metadata": {"name": "a", "resourceVersion": "9", "generation": 2}},
        {"metadata": {"name": "a", "managedFields": [{}], "uid": "x"}},
        {"metadata": {"name": "a", "labels": {}, "annotations": None}},
    ],
)
def test_what_no_apply_has_an_opinion_on_does_not_count(change: Json) -> None:
    assert digest(obj(**change)) == digest(obj())
    assert differences(obj(), obj(**change)) == []


def test_the_order_of_fields_does_not_count_and_that_of_items_does() -> None:
    assert digest(obj(spec={"a": 1, "b": 2})) == digest(obj(spec={"b": 2, "a": 1}))
    assert digest(obj(spec=[1, 2])) != digest(obj(spec=[2, 1]))


def test_places_are_named_and_values_are_not() -> None:
    before = obj(spec={"a": "secret", "l": [1, 2], "gone": 1})
    after = obj(spec={"a": "x", "l": [1, 3], "n/m": 1})

    assert differences(before, after) == [
        "/spec/a",
        "/spec/gone",
        "/spec/l/1",
        "/spec/n~1m",
    ]


@pytest.mark.parametrize(("one", "other"), [(1, True), ("1", 1), ([1], [1, 2])])
def test_what_is_equal_to_python_alone_differs(one: object, other: object) -> None:
    assert differences(obj(spec={"a": one}), obj(spec={"a": other})) == ["/spec/a"]


def test_many_places_are_a_number() -> None:
    places = [f"/{n}" for n in range(20)]

    assert describe(places).endswith("/7 and 12 more")
    assert describe(places[:2]) == "/0, /1"


def test_a_verdict_holds_until_something_changes_or_it_is_old() -> None:
    verdict = Verdict("e", "l", 100, 1)

    assert verdict.holds("e", "l", now=199, epoch=1, age=100)
    assert not verdict.holds("e", "l", now=200, epoch=1, age=100)
    assert not verdict.holds("x", "l", now=101, epoch=1, age=100)
    assert not verdict.holds("e", "x", now=101, epoch=1, age=100)
    assert not verdict.holds("e", "l", now=101, epoch=2, age=100)


def test_what_counts_is_whole() -> None:
    metadata = {"name": "a", "namespace": "b", "labels": {"x": "y"}}
    assert comparable(obj(metadata=metadata, data={})) == obj(
        metadata=metadata, data={}
    )
