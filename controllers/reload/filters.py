"""Which namespaces and sources are looked at, as the original's flags say it.

Selectors are those of `kubectl -l`, and what the original took before: `key:value` for
`key=value`, and `key:*` or `key=*` for a label that is there, whatever its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from controller_runtime import ConfigError, LabelSelector, SelectorError

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
        return LabelSelector.parse(",".join(map(_modern, parts)))
    except SelectorError as error:
        raise ConfigError(
            f"{flag}={text} is no selector of labels: {error}; write such as "
            "team=shop, team in (shop,blog) or team"
        ) from error


def _modern(part: str) -> str:
    key, colon, value = part.partition(":")
    if colon and not set(key) & set("=!( "):
        part = f"{key}={value}"
    return part.removesuffix("=*")


def not_in(namespaces: Iterable[str]) -> str:
    """Write the field selector that leaves out namespaces, at the server."""
    return ",".join(f"metadata.namespace!={name}" for name in sorted(namespaces))
