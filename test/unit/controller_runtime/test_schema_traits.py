"""Each trait's schema is the one that is written down, and its values go through it."""

from __future__ import annotations

import json

import pytest

from conformance.traits import TRAITS, Trait
from controller_runtime.schema import problems
from controller_runtime.schema.models import json_schema_of
from controller_runtime.schema.structural import structural

each = pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.name)


@each
def test_a_trait_has_the_schema_that_is_written_down(trait: Trait) -> None:
    assert structural(json_schema_of(trait.model), name=trait.name) == trait.schema


@each
def test_what_fits_is_read_and_written_as_it_came(trait: Trait) -> None:
    for good in trait.good:
        read = trait.model.model_validate_json(json.dumps(good))

        assert list(problems(trait.schema, good)) == []
        assert json.loads(read.model_dump_json(by_alias=True, exclude_unset=True)) == (
            good
        )


@each
def test_what_the_server_fills_in_is_what_the_model_reads_without_it(
    trait: Trait,
) -> None:
    for good in trait.good:
        filled = trait.model.model_validate_json(json.dumps({**trait.filled, **good}))

        assert filled == trait.model.model_validate_json(json.dumps(good))
