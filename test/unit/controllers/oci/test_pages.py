"""How lists of tags go on."""

from __future__ import annotations

import json

import pytest

from controllers.oci import pages as module
from controllers.oci.pages import PageError, Pages, next_link

URL = "https://registry.example/v2/a/tags/list"


def body(*tags: str) -> bytes:
    return json.dumps({"name": "a", "tags": tags}).encode()


def numbered(start: int, count: int) -> list[str]:
    return [f"{number:05}" for number in range(start, start + count)]


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        ([], None),
        (['</v2/a?last=b>; rel="next"'], "/v2/a?last=b"),
        (["</v2/a?last=b>;rel=next"], "/v2/a?last=b"),
        (["<x>; rel=prev, <y>; title=t; rel=next"], "y"),
        (['<x>; rel="prev next"'], "x"),
        (["<x>; rel=prev", "<y>; REL=NEXT"], "y"),
        (["<x,y>; rel=next"], "x,y"),
        (["<x>"], None),
        (["nonsense"], None),
    ],
)
def test_the_next_link_is_found(headers: list[str], target: str | None) -> None:
    assert next_link(headers) == target


@pytest.mark.parametrize(
    "link", ["/v2/a/tags/list?n=2&last=b", f"{URL}?n=2&last=b", "?n=2&last=b"]
)
def test_a_link_may_be_relative_or_absolute(link: str) -> None:
    """Bundle 32."""
    pages = Pages(URL)
    pages.take(body("a", "b"), [f"<{link}>; rel=next"])

    assert pages.next == f"{URL}?n=2&last=b"
    pages.take(body("c"), [])
    assert pages.next is None
    assert pages.tags == ("a", "b", "c")
    assert pages.count == 2


def test_a_full_page_without_a_link_is_not_believed_to_be_the_last() -> None:
    """Bundle 32: crane's registry and others page silently."""
    pages = Pages(URL)
    first = numbered(0, 1000)
    pages.take(body(*first), [])

    assert pages.next == f"{URL}?last=00999"
    pages.take(body(*numbered(1000, 500), "extra"), [])
    assert pages.next is None
    assert len(pages.tags) == 1501


def test_a_registry_that_ignores_where_to_go_on_is_asked_once_more_and_no_more() -> (
    None
):
    pages = Pages(URL)
    pages.take(body(*numbered(0, 1000)), [])
    pages.take(body(*numbered(0, 1000)), [])

    assert pages.next is None
    assert len(pages.tags) == 1000


def test_a_last_page_of_a_usual_size_is_believed_after_larger_ones() -> None:
    pages = Pages(URL)
    pages.take(body(*numbered(0, 1000)), [])
    pages.take(body(*numbered(1000, 500)), [])

    assert pages.next is None


def test_where_pages_have_links_one_without_is_the_last() -> None:
    pages = Pages(URL)
    pages.take(body(*numbered(0, 1000)), ["<?last=00999>; rel=next"])
    pages.take(body(*numbered(1000, 1000)), [])

    assert pages.next is None


def test_with_a_size_only_a_page_of_that_size_is_full() -> None:
    pages = Pages(URL, size=3)
    assert pages.next == f"{URL}?n=3"
    pages.take(body("a", "b", "c"), [])
    assert pages.next == f"{URL}?n=3&last=c"
    pages.take(body("d"), [])
    assert pages.next is None


def test_a_list_without_tags_is_empty() -> None:
    for answer in (b'{"tags": null}', b'{"tags": []}', b"{}"):
        pages = Pages(URL)
        pages.take(answer, [])
        assert (pages.tags, pages.next) == ((), None)


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("?last=a", id="the same place"),
        pytest.param("?n=7&last=a", id="the same place, asked differently"),
    ],
)
def test_a_circle_is_an_error(link: str) -> None:
    """Bundle 32."""
    pages = Pages(URL)
    pages.take(body("a"), ["<?last=a>; rel=next"])

    with pytest.raises(PageError, match="circle"):
        pages.take(body("b"), [f"<{link}>; rel=next"])


@pytest.mark.parametrize(
    "link", ["https://elsewhere.example/", "http://registry.example/", "//other/x"]
)
def test_a_list_that_goes_on_elsewhere_is_an_error(link: str) -> None:
    with pytest.raises(PageError, match="another server"):
        Pages(URL).take(body("a"), [f"<{link}>; rel=next"])


def test_a_list_has_an_end() -> None:
    pages = Pages(URL)
    for number in range(module.PAGES_MAX - 1):
        pages.take(body(str(number)), [f"<?last={number}>; rel=next"])
    with pytest.raises(PageError, match="1000 pages"):
        pages.take(body("z"), ["<?last=z>; rel=next"])

    with pytest.raises(PageError, match="100000 tags"):
        Pages(URL).take(body(*numbered(0, module.TAGS_MAX + 1)), [])


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"[]", b'"x"', b'{"tags": "a"}', b'{"tags": [1]}', b"[" * 100_000],
)
def test_what_is_no_list_is_an_error(answer: bytes) -> None:
    with pytest.raises(PageError, match="list of tags is no"):
        Pages(URL).take(answer, [])
