"""Values of many sources: which win, what they are, and what is no value."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from controllers.bundle.errors import BlockedError
from controllers.bundle.values import Source, merge, read_source, typed

MERGES = "a0: &a0 {k: 1}\n" + "\n".join(
    f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)
)
"""Each mapping has nine times the keys of the one before."""


def source(key: str | None = None, *, secret: bool = False, **data: str) -> Source:
    encoded = {name: text.encode() for name, text in data.items()}
    return Source("ConfigMap shop/c", encoded, key, secret)


def of(data: Mapping[str, str], *, secret: bool = False) -> Source:
    encoded = {name: text.encode() for name, text in data.items()}
    return Source("ConfigMap shop/c", encoded, None, secret)


def test_dotted_keys_make_mappings_and_scalars_are_typed() -> None:
    """Scenario 35: what `--set` would make of it."""
    found = read_source(of({"app.name": "myapp", "app.replicas": "3"}))

    assert found == {"app": {"name": "myapp", "replicas": 3}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("3", 3),
        ("-7", -7),
        ("0", 0),
        ("0123", "0123"),
        ("1.10", "1.10"),
        ("", ""),
        ("True", "True"),
        ("a=b, c\\d", "a=b, c\\d"),
        ("{x", "{x"),
    ],
)
def test_scalars_are_typed_as_by_set(text: str, value: object) -> None:
    """Scenario 40."""
    assert typed(text) == value
    assert type(typed(text)) is type(value)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("a", {"a": "x"}),
        ("a.b.c", {"a": {"b": {"c": "x"}}}),
        (r"a\.b.c", {"a.b": {"c": "x"}}),
        ("a[1].b", {"a": [None, {"b": "x"}]}),
        ("a[0][1]", {"a": [[None, "x"]]}),
    ],
)
def test_paths_lead_into_mappings_and_lists(path: str, document: object) -> None:
    """Scenario 40."""
    assert read_source(of({path: "x"})) == document


@pytest.mark.parametrize("path", ["[0]", "a[1000]", "a[", "a.", ".a", "a..b"])
def test_what_is_no_path_is_refused_by_its_name(path: str) -> None:
    with pytest.raises(BlockedError, match=r"is no path|ends with a dot") as caught:
        read_source(of({path: "secret-value"}))
    assert "secret-value" not in str(caught.value)


def test_paths_into_one_list_fill_it_together() -> None:
    found = read_source(of({"a[0].x": "1", "a[0].y": "2", "a[1].x": "3"}))

    assert found == {"a": [{"x": 1, "y": 2}, {"x": 3}]}


def test_later_sources_win_and_mappings_are_merged() -> None:
    """Scenario 36."""
    values = merge(
        {"a": {"inline": 1, "both": 1}, "list": [1, 2]},
        [
            of({"values.yaml": "a: {both: 2, first: 2}\nlist: [3]"}),
            of({"values.yaml": "a: {both: 3}\nb: null"}, secret=True),
        ],
    )

    assert values.document == {
        "a": {"inline": 1, "both": 3, "first": 2},
        "list": [3],
        "b": None,
    }


def test_documents_of_one_source_are_merged_in_the_order_of_their_keys() -> None:
    found = read_source(of({"b.yaml": "x: 2", "a.json": '{"x": 1, "y": 1}'}))

    assert found == {"x": 2, "y": 1}


def test_one_key_alone_is_read_if_it_is_named() -> None:
    assert read_source(source("mine", mine="x: 1", other="- bad")) == {"x": 1}
    with pytest.raises(BlockedError, match="has no key 'mine'"):
        read_source(source("mine", other="x: 1"))


def test_yaml_is_read_as_json_can_hold_it() -> None:
    """Scenario 40: no dates, and texts that look like numbers stay texts."""
    text = 'day: 2020-01-01\nn: "123"\nt: "true"\nempty: {}\nlist: []\n1: one\nü: ß'

    assert read_source(source("k", k=text)) == {
        "day": "2020-01-01",
        "n": "123",
        "t": "true",
        "empty": {},
        "list": [],
        "1": "one",
        "ü": "ß",
    }


def test_anchors_and_merge_keys_work() -> None:
    text = "base: &base {a: 1, b: 1}\nmine:\n  <<: *base\n  b: 2"

    assert read_source(source("k", k=text))["mine"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a", "is no mapping"),
        ("a: 1\na: 2", r"has a key twice \(line"),
        ("a: [", "is no YAML"),
        ("a: .nan", "JSON cannot hold"),
        ("a: !!python/object:os.system x", "is no YAML"),
        ("\x00", "is no YAML"),
        (
            "\n".join(f"k{n}: &a{n} [1]" for n in range(101)),
            "over 100 anchors",
        ),
        (
            "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
            + "\n".join(
                f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)
            ),
            "far too much",
        ),
        pytest.param("a: " + "[" * 60_000, "over 100 levels", id="deep"),
        pytest.param(MERGES, "over 10000 keys", id="merge keys of merge keys"),
        pytest.param("a: [" + "1," * 100_001 + "]", "over 100000 values", id="many"),
    ],
)
def test_what_is_no_document_is_refused_without_quoting_it(text: str, why: str) -> None:
    with pytest.raises(BlockedError, match=why) as caught:
        read_source(source("k", k=text))
    assert caught.value.reason == "InvalidYAML"
    assert "ConfigMap shop/c" in str(caught.value)


def test_values_have_a_limit() -> None:
    with pytest.raises(BlockedError, match="at most") as caught:
        merge({"a": "x" * (600 << 10)}, [])
    assert caught.value.reason == "TooLarge"


def test_the_hash_is_of_what_is_meant_and_not_of_how_it_is_written() -> None:
    """Scenario 48: a comment changes nothing."""
    first = merge({}, [source("k", k="a: 1\nb: [x]")])
    second = merge({}, [source("k", k="# new\nb:\n- x\na: 1")])
    third = merge({}, [source("k", k="a: 2\nb: [x]")])

    assert first.hash == second.hash != third.hash
    assert json.loads(first.text) == first.document


def test_texts_of_secrets_are_remembered_to_be_hidden() -> None:
    """Scenario 34."""
    values = merge(
        {"open": "not-hidden"},
        [
            of({"db.password": "hunter22", "db.port": "5432"}, secret=True),
            of({"values.yaml": "key: |\n  first line\n  second line"}, secret=True),
        ],
    )

    assert set(values.secrets) == {"hunter22", "first line\nsecond line"}
    assert "hunter22" not in repr(values)


def test_large_values_of_secrets_fit_with_what_is_to_be_hidden() -> None:
    """They travel together, in a Secret that has room for one MiB."""
    lines = "\n".join(f"line {number} über" for number in range(27_000))
    large = {"values.yaml": json.dumps({"key": lines})}
    overridden = {"values.yaml": json.dumps({"key": lines.replace("line", "LINE")})}
    values = merge({}, [of(overridden, secret=True), of(large, secret=True)])

    assert values.secrets == (lines,)
    assert len(values.text.encode()) > 450_000
    assert len((values.text + values.masked).encode()) < 1 << 20


def test_values_that_do_not_fit_with_what_is_to_be_hidden_are_refused() -> None:
    numbers = {"values.yaml": json.dumps(list(range(1_000_000, 1_060_000)))}
    secret = {"values.yaml": '{"a": ' + numbers["values.yaml"] + "}"}
    with pytest.raises(BlockedError) as caught:
        merge({}, [of(secret, secret=True)])
    assert caught.value.reason == "TooLarge"


def test_inline_values_of_too_many_levels_are_refused() -> None:
    deep: object = 1
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(BlockedError, match=r"spec\.converge\.values"):
        merge({"a": deep}, [])
