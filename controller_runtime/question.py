"""What an API server is asked to learn about a kind, and what may come back.

List       one answer     Page, or Failed
Watch      many answers   Changes and Bookmarks, at the end Closed or Failed
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


class Watch(NamedTuple):
    """Ask for the changes after a version."""

    resource_version: str
    timeout: float
    """Seconds after which the server is asked to close the stream."""


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


class Closed(NamedTuple):
    """The server ended the watch in good order, `lived` seconds after it began."""

    lived: float


class Failed(NamedTuple):
    """The question was refused or the answer broke off."""

    error: Exception


Answer: TypeAlias = Page | Changes | Bookmark | Closed | Failed
