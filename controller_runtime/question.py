"""What an API server is asked to learn about a kind, and what may come back.

List       one answer     Page, or Failed; the rest of a list, page by page
Watch      many answers   Opened, Changes and Bookmarks, at the end Closed or Failed
WatchList  many answers   the same: first all objects as Changes, then a Bookmark
                          that says so, then what happens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from controller_runtime.meta import RawObject


class List(NamedTuple):
    """Ask for (a page of) all objects."""

    resource_version: str
    limit: int
    """0 asks for everything in one answer."""
    continue_token: str = ""
    grows: bool = False
    """Pages after this one may come to have as many objects as fit in `PAGE_BYTES`."""


class Watch(NamedTuple):
    """Ask for the changes after a version."""

    resource_version: str
    timeout: float
    """Seconds after which the server is asked to close the stream."""
    patience: float | None = None
    """Seconds for the server to open it, where the first list waits for that."""


class WatchList(NamedTuple):
    """Ask for all objects as changes, a bookmark behind them, and what follows."""

    resource_version: str
    """All objects as they were then or later; empty for the newest."""
    timeout: float
    """Seconds after which the server is asked to close the stream."""
    patience: float
    """Seconds without a word, before that bookmark, after which it is given up."""


Ask: TypeAlias = WatchList | List | Watch


class Page(NamedTuple):
    """The server listed objects; `continue_token` is set when there are more."""

    objects: Sequence[RawObject]
    resource_version: str
    continue_token: str = ""
    size: int = 0
    """Bytes that it came as."""


PAGE_BYTES = 8_000_000
"""What a page that may grow should weigh. Each costs the server a millisecond for every
few thousand objects that there are, however few it has; two are held at a time."""

_PAGE_LIMIT = 10_000
"""Objects of a page, however small they are: what server and client do in one go."""

_GROWTH = 4
"""Times that a page may have more objects than the one before: those that come next may
be far larger, as the Secrets of releases are among small ones."""


def page_after(ask: List, count: int, size: int, continue_token: str) -> List:
    """Return the question for what comes after `count` objects in `size` bytes."""
    limit = ask.limit
    if ask.grows and count and size:
        fitting = max(PAGE_BYTES * count // size, 1)
        limit = min(fitting, ask.limit * _GROWTH, _PAGE_LIMIT)
    return List("", limit, continue_token, ask.grows)


class Change(NamedTuple):
    """The newest version of an object, or its last one when it is `gone`."""

    object: RawObject
    gone: bool = False


class Changes(NamedTuple):
    """What a stream told in one go, in order."""

    changes: Sequence[Change]
    resource_version: str
    """The version of the last change."""


class Bookmark(NamedTuple):
    """The stream has reached a version; no object changed."""

    resource_version: str
    ends_initial_events: bool = False
    """All objects that there were have come."""


class Opened(NamedTuple):
    """The server answers a stream: it has not refused. No matter for the rules."""


class Closed(NamedTuple):
    """The server ended the watch in good order, `lived` seconds after it began."""

    lived: float


class Failed(NamedTuple):
    """The question was refused or the answer broke off."""

    error: Exception


Answer: TypeAlias = Page | Changes | Bookmark | Closed | Failed
