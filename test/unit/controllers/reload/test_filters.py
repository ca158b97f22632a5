"""What the selectors of the flags say, old spellings and all."""

from __future__ import annotations

import pytest

from controller_runtime import ConfigError
from controllers.reload.filters import not_in, selector


@pytest.mark.parametrize(
    ("text", "modern"),
    [
        ("", ""),
        ("team=shop", "team=shop"),
        ("team:shop", "team=shop"),
        ("team:*", "team"),
        ("team=*", "team"),
        ("team", "team"),
        ("!team", "!team"),
        ("team!=shop", "team!=shop"),
        ("team in (shop, blog),tier:front", "team in (blog,shop),tier=front"),
        ('"team:shop,tier=*"', "team=shop,tier"),
        (" team = shop , tier ", "team=shop,tier"),
        ("example.com/team:shop", "example.com/team=shop"),
    ],
)
def test_selectors_are_those_of_kubectl_and_of_the_original(
    text: str, modern: str
) -> None:
    assert str(selector(text, flag="--namespace-selector")) == modern


@pytest.mark.parametrize("text", ["team in shop", "=shop", "te am", "team:a b"])
def test_a_selector_that_cannot_be_read_names_its_flag(text: str) -> None:
    with pytest.raises(ConfigError, match="--namespace-selector"):
        selector(text, flag="--namespace-selector")


def test_namespaces_are_left_out_at_the_server() -> None:
    assert not_in(["b", "a"]) == "metadata.namespace!=a,metadata.namespace!=b"
    assert not_in([]) == ""
