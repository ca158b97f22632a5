"""Selectors read, answer and write what apimachinery's do."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.errors import ControllerRuntimeError
from controller_runtime.selectors import (
    NOTHING,
    FieldSelector,
    FieldTerm,
    LabelSelector,
    Operator,
    Requirement,
    SelectorError,
)

WORDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
KEYS = WORDS | st.sampled_from(["example.com/app", "in", "notin", "a.b_c-d"])
SETS = st.frozensets(WORDS | st.just(""), min_size=1, max_size=3)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from([Operator.IN, Operator.NOT_IN]), SETS),
    st.builds(
        Requirement,
        KEYS,
        st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST]),
    ),
    st.builds(
        Requirement,
        KEYS,
        st.sampled_from([Operator.GREATER, Operator.LESS]),
        st.integers(min_value=0, max_value=10**9).map(lambda n: frozenset({str(n)})),
    ),
)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("  ", {"a": "b"}, True),
        ("a=b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a==b", {"a": "b"}, True),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a!=b", {}, True),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b,c)", {"a": "d"}, False),
        ("a in (b,c)", {}, False),
        ("a in ()", {"a": ""}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a notin (b,c)", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": ""}, False),
        ("a>2", {"a": "3"}, True),
        ("a>2", {"a": "2"}, False),
        ("a>2", {"a": "x"}, False),
        ("a>2", {}, False),
        ("a<2", {"a": "1"}, True),
        ("a<2", {"a": "2"}, False),
        ("a<2", {"a": "x"}, False),
        ("a<2", {}, False),
        ("a=b,c=d", {"a": "b", "c": "d"}, True),
        ("a=b,c=d", {"a": "b"}, False),
        (" a = b , c in ( d , e ) , ! f ", {"a": "b", "c": "e"}, True),
        ("in in (in)", {"in": "in"}, True),
        ("example.com/a.b_c-d=x", {"example.com/a.b_c-d": "x"}, True),
    ],
)
def test_labels_match_as_kubectl_would_select_them(
    text: str, labels: dict[str, str], matches: bool
) -> None:
    assert LabelSelector.parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a=b,", "''"),
        (",a=b", "''"),
        ("a=b,c d", "'c d'"),
        ("x,a in (b", "'a in (b'"),
        ("x,a in b)", "'x,a in b)'"),
        ("a in", "'a in'"),
        ("pain (x)", "'pain (x)'"),
        ("!a=b", "'!a=b'"),
        ("=b", "'=b'"),
        ("a=b=c", "'a=b=c'"),
        ("x,-a=b", "'-a'"),
        ("x,/a", "'/a'"),
        ("x,Up.er/a", "'Up.er/a'"),
        (f"x,{'a' * 64}", f"'{'a' * 64}'"),
        (f"x,{'a' * 254}/b", f"'{'a' * 254}/b'"),
        ("x,a=b-", "'b-'"),
        (f"x,a={'b' * 64}", f"'{'b' * 64}'"),
        ("x,a in (b,c d)", "'c d'"),
        ("x,a>b", "'a'"),
        ("x,a<", "'a'"),
    ],
)
def test_what_cannot_be_read_is_quoted_with_the_whole(text: str, part: str) -> None:
    with pytest.raises(SelectorError) as raised:
        LabelSelector.parse(text)

    assert part in str(raised.value).removeprefix(f"label selector {text!r}: ")
    assert repr(text) in str(raised.value)


def test_keys_and_values_may_be_63_letters_and_domains_253() -> None:
    domain = f"{'a' * 249}.com"
    long = "x" * 63

    selector = LabelSelector.parse(f"{domain}/{long}={long}")

    assert selector.matches({f"{domain}/{long}": long})


def test_a_selector_error_may_be_raised_in_a_pydantic_validator() -> None:
    assert issubclass(SelectorError, ValueError)
    assert issubclass(SelectorError, ControllerRuntimeError)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a==b", "a=b"),
        ("a in (b)", "a=b"),
        ("a in (c,b)", "a in (b,c)"),
        ("a notin (b)", "a!=b"),
        ("a notin (c, b)", "a notin (b,c)"),
        ("! a", "!a"),
        ("a > 1", "a>1"),
        ("a < 1", "a<1"),
        ("a,b=", "a,b="),
        ("", ""),
    ],
)
def test_a_label_selector_is_written_in_its_shortest_form(
    text: str, written: str
) -> None:
    assert str(LabelSelector.parse(text)) == written


@given(st.lists(REQUIREMENTS, max_size=4))
def test_a_label_selector_survives_being_written_and_read(
    requirements: list[Requirement],
) -> None:
    selector = LabelSelector(tuple(requirements))

    assert LabelSelector.parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("selector", "written"),
    [
        ({}, ""),
        ({"matchLabels": None, "matchExpressions": None}, ""),
        ({"matchLabels": {"a": "b", "c": ""}}, "a=b,c="),
        (
            {
                "matchLabels": {"a": "b"},
                "matchExpressions": [
                    {"key": "c", "operator": "In", "values": ["d", "e"]},
                    {"key": "f", "operator": "NotIn", "values": ("g",)},
                    {"key": "h", "operator": "Exists"},
                    {"key": "i", "operator": "DoesNotExist", "values": []},
                ],
            },
            "a=b,c in (d,e),f!=g,h,!i",
        ),
    ],
)
def test_a_selector_of_a_spec_is_read(
    selector: dict[str, object], written: str
) -> None:
    assert str(LabelSelector.from_dict(selector)) == written


def test_no_selector_selects_nothing_here_and_at_the_server() -> None:
    selector = LabelSelector.from_dict(None)

    assert selector is NOTHING
    assert not selector.matches({})
    assert not selector.matches({"nothing": ""})
    assert not LabelSelector.parse(str(selector)).matches({"nothing": ""})


def one(**expression: object) -> dict[str, object]:
    return {"matchExpressions": [{"key": "x", "operator": "Exists"}, expression]}


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"matchLabel": {}}, "unknown field 'matchLabel'"),
        ({"matchLabels": ["a"]}, "matchLabels: ['a'] must be a mapping"),
        ({"matchLabels": {"a": 1}}, "matchLabels: the value of 'a' must be a string"),
        ({"matchLabels": {1: "a"}}, "matchLabels: a key must be a string, got 1"),
        ({"matchLabels": {"a b": "c"}}, "matchLabels: label key 'a b'"),
        ({"matchExpressions": "abc"}, "matchExpressions: 'abc' must be a list"),
        ({"matchExpressions": {"key": "a"}}, "matchExpressions: {'key': 'a'} must be"),
        ({"matchExpressions": ["a"]}, "matchExpressions[0]: needs a key and an oper"),
        (one(key="a"), "matchExpressions[1]: needs a key and an operator"),
        (one(key="a", operator="Gt", values=["1"]), "[1]: operator 'Gt' must be one"),
        (one(key="a", operator="in"), "[1]: operator 'in' must be one of In, NotIn"),
        (one(key="a", operator="In"), "[1]: label 'a', In: needs at least one value"),
        (one(key="a", operator="NotIn", values=[]), "NotIn: needs at least one value"),
        (one(key="a", operator="Exists", values=["b"]), "Exists: takes no values"),
        (one(key="a", operator="DoesNotExist", values=["b"]), "takes no values"),
        (one(key="a", operator="In", values="bc"), "[1]: values 'bc' must be a list"),
        (one(key="a", operator="In", values=[1]), "[1]: a value must be a string"),
        (one(key="a", operator="In", value=["b"]), "[1]: unknown field 'value'"),
        (one(key="a", operator="In", values=["-"]), "[1]: label 'a', In: value '-'"),
    ],
)
def test_a_bad_selector_of_a_spec_is_refused_naming_the_place(
    selector: dict[str, object], said: str
) -> None:
    with pytest.raises(SelectorError) as raised:
        LabelSelector.from_dict(selector)

    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "fields", "matches"),
    [
        ("", {}, True),
        ("metadata.name=web", {"metadata.name": "web"}, True),
        ("metadata.name==web", {"metadata.name": "web"}, True),
        ("metadata.name=web", {"metadata.name": "api"}, False),
        ("metadata.name!=web", {"metadata.name": "api"}, True),
        ("metadata.name!=web", {"metadata.name": "web"}, False),
        ("spec.nodeName=", {}, True),
        ("spec.nodeName!=", {}, False),
        ("spec.nodeName!=", {"spec.nodeName": "n"}, True),
        ("a=b,c!=d", {"a": "b"}, True),
        ("a=b,c!=d", {"a": "b", "c": "d"}, False),
        (" a =b, c=d", {"a": "b", "c": "d"}, True),
        ("a=b,,c=d, ", {"a": "b", "c": "d"}, True),
        (r"a=b\,c\=d\\", {"a": "b,c=d\\"}, True),
    ],
)
def test_fields_match_as_the_server_would_select_them(
    text: str, fields: dict[str, str], matches: bool
) -> None:
    assert FieldSelector.parse(text).matches(fields) is matches


def test_a_field_selector_is_read_term_by_term() -> None:
    selector = FieldSelector.parse("metadata.name=web,status.phase!=Running")

    assert selector.terms == (
        FieldTerm("metadata.name", "web"),
        FieldTerm("status.phase", "Running", negated=True),
    )


@pytest.mark.parametrize("part", ["a", "=b", "a=b=c", r"a=b\x", "a=b\\", "a b=c"])
def test_a_field_condition_that_cannot_be_read_is_quoted(part: str) -> None:
    text = f"x=y,{part}"

    with pytest.raises(SelectorError) as raised:
        FieldSelector.parse(text)

    assert f"field selector {text!r}: cannot read {part!r}" in str(raised.value)


@given(
    st.lists(
        st.builds(
            FieldTerm,
            st.from_regex(r"[a-zA-Z.]+", fullmatch=True),
            st.text(),
            st.booleans(),
        ),
        max_size=3,
    )
)
def test_a_field_selector_survives_being_written_and_read(
    terms: list[FieldTerm],
) -> None:
    selector = FieldSelector(tuple(terms))

    assert FieldSelector.parse(str(selector)) == selector
