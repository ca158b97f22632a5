"""Strategic merge patches; the expectations were taken from a real API server."""

from __future__ import annotations

import copy

import pytest

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.status import StatusError
from controller_runtime.testing.apiserver.strategic import merge

KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "finalizers": (),
}


def env(*names: str) -> list[Json]:
    return [{"name": name, "value": "1"} for name in names]


@pytest.mark.parametrize(
    ("live", "patch", "result"),
    [
        pytest.param({"a": 1}, {"a": None, "b": 2}, {"b": 2}, id="null removes"),
        pytest.param(
            {"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="in"
        ),
        pytest.param({"args": [1, 2]}, {"args": [3]}, {"args": [3]}, id="plain lists"),
        pytest.param({}, {"env": env("A")}, {"env": env("A")}, id="a new list"),
        pytest.param(
            {"env": env("A", "B", "C")},
            {"env": [{"name": "B", "value": "2"}, *env("Z")]},
            {"env": [*env("A"), {"name": "B", "value": "2"}, *env("Z", "C")]},
            id="items merge, new ones follow those beside them",
        ),
        pytest.param(
            {"env": env("A", "B")},
            {"env": [{"$patch": "delete", "name": "A"}]},
            {"env": env("B")},
            id="an item is deleted",
        ),
        pytest.param(
            {"env": env("A", "B")},
            {"env": [{"$patch": "replace"}, *env("C")]},
            {"env": env("C")},
            id="a list is replaced",
        ),
        pytest.param(
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}},
            {"strategy": {"$patch": "replace", "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
            id="an object is replaced",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {
                "volumes": [
                    {"name": "v", "$retainKeys": ["name", "secret"], "secret": {}}
                ]
            },
            {"volumes": [{"name": "v", "secret": {}}]},
            id="other keys are dropped",
        ),
        pytest.param(
            {"env": env("A", "B", "C")},
            {"$setElementOrder/env": [{"name": "C"}, {"name": "A"}]},
            {"env": env("B", "C", "A")},
            id="items are put in order",
        ),
        pytest.param(
            {"finalizers": ["a"]},
            {"finalizers": ["b"]},
            {"finalizers": ["b", "a"]},
            id="a set grows",
        ),
        pytest.param(
            {"finalizers": ["a", "b"]},
            {"$deleteFromPrimitiveList/finalizers": ["a"]},
            {"finalizers": ["b"]},
            id="a set shrinks",
        ),
    ],
)
def test_a_patch_merges(live: Json, patch: Json, result: Json) -> None:
    before = copy.deepcopy((live, patch))

    assert merge(live, patch, KEYS) == result
    assert (live, patch) == before


def test_an_item_needs_the_key_of_its_list() -> None:
    with pytest.raises(StatusError, match="declared merge key: name") as caught:
        merge({"env": env("A")}, {"env": [{"value": "2"}]}, KEYS)

    assert caught.value.code == 500
