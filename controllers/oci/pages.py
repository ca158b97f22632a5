"""How a list of tags goes on: answers in, the next question out, no sockets.

    Link: <…>; rel="next"            asked next, if it stays on the same server
    no Link, and the page is full    asked next with `last=`: some page silently
    no Link, and nothing new         the end
    a question that was asked before a loop: an error

Links may be relative or absolute (distribution specification, "Listing Tags"). crane's
registry pages without a Link, docker-registry 2.8.2 ignores `n` and `last`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from controllers.web import origin_of

PAGES_MAX = 1000
"""Most pages of one list."""

TAGS_MAX = 100_000
"""Most tags of one list."""

PAGE_BYTES_MAX = 16 << 20
"""Largest page in bytes."""

_USUAL = frozenset({50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000})
"""Sizes of pages that servers choose by themselves."""

_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[^,;<]+)*)")
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)


class PageError(ValueError):
    """The list does not go on as it should; the text says why."""


class Pages:
    """The tags so far, and what to ask next."""

    def __init__(self, url: str, *, size: int | None = None) -> None:
        """Begin a list.

        Args:
            url: The list's, without a query.
            size: Tags that a page should have; by default the server decides.
        """
        self._size = size
        self._places: set[str] = set()
        self._tags: dict[str, None] = {}
        self._has_links = False
        first = _with_query(url, {"n": str(size)}) if size else url
        self.next: str | None = first
        """What to ask; `None` when the list is complete."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag once, in the server's order."""
        return tuple(self._tags)

    @property
    def count(self) -> int:
        """How many pages were taken."""
        return len(self._places)

    def take(self, body: bytes, links: Iterable[str]) -> None:
        """Take the answer to `next`, and find out what is asked after it.

        Raises:
            PageError: It is no list, leads elsewhere or in a circle, or has no end.
        """
        asked = self.next
        if asked is None:
            raise PageError("the list of tags was complete")
        self._places.add(_place(asked))
        page = _tags_of(body)
        known = len(self._tags)
        self._tags.update(dict.fromkeys(page))
        if len(self._tags) > TAGS_MAX:
            raise PageError(f"there are more than {TAGS_MAX} tags")
        link = next_link(links)
        if link is not None:
            self._has_links = True
            self.next = self._checked(asked, link)
        elif self._may_go_on(page) and len(self._tags) > known:
            self.next = self._checked(asked, _after(asked, page[-1]))
        else:
            self.next = None

    def _may_go_on(self, page: list[str]) -> bool:
        """Whether a page without a link is full, so that the server may have more."""
        if self._has_links or not page:
            return False
        if self._size is None and len(page) in _USUAL:
            self._size = len(page)
        return len(page) == self._size

    def _checked(self, asked: str, link: str) -> str:
        url = urljoin(asked, link)
        if origin_of(url) != origin_of(asked):
            raise PageError("the list of tags goes on at another server")
        if _place(url) in self._places:
            raise PageError("the list of tags goes in a circle")
        if len(self._places) >= PAGES_MAX:
            raise PageError(f"the list of tags has more than {PAGES_MAX} pages")
        return url


def next_link(headers: Iterable[str]) -> str | None:
    """Return the target of the first `Link` with the relation `next` (RFC 8288)."""
    for target, relations in _links(headers):
        if "next" in relations:
            return target
    return None


def _links(headers: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for header in headers:
        for target, parameters in _LINK.findall(header):
            found = _NEXT.search(parameters)
            words = (found[1] or found[2] or "") if found else ""
            yield target, words.lower().split()


def _tags_of(body: bytes) -> list[str]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise PageError("the list of tags is no JSON") from None
    if not isinstance(answer, dict):
        raise PageError("the list of tags is no JSON object")
    tags = answer.get("tags")
    if tags is None:
        return []  # so registries list a repository whose last tag was deleted
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise PageError("the list of tags is no list of names")
    return tags


def _place(url: str) -> str:
    """Say where in the list a question is: behind its `last`, whatever else it says."""
    return dict(parse_qsl(urlsplit(url).query)).get("last", url)


def _after(url: str, last: str) -> str:
    return _with_query(url, {"last": last})


def _with_query(url: str, changes: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **changes}
    return urlunsplit(parts._replace(query=urlencode(query)))
