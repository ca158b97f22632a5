"""Which namespaces and sources are looked at, as the original's flags say it.

Selectors are those of `kubectl -l`, and what the original took before: `key:value` for
`key=value`, and `key:*` or `key=*` for a label that is there, whatever its value.

All requirements have to hold: `team=a,team=b` selects nothing, which is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import structlog

from controller_runtime import ConfigError, LabelSelector, SelectorError

log = structlog.get_logger(__name__)

_BETWEEN = re.compile(r",(?![^(]*\))")
"""A comma that is not between the values of `in (a, b)`."""


def selector(text: str, *, flag: str) -> LabelSelector:
    """Read a selector of labels; an empty one selects everything.

    Args:
        text: Requirements with commas between them, maybe in quotes.
        flag: Where it stands, for messages.

    Raises:
        ConfigError: It cannot be read.
    """
    bare = text.strip().strip("\"'")
    parts = filter(None, (part.strip() for part in _BETWEEN.split(bare)))
    try:
        found = LabelSelector.parse(",".join(map(_modern, parts)))
    except SelectorError as error:
        raise ConfigError(
            f"{flag}: {text!r} is no selector of labels: {error}; write such as "
            "team=shop, team in (shop,blog) or team"
        ) from error
    if key := contradiction(found):
        log.warning(
            "selector selects nothing",
            setting=f"{flag}={text}",
            remedy=f"write {key} in (…) for several values of that label",
        )
    return found


def contradiction(asked: LabelSelector) -> str:
    """Return a label that is to have two values at once; empty if there is none."""
    possible: dict[str, frozenset[str]] = {}
    for one in asked.requirements:
        if one.operator != "In":
            continue
        possible[one.key] = possible.get(one.key, one.values) & one.values
        if not possible[one.key]:
            return one.key
    return ""


def _modern(part: str) -> str:
    key, colon, value = part.partition(":")
    if colon and not set(key) & set("=!( "):
        part = f"{key}={value}"
    return part.removesuffix("=*")


def not_in(namespaces: Iterable[str]) -> str:
    """Write the field selector that leaves out namespaces, at the server."""
    return ",".join(f"metadata.namespace!={name}" for name in sorted(namespaces))
