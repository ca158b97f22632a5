"""Whatever a defaulter makes of an object, the patch leads there and nowhere else."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.meta import Json
from controller_runtime.webhook import patched
from controller_runtime.webhook.defaulting import overlay
from controller_runtime.webhook.review import write_review

KEYS = st.sampled_from(["a", "b", "c", "", "~", "/", "~1", "a/b", "0", "é"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.text(max_size=2),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(sent=OBJECTS, wanted=OBJECTS)
def test_the_patch_that_is_sent_makes_the_one_of_the_other(
    sent: Json, wanted: Json
) -> None:
    before = copy.deepcopy(sent)

    review = json.loads(write_review("v1", "u", patched(sent, wanted)))["response"]

    assert as_json(sent) == as_json(before)
    if as_json(sent) == as_json(wanted):
        assert "patch" not in review
        assert "patchType" not in review
    else:
        patch = json.loads(base64.b64decode(review["patch"]))
        assert review["patchType"] == "JSONPatch"
        assert as_json(jsonpatch.apply_patch(sent, patch)) == as_json(wanted)


@given(sent=OBJECTS, after=OBJECTS)
def test_what_a_model_says_in_full_is_what_is_wanted(sent: Json, after: Json) -> None:
    assert as_json(overlay(sent, sent, after)) == as_json(after)


@given(sent=OBJECTS, before=OBJECTS)
def test_without_a_change_the_object_stays_as_it_was_sent(
    sent: Json, before: Json
) -> None:
    assert overlay(sent, before, copy.deepcopy(before)) is sent


@given(known=OBJECTS, after=OBJECTS, unknown=st.dictionaries(st.just("x"), VALUES))
def test_fields_that_a_model_drops_survive_any_change(
    known: Json, after: Json, unknown: Json
) -> None:
    overlaid = overlay({**known, **unknown}, known, after)

    assert as_json(overlaid) == as_json({**unknown, **after})
