"""Values: where they are written, what wins, and what is filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from controllers.release.helm.engine import EngineError, Failure, Order
from controllers.release.values import (
    Composer,
    Piece,
    Precedence,
    Sources,
    Template,
    ValuesError,
    config_digest,
    expand,
    merge,
    read_pieces,
    set_path,
    typed,
)


class JsonEngine:
    """Reads JSON where Helm would read YAML, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def parse(
        self, documents: Sequence[str], *, secrets: frozenset[str] = frozenset()
    ) -> Sequence[Mapping[str, object]]:
        self.asked.append(list(documents))
        return [self._read(n, text) for n, text in enumerate(documents, 1)]

    def _read(self, number: int, text: str) -> Mapping[str, object]:
        try:
            value = json.loads(text or "{}")
        except ValueError:
            raise EngineError(
                f"document {number}: yaml: line 3: cannot read `{text}`",
                failure=Failure.INVALID,
            ) from None
        if not isinstance(value, dict):
            raise EngineError(
                f"document {number}: json: cannot unmarshal array into Go value",
                failure=Failure.INVALID,
            )
        return value

    async def install(self, order: Order) -> None:
        raise NotImplementedError

    async def upgrade(self, order: Order) -> None:
        raise NotImplementedError

    async def rollback(self, order: Order, *, revision: int = 0) -> None:
        raise NotImplementedError

    async def uninstall(self, order: Order) -> None:
        raise NotImplementedError

    async def test(self, order: Order) -> None:
        raise NotImplementedError

    async def render(self, order: Order) -> Mapping[str, str]:
        raise NotImplementedError


def piece(where: str, **values: object) -> Piece:
    return Piece(where=where, text=json.dumps(values), is_secret="Secret" in where)


def order_of(precedence: Precedence) -> Sources:
    return Sources(
        inline=piece("inline", a="inline", b="inline", c="inline", d="inline", e="i"),
        config_maps=[
            piece("ConfigMap 1", b="cm1", c="cm1", d="cm1", e="cm1", f="cm1"),
            piece("ConfigMap 2", c="cm2", d="cm2", e="cm2", f="cm2"),
        ],
        secrets=[
            piece("Secret", d="secret", e="secret", f="secret"),
            Piece(where="key e", text="target", target_path="e", is_secret=True),
        ],
        precedence=precedence,
    )


async def test_what_is_referred_to_wins_over_what_is_inline_and_a_path_over_all() -> (
    None
):
    """10."""
    values = await Composer(JsonEngine()).compose(order_of(Precedence.REFS_LAST))

    assert values.merged == {
        "a": "inline",
        "b": "cm1",
        "c": "cm2",
        "d": "secret",
        "e": "target",
        "f": "secret",
    }


async def test_inline_wins_over_references_if_it_is_to_but_not_over_a_path() -> None:
    """10."""
    values = await Composer(JsonEngine()).compose(order_of(Precedence.INLINE_LAST))

    assert values.merged == {
        "a": "inline",
        "b": "inline",
        "c": "inline",
        "d": "inline",
        "e": "target",
        "f": "secret",
    }


async def test_null_stays_so_that_a_default_of_the_chart_can_go() -> None:
    """10."""
    sources = Sources(
        mapping={"db": {"host": "a", "port": 1}, "x": 1},
        config_maps=[piece("ConfigMap", db={"host": None}, x=None)],
    )

    values = await Composer(JsonEngine()).compose(sources)

    assert values.merged == {"db": {"host": None, "port": 1}, "x": None}


async def test_what_was_read_once_is_not_read_again() -> None:
    engine = JsonEngine()
    composer = Composer(engine)
    sources = order_of(Precedence.REFS_LAST)

    first = await composer.compose(sources)
    again = await composer.compose(sources)

    assert first == again
    assert len(engine.asked) == 1


async def test_memory_for_what_was_read_has_a_limit() -> None:
    engine = JsonEngine()
    composer = Composer(engine, memory=20)
    one, two = (
        Sources(inline=piece("inline", name=name)) for name in ("first", "second")
    )

    for sources in (one, two, one):
        await composer.compose(sources)

    assert len(engine.asked) == 3


async def test_secrets_are_collected_from_secrets_alone() -> None:
    sources = Sources(
        config_maps=[piece("ConfigMap", public="visible")],
        secrets=[
            piece("Secret", users=[{"password": "hunter22"}]),
            Piece(where="k", text="s3cret-token", target_path="t", is_secret=True),
        ],
    )

    values = await Composer(JsonEngine()).compose(sources)

    assert {"hunter22", "s3cret-token"} <= values.secrets
    assert "visible" not in values.secrets


async def test_a_secret_that_was_filled_in_is_as_secret_as_before() -> None:
    sources = Sources(
        secrets=[
            piece("Secret s", dsn="user:hunter2@${ROOST_NAME}"),
            Piece(
                where="key k of Secret t",
                text="token-of-${ROOST_NAME}",
                is_secret=True,
                target_path="token",
            ),
        ]
    )
    template = Template(builtin={"ROOST_NAME": "web"})

    values = await Composer(JsonEngine()).compose(sources, template)

    assert values.merged == {"dsn": "user:hunter2@web", "token": "token-of-web"}
    assert {"user:hunter2@web", "token-of-web"} <= values.secrets


