"""Versions: text in, a key that sorts out.

What decides precedence (semver.org, 11) is a `Key`: three numbers and a pre-release. A
release is the highest "pre-release" of its numbers, and an empty one the lowest, so
that bounds of intervals are keys, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Identifier = tuple[int, int, str]
"""A part between dots that sorts: numbers by value, and below all words."""

Prerelease = tuple[Identifier, ...]

Key = tuple[int, int, int, Prerelease]
"""What decides precedence (semver.org, 11)."""

RELEASE: Prerelease = ((2, 0, ""),)
"""Sorts after every pre-release."""

FLOOR: Prerelease = ()
"""Sorts before every pre-release."""

# 64 bits hold 19 digits; longer numbers are no versions for Helm either.
_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
WORDS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_STRICT = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({WORDS}))?(?:\+({WORDS}))?"
)
_LOOSE = re.compile(
    r"v?([0-9]{1,19})(?:\.([0-9]{1,19}))?(?:\.([0-9]{1,19}))?"
    rf"(?:-({WORDS}))?(?:\+({WORDS}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version. Compares by precedence, then by build, then by how it is written.

    Builds have no precedence in semver.org; among versions that are otherwise equal
    the higher one counts as newer here, with numbers in it read as numbers.
    """

    key: Key
    build_key: tuple[tuple[Identifier, ...], ...]
    is_plain: bool
    """Written without the letter `v`, which wins over the same version with it."""

    text: str
    """As it was written."""

    @property
    def is_prerelease(self) -> bool:
        """Whether it comes before a release of the same three numbers."""
        return self.key[3] != RELEASE

    def __str__(self) -> str:
        return self.text


def parse_tag(text: str) -> Version | None:
    """Read a tag of a registry, or return `None` if it is no version.

    Three numbers are needed and a `v` may precede them. One `_` stands for the `+` that
    tags may not have, as `helm push` writes it.
    """
    bare = text.removeprefix("v").replace("_", "+", 1)
    return _version(text, _STRICT.fullmatch(bare))


def parse_loose(text: str) -> Version | None:
    """Read the version of a chart in an index as Helm does: `1.2` is 1.2.0."""
    return _version(text, _LOOSE.fullmatch(text))


def _version(text: str, match: re.Match[str] | None) -> Version | None:
    if match is None:
        return None
    prerelease = read_prerelease(match[4])
    if prerelease is None:
        return None
    numbers = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    builds = tuple(map(_natural, match[5].split("."))) if match[5] else ()
    return Version((*numbers, prerelease), builds, not text.startswith("v"), text)


def read_prerelease(text: str | None) -> Prerelease | None:
    """Read what follows the dash; numbers with a leading zero are not allowed."""
    if text is None:
        return RELEASE
    words = text.split(".")
    if any(word.isdecimal() and word != "0" and word[0] == "0" for word in words):
        return None
    return tuple(map(_identifier, words))


def _identifier(word: str) -> Identifier:
    return (0, int(word), "") if word.isdecimal() else (1, 0, word)


def _natural(word: str) -> tuple[Identifier, ...]:
    """Let `b2` come before `b10`."""
    return tuple(_identifier(run) for run in re.findall(r"[0-9]+|[^0-9]+", word))
