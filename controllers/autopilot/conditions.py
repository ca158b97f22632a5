"""Conditions of assets, asked (pure).

    condition + context ──▶ Check: what was wanted, what there is, met or not or unknown

Three answers, as in Kleene's logic: `not` of unknown is unknown, and so is `any` where
nothing is met and something unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, assert_never

from controllers.autopilot.context import RenderContext, at
from controllers.autopilot.errors import ConditionError
from controllers.autopilot.facts import Fact
from controllers.autopilot.metadata import (
    AnnotationCondition,
    AnyCondition,
    Condition,
    CrdCondition,
    FeatureGateCondition,
    FieldUnconfiguredCondition,
    HardwareCondition,
    ImageCondition,
    NotCondition,
    TopologyCondition,
)


class Check(NamedTuple):
    """One condition, as it turned out."""

    condition: str
    """What is wanted, such as `annotation a/b="true"`."""

    actual: str
    """What there is, such as `it is absent`."""

    met: bool | None
    """`None` if it is not known."""


def evaluate(condition: Condition, context: RenderContext) -> Check:
    """Ask one condition.

    Raises:
        ConditionError: It names something that there is not.
    """
    match condition:
        case AnnotationCondition():
            return _annotation(condition, context)
        case HardwareCondition(detector=name):
            return _fact(f"fact {name}", context.facts.hardware, name, wanted=True)
        case TopologyCondition(field=name, value=value):
            facts, wanted = context.facts.topology, value == "true"
            return _fact(f"topology {name}={value}", facts, name, wanted=wanted)
        case FeatureGateCondition(value=name):
            met = context.source.gate(name)
            return Check(f"feature gate {name}", f"it is {_on(met)}", met)
        case ImageCondition(key=key):
            met = bool(context.images.get(key))
            actual = "it is known" if met else "it is not known"
            return Check(f"image {key}", actual, met)
        case FieldUnconfiguredCondition(path=path):
            value = at(context.source.obj, context.source.locate(path))
            met = value is None or (isinstance(value, Mapping) and not value)
            return Check(f"{path} unset", "it is unset" if met else "it is set", met)
        case CrdCondition():
            return _crd(condition, context)
        case NotCondition(condition=inner):
            check = evaluate(inner, context)
            met_not = None if check.met is None else not check.met
            return Check(f"not {check.condition}", check.actual, met_not)
        case AnyCondition(conditions=several):
            checks = [evaluate(each, context) for each in several]
            wanted_any = " or ".join(check.condition for check in checks)
            actual = ", ".join(dict.fromkeys(check.actual for check in checks))
            return Check(wanted_any, actual, _any(check.met for check in checks))
        case _:
            assert_never(condition)


def _annotation(condition: AnnotationCondition, context: RenderContext) -> Check:
    key, wanted = condition.key, condition.value
    value = context.source.annotations.get(key)
    actual = "it is absent" if value is None else f'it is "{value}"'
    if wanted is None:
        return Check(f"annotation {key}", actual, value is not None)
    return Check(f'annotation {key}="{wanted}"', actual, value == wanted)


def _fact(what: str, facts: Mapping[str, Fact], name: str, *, wanted: bool) -> Check:
    fact = facts.get(name, Fact(None))
    match fact.value:
        case None:
            return Check(what, "it is not known", None)
        case bool(value):
            because = f" ({fact.because[0]})" if fact.because else ""
            actual = f"it is {str(value).lower()}{because}"
            return Check(what, actual, value is wanted)
        case _:
            raise ConditionError(f"{name} is no yes-or-no fact: it is {fact.value!r}")


def _crd(condition: CrdCondition, context: RenderContext) -> Check:
    what = f"CRD {condition.name}"
    if condition.version:
        what += f" with {condition.version}"
    if context.crds is None:
        source = context.source
        if (condition.name, condition.version) == (source.kind.crd, source.version):
            return Check(what, "the source object is of it", met=True)
        return Check(what, "it is not known which there are", None)
    crd = context.crds.get(condition.name)
    if crd is None:
        return Check(what, "it is not there", met=False)
    if not crd.established:
        return Check(what, "it is not established", met=False)
    met = not condition.version or condition.version in crd.versions
    return Check(what, f"it serves {', '.join(crd.versions)}", met)


def _on(value: bool) -> str:
    return "on" if value else "off"


def _any(answers: Iterable[bool | None]) -> bool | None:
    given = set(answers)
    if True in given:
        return True
    return None if None in given else False