async def test_what_cannot_be_read_is_named_and_a_secret_is_not_quoted() -> None:
    bad = Piece(where="key a of Secret n/s", text="pass: [word", is_secret=True)
    with pytest.raises(ValuesError) as secret:
        await Composer(JsonEngine()).compose(Sources(secrets=[bad]))
    listed = Piece(where="key b of ConfigMap n/c", text="[]")
    with pytest.raises(ValuesError) as no_mapping:
        await Composer(JsonEngine()).compose(Sources(config_maps=[listed]))

    assert str(secret.value) == "key a of Secret n/s is not YAML: line 3"
    assert str(no_mapping.value).startswith("key b of ConfigMap n/c is no YAML mapping")


def test_without_a_key_all_keys_count_in_order() -> None:
    found = read_pieces("ConfigMap n/c", {"b": "2", "a": "1"})

    assert [(each.where, each.text) for each in found] == [
        ("key a of ConfigMap n/c", "1"),
        ("key b of ConfigMap n/c", "2"),
    ]


def test_a_key_that_is_not_there_is_an_error_that_says_which_are() -> None:
    with pytest.raises(ValuesError, match="no key 'z'; its keys: a, b"):
        read_pieces("ConfigMap n/c", {"b": "2", "a": "1"}, key="z")
    with pytest.raises(ValuesError, match="targetPath needs the key"):
        read_pieces("ConfigMap n/c", {"a": "1"}, target_path="x")


def test_mappings_merge_lists_replace_and_neither_side_changes() -> None:
    low = {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}
    high = {"a": {"y": [3]}, "b": {"n": 1}, "c": None}

    assert merge(low, high) == {"a": {"x": 1, "y": [3]}, "b": {"n": 1}, "c": None}
    assert low == {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("b", {"a": {"x": 1}, "b": "v"}),
        ("a.x", {"a": {"x": "v"}}),
        ("a.y.z", {"a": {"x": 1, "y": {"z": "v"}}}),
        ("l[1]", {"a": {"x": 1}, "l": [None, "v"]}),
        ("l[0].n", {"a": {"x": 1}, "l": [{"n": "v"}]}),
        ("l[0][1]", {"a": {"x": 1}, "l": [[None, "v"]]}),
        (r"c\.d", {"a": {"x": 1}, "c.d": "v"}),
    ],
)
def test_a_value_goes_where_its_path_says(path: str, expected: object) -> None:
    assert set_path({"a": {"x": 1}}, path, "v") == expected


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[99999]", "a]b"),
        *("[0]", "a.[0]", "a.x.y", "a[0]", "a[0]b"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises(ValuesError, match="targetPath"):
        set_path({"a": {"x": 1}}, path, "v")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("true", True), ("false", False), ("null", None), ("12", 12), ("-3", -3)),
        *(("0", 0), ("007", "007"), ("1.5", "1.5"), ("True", "True"), ("", "")),
        ("1" * 19, "1" * 19),
    ],
)
def test_one_value_is_read_as_helm_set_reads_it(text: str, value: object) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


TEMPLATE = Template(
    context={"ENV": "staging", "CHAIN": "${TARGET_NAMESPACE}", "ROOST_NAME": "mine"},
    builtin={"ROOST_NAME": "web", "TARGET_NAMESPACE": "shop"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${ROOST_NAME}-{{ENV}}", "web-staging"),
        ("${CHAIN}", "${TARGET_NAMESPACE}"),
        (
            "${UNKNOWN} {{UNKNOWN}} $ENV {{ ENV }}",
            "${UNKNOWN} {{UNKNOWN}} $ENV {{ ENV }}",
        ),
        ("{{ENV}}${ENV}", "stagingstaging"),
    ],
)
def test_placeholders_are_replaced_once(text: str, expected: str) -> None:
    """12."""
    assert expand({"a": [text, 1, None]}, TEMPLATE) == {"a": [expected, 1, None]}


async def test_composed_values_are_filled_in_but_only_if_they_are_to_be() -> None:
    """12."""
    sources = Sources(mapping={"name": "${ROOST_NAME}"})
    composer = Composer(JsonEngine())

    assert (await composer.compose(sources)).merged == {"name": "${ROOST_NAME}"}
    assert (await composer.compose(sources, TEMPLATE)).merged == {"name": "web"}


def test_a_digest_depends_on_content_and_name_and_not_on_order() -> None:
    one = config_digest("n", "a", chart="x", values={"b": 1, "a": [1, 2]})

    assert one == config_digest("n", "a", values={"a": [1, 2], "b": 1}, chart="x")
    assert one != config_digest("n", "b", chart="x", values={"b": 1, "a": [1, 2]})
    assert one != config_digest("n", "a", chart="x", values={"b": 1, "a": [2, 1]})
    assert len(one) == 64
