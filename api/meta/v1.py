"""The group `meta.k8s.io`, version `v1`: what other kinds are made of."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller_runtime.meta import ApiModel
from controller_runtime.schema import ListAtomic, ValidationRule, marked


class Operator(StrEnum):
    """What is asked of a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@marked(
    ValidationRule(
        "self.operator in ['In', 'NotIn'] == (has(self.values) && "
        "size(self.values) > 0)",
        message="In and NotIn need values, Exists and DoesNotExist take none",
    )
)
class LabelRequirement(ApiModel):
    """One condition on labels."""

    key: Annotated[str, Field(min_length=1, max_length=317)]
    operator: Operator
    values: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...],
        Field(max_length=64),
        ListAtomic(),
    ] = ()


class LabelSelector(ApiModel):
    """Conditions on labels, all of which must hold; empty selects everything.

    `controller_runtime.LabelSelector.from_dict` reads what it is on the wire.
    """

    match_labels: Mapping[str, str] = Field(default_factory=dict)
    match_expressions: Annotated[
        tuple[LabelRequirement, ...], Field(max_length=32), ListAtomic()
    ] = ()
