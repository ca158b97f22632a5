"""Selections: tags and a constraint in, the newest of them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import re2  # type: ignore[import-untyped]  # ships no types

from controllers.versions.constraint import Constraint, InvalidConstraintError, shown
from controllers.versions.version import Version, parse_tag

PATTERN_MAX = 256
"""Longest tag filter in characters."""

_PATTERN_MEMORY = 1 << 20
"""Bytes that a compiled filter may take."""

_SIGNATURE_TAG = re.compile(r"sha256-[a-f0-9]{64}(?:\.(?:sig|att|sbom))?")
"""Where cosign and the referrers' fallback keep what belongs to a digest."""


class TagFilter(Protocol):
    """Decides which tags are looked at."""

    def __call__(self, tag: str, /) -> bool:
        """Tell whether a tag counts."""
        ...


def tag_filter(include: str = "", exclude: str = "") -> TagFilter:
    """Make a filter of two RE2 expressions; each may match anywhere in the tag.

    Raises:
        InvalidConstraintError: One is too long or no expression.
    """
    wanted = _compiled(include) if include else None
    unwanted = _compiled(exclude) if exclude else None

    def keeps(tag: str) -> bool:
        return (wanted is None or wanted.search(tag) is not None) and (
            unwanted is None or unwanted.search(tag) is None
        )

    return keeps


class Selection(NamedTuple):
    """What was chosen, and out of what."""

    tag: str | None
    """As it was written; `None` when nothing fits."""

    version: Version | None
    """Of the tag; `None` also when no tag was a version and the last in the alphabet
    was taken, which is a guess."""

    versions: int
    """How many of the tags are versions."""

    skipped: int
    """How many tags passed the filter and are no versions."""


def select(
    tags: Iterable[str],
    constraint: Constraint,
    *,
    include_prereleases: bool = False,
    keeps: TagFilter | None = None,
    parse: Callable[[str], Version | None] = parse_tag,
) -> Selection:
    """Choose the newest version that a constraint allows.

    The order of the tags does not matter, and signatures among them do not count. If
    the constraint is empty and no tag at all is a version, the last tag in the alphabet
    but `latest` is taken.
    """
    rest = [tag for tag in tags if not _SIGNATURE_TAG.fullmatch(tag)]
    if keeps is not None:
        rest = [tag for tag in rest if keeps(tag)]
    versions = [version for version in map(parse, rest) if version is not None]
    skipped = len(rest) - len(versions)
    if not versions and not constraint.text.strip():
        last = max((tag for tag in rest if tag != "latest"), default=None)
        return Selection(last, None, 0, skipped)
    allowed = [
        version
        for version in versions
        if constraint.allows(version, include_prereleases=include_prereleases)
    ]
    if not allowed:
        return Selection(None, None, len(versions), skipped)
    newest = max(allowed)
    return Selection(newest.text, newest, len(versions), skipped)


class _Pattern(Protocol):
    def search(self, text: str, /) -> object | None: ...


def _compiled(text: str) -> _Pattern:
    if len(text) > PATTERN_MAX:
        raise InvalidConstraintError(
            f"a tag filter has at most {PATTERN_MAX} characters, this one has "
            f"{len(text)}"
        )
    options = re2.Options()
    options.log_errors = False  # RE2 would print them to stderr
    options.max_mem = _PATTERN_MEMORY
    try:
        pattern: _Pattern = re2.compile(text, options)
    except re2.error as error:
        raise InvalidConstraintError(
            f"tag filter {shown(text)} is no regular expression of RE2: "
            f"{error.args[0].decode()}"
        ) from None
    return pattern
