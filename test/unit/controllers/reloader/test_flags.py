"""A command line, as pflag reads it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller_runtime import ConfigError
from controllers.reloader.flags import Flag, FlagKind, Flags, parse, usage

KNOWN = (
    Flag("text", FlagKind.TEXT, "A text.", ("Text",)),
    Flag("list", FlagKind.LIST, "A list."),
    Flag("switch", FlagKind.SWITCH, "A switch."),
    Flag("word", FlagKind.WORD, "true or false."),
)


def given(*arguments: str) -> Flags:
    return parse(arguments, KNOWN)


def test_a_value_follows_or_is_joined_by_an_equals_sign() -> None:
    assert given("--text", "a").text("text") == "a"
    assert given("--text=a=b").text("text") == "a=b"
    assert given("--text=").text("text", "default") == ""
    assert given().text("text", "default") == "default"


def test_the_last_of_several_texts_counts() -> None:
    assert given("--text=a", "--text", "b").text("text") == "b"


def test_a_flag_may_have_more_than_one_spelling() -> None:
    assert given("--Text=a").text("text") == "a"


def test_a_switch_takes_no_word_after_it() -> None:
    assert given("--switch", "--text=a").is_on("switch")
    assert not given("--switch=false").is_on("switch")
    assert not given().is_on("switch")
    assert given("--switch", "false").is_on("switch")  # as in the original


@pytest.mark.parametrize("arguments", [["--word", "true"], ["--word=True"]])
def test_a_word_is_a_text_that_says_true(arguments: list[str]) -> None:
    assert given(*arguments).says_true("word")


def test_a_switch_that_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(ConfigError, match="--switch=yes"):
        given("--switch=yes").is_on("switch")


@pytest.mark.parametrize(
    ("argument", "says"),
    [("--word=yes", None), ("--word=", False), ("--word=0", False), ("--word=t", True)],
)
def test_a_word_may_say_anything(argument: str, says: bool | None) -> None:
    assert given(argument).says_true("word") is says


@pytest.mark.parametrize(
    ("arguments", "strays"),
    [
        (["word", "--text=a"], ("word",)),
        (["--text", "a", "-", "b"], ("-", "b")),
        (["--text=a", "--", "--other", "c"], ("--other", "c")),
    ],
)
def test_words_that_are_no_flags_are_kept_apart(
    arguments: list[str], strays: tuple[str, ...]
) -> None:
    found = given(*arguments)

    assert (found.text("text"), found.strays) == ("a", strays)


@pytest.mark.parametrize(
    ("arguments", "items"),
    [
        (["--list=a,b"], ("a", "b")),
        (["--list", "a", "--list=b,a"], ("a", "b")),
        (["--list="], ()),
        (["--list= a , ,b"], ("a", "b")),
        (['--list="team in (a,b)",tier'], ("team in (a,b)", "tier")),
    ],
)
def test_lists_are_csv(arguments: list[str], items: tuple[str, ...]) -> None:
    assert given(*arguments).items("list") == items


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--list=a in (x,y),b in (z,y)"], "a in (x,y),b in (z,y)"),
        (['--list="a in (x,y)"', "--list", "b"], "a in (x,y),b"),
        (["--list=a, b, ,b"], "a,b,b"),
        (["--list="], ""),
    ],
)
def test_a_list_may_be_put_together_again(arguments: list[str], text: str) -> None:
    assert given(*arguments).joined("list") == text


@pytest.mark.parametrize("read", [Flags.items, Flags.joined])
def test_a_list_whose_quotes_do_not_match_is_refused(
    read: Callable[[Flags, str], object],
) -> None:
    with pytest.raises(ConfigError, match="--list"):
        read(given('--list="a,b'), "list")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--other=1", "unknown flag --other"),
        ("--List=1", "unknown flag --List"),
        ("-text", "'-text' is no flag"),
        ("--text", "--text needs a value"),
    ],
)
def test_what_is_no_flag_is_named(argument: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        given(argument)


def test_the_help_has_a_line_for_each_flag_and_variable() -> None:
    lines = usage(KNOWN, {"KUBECONFIG": "A path."}).splitlines()

    shown = [line.strip().partition("  ")[0] for line in lines if line.startswith(" ")]
    assert shown == [
        "--text value",
        "--list a,b",
        "--switch",
        "--word true|false",
        "KUBECONFIG",
    ]


def test_a_flag_that_is_nearly_one_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--swich: is --switch meant\?"):
        given("--swich")
