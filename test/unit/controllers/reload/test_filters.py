"""What the selectors of the flags say, old spellings and all."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from controller_runtime import ConfigError
from controllers.reload.filters import contradiction, not_in, selector


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


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("team=a,team=b", "team"),
        ("team in (a,b),team=c", "team"),
        ("team in (a,b),team=b", ""),
        ("team=a,tier=b,!role", ""),
        ("team=a,team!=b", ""),
    ],
)
def test_a_label_that_is_to_be_two_things_is_told(text: str, label: str) -> None:
    with capture_logs() as logs:
        found = selector(text, flag="--namespace-selector")

    assert contradiction(found) == label
    assert [log["event"] for log in logs] == ["selector selects nothing"] * bool(label)


def test_namespaces_are_left_out_at_the_server() -> None:
    assert not_in(["b", "a"]) == "metadata.namespace!=a,metadata.namespace!=b"
    assert not_in([]) == ""
