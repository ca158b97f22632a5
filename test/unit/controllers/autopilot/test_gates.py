"""Which assets apply, and why."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from conformance.catalogs import asset, catalog, context, source
from controllers.autopilot.conditions import evaluate
from controllers.autopilot.context import (
    CrdState,
    RenderContext,
    SourceObject,
    images_from,
)
from controllers.autopilot.errors import ConditionError
from controllers.autopilot.facts import Fact, Facts
from controllers.autopilot.gates import Scope, Why, judge, judge_all
from controllers.autopilot.metadata import Condition, Install

ALL = Scope(all=True)
CONDITION: TypeAdapter[Condition] = TypeAdapter(Condition)
UNKNOWN = Facts(hardware={"gpu": Fact(None)}, topology={"isHCP": Fact(None)})
FACTS = Facts(
    hardware={"gpu": Fact(value=True, because=("node n: x",)), "usb": Fact(False)},
    topology={"isHCP": Fact(True), "workerCount": Fact(3)},
)


def condition(kind: str, **fields: Any) -> Condition:
    return CONDITION.validate_python({"type": kind, **fields})


GPU = {"type": "hardware-detection", "detector": "gpu"}
USB = {"type": "hardware-detection", "detector": "usb"}
NOBODY = {"type": "hardware-detection", "detector": "nobody"}
CRDS = {
    "a.b": CrdState(name="a.b", versions=("v1",)),
    "c.d": CrdState(name="c.d", established=False),
}


@pytest.mark.parametrize(
    ("text", "names", "unknown"),
    [
        ("one", {"one"}, ()),
        (" one , two,,", {"one", "two"}, ()),
        ("group", {"two", "three"}, ()),
        ("nobody", set(), ("nobody",)),
        ("nobody, one", {"one"}, ("nobody",)),
        ("True", set(), ("True",)),
        ("true", {"one", "two", "three"}, ()),
        (" true ", {"one", "two", "three"}, ()),
        ("false", set(), ()),
        ("", set(), ()),
        (",", set(), ()),
        (None, set(), ()),
    ],
)
def test_the_annotation_selects_assets_and_groups(
    text: str | None, names: set[str], unknown: tuple[str, ...]
) -> None:
    """Scenario 37."""
    made = catalog(
        asset("one", index=0),
        asset("two", index=1, group="group"),
        asset("three", index=2, group="group"),
    )

    scope = Scope.parse(text, made)

    assert {each.name for each in made.assets if scope.selects(each)} == names
    assert scope.unknown == unknown
    assert scope.is_idle is not bool(names)


def test_an_absent_annotation_can_stand_for_all() -> None:
    assert Scope.parse(None, catalog(), default_enabled=True).all
    assert Scope.parse("false", catalog(), default_enabled=True).is_idle


def test_an_asset_without_a_group_is_not_selected_by_an_empty_name() -> None:
    assert not Scope(names=frozenset({"other"})).selects(asset("one"))


@pytest.mark.parametrize(
    ("wanted", "met"),
    [
        (condition("annotation", key="a/b", value="true"), True),
        (condition("annotation", key="a/b", value="True"), False),
        (condition("annotation", key="a/b"), True),
        (condition("annotation", key="a/c"), False),
        (condition("annotation", key="a/c", value="true"), False),
        (condition("hardware-detection", detector="gpu"), True),
        (condition("hardware-detection", detector="usb"), False),
        (condition("hardware-detection", detector="nobody"), None),
        (condition("image", key="some-image"), True),
        (condition("image", key="other"), False),
        (condition("topology", field="isHCP"), True),
        (condition("topology", field="isHCP", value="false"), False),
        (condition("topology", field="isAWS", value="false"), None),
        (condition("crd", name="a.b"), True),
        (condition("crd", name="a.b", version="v1"), True),
        (condition("crd", name="a.b", version="v2"), False),
        (condition("crd", name="c.d"), False),
        (condition("crd", name="e.f"), False),
        (condition("not", condition=USB), True),
        (condition("not", condition=GPU), False),
        (condition("not", condition=NOBODY), None),
        (condition("any", conditions=[USB, GPU]), True),
        (condition("any", conditions=[NOBODY, GPU]), True),
        (condition("any", conditions=[USB, NOBODY]), None),
        (condition("any", conditions=[USB, USB]), False),
    ],
)
def test_conditions(wanted: Condition, met: bool | None) -> None:
    check = evaluate(
        wanted,
        context(
            source(annotations={"a/b": "true"}),
            facts=FACTS,
            images={"some-image": "x"},
            crds=CRDS,
        ),
    )

    assert check.met is met
    assert check.condition
    assert check.actual


@pytest.mark.parametrize(
    ("version", "gates", "expected"),
    [
        ("v1", [{"name": "G"}], True),
        ("v1", [{"name": "G", "state": "Enabled"}], True),
        ("v1", [{"name": "G", "state": "Disabled"}], False),
        ("v1", [{"name": "H"}], False),
        ("v1", [], False),
        ("v1beta1", {"G": True}, True),
        ("v1beta1", {"G": False}, False),
        ("v1beta1", {"G": "true"}, False),
        ("v1beta1", {}, False),
        ("v1", None, False),
        ("v1", "G", False),
    ],
)
def test_feature_gates_are_read_from_a_list_and_from_a_map(
    version: str, gates: object, expected: bool
) -> None:
    """Scenario 72, for gates."""
    given = source({"featureGates": gates}, version=version)

    check = evaluate(condition("feature-gate", value="G"), context(given))

    assert check.met is expected


@pytest.mark.parametrize(
    ("version", "spec", "path", "expected"),
    [
        ("v1", {}, "ksmConfiguration", True),
        ("v1", {"virtualization": {"ksmConfiguration": {}}}, "ksmConfiguration", True),
        (
            "v1",
            {"virtualization": {"ksmConfiguration": {"a": 1}}},
            "ksmConfiguration",
            False,
        ),
        ("v1beta1", {"ksmConfiguration": {"a": 1}}, "ksmConfiguration", False),
        ("v1beta1", {"ksmConfiguration": None}, "ksmConfiguration", True),
        ("v1", {"x": 0}, "spec.x", False),
        ("v1", {"x": ""}, "spec.x", False),
        ("v1", {"x": []}, "spec.x", False),
        ("v1", {"x": 1}, "spec.x.y", True),
    ],
)
def test_a_field_is_unconfigured_if_it_is_missing_null_or_an_empty_map(
    version: str, spec: dict[str, Any], path: str, expected: bool
) -> None:
    wanted = condition("hco-field-unconfigured", path=path)

    check = evaluate(wanted, context(source(spec, version=version)))

    assert check.met is expected


def test_a_condition_that_names_nothing_is_an_error_and_the_asset_is_skipped() -> None:
    wanted = condition("hco-field-unconfigured", path="nothing.x")
    number = condition("topology", field="workerCount")
    with pytest.raises(ConditionError, match=r"nothing\.x is no field of Hyper"):
        evaluate(wanted, context())
    with pytest.raises(ConditionError, match="workerCount is no yes-or-no fact"):
        evaluate(number, context(facts=FACTS))

    verdict = judge(asset(conditions=(wanted,)), context(), ALL)

    assert (verdict.active, verdict.why) == (False, Why.ERROR)
    assert "nothing.x" in verdict.message


def wanting(*conditions: Condition, **fields: Any) -> Any:
    return asset(conditions=conditions, **fields)


@pytest.mark.parametrize(
    ("of", "given", "why"),
    [
        (asset(), context(crds={}), Why.WANTED),
        (asset(install=Install.OPT_IN), context(crds={}), Why.CONDITIONS),
        (wanting(CONDITION.validate_python(GPU)), context(facts=FACTS), Why.WANTED),
        (
            wanting(CONDITION.validate_python(GPU), CONDITION.validate_python(USB)),
            context(facts=FACTS),
            Why.CONDITIONS,
        ),
        (wanting(CONDITION.validate_python(GPU)), context(facts=UNKNOWN), Why.UNKNOWN),
        (
            wanting(CONDITION.validate_python(USB), required_crd="x.y"),
            context(facts=FACTS, crds={}),
            Why.CONDITIONS,
        ),
        (asset(required_crd="x.y"), context(crds={}), Why.CRD),
        (asset(required_crd="c.d"), context(crds=CRDS), Why.CRD),
        (asset(gate_crd="x.y"), context(crds=CRDS), Why.CRD),
        (asset(required_crd="a.b"), context(crds=CRDS), Why.WANTED),
        (asset(required_crd="x.y"), context(crds=None), Why.WANTED),
    ],
)
def test_what_decides_about_an_asset(of: Any, given: RenderContext, why: Why) -> None:
    """Conditions come before CRDs: nobody is told of a CRD that nobody needs."""
    verdict = judge(of, given, ALL)

    assert verdict.why is why
    assert verdict.active is (why is Why.WANTED)
    assert bool(verdict.missing_crds) is (why is Why.CRD)


def test_what_is_unknown_is_said_in_words() -> None:
    of = wanting(condition("hardware-detection", detector="gpu"))

    verdict = judge(of, context(facts=UNKNOWN), ALL)

    assert verdict.message == "fact gpu is wanted, and it is not known"


def test_a_version_that_is_not_served_is_no_missing_crd() -> None:
    old = {"configmaps.x": CrdState(name="configmaps.x", versions=("v1beta1",))}

    verdict = judge(asset(required_crd="configmaps.x"), context(crds=old), ALL)

    assert verdict.why is Why.VERSION
    assert verdict.message == "the CRD configmaps.x serves v1beta1, not v1"


def test_verdicts_come_in_the_order_of_application() -> None:
    made = catalog(asset("b", index=0, order=2), asset("a", index=1, order=1))

    verdicts = judge_all(made, context(), Scope(names=frozenset({"a"})))

    assert [(v.asset.name, v.why) for v in verdicts] == [
        ("a", Why.WANTED),
        ("b", Why.SCOPE),
    ]


def test_fields_are_found_in_either_version() -> None:
    """Scenario 72, for fields."""
    placement = {"nodeSelector": {"a": "b"}}
    new = source({"deployment": {"nodePlacements": {"infra": placement}}})
    old = source({"infra": {"nodePlacement": placement}}, version="v1beta1")

    for each in (new, old):
        assert each.get("nodePlacements.infra.nodeSelector.a") == "b"
        assert each.get("nodePlacements.infra.other", "x") == "x"
        assert each.get("metadata.name") == "kubevirt-hyperconverged"
    with pytest.raises(ConditionError, match="start with spec, or with one of"):
        new.get("nodePlacements.elsewhere")


def test_a_source_object_may_be_bare() -> None:
    bare = SourceObject({}, source().kind)

    assert (bare.namespace, bare.version, bare.annotations) == ("", "", {})
    assert not bare.gate("x")


def test_images_are_read_from_the_environment() -> None:
    environ = {"RELATED_IMAGE_SOME_NAME": "a/b:c", "RELATED_IMAGE_X": "", "PATH": "/"}

    assert images_from(environ) == {"some-name": "a/b:c"}


def test_a_crd_is_read() -> None:
    crd: dict[str, Any] = {
        "metadata": {"name": "a.b"},
        "spec": {
            "versions": [
                {"name": "v1", "served": True},
                {"name": "v0", "served": False},
            ]
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }

    assert CrdState.of(crd) == CrdState(name="a.b", versions=("v1",))
    assert not CrdState.of(crd | {"status": {}}).established
